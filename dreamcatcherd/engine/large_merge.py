"""A merge of many deltas over the workers of a pool: pieces by chunk of deltas, then files by part of the key space.

The process that asks cuts the work, keeps the pieces on disk, and joins the results. What a worker cannot read is done
here. The bytes are those of `core/merge.py`, whatever the pool and whichever worker is faster."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

from dreamcatcherd.core.merge import Merged
from dreamcatcherd.core.merge_parts import MergedPart, join_parts
from dreamcatcherd.core.model import RECORD_COST, Stamp
from dreamcatcherd.core.projections import PROJECTIONS
from dreamcatcherd.core.snapshot import MergedId
from dreamcatcherd.core.tree import Objects
from dreamcatcherd.engine.pools import Pool, Task
from dreamcatcherd.engine.spill import Spill
from dreamcatcherd.engine.tasks import (
    FoldResult,
    FoldTask,
    MergeItem,
    ReadResult,
    ReadTask,
    SettingsText,
    fold_part,
    join_pieces,
    read_chunk,
    read_items,
    settings_from,
)
from dreamcatcherd.engine.wire import from_bytes, to_bytes
from dreamcatcherd.git.pack_order import in_pack_order
from dreamcatcherd.git.protocols import ObjectReader

TASK_BYTES = 2 * 2**20
"""How many bytes of deltas one task reads; one delta may be larger."""

TASK_ITEMS = 4_000
"""How many deltas one task reads at most."""

PART_COST = 12 * 2**20
"""How much one part has of the cost of all deltas (`Delta.cost`), if keys are spread evenly."""

TOGETHER = 50_000
"""How many deltas are put in the order of the packs at a time."""


class Place(NamedTuple):
    """Where the deltas are: a store, and the folder of the same repository if workers of this machine can read it."""

    store: ObjectReader
    folder: Path | None


READ_SHARE = 0.7
"""How much of the work on a delta is done once it is read (of 4.4 s for 20,000 deltas 3.0 s); the rest is done with the
parts that it has records in."""


class Work(NamedTuple):
    """The deltas of a merge as (settings that they were read under, items), the settings whose collections they are
    merged into, their cost, and what is called with how many more deltas are done: the work on all of them counts, so
    that a rate and a remaining time can be told from it."""

    batches: Iterable[tuple[SettingsText, list[MergeItem]]]
    table: SettingsText
    cost: int
    note: Callable[[int], None]


class Spent(NamedTuple):
    """Seconds of processor time that tasks took, and the number of deltas that they read."""

    read_s: float = 0.0
    fold_s: float = 0.0
    deltas: int = 0


def estimated_cost(size: int) -> int:
    """The cost of a delta of so many bytes, as far as it is known before it is read: a record of 100 bytes is small."""
    return size + RECORD_COST * (size // 100)


def merge_large(pool: Pool, place: Place, objects: Objects, base: str | None, work: Work) -> tuple[Merged, Spent]:
    """Merge deltas into the snapshot `base` of `objects`, none of them merged before; objects are written.

    FatalError if a delta is not what it was; RetryableError if the pool or the disk fails."""
    folder = str(place.folder) if place.folder is not None and pool.shares else None
    count = max(pool.workers, -(-work.cost // PART_COST))
    ids: list[MergedId] = []
    late: dict[Stamp, int] = {}
    read_s = fold_s = 0.0
    parts: list[MergedPart] = []
    done = _Done(work.note)
    with Spill(count) as spill:
        for task, raw in pool.run(read_chunk, _read_tasks(place, folder, work, count)):
            # The text of the task, which stays in memory anyway, in place of an equal one.
            known = {item.content_id: item.content_id for item in task.items}
            for result in _read(place, task, from_bytes(raw), late):
                spill.add(result.pieces)
                ids += [(frame, known[content_id]) for frame, content_id in result.ids]
                read_s += result.busy_s
            done.more(READ_SHARE * len(task.items))
        each = (len(ids) - done.deltas) / max(1, spill.filled)
        tasks = (FoldTask(folder, base, work.table, pieces) for pieces in spill.parts())
        # A base that only this process has, such as one that was just computed, is joined here.
        if folder is None and base is not None:
            results: Iterator[FoldResult] = (join_pieces(objects, task) for task in tasks)
        else:
            results = (
                _folded(objects, task, from_bytes(raw))
                for task, raw in pool.run(fold_part, ((task, to_bytes(task)) for task in tasks))
            )
        for found in results:
            if found.part is None:
                raise AssertionError("a part that failed was done here")
            for kind, data in found.objects:
                objects.write(kind, data)
            parts.append(found.part)
            fold_s += found.busy_s
            done.more(each)
    done.up_to(len(ids))
    table = settings_from(work.table).table
    merged = join_parts(objects, base, parts, ids, table, PROJECTIONS, lambda stamp: late.get(stamp, stamp.frame))
    return merged, Spent(read_s, fold_s, len(ids))


class _Done:
    """Calls `note` with whole numbers for what is done in fractions."""

    def __init__(self, note: Callable[[int], None]) -> None:
        self._note = note
        self.deltas = 0.0
        self._noted = 0

    def more(self, deltas: float) -> None:
        self.deltas += deltas
        self._say(int(self.deltas))

    def up_to(self, deltas: int) -> None:
        """All is done; fractions do not add up to the number exactly."""
        self._say(deltas)

    def _say(self, deltas: int) -> None:
        self._note(deltas - self._noted)
        self._noted = deltas


def _read_tasks(place: Place, folder: str | None, work: Work, parts: int) -> Iterator[Task[ReadTask]]:
    """Deltas in the order of the packs, in chunks; with their blobs for workers that have no repository."""
    for limits, items in work.batches:
        for at in range(0, len(items), TOGETHER):
            for chunk in _chunks(place, items[at : at + TOGETHER]):
                task = ReadTask(folder, {}, limits, work.table, chunk, parts)
                blobs = (
                    {} if folder is not None else _blobs(place.store, chunk, settings_from(limits).limits.delta_bytes)
                )
                yield task, to_bytes(task._replace(blobs=blobs))


def _chunks(place: Place, items: list[MergeItem]) -> Iterator[list[MergeItem]]:
    if place.folder is not None:
        stored = in_pack_order(place.folder, (item.blob for item in items))
        position = {blob: at for at, blob in enumerate(stored)}
        items = sorted(items, key=lambda item: position[item.blob])
    chunk: list[MergeItem] = []
    size = 0
    for item in items:
        more = place.store.size(item.blob)
        if chunk and (size + more > TASK_BYTES or len(chunk) >= TASK_ITEMS):
            yield chunk
            chunk, size = [], 0
        chunk.append(item)
        size += more
    if chunk:
        yield chunk


def _blobs(store: ObjectReader, chunk: list[MergeItem], most: int) -> dict[str, bytes]:
    """The blobs of a chunk. One that is too large to be a delta is left to this process, which says so."""
    return {item.blob: store.read(item.blob) for item in chunk if store.size(item.blob) <= most}


def _read(place: Place, task: ReadTask, result: ReadResult, late: dict[Stamp, int]) -> Iterator[ReadResult]:
    """A result, and one of this process for what the worker could not read; notes which deltas are late."""
    if result.failure is not None:
        done = [read_items(place.store, task)]
    elif result.left:
        done = [result, read_items(place.store, task._replace(items=[task.items[at] for at in result.left]))]
    else:
        done = [result]
    for one in done:
        late.update(one.late)
        yield one


def _folded(objects: Objects, task: FoldTask, result: FoldResult) -> FoldResult:
    """A result, or that of this process if the worker could not read the snapshot."""
    return result if result.failure is None else join_pieces(objects, task)
