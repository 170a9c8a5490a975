"""The ledger of each closed frame: what went in, what became of it, and the digest (docs/protocol.md#the-ledger).

Owns the shape and the bytes of the file, and imports no merge, so that readers load little. A ledger holds no wall
clock: the same deltas on the same base give the same ledger."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Literal, TypeVar

import msgspec
from msgspec import Struct

from dreamcatcherd.core.codec import canonical, canonical_each
from dreamcatcherd.core.model import Conflict, Json, Stamp, ViolationKind

IMPORT, CONVERT, RECLASSIFY = "import", "convert", "reclassify"
"""What closed a frame that no closing rule closed: an imported or converted snapshot is a base that no deltas lead to;
a reclassified one is what all deltas give under the frame's settings."""


class DeltaRow(Struct, frozen=True, omit_defaults=True):
    """A merged delta. `frame` is given if it is late, `content_id` if it has attachments.

    `ahead_s` and `backward` flag a clock that cannot be right (`clock_skew`). The remaining fields count what was not
    stored as a record of its own (docs/protocol.md#a-delta): references without a file (`unresolved`), records that
    went to `extra/<section>` (`misfits`), records that `collapsed` into an existing one, and `unknown` sections."""

    path: str
    blob: str
    utc: int
    stream_id: str
    source: str
    commit: str
    late: bool
    frame: int | None = None
    content_id: str | None = None
    unresolved: tuple[str, ...] = ()
    ahead_s: int | None = None
    backward: bool = False
    misfits: int = 0
    collapsed: int = 0
    unknown: tuple[str, ...] = ()


class HeldRow(Struct, frozen=True, omit_defaults=True):
    """An early delta: read again, by path and commit, once its frame is open."""

    path: str
    blob: str
    frame: int
    utc: int
    stream_id: str
    source: str
    commit: str
    since: int
    content_id: str | None = None


class DuplicateRow(Struct, frozen=True, omit_defaults=True):
    """A version whose content is merged or held already. `more` counts further versions of its blob that came with its
    commit and are not listed."""

    path: str
    blob: str
    frame: int
    stream_id: str
    source: str
    commit: str
    content_id: str | None = None
    more: int = 0


class QuarantinedRow(Struct, frozen=True, omit_defaults=True):
    """A version that cannot be merged. `since` is the first frame that said so; `more` is as for duplicates.

    A version that is only too far ahead can be read, and waits: it has the fields of a held row."""

    path: str
    blob: str
    reason: str
    detail: str
    source: str
    commit: str
    since: int
    at: str | None = None
    more: int = 0
    frame: int | None = None
    utc: int | None = None
    stream_id: str | None = None
    content_id: str | None = None


class MisfitRow(Struct, frozen=True):
    """The number of records in one section of a delta that have no usable key and went to `extra/<section>`."""

    path: str
    blob: str
    section: str
    why: str
    records: int


ClaimOutcome = Literal["granted", "renewed", "released", "refused"]


class ClaimRow(Struct, frozen=True):
    """The decision about one claim (docs/protocol.md#claims). `holder` holds the resource after it, through frame
    `until`; None if nobody does."""

    collection: str
    key: Json
    stream_id: str
    outcome: ClaimOutcome
    holder: str | None
    until: int | None
    stamp: Stamp


class Violation(Struct, frozen=True, omit_defaults=True):
    """Damage by others that the next snapshot commit repairs (docs/protocol.md#violations)."""

    kind: ViolationKind
    path: str
    commit: str | None
    author: str | None
    detail: str = ""


BookEvent = Literal["started", "grew", "published", "revised", "reopened"]


class BookRow(Struct, frozen=True, omit_defaults=True):
    """The changes that a frame made to one book. `chapters` counts distinct numbers, `events` are in this order:

    `started` (its title page came), `grew` (chapter numbers were added), `published`, `revised` (the published object
    changed), `reopened` (a late delta had raised the target before the book was complete)."""

    book: Json
    events: list[BookEvent]
    chapters: int
    target: int | None
    published: bool
    fingerprint: str | None = None


class SettingsChange(Struct, frozen=True):
    """The settings changed with this close: to which blob (None: to the defaults), and by whose commit."""

    blob: str | None
    commit: str | None
    author: str | None


class Counts(Struct, frozen=True):
    """The number of each kind; `entities` counts everything in the snapshot by collection, extras under `extra`.

    `held` counts the deltas that began to wait in this frame, `waiting` all that wait after it; it is None in ledgers
    of early versions, which listed all waiting deltas in every frame. `clocks` counts deltas of flagged clocks;
    `unresolved`, `collapsed` and `unknown` add up the fields of the rows in `deltas`."""

    deltas: int
    streams: int
    late: int
    duplicates: int
    held: int
    quarantined: int
    misfits: int
    conflicts: int
    violations: int
    entities: dict[str, int]
    clocks: int = 0
    unresolved: int = 0
    collapsed: int = 0
    unknown: int = 0
    waiting: int | None = None


class Ledger(Struct, frozen=True):
    """One closed frame. `previous` is the digest of the frame before it, null in the first. The deltas in `held` began
    to wait in this frame, and those in `ended` stopped waiting: each of these is in another list as well."""

    frame: int
    snapshot: str
    previous: str | None
    closed_by: str
    settings: str | None
    deltas: list[DeltaRow] = []
    held: list[HeldRow] = []
    duplicates: list[DuplicateRow] = []
    misfits: list[MisfitRow] = []
    quarantined: list[QuarantinedRow] = []
    conflicts: list[Conflict] = []
    claims: list[ClaimRow] = []
    violations: list[Violation] = []
    books: list[BookRow] = []
    settings_change: SettingsChange | None = None
    missing: list[str] = []
    ended: list[HeldRow] = []
    counts: Counts = Counts(0, 0, 0, 0, 0, 0, 0, 0, 0, {})

    def rows(self) -> Iterator[DeltaRow | HeldRow | DuplicateRow | QuarantinedRow]:
        """Every version that the frame judged."""
        yield from self.deltas
        yield from self.held
        yield from self.duplicates
        yield from self.quarantined

    def unlisted(self) -> set[tuple[str, str]]:
        """Blobs that a commit brought under more names than are listed, as (blob, commit)."""
        found = {(row.blob, row.commit) for row in self.duplicates if row.more}
        return found | {(row.blob, row.commit) for row in self.quarantined if row.more}


def accounts_for(ledger: Ledger) -> Callable[[str, str, str], bool]:
    """Whether a ledger lists a version, by its path, blob and commit, or counts it among the unlisted."""
    listed = {(row.path, row.blob) for row in ledger.rows()}
    unlisted = ledger.unlisted()
    return lambda path, blob, commit: (path, blob) in listed or (blob, commit) in unlisted


class LedgerHead(Struct, frozen=True):
    """The part of a ledger that the next frame builds on. Reading only this skips a ledger's many rows."""

    frame: int
    snapshot: str
    previous: str | None
    settings: str | None
    held: list[HeldRow]
    quarantined: list[QuarantinedRow]
    violations: list[Violation]
    counts: Counts


_T = TypeVar("_T")
_decoder = msgspec.json.Decoder(Ledger)
_head_decoder = msgspec.json.Decoder(LedgerHead)


def read_ledger(raw: bytes) -> Ledger:
    """A ledger from its bytes; msgspec.DecodeError if they are not one."""
    return _read(_decoder, raw)


def read_head(raw: bytes) -> LedgerHead:
    """The head of a ledger from its bytes; msgspec.DecodeError if they are not one."""
    return _read(_head_decoder, raw)


def _read(decoder: msgspec.json.Decoder[_T], raw: bytes) -> _T:
    try:
        return decoder.decode(raw)
    except (UnicodeDecodeError, RecursionError) as error:
        raise msgspec.DecodeError(str(error)) from error


def head_of(ledger: Ledger) -> LedgerHead:
    """The head of a ledger that is already read."""
    return LedgerHead(*(getattr(ledger, name) for name in LedgerHead.__struct_fields__))


def write_ledger(ledger: Ledger) -> bytes:
    """A ledger's bytes: one row a line, so that people and `git diff` read it well."""
    fields = []
    for name in sorted(ledger.__struct_fields__):
        value = getattr(ledger, name)
        if isinstance(value, list) and value:
            raw = b"[\n" + b",\n".join(canonical_each(value)) + b"\n]"
        else:
            raw = canonical(value)
        fields.append(canonical(name) + b":" + raw)
    return b"{\n" + b",\n".join(fields) + b"\n}\n"
