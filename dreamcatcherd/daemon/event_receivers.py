"""Subscriptions to events as configured: a receiver, its cursor's file, and the names of both ends
(docs/protocol.md#events).

Owns the way from a table of the configuration to a receiver. Everything that can be wrong is found here, before a
configuration takes effect."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Protocol, get_args
from urllib.parse import quote

from msgspec import Struct

from dreamcatcherd.config_files import events_secret_file, state_folder
from dreamcatcherd.config_rules import without_path
from dreamcatcherd.config_tables import EventsConfig
from dreamcatcherd.core.events import EventType
from dreamcatcherd.daemon.event_cursor import cursor_path, prepare_folder
from dreamcatcherd.daemon.exec_receiver import Program
from dreamcatcherd.daemon.webhook import Webhook


class Receiver(Protocol):
    """Where events go. `shown` names it without secrets."""

    shown: str

    def send(self, event_id: str, body: bytes) -> None:
        """Deliver one event; RetryableError if it was not."""

    def close(self) -> None:
        """Let go what was kept for the next event."""

    def abort(self) -> None:
        """From another thread: break off `send`, now and later."""


class Subscription(Struct, frozen=True):
    """A receiver as configured, with its cursor's file and the source that its events name."""

    table: EventsConfig
    shown: str
    cursor: Path
    repository: str
    source: str
    nameless: Path | None = None  # the cursor's file of the same receiver before it had a name

    @property
    def types(self) -> frozenset[EventType]:
        return frozenset(self.table.types or get_args(EventType))

    def receiver(self) -> Receiver:
        """Make the receiver; UsageError if a secret, a certificate or the program is missing."""
        return receiver_of(self.table, self.shown)


def receiver_of(table: EventsConfig, shown: str) -> Program | Webhook:
    """The receiver that a table describes; `shown` names it in errors. UsageError if a secret, a certificate or the
    program is missing."""
    if table.exec is not None:
        return Program(table.exec, shown, table.timeout)
    ca_file = Path(table.ca_file).expanduser() if table.ca_file else None
    return Webhook(table.url or "", shown, events_secret_file(table), ca_file, table.timeout)


def subscriptions_of(tables: Sequence[EventsConfig], repository: str) -> tuple[Subscription, ...]:
    """The subscriptions of a configuration, complete and checked; UsageError says what is wrong. `repository` is the
    identity of the repository."""
    found = []
    for table in tables:
        kind, named = ("url", table.url or "") if table.exec is None else ("exec", "\0".join(table.exec))
        path, nameless = cursor_path(state_folder(), repository, kind, named), None
        if table.name is not None:
            path, nameless = cursor_path(state_folder(), repository, f"name-{table.name}", ""), path
        one = Subscription(table, shown_name(table, path), path, repository, source_of(repository), nameless)
        one.receiver().close()
        prepare_folder(path)
        found.append(one)
    return tuple(found)


def source_of(repository: str) -> str:
    """A repository's identity as a URI-reference: a URL without secrets, or a path."""
    if "://" not in repository and not repository.startswith("/") and ":" in repository:
        host, _, path = repository.partition(":")  # user@host:path, as ssh has it
        repository = f"ssh://{host}/{path.lstrip('/')}"
    return quote(repository, safe="/:@%[]!$&'()*+,;=-._~", errors="surrogateescape")


def shown_name(table: EventsConfig, cursor: Path) -> str:
    """A receiver's name for logs: the program, or the URL without its path, which may be a secret. The cursor's name
    distinguishes two of one host."""
    if table.exec is not None:
        return f"{table.exec[0]} ({cursor.stem})"
    return f"{without_path(table.url or '')} ({cursor.stem})"
