"""Events as CloudEvents: which ones a closed frame has, in which order, and what each says (docs/protocol.md#events).

The events of a frame are a pure function of its ledger and of the commit that closed it. So nothing needs to be queued:
whoever keeps (frame, ordinal) can make the rest again, after any restart and on any machine, with the same ids. Owns
the types, the order, the ids, and the bound on the size of one event."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from typing import Literal

import msgspec
from msgspec import Struct

from dreamcatcherd.core.codec import calendar_text, canonical, decode, plain
from dreamcatcherd.core.model import Json, Record, Stamp

EventType = Literal[
    "frame.closed",
    "delta.quarantined",
    "delta.lost",
    "claim.decided",
    "book.published",
    "canonical.restored",
    "guard.tripped",
]

VALUE_MOST = 4_096
"""A value with more bytes of JSON than this is not in an event, only its size."""
LOST_MOST = 32_768
"""Bytes of lost fields that one event lists; the rest is counted."""
_SHORT = 12


class CloudEvent(Struct, frozen=True):
    """One event. `ordinal` is its place among those of its frame's ledger, None for what happens before the close:
    these are known by their `id` alone. `at_s` is in seconds since 1970."""

    id: str
    type: EventType
    at_s: float
    data: Record
    ordinal: int | None = None


class CloseCommit(Struct, frozen=True):
    """The commit that closed a frame, and its time in seconds since 1970."""

    commit: str
    at_s: float


def envelope(event: CloudEvent, source: str) -> bytes:
    """The event as a structured-mode CloudEvent 1.0: the same bytes each time. `source` is a URI-reference."""
    found: Record = {
        "specversion": "1.0",
        "id": event.id,
        "source": source,
        "type": event.type,
        "datacontenttype": "application/json",
        "data": event.data,
    }
    time = calendar_text(round(event.at_s * 1e6))
    return canonical(found if time is None else found | {"time": time})


class FrameRows(Struct, frozen=True):
    """What a ledger has for events. The rows stay raw until their event is made: a ledger can have a million."""

    frame: int
    snapshot: str
    previous: str | None
    closed_by: str
    settings: str | None
    counts: msgspec.Raw = msgspec.Raw(b"{}")
    deltas: list[msgspec.Raw] = []
    quarantined: list[msgspec.Raw] = []
    conflicts: list[msgspec.Raw] = []
    claims: list[msgspec.Raw] = []
    books: list[msgspec.Raw] = []


class _Loser(Struct, frozen=True):
    loser: Stamp


class _Name(Struct, frozen=True):
    path: str
    blob: str
    content_id: str | None = None


_rows = msgspec.json.Decoder(FrameRows)
_loser = msgspec.json.Decoder(_Loser)
_name = msgspec.json.Decoder(_Name)


def event_rows(raw: bytes) -> FrameRows:
    """The rows of a ledger from its bytes; msgspec.DecodeError if they are not one."""
    try:
        return _rows.decode(raw)
    except (UnicodeDecodeError, RecursionError) as error:
        raise msgspec.DecodeError(str(error)) from error


def events_of(rows: FrameRows, closing: CloseCommit) -> Iterator[CloudEvent]:
    """The events of a closed frame in the order of their ordinals, which are dense from 0: the close itself, then
    quarantined deltas, losing deltas, claims and published books, each in the order of the ledger."""
    for ordinal, (kind, data) in enumerate(_said(rows, closing)):
        # The commit is part of the id: a frame that is closed again, after a backup was restored, has other events.
        name = f"{rows.frame}-{ordinal}-{closing.commit[:_SHORT]}"
        yield CloudEvent(name, kind, closing.at_s, {"frame": rows.frame, "ordinal": ordinal} | data, ordinal)


def _said(rows: FrameRows, closing: CloseCommit) -> Iterator[tuple[EventType, Record]]:
    yield "frame.closed", _closed(rows, closing)
    for raw in rows.quarantined:
        row = decode(raw)
        if row["since"] == rows.frame:  # early versions listed what still waits in every frame
            names = ("path", "blob", "reason", "detail", "at", "source", "commit", "more")
            yield "delta.quarantined", _fitting({name: row.get(name, 0 if name == "more" else None) for name in names})
    yield from (("delta.lost", data) for data in _losers(rows))
    for raw in rows.claims:
        row = decode(raw)
        yield "claim.decided", _fitting(row)
    for raw in rows.books:
        row = decode(raw)
        if "published" in row["events"]:
            wanted = ("book", "chapters", "target", "fingerprint")
            yield "book.published", _fitting({name: row.get(name) for name in wanted})


def _closed(rows: FrameRows, closing: CloseCommit) -> Record:
    counts = decode(rows.counts)
    if len(canonical(counts)) > LOST_MOST:
        counts.pop("entities", None)  # any number of collections
    return {
        "digest": rows.snapshot,
        "previous": rows.previous,
        "commit": closing.commit,
        "closed_by": rows.closed_by,
        "settings": rows.settings,
        "counts": counts,
    }


def _losers(rows: FrameRows) -> Iterator[Record]:
    """One for each delta that lost, with what it lost: as many as fit, and how many more there are."""
    lost: dict[Stamp, list[int]] = {}
    for at, raw in enumerate(rows.conflicts):
        lost.setdefault(_loser.decode(raw).loser, []).append(at)
    names = _names(rows, {stamp.content_id for stamp in lost})
    for stamp, found in lost.items():
        listed: list[Record] = []
        size = 0
        for at in found:
            row = decode(rows.conflicts[at])
            row.pop("loser")
            row = _fitting(row)
            size += len(canonical(row))
            if listed and size > LOST_MOST:
                break
            listed.append(row)
        name = names.get(stamp.content_id)
        yield {
            "stream_id": stamp.stream_id,
            "stamp": stamp,
            "path": name.path if name else None,
            "blob": name.blob if name else None,
            "lost": listed,
            "more": len(found) - len(listed),
        }


def _names(rows: FrameRows, wanted: set[str]) -> dict[str, _Name]:
    """The merged deltas of this frame by content id, of those wanted. A delta that lost to a late one was merged in an
    earlier frame, and has no row here."""
    found: dict[str, _Name] = {}
    for raw in rows.deltas if wanted else ():
        name = _name.decode(raw)
        content = name.content_id or name.blob
        if content in wanted:
            found.setdefault(content, name)
    return found


def _fitting(row: Record) -> Record:
    """A row, with the size in place of each value that is too large: `key_bytes` in place of `key`."""
    found: dict[str, Json] = {}
    for name, value in row.items():
        size = len(canonical(value)) if isinstance(value, str | list | dict) else 0
        if size > VALUE_MOST:
            found[f"{name}_bytes"] = size
        else:
            found[name] = value
    return found


def restored(frame: int, commit: str, at_s: float, published: str, paths: list[str]) -> CloudEvent:
    """`commit` put back the canonical files at `paths` as the snapshot commit `published` has them, while `frame` was
    open or by its close."""
    data: Record = {"frame": frame, "commit": commit, "restores": published, "paths": paths}
    return CloudEvent(f"{frame}-restored-{commit[:_SHORT]}", "canonical.restored", at_s, _fitting(data))


def guard_tripped(frame: int, cause: str, remedy: str, at_s: float) -> CloudEvent:
    """Publishing is stopped while `frame` is open. The same cause in the same frame has the same id."""
    name = hashlib.sha256(cause.encode("utf-8", "replace")).hexdigest()[:_SHORT]
    data: Record = {"frame": frame, "cause": plain(cause)[:1_000], "remedy": plain(remedy)[:1_000]}
    return CloudEvent(f"{frame}-guard-{name}", "guard.tripped", at_s, data)
