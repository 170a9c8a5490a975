"""The command that checks an installation and says how to fix each fault."""

from __future__ import annotations

import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Literal

import click

from dreamcatcherd.cli.common import configuration, on_repository, plain, with_json, write_json
from dreamcatcherd.config import credential_file
from dreamcatcherd.config_tables import Config
from dreamcatcherd.core.errors import DreamcatcherError
from dreamcatcherd.core.report import Check
from dreamcatcherd.daemon.bootstrap import open_store
from dreamcatcherd.doctor.checks import (
    check_folder,
    check_remote,
    check_repository,
    check_signing,
    check_tools,
)
from dreamcatcherd.git.remote import RemoteStore


@click.command(short_help="Check the repository and the way to it; say what to fix.")
@on_repository
@with_json
def doctor(repo: str | None, config_file: Path | None, as_json: bool) -> int:
    """Check the repository, the connection to it, refs, hooks, clock and permissions; say how to fix each fault.

    Changes nothing. Exit code 1 if something must be fixed."""
    found = list(_checks(repo, config_file))
    if as_json:
        write_json(found)
    else:
        for one in found:
            click.echo(f"{'ok  ' if one.ok else 'MEND'} {one.check}: {plain(one.detail)}")
            if one.remedy:
                click.echo(f"     {plain(one.remedy)}")
    return 0 if all(one.ok for one in found) else 1


def _checks(repo: str | None, config_file: Path | None) -> Iterator[Check]:
    config, url = configuration(repo, config_file)
    yield from check_tools()
    yield from _secrets(config)
    try:
        store = open_store(config.repository, url)
    except DreamcatcherError as error:
        yield Check("repository", False, error.cause, error.remedy)
        return
    main = f"refs/heads/{config.repository.branch}"
    yield from check_signing(store.signing_key)
    found = list(check_repository(store, main))
    yield from found
    if not isinstance(store, RemoteStore):
        yield from check_folder(store, main)
    elif found[0].ok:  # further checks of an unreachable remote would fail for the same reason
        yield from check_remote(store)


def _secrets(config: Config) -> Iterator[Check]:
    """Checks that no file with a secret can be read by every user. Another check reports missing files."""
    repository, http = config.repository, config.http
    wanted: tuple[tuple[Literal["repository", "http"], str, str | None], ...] = (
        ("repository", "token_file", repository.token_file),
        ("repository", "ssh_key", repository.ssh_key),
        ("repository", "signing_key", repository.signing_key),
        ("http", "token_file", http.token_file),
        ("http", "tls_key", http.tls_key),
    )
    for table, name, named in wanted:
        try:
            file = credential_file(table, name, named)
        except DreamcatcherError:
            continue
        if file is not None and open_to_all(file):
            cause = f"{file} can be read by everybody on this machine"
            yield Check(f"[{table}] {name}", False, cause, f"chmod o= {shlex.quote(str(file))}, and change the secret")


def open_to_all(file: Path) -> bool:
    """Whether the modes of a file and all folders above let every user read it; False if it is missing."""
    try:
        found = file.resolve()
        return bool(found.stat().st_mode & 0o004) and all(above.stat().st_mode & 0o001 for above in found.parents)
    except OSError:
        return False
