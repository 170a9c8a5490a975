"""The shapes of the API's answers that no other module has: the source of the schemas in openapi.json (`web/openapi`).

`Status`, `Frame` and `DiffAnswer` describe plain records that are built elsewhere, since the commands print them too; a
test compares the answers with these shapes."""

from __future__ import annotations

from typing import Any

from msgspec import UNSET, Struct, UnsetType

from dreamcatcherd.core.collections import RuleName
from dreamcatcherd.core.ledger import QuarantinedRow
from dreamcatcherd.core.troubles import Trouble
from dreamcatcherd.history.queries import LostConflict


class Error(Struct, frozen=True):
    """Every answer with a code from 400 on: what happened, and what to do."""

    error: str
    remedy: str


class Index(Struct, frozen=True):
    """The paths of the API. Those with a part in braces stand for many."""

    paths: list[str]


class CollectionRow(Struct, frozen=True):
    """A collection: its merge rule, the alternatives of its key, the sections of deltas that it takes, and how many
    entities it has."""

    name: str
    rule: RuleName
    key: list[list[str]]
    sections: list[str]
    entities: int


class Records(Struct, frozen=True):
    """Records of a collection in key order. `next` is what to ask `after` for more, null if there are none."""

    records: list[dict[str, Any]]
    next: str | None


class Waiting(Struct, frozen=True):
    """Pending deltas, in total and by stream."""

    total: int
    streams: dict[str, int]


class LastSeen(Struct, frozen=True):
    """A stream's last merged delta: the frame that merged it, and its UTC."""

    frame: int
    utc: str | None


class Status(Struct, frozen=True):
    """The open frame, the pending deltas, the last snapshot and every present trouble."""

    frame: int
    opened_at: str | None
    closes_at: str | None
    last_closed: int | None
    digest: str | None
    pending: Waiting
    held: int
    behind_s: float
    seen: dict[str, LastSeen]
    silent: list[str]
    troubles: list[Trouble]


class Event(Struct, frozen=True):
    """The data of a `status` event: small however many streams there are. Before the first poll it is `ready` to `now`.

    `now` is the daemon's clock, by which a page counts down."""

    ready: bool
    why: str
    now: str
    frame: int | UnsetType = UNSET
    opened_at: str | UnsetType | None = UNSET
    closes_at: str | UnsetType | None = UNSET
    last_closed: int | UnsetType | None = UNSET
    digest: str | UnsetType | None = UNSET
    held: int | UnsetType = UNSET
    behind_s: float | UnsetType = UNSET
    total: int | UnsetType = UNSET
    streams: int | UnsetType = UNSET


class Frame(Struct, frozen=True):
    """A closed frame."""

    frame: int
    digest: str
    commit: str | None
    closed_at: str | None
    deltas: int
    streams: int
    late: int
    conflicts: int
    quarantined: int


class Stream(Struct, frozen=True):
    """A stream with its pending deltas; `frame` and `utc` are those of its last merged delta, if it has one."""

    stream_id: str
    silent: bool
    pending: int
    frame: int | None
    utc: str | None


class ChangedEntity(Struct, frozen=True):
    """An entity that both snapshots have, with its changed fields: (old value, new value)."""

    key: Any
    fields: dict[str, tuple[Any, Any]]


class DiffAnswer(Struct, frozen=True, rename={"start": "from", "end": "to"}):
    """Entities added, changed and removed between two frames; `truncated` is true if there are more."""

    start: int
    end: int
    added: dict[str, list[dict[str, Any]]]
    changed: dict[str, list[ChangedEntity]]
    removed: dict[str, list[dict[str, Any]]] | UnsetType = UNSET
    truncated: bool | UnsetType = UNSET


class Quarantine(Struct, frozen=True):
    """Quarantined deltas. `before` is the frame to ask before for more; `truncated` if one had more than `limit`."""

    quarantined: list[QuarantinedRow]
    before: int | None
    truncated: bool


class Conflicts(Struct, frozen=True):
    """Lost fields; `before` and `truncated` as for the quarantine."""

    conflicts: list[LostConflict]
    before: int | None
    truncated: bool
