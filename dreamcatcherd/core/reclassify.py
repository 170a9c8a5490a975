"""Placing the records of `extra` by another table, where the deltas that brought them are not there any more
(docs/protocol.md#reclassify).

An imported snapshot has records and no deltas. The sections of `extra` keep a record for each item, and not whether the
section was a list, so a section of one record is read as that record alone, and `{"value": x}` as `x`."""

from __future__ import annotations

from collections.abc import Sequence

from dreamcatcherd.core.collections import EXTRA, Table
from dreamcatcherd.core.delta_sections import PlacedSections, known_sections
from dreamcatcherd.core.fold import append_changes
from dreamcatcherd.core.merge import merge
from dreamcatcherd.core.model import Delta, Json, Record, Stamp, Version
from dreamcatcherd.core.projection import NewProjection
from dreamcatcherd.core.shards import SUFFIX, Change, sorted_changes, update
from dreamcatcherd.core.snapshot import EXTRAS, close_snapshot, items, open_snapshot
from dreamcatcherd.core.tree import FILE, Objects, Reader


def place_extra(objects: Objects, tree: str, table: Table, projections: Sequence[NewProjection]) -> str:
    """A snapshot in which the records of `extra` that a table can place are in its collections."""
    folders = open_snapshot(objects, tree)
    moved = PlacedSections(known_sections(table))
    found: dict[tuple[Stamp, str], list[Record]] = {}
    kept: dict[tuple[Stamp, str], list[Record]] = {}
    for item in sorted(items(objects, folders, table, EXTRA), key=lambda item: item.rank):
        section = item.collection[len(EXTRA) + 1 :]
        if isinstance(item.stamps, Stamp):
            (found if section in moved else kept).setdefault((item.stamps, section), []).append(item.record)
    if not found:
        return tree
    folders.state.pop(EXTRA, None)
    folders.state.pop(EXTRA + SUFFIX, None)
    changes: list[Change[None]] = []
    for (stamp, section), records in kept.items():
        changes += append_changes(None, section, stamp, 0, records)
    update(objects, folders.state, EXTRA, sorted_changes(changes), EXTRAS)
    bodies: dict[Stamp, Record] = {}
    for (stamp, section), records in found.items():
        values = [_value(record) for record in records]
        single = len(values) == 1 and type(values[0]) is not list
        bodies.setdefault(stamp, {})[section] = values[0] if single else values
    deltas = [_delta(stamp, body) for stamp, body in sorted(bodies.items())]
    return merge(objects, close_snapshot(objects, folders), deltas, table, projections).tree


def _value(record: Record) -> Json:
    return record["value"] if record.keys() == {"value"} else record


def _delta(stamp: Stamp, body: Record) -> Delta:
    version = Version("", stamp.content_id, FILE, "")
    return Delta(version, stamp.frame, stamp.utc, stamp.stream_id, stamp.content_id, body, ())


def count_entities(objects: Reader, tree: str, table: Table) -> dict[str, int]:
    """How many entities each collection of a snapshot has, all extras under `extra`."""
    folders = open_snapshot(objects, tree)
    counts = {name: sum(1 for _ in items(objects, folders, table, name)) for name in (*table, EXTRA)}
    return {name: count for name, count in counts.items() if count}
