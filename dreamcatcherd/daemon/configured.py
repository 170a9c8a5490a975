"""A configuration with all that it names: files, programs, certificates and its schedule are tried before it counts.

Owns that a refusal is complete: what the file says and what its files hold are reported together. Nothing is started,
bound or sent, and the repository is not opened."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TypeVar

from msgspec import structs

from dreamcatcherd.config import ConfigError
from dreamcatcherd.config_files import CREDENTIALS, credential_file
from dreamcatcherd.config_tables import Config
from dreamcatcherd.core.errors import UsageError
from dreamcatcherd.core.mistakes import Mistake
from dreamcatcherd.daemon.engines import check_engine
from dreamcatcherd.daemon.event_receivers import receiver_of
from dreamcatcherd.daemon.hints import read_hint_secrets
from dreamcatcherd.daemon.mirror_config import mirror_of
from dreamcatcherd.daemon.opening import closing_of
from dreamcatcherd.daemon.tracing import read_tracing
from dreamcatcherd.web.server import read_listening

_T = TypeVar("_T", Config, tuple[Config, str])


def load_complete(read: Callable[[], _T], file: Path | None) -> _T:
    """What `read` gives, a configuration from a file; ConfigError has its own mistakes and those of what it names."""
    try:
        found = read()
    except ConfigError as error:
        raise (error if error.valid is None else error.joined(unusable(error.valid))) from error
    config = found if isinstance(found, Config) else found[0]
    if mistakes := unusable(config):
        raise ConfigError([structs.replace(one, source=str(file or "")) for one in mistakes], file, config)
    return found


def unusable(config: Config) -> list[Mistake]:
    """What cannot be used of the files, programs and times that a configuration names."""
    found = []
    for at, use in _uses(config):
        try:
            use()
        except UsageError as error:
            table, number = f"[{at[0]}]", ""
            if at[0] in ("events", "mirrors") and isinstance(at[1], int):
                table, number = f"[[{at[0]}]]", f" table {at[1] + 1}"
            # Some causes begin with their key, others with the file.
            own = error.cause.startswith(f"{table} ")
            what = error.cause.removeprefix(f"{table} ")
            found.append(Mistake(f"{table}{number}{'' if own else ':'}", what, error.remedy, at=(at,)))
    return found


def _uses(config: Config) -> Iterator[tuple[tuple[str | int, ...], Callable[[], object]]]:
    """Each part with what makes it."""
    yield ("frames", "cron"), lambda: closing_of(config)
    for table, key in CREDENTIALS:
        if table == "repository":
            named = getattr(config.repository, key)
            yield (table, key), lambda key=key, named=named: credential_file("repository", key, named)  # type: ignore[misc]
    yield ("http",), lambda: read_listening(config.http)
    yield ("hint",), lambda: read_hint_secrets(config.hint)
    yield ("otel",), lambda: read_tracing(config.otel, "")
    yield ("engine",), lambda: check_engine(config.engine)
    for number, one in enumerate(config.events):
        yield ("events", number), lambda one=one: receiver_of(one, "").close()  # type: ignore[misc]
    for number, mirror in enumerate(config.mirrors):
        yield ("mirrors", number), lambda mirror=mirror: mirror_of(mirror)  # type: ignore[misc]
