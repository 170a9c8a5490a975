"""Mirrors as configured: a table with the way to its repository. Everything that can be wrong is found here."""

from __future__ import annotations

from collections.abc import Sequence

from msgspec import Struct

from dreamcatcherd.client.session import remote_access
from dreamcatcherd.config_files import is_same_repository, mirror_file, repository_path
from dreamcatcherd.config_remotes import MirrorConfig
from dreamcatcherd.core.errors import DreamcatcherError, UsageError
from dreamcatcherd.git.access import Access


class MirrorSite(Struct, frozen=True):
    """A mirror and how it is reached."""

    table: MirrorConfig
    access: Access


def mirror_of(table: MirrorConfig) -> MirrorSite:
    """The mirror that a table describes; UsageError if a credential file is missing or the URL is none."""
    path = repository_path(table.url)
    if path is not None:
        return MirrorSite(table, Access(url=str(path.absolute()), timeout_s=table.timeout))
    try:
        return MirrorSite(table, remote_access(table, table.url, lambda key: mirror_file(table, key)))
    except UsageError as error:
        raise UsageError(of_mirror(error.cause, table.name), error.remedy) from error


def mirrors_of(tables: Sequence[MirrorConfig], deciding: str) -> tuple[MirrorSite, ...]:
    """The mirrors of a configuration, whose `deciding` repository a path or URL names; UsageError says what is
    wrong."""
    for table in tables:
        if is_same_repository(table.url, deciding):
            cause = f"[[mirrors]] {table.name} url names the repository that decides"
            raise UsageError(cause, "name another repository, or leave the table out")
    return tuple(map(mirror_of, tables))


def of_mirror(text: str, name: str) -> str:
    """A message about a repository, as one about a mirror: the keys that it names are those of the mirror's table."""
    return text.replace("[repository]", f"[[mirrors]] {name}")


def said_of(error: DreamcatcherError, name: str) -> tuple[str, str]:
    """Cause and remedy of a failure, of a mirror."""
    cause = of_mirror(error.cause, name)
    return cause if cause.startswith(f"mirror {name} ") else f"mirror {name}: {cause}", of_mirror(error.remedy, name)
