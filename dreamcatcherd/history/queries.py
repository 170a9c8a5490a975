"""Queries: entities, who set their fields, closed frames, and the changes between two of them.

One function for each question, called by the commands and the API alike. Nothing is written."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
from typing import Any, Literal, NamedTuple
from urllib.parse import unquote

import msgspec
from msgspec import Struct

from dreamcatcherd.core import paths
from dreamcatcherd.core.codec import canonical
from dreamcatcherd.core.collections import EXTRA, Collection
from dreamcatcherd.core.diff import Bounds, Diff, compare
from dreamcatcherd.core.errors import RefusedError
from dreamcatcherd.core.export import in_order
from dreamcatcherd.core.keys import key_part, natural_key, stored_key
from dreamcatcherd.core.ledger import Ledger, LedgerHead, QuarantinedRow
from dreamcatcherd.core.model import Conflict, Json, Record, Stamp
from dreamcatcherd.core.settings import Settings, read_settings
from dreamcatcherd.core.snapshot import Item, get_keyed, items, open_snapshot
from dreamcatcherd.core.summary import frame_summary
from dreamcatcherd.core.tree import blob_at
from dreamcatcherd.git.protocols import ObjectReader
from dreamcatcherd.history.ledger_index import LINEAR, LedgerIndex
from dreamcatcherd.history.provenance import Explanation
from dreamcatcherd.history.provenance import explain_item as explanation
from dreamcatcherd.stages.published import PublishedState, load_head, load_ledger
from dreamcatcherd.stages.snapshot_chain import Link, links

LOOK_FOR_KNOWN = 1_000
"""How many snapshot commits a new tip is followed back to find one that was walked before."""

ROWS_KEPT = 10_000
"""How many rows of `log` are cached; when there are more, the cache is cleared."""

FRAMES_SEARCHED = 1_000
"""How many frames one query searches for conflicts or quarantined versions."""


class SnapshotView(NamedTuple):
    """The tree of a snapshot (None: it is empty), and the settings that define its collections."""

    tree: str | None
    settings: Settings


def ledger_of(store: ObjectReader, base: PublishedState, frame: int) -> Ledger:
    """The ledger of a closed frame; RefusedError if the frame is not closed."""
    ledger = load_ledger(store, base.ledgers, frame)
    if ledger is None:
        raise _not_closed(base, frame)
    return ledger


def closed_head(store: ObjectReader, base: PublishedState, frame: int) -> LedgerHead:
    """The head of a closed frame's ledger, without its rows; RefusedError if the frame is not closed."""
    head = load_head(store, base.ledgers, frame)
    if head is None:
        raise _not_closed(base, frame)
    return head


class StoredLedger(NamedTuple):
    """Where a frame's ledger is stored, and the digest of the frame's snapshot."""

    blob: str
    digest: str


def find_ledger(store: ObjectReader, base: PublishedState, frame: int) -> StoredLedger:
    """The stored ledger of a closed frame; RefusedError if the frame is not closed."""
    blob = blob_at(store, base.ledgers, paths.ledger_path(frame))
    if blob is None:
        raise _not_closed(base, frame)
    return StoredLedger(blob, closed_head(store, base, frame).snapshot)


def _not_closed(base: PublishedState, frame: int) -> RefusedError:
    last = base.state.last_closed
    closed = f"the last closed one is {last}" if last is not None else "none is closed yet"
    return RefusedError(f"frame {frame} is not in the ledger: {closed}", "name a closed frame (dreamcatcherd log)")


def settings_of(store: ObjectReader, ledger: Ledger | LedgerHead) -> Settings:
    """The settings that a frame was merged under."""
    return read_settings(store.read(ledger.settings), ledger.settings) if ledger.settings else read_settings(b"")


def view(store: ObjectReader, base: PublishedState, frame: int | None = None) -> SnapshotView:
    """The newest snapshot, or the one that closed a frame; RefusedError if that frame is not closed."""
    if frame is None:
        return SnapshotView(base.snapshot, base.settings)
    head = closed_head(store, base, frame)
    return SnapshotView(head.snapshot, settings_of(store, head))


def entities(
    store: ObjectReader, seen: SnapshotView, collection: str, key: str | None, *, tombstones: bool = False
) -> list[Item]:
    """The entities of a collection whose key begins with `key`, in key order; all of them for None.

    `key` has the form of the command line: parts joined with slashes, percent-encoded; or a JSON object of fields where
    alternatives could be confused. RefusedError for an unknown collection."""
    table = seen.settings.table
    row = table.get(collection)
    if row is None and not collection.startswith(f"{EXTRA}/"):
        known = ", ".join([*table, f"{EXTRA}/<section>"])
        raise RefusedError(f"there is no collection {collection!r}", f"the collections are {known}")
    folders = open_snapshot(store, seen.tree)
    if row is None or key is None:
        return in_order(list(items(store, folders, table, collection)), row)
    parts, names = _key_parts(key)
    # An entity that is named completely is read from the one file that can hold it.
    named = [
        get_keyed(store, folders, row, stored_key(choice, [key_part(part) for part in parts]))
        for choice in row.choices
        if choice.content is None and len(choice.names) == len(parts) and names in (None, list(choice.names))
    ]
    found = [item for item in named if item is not None and (tombstones or item.alive)]
    if found or all(choice.content is None and len(choice.names) <= len(parts) for choice in row.choices if row.key):
        return in_order(found, row)
    every = items(store, folders, table, collection, tombstones=tombstones)
    return in_order([item for item in every if _under(row, item, parts)], row)


def _key_parts(key: str) -> tuple[list[str], list[str] | None]:
    """The parts of a key as it is written on the command line, and the names of its fields where they are given."""
    if key.startswith("{"):
        try:
            fields = msgspec.json.decode(key, type=dict[str, Any])
            return [part if type(part) is str else canonical(part).decode() for part in fields.values()], [*fields]
        except msgspec.DecodeError:
            pass  # a key may begin like that
    return [unquote(part) for part in key.split("/")], None


def _under(row: Collection, item: Item, parts: list[str]) -> bool:
    own = _parts(row, item) if row.rule != "append" else []
    return len(parts) <= len(own) and all(
        (part if type(part) is str else canonical(part).decode()) == asked
        for part, asked in zip(own, parts, strict=False)
    )


def explain_entity(
    store: ObjectReader,
    base: PublishedState,
    collection: str,
    key: str,
    field: str | None = None,
    frame: int | None = None,
    index: LedgerIndex = LINEAR,
) -> Explanation:
    """Who set each field of one entity (or only `field`), and who lost, in the newest snapshot or that of a frame.

    RefusedError if the collection has no keys, there is no such entity or field, or the frame is not closed."""
    seen = view(store, base, frame)
    row = seen.settings.table.get(collection)
    if (row is not None and row.rule == "append") or collection.startswith(f"{EXTRA}/"):
        raise RefusedError(f"{collection} has no keys: its records cannot be named", "see dreamcatcherd show")
    found = entities(store, seen, collection, key, tombstones=True)
    if row is not None:
        found = [item for item in found if len(_parts(row, item)) == len(_key_parts(key)[0])]
    if row is None or len(found) != 1:
        raise RefusedError(f"{collection} has no {key!r}", f"list the keys: dreamcatcherd show {collection}")
    explained = explanation(store, base.ledgers, row, found[0], field, frame, index)
    if field is not None and not explained.fields:
        raise RefusedError(f"{collection} {key} has no field {field!r}", "leave the field out to see all")
    return explained


def _parts(row: Collection, item: Item) -> list[Json]:
    key = natural_key(row, item.record)
    return key if isinstance(key, list) else list(key.values()) if isinstance(key, dict) else [key]


def diff_frames(store: ObjectReader, base: PublishedState, start: int, end: int, bounds: Bounds | None = None) -> Diff:
    """The differences between the snapshots of two closed frames, in either order of time.

    RefusedError if one of them is not closed."""
    old, new = closed_head(store, base, start), closed_head(store, base, end)
    # A collection with entities cannot be removed or get another key, so the later frame's settings fit both snapshots.
    table = settings_of(store, old if start > end else new).table
    return compare(store, old.snapshot, new.snapshot, table, bounds)


class Chain:
    """The closed frames of one published commit after another, newest first.

    Queries follow every publication, and a history can have tens of thousands of frames. So frames that were walked are
    kept, and a new commit costs only the frames closed since the last one."""

    def __init__(self) -> None:
        self._tip: str | None = None
        self._walked: list[Link] = []
        self._rest: Iterator[Link] | None = None
        self._rows: dict[str, Record] = {}

    def frames(self, store: ObjectReader, base: PublishedState, before: int | None = None) -> Iterator[Link]:
        """The snapshot commits of closed frames, newest first; with `before` only those of earlier frames.

        History is walked only as far as the iterator is read. FatalError if a commit is missing."""
        self._follow(store, base.commit)
        at = 0
        while at < len(self._walked) or self._further(store):
            link = self._walked[at]
            at += 1
            if before is None or link.frame < before:
                yield link

    def _follow(self, store: ObjectReader, tip: str | None) -> None:
        """Begin at another commit; the frames walked before are kept if it descends from one of them."""
        if tip == self._tip:
            return
        known = {link.oid: i for i, link in enumerate(self._walked)}
        fresh: list[Link] = []
        for link in islice(links(store, tip), LOOK_FOR_KNOWN if known else 0):
            if link.oid in known:
                # `_rest` stays: it continues from the oldest frame walked, which is the same for the new tip.
                self._walked = fresh + self._walked[known[link.oid] :]
                self._tip = tip
                return
            fresh.append(link)
        self._walked, self._rest, self._tip = fresh, None, tip

    def _further(self, store: ObjectReader) -> bool:
        """Walk to one more frame; False if there is none."""
        if self._rest is None:
            self._rest = links(store, self._walked[-1].oid if self._walked else self._tip)
            if self._walked:
                next(self._rest, None)
        try:
            link = next(self._rest, None)
        except BaseException:
            # An iterator that raised is exhausted: if it were kept, the next query would take this for the first frame.
            # A new one continues from the last frame walked, so a walk over several time limits comes to its end.
            self._rest = None
            raise
        if link is not None:
            self._walked.append(link)
        return link is not None

    def log(
        self, store: ObjectReader, base: PublishedState, limit: int | None = None, before: int | None = None
    ) -> Iterator[Record]:
        """The rows of `log`, newest first: at most `limit`, with `before` only those of earlier frames.

        Only the head of each ledger is read, and only once. A frame without a ledger is left out."""
        for count, link in enumerate(self.frames(store, base, before)):
            if limit is not None and count >= limit:
                return
            if link.oid not in self._rows:
                head = load_head(store, base.ledgers, link.frame)
                if head is None:
                    continue
                if len(self._rows) >= ROWS_KEPT:
                    self._rows.clear()
                self._rows[link.oid] = frame_summary(head, link.oid, store.commit(link.oid).time)
            yield self._rows[link.oid]


class LostConflict(Struct, frozen=True):
    """A conflict, with the frame whose ledger lists it."""

    frame: int
    collection: str
    key: Json
    field: str | None
    winner: Stamp
    loser: Stamp
    value: Json


class _Troubles(Struct):
    quarantined: list[QuarantinedRow] = []
    conflicts: list[Conflict] = []


_troubles = msgspec.json.Decoder(_Troubles).decode


class Troubles(NamedTuple):
    """Quarantined versions (in the frame that listed them first) and conflicts of closed frames, newest frame first.

    Each frame is complete. `before` is the value of the next query for earlier frames, None if there are none."""

    quarantined: list[QuarantinedRow]
    conflicts: list[LostConflict]
    before: int | None

    @property
    def newest(self) -> int | None:
        """The newest frame that has any; None if there are none."""
        if self.quarantined:
            return self.quarantined[0].since
        return self.conflicts[0].frame if self.conflicts else None


def troubles(
    store: ObjectReader,
    base: PublishedState,
    chain: Chain,
    kind: Literal["quarantined", "conflicts"],
    limit: int,
    before: int | None,
) -> Troubles:
    """The quarantined versions or the conflicts of the newest frames, or of those before frame `before`.

    At most `limit` entries from at most FRAMES_SEARCHED frames, or all of the first frame that has any."""
    bad: list[QuarantinedRow] = []
    lost: list[LostConflict] = []
    last: int | None = None
    for count, row in enumerate(chain.log(store, base, before=before)):
        found = len(bad) + len(lost)
        if count >= FRAMES_SEARCHED or (found and found + row[kind] > limit):
            return Troubles(bad, lost, last)
        last = frame = row["frame"]
        oid = blob_at(store, base.ledgers, paths.ledger_path(frame)) if row[kind] else None
        if oid is None:
            continue
        listed = _troubles(store.read(oid))
        if kind == "quarantined":
            bad += [one for one in listed.quarantined if one.since == frame]
        else:
            lost += [_lost(frame, one) for one in listed.conflicts]
    return Troubles(bad, lost, None)


def _lost(frame: int, one: Conflict) -> LostConflict:
    return LostConflict(frame, one.collection, one.key, one.field, one.winner, one.loser, one.value)
