"""In which frames an entity changed, newest first: from the snapshots along the chain.

No ledger lists the entities that a frame wrote. But equal folders have equal ids, so a frame that did not touch the
entity's file costs a few small trees, and only where the line differs is anything decoded."""

from __future__ import annotations

from typing import Literal, NamedTuple

import msgspec
from msgspec import Struct

from dreamcatcherd.core.codec import canonical
from dreamcatcherd.core.collections import Collection
from dreamcatcherd.core.keys import key_of_record
from dreamcatcherd.core.model import Json, Record
from dreamcatcherd.core.paths import ledger_path
from dreamcatcherd.core.shards import SUFFIX, find
from dreamcatcherd.core.snapshot import Item, file_name, keyed_path, open_snapshot, read_item
from dreamcatcherd.core.tree import Entry, blob_at, read_tree
from dreamcatcherd.git.protocols import ObjectReader
from dreamcatcherd.history.queries import Chain
from dreamcatcherd.stages.published import PublishedState
from dreamcatcherd.stages.snapshot_chain import Link

CHANGES_FRAMES = 1_000
CHANGES_BYTES = 64 * 2**20
"""How many frames, and how many bytes of snapshot files, one query compares."""


class EntityChange(NamedTuple):
    """What one frame changed in an entity: its fields as (old value, new value). A field that was not there is absent
    from the pair's side as None."""

    frame: int
    commit: str
    kind: Literal["created", "changed", "deleted"]
    fields: dict[str, tuple[Json, Json]]


class EntityHistory(Struct, frozen=True):
    """The changes of an entity, newest first. `first` is the oldest frame compared; `before` is the frame for the next
    query, None if all frames were compared."""

    changes: list[EntityChange]
    first: int | None
    before: int | None


class _SnapshotOnly(Struct):
    snapshot: str


_snapshot = msgspec.json.Decoder(_SnapshotOnly)


def entity_history(
    store: ObjectReader, base: PublishedState, chain: Chain, row: Collection, item: Item, limit: int,
    before: int | None = None,
) -> EntityHistory:  # fmt: skip
    """The frames that changed an entity, or those before `before`, at most `limit`.

    `item` is the entity as any snapshot has it: only its key counts."""
    order = [*item.stamps, item.rank] if isinstance(item.stamps, tuple) else None
    lines = _Lines(store, base, row, key_of_record(row, item.record, order))
    changes: list[EntityChange] = []
    newer: tuple[Link, bytes | None] | None = None
    for count, link in enumerate(chain.frames(store, base, before)):
        enough = len(changes) >= limit or count > CHANGES_FRAMES or lines.read > CHANGES_BYTES
        if enough and newer is not None:
            return EntityHistory(changes, newer[0].frame, newer[0].frame + 1)
        line = lines.at(link)
        if newer is not None:
            changes += _change(row, newer[0], line, newer[1])
        newer = (link, line)
    if newer is None:
        return EntityHistory(changes, None, None)
    # Before the first frame there was nothing, so what the first snapshot has was created by it.
    changes += _change(row, newer[0], None, newer[1])
    return EntityHistory(changes, newer[0].frame, None)


class _Lines:
    """The stored line of one entity in one snapshot after another."""

    def __init__(self, store: ObjectReader, base: PublishedState, row: Collection, key: list[Json]) -> None:
        self._store = store
        self._ledgers = base.ledgers
        self._name = file_name(row.name)
        raw_key = canonical(key)
        self._wanted = (keyed_path(row, key, raw_key), raw_key)
        self._last: tuple[object, bytes | None] | None = None
        self.read = 0

    def at(self, link: Link) -> bytes | None:
        """The line in the snapshot of a frame, None if there is none."""
        oid = blob_at(self._store, self._ledgers, ledger_path(link.frame))
        if oid is None:
            return self._last[1] if self._last else None
        state = open_snapshot(self._store, _snapshot.decode(self._store.read(oid)).snapshot).state
        name, file = self._down(state)
        # Most frames leave the file alone; then the line is the one of the frame after.
        if self._last is None or self._last[0] != file:
            self._last = (file, self._line(name, file))
        return self._last[1]

    def _down(self, folder: dict[str, Entry]) -> tuple[str, Entry | None]:
        """The file that holds the entity's path, and the name that it is kept under."""
        name, depth = self._name, 0
        while name in folder:
            folder = read_tree(self._store, folder[name].oid)
            name, depth = self._wanted[0][depth], depth + 1
        return name, folder.get(name + SUFFIX)

    def _line(self, name: str, file: Entry | None) -> bytes | None:
        if file is None:
            return None
        self.read += self._store.size(file.oid)
        return find(self._store, {name + SUFFIX: file}, name, [self._wanted]).get(self._wanted[1])


def _change(row: Collection, link: Link, old: bytes | None, new: bytes | None) -> list[EntityChange]:
    if old == new:
        return []
    then, now = (item.record if item and item.alive else None for item in (_item(row, old), _item(row, new)))
    fields = _differing(then or {}, now or {})
    if then is None and now is None:
        return []
    kind: Literal["created", "changed", "deleted"] = (
        "created" if then is None else "deleted" if now is None else "changed"
    )
    return [EntityChange(link.frame, link.oid, kind, fields)] if fields or kind != "changed" else []


def _item(row: Collection, line: bytes | None) -> Item | None:
    return read_item(row, line) if line is not None else None


def _differing(then: Record, now: Record) -> dict[str, tuple[Json, Json]]:
    """The fields that differ; a field that was set to the same value again does not."""
    return {
        name: (then.get(name), now.get(name))
        for name in sorted({*then, *now})
        if (name in then) != (name in now) or canonical(then[name]) != canonical(now[name])
    }
