"""What the core's tests need of a repository and of a delta: objects in a dict, and deltas without git."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable

from dreamcatcherd.core.codec import canonical
from dreamcatcherd.core.collections import DEFAULT_TABLE, Table
from dreamcatcherd.core.errors import FatalError
from dreamcatcherd.core.merge import Merged, merge
from dreamcatcherd.core.model import Delta, DeltaArrival, Json, Version
from dreamcatcherd.core.projections import PROJECTIONS
from dreamcatcherd.core.snapshot import items, open_snapshot
from dreamcatcherd.core.tree import Kind, object_id, walk


class Heap:
    """Objects in a dict. `reads` and `writes` are the ids that were asked for, in order, until they are cleared."""

    def __init__(self) -> None:
        self.objects: dict[str, bytes] = {}
        self.reads: list[str] = []
        self.writes: list[str] = []

    def read(self, oid: str) -> bytes:
        self.reads.append(oid)
        if oid not in self.objects:
            raise FatalError(f"object {oid} is missing", "keep it")
        return self.objects[oid]

    def write(self, kind: Kind, data: bytes) -> str:
        oid = object_id(kind, data)
        self.objects[oid] = data
        self.writes.append(oid)
        return oid

    def forget_counts(self) -> None:
        self.reads.clear()
        self.writes.clear()


def delta(frame: int = 1, utc: int = 0, stream: str = "s", content: str | None = None, /, **sections: Json) -> Delta:
    """A delta that brings these sections. Its content id follows from all of it, unless one is given."""
    told = content or hashlib.sha1(canonical([frame, utc, stream, sections])).hexdigest()
    version = Version(f"state/stream_deltas/{frame}/{stream}-{utc}.json", told, 0o100644, "c" * 40)
    body = {"frame": frame, "utc": "then", "stream_id": stream, **sections}
    return Delta(version, frame, utc, stream, told, body, ("frame", "utc", "stream_id"))


def arrivals(deltas: Iterable[Delta], source: str = "main", since: int | None = None) -> list[DeltaArrival]:
    return [DeltaArrival(one, source, since) for one in deltas]


def merged(heap: Heap, deltas: Iterable[Delta], onto: str | None = None, table: Table = DEFAULT_TABLE) -> Merged:
    """Merge deltas, given in any order."""
    return merge(heap, onto, sorted(deltas, key=lambda one: one.stamp), table, PROJECTIONS)


def files(heap: Heap, tree: str) -> dict[str, bytes]:
    """Every file of a tree by its path."""
    return {path: heap.objects[entry.oid] for path, entry in walk(heap, tree)}


def state(heap: Heap, tree: str, collection: str, table: Table = DEFAULT_TABLE) -> list[Json]:
    """The records of a collection, without their stamps, in order of their bytes."""
    found = [item.record for item in items(heap, open_snapshot(heap, tree), table, collection)]
    return sorted(found, key=canonical)
