"""What people and dashboards ask of a repository: entities, who set them, closed frames, what changed between two.

One function for each question; the commands and the API both answer with it. Reads; decides and writes nothing."""

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
from dreamcatcherd.core.ledger import Ledger, LedgerHead, QuarantinedRow
from dreamcatcherd.core.model import Conflict, Json, Record, Stamp
from dreamcatcherd.core.records import key_part, natural_key
from dreamcatcherd.core.settings import Settings, read_settings
from dreamcatcherd.core.snapshot import Item, get_keyed, items, open_snapshot
from dreamcatcherd.core.summary import frame_summary
from dreamcatcherd.core.tree import blob_at
from dreamcatcherd.git.protocols import ObjectReader
from dreamcatcherd.history.provenance import Explanation
from dreamcatcherd.history.provenance import explain_item as explanation
from dreamcatcherd.stages.published import PublishedState, load_head, load_ledger
from dreamcatcherd.stages.snapshot_chain import Link, links

LOOK_FOR_KNOWN = 1_000
"""How far a new commit is followed back to one that was walked before."""

ROWS_KEPT = 10_000
"""How many rows of `log` are kept; then all are let go."""

FRAMES_SEARCHED = 1_000
"""In how many frames conflicts and quarantines are looked for at once."""


class View(NamedTuple):
    """A snapshot, and the settings that its collections are read by."""

    tree: str | None
    settings: Settings


def ledger_of(store: ObjectReader, base: PublishedState, frame: int) -> Ledger:
    """The ledger of a closed frame; RefusedError where it is not closed."""
    ledger = load_ledger(store, base.ledgers, frame)
    if ledger is None:
        raise _not_closed(base, frame)
    return ledger


def closed_head(store: ObjectReader, base: PublishedState, frame: int) -> LedgerHead:
    """The head of a closed frame's ledger; RefusedError where it is not closed."""
    head = load_head(store, base.ledgers, frame)
    if head is None:
        raise _not_closed(base, frame)
    return head


def _not_closed(base: PublishedState, frame: int) -> RefusedError:
    last = base.state.last_closed
    closed = f"the last closed one is {last}" if last is not None else "none is closed yet"
    return RefusedError(f"frame {frame} is not in the ledger: {closed}", "name a closed frame (dreamcatcherd log)")


def settings_of(store: ObjectReader, ledger: Ledger | LedgerHead) -> Settings:
    """The settings that a frame was merged under."""
    return read_settings(store.read(ledger.settings), ledger.settings) if ledger.settings else read_settings(b"")


def view(store: ObjectReader, base: PublishedState, frame: int | None = None) -> View:
    """The newest snapshot, or the one after a frame."""
    if frame is None:
        return View(base.snapshot, base.settings)
    head = closed_head(store, base, frame)
    return View(head.snapshot, settings_of(store, head))


def entities(store: ObjectReader, seen: View, collection: str, key: str | None) -> list[Item]:
    """The entities of a collection under a key as the command line has it; RefusedError for an unknown collection."""
    table = seen.settings.table
    row = table.get(collection)
    if row is None and not collection.startswith(f"{EXTRA}/"):
        known = ", ".join([*table, f"{EXTRA}/<section>"])
        raise RefusedError(f"there is no collection {collection!r}", f"the collections are {known}")
    folders = open_snapshot(store, seen.tree)
    if row is None or key is None:
        return in_order(list(items(store, folders, table, collection)), row)
    parts = [unquote(part) for part in key.split("/")]
    whole = [key_part(part) for part in parts]
    if row.key and row.content is None and len(whole) == len(row.key):
        item = get_keyed(store, folders, row, list(whole))
        return [item] if item else []
    return in_order([item for item in items(store, folders, table, collection) if _under(row, item, parts)], row)


def _under(row: Collection, item: Item, parts: list[str]) -> bool:
    own: Any = natural_key(row, item.record) if row.rule != "append" else []
    own = own if type(own) is list else [own]
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
) -> Explanation:
    """Who set each field of one entity, or one field, and who lost; RefusedError where there is none such."""
    seen = view(store, base, frame)
    row = seen.settings.table.get(collection)
    if (row is not None and row.rule == "append") or collection.startswith(f"{EXTRA}/"):
        raise RefusedError(f"{collection} has no keys: each record stands for itself", "see dreamcatcherd show")
    found = entities(store, seen, collection, key)
    if row is not None:
        found = [item for item in found if len(_parts(row, item)) == key.count("/") + 1]
    if row is None or len(found) != 1:
        raise RefusedError(f"{collection} has no {key!r}", f"list the keys: dreamcatcherd show {collection}")
    told = explanation(store, base.ledgers, row, found[0], field, frame)
    if field is not None and not told.fields:
        raise RefusedError(f"{collection} {key} has no field {field!r}", "leave the field out to see all")
    return told


def _parts(row: Collection, item: Item) -> list[Json]:
    key = natural_key(row, item.record)
    return key if isinstance(key, list) else [key]


def diff_frames(store: ObjectReader, base: PublishedState, start: int, end: int, bounds: Bounds | None = None) -> Diff:
    """What differs between the snapshots after two frames; RefusedError where one of them is not closed."""
    old, new = closed_head(store, base, start), closed_head(store, base, end)
    table = settings_of(store, old if start > end else new).table
    return compare(store, old.snapshot, new.snapshot, table, bounds)


class Chain:
    """The closed frames of one published commit after another, newest first. What was walked once is kept."""

    def __init__(self) -> None:
        self._tip: str | None = None
        self._walked: list[Link] = []
        self._rest: Iterator[Link] | None = None
        self._rows: dict[str, Record] = {}

    def frames(self, store: ObjectReader, base: PublishedState, before: int | None = None) -> Iterator[Link]:
        """The snapshot commits of closed frames, from the one before a frame on."""
        self._follow(store, base.commit)
        at = 0
        while at < len(self._walked) or self._further(store):
            link = self._walked[at]
            at += 1
            if before is None or link.frame < before:
                yield link

    def _follow(self, store: ObjectReader, tip: str | None) -> None:
        """Begin with another commit; where it stands upon what was walked before, that is gone on with."""
        if tip == self._tip:
            return
        known = {link.oid: i for i, link in enumerate(self._walked)}
        fresh: list[Link] = []
        for link in islice(links(store, tip), LOOK_FOR_KNOWN if known else 0):
            if link.oid in known:
                self._walked = fresh + self._walked[known[link.oid] :]
                self._tip = tip
                return
            fresh.append(link)
        self._walked, self._rest, self._tip = fresh, None, tip

    def _further(self, store: ObjectReader) -> bool:
        """Walk to one more frame. After a failure, or a walk that took too long, it goes on from the last one."""
        if self._rest is None:
            self._rest = links(store, self._walked[-1].oid if self._walked else self._tip)
            if self._walked:
                next(self._rest, None)
        try:
            link = next(self._rest, None)
        except BaseException:
            self._rest = None
            raise
        if link is not None:
            self._walked.append(link)
        return link is not None

    def log(
        self, store: ObjectReader, base: PublishedState, limit: int | None = None, before: int | None = None
    ) -> Iterator[Record]:
        """The rows of `log`, newest first; of each ledger only its head is read, once."""
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
    """A conflict, with the frame whose ledger tells of it."""

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
    """What went wrong in closed frames, newest first: quarantined versions by the frame that first said so, and
    conflicts. `before` is the frame to ask before for more; `truncated` tells that one frame alone had too many."""

    quarantined: list[QuarantinedRow]
    conflicts: list[LostConflict]
    before: int | None
    truncated: bool


def troubles(
    store: ObjectReader,
    base: PublishedState,
    chain: Chain,
    kind: Literal["quarantined", "conflicts"],
    limit: int,
    before: int | None,
) -> Troubles:
    """The quarantines or conflicts of the newest frames, or of those before one: at most so many, each frame whole."""
    bad: list[QuarantinedRow] = []
    lost: list[LostConflict] = []
    last: int | None = None
    for count, row in enumerate(chain.log(store, base, before=before)):
        if count >= FRAMES_SEARCHED or (count and len(bad) + len(lost) + row[kind] > limit):
            return Troubles(bad[:limit], lost[:limit], last, len(bad) + len(lost) > limit)
        last = frame = row["frame"]
        oid = blob_at(store, base.ledgers, paths.ledger_path(frame)) if row[kind] else None
        if oid is None:
            continue
        told = _troubles(store.read(oid))
        if kind == "quarantined":
            bad += [one for one in told.quarantined if one.since == frame]
        else:
            lost += [_lost(frame, one) for one in told.conflicts]
    return Troubles(bad[:limit], lost[:limit], None, len(bad) + len(lost) > limit)


def _lost(frame: int, one: Conflict) -> LostConflict:
    return LostConflict(frame, one.collection, one.key, one.field, one.winner, one.loser, one.value)
