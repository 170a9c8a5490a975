"""The merge: a snapshot and new deltas to the next snapshot (Protocol §5). Pure, and a function of the set of deltas.

Deltas are folded by key first; then each touched file of the snapshot is read, joined and written once."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from dreamcatcherd.core.codec import canonical, canonical_each
from dreamcatcherd.core.collections import EXTRA, Collection, Table, sections_of
from dreamcatcherd.core.model import Conflict, Delta, Json, Misfit, Record, Stamp
from dreamcatcherd.core.records import natural_key, place
from dreamcatcherd.core.rules import RULES, Entity
from dreamcatcherd.core.shards import Change, Layout, line_of, sorted_changes, update
from dreamcatcherd.core.snapshot import (
    APPENDED,
    EXTRAS,
    add_merged,
    appended_key,
    appended_path,
    close_snapshot,
    entity_line,
    extra_path,
    file_name,
    fresh_line,
    keyed_layout,
    keyed_path,
    open_snapshot,
    read_entity,
)
from dreamcatcherd.core.tree import Objects

Contribution = tuple[Stamp, Record]


class Group(NamedTuple):
    """What the new deltas bring to one entity, in order of stamp and position.

    `fresh` is the line that comes of it where nothing stands yet, if that is known beforehand."""

    brought: list[Contribution]
    fresh: bytes | None


class Column(NamedTuple):
    """Every record that the new deltas bring to one collection, side by side: keys, records, stamps."""

    keys: list[Json]
    records: list[Record]
    stamps: list[Stamp]


class Fold(NamedTuple):
    """New deltas folded by collection: keyed records in columns, appended ones as finished lines."""

    keyed: dict[str, Column]
    appended: dict[str, list[Change[bytes]]]
    misfits: list[Misfit]
    ids: list[tuple[int, str]]


class Merged(NamedTuple):
    """The next snapshot's tree id, and what the ledger says of the way there."""

    tree: str
    conflicts: list[Conflict]
    misfits: list[Misfit]
    added: dict[str, int]
    """New entities by collection, all extras under `extra`."""


def merge(objects: Objects, snapshot: str | None, deltas: Iterable[Delta], table: Table) -> Merged:
    """Merge deltas, in order of their stamps and none of them merged before, into a snapshot."""
    folders = open_snapshot(objects, snapshot)
    folded = fold(deltas, table)
    conflicts: list[Conflict] = []
    added: dict[str, int] = {}
    for name, column in folded.keyed.items():
        row = table[name]
        changes = group_changes(row, column)
        added[name] = update(objects, folders.state, file_name(name), changes, _joining(row, conflicts))
    for name, lines in folded.appended.items():
        plain = EXTRAS if name == EXTRA else APPENDED
        added[name] = update(objects, folders.state, file_name(name), sorted_changes(lines), plain)
    add_merged(objects, folders, folded.ids)
    return Merged(close_snapshot(objects, folders), sorted(conflicts, key=canonical), folded.misfits, added)


def fold(deltas: Iterable[Delta], table: Table) -> Fold:
    """Sort every record of the deltas under the collection that it belongs to."""
    sections = sections_of(table)
    folded = Fold({}, {}, [], [])
    columns = {name: Column([], [], []) for name in table}
    for delta in deltas:
        stamp = delta.stamp
        ranks: dict[str, int] = {}
        folded.ids.append((delta.frame, delta.content_id))
        for collection, section, key, record, why in place(delta, sections):
            if why is not None:
                folded.misfits.append(Misfit(section, stamp, why))
            if collection is not None and key is not None:
                column = columns[collection.name]
                column.keys.append(key)
                column.records.append(record)
                column.stamps.append(stamp)
                continue
            name = collection.name if collection else f"{EXTRA}/{section}"
            rank = ranks[name] = ranks.get(name, -1) + 1
            change = append_change(collection, section, stamp, rank, record)
            folded.appended.setdefault(collection.name if collection else EXTRA, []).append(change)
    folded.keyed.update((name, column) for name, column in columns.items() if column.keys)
    return folded


def group_changes(row: Collection, column: Column) -> list[Change[Group]]:
    """A column's records by entity, sorted by path. An entity that one record makes has its line at once."""
    raw_keys = canonical_each(column.keys)
    raw_records = canonical_each(column.records)
    raw_stamps = {stamp: canonical(stamp) for stamp in dict.fromkeys(column.stamps)}
    groups: dict[bytes, Change[Group]] = {}
    for i, raw_key in enumerate(raw_keys):
        stamp, record = column.stamps[i], column.records[i]
        change = groups.get(raw_key)
        if change is None:
            fresh = fresh_line(row, raw_key, record, raw_records[i], raw_stamps[stamp])
            path = keyed_path(row, column.keys[i], raw_key)
            groups[raw_key] = Change(path, raw_key, Group([(stamp, record)], fresh))
        else:
            brought = change.payload.brought
            brought.append((stamp, record))
            groups[raw_key] = Change(change.path, raw_key, Group(brought, None))
    return sorted_changes(groups.values())


def append_change(
    collection: Collection | None, section: str, stamp: Stamp, rank: int, record: Record
) -> Change[bytes]:
    """The new line of an appended record; of an extra section's where there is no collection."""
    path, key = appended_path(stamp, rank), appended_key(stamp, rank)
    if collection is None:
        path, key = extra_path(section, stamp, rank), [section, *key]
    raw_key = canonical(key)
    return Change(path, raw_key, line_of(raw_key, canonical(record)))


def _joining(row: Collection, conflicts: list[Conflict]) -> Layout[Group]:
    """A layout whose lines come about by the collection's rule; conflicts are noted on the way."""
    keys = frozenset(names[0] for names in row.key)
    join = RULES[row.rule]

    def combine(raw_key: bytes, standing: bytes | None, group: Group) -> bytes:
        if standing is None and group.fresh is not None:
            return group.fresh
        old = read_entity(row, standing) if standing is not None else None
        entity = old
        for stamp, record in group.brought:
            entity = join(entity, record, stamp, keys)
        if entity is None:
            raise AssertionError("a group brings at least one record")
        if old is not None or len(group.brought) > 1:
            conflicts.extend(_conflicts(row, keys, old, group.brought, entity))
        return entity_line(raw_key, entity)

    plain = keyed_layout(row)
    return Layout(plain.limit, plain.path_of, combine)


def _conflicts(
    row: Collection, keys: frozenset[str], old: Entity | None, brought: list[Contribution], entity: Entity
) -> list[Conflict]:
    """Fields that two streams set to different values in one frame, one row for each stream that lost."""
    if row.rule == "lww":
        lost = _lost_fields(keys, old, brought)
    elif row.rule in ("dedup", "first"):
        lost = _lost_records(keys, old, brought)
    else:
        return []
    if not lost:
        return []
    key = natural_key(row, entity.record)
    return [Conflict(row.name, key, field, winner, loser, value) for field, winner, loser, value in lost]


_Lost = tuple[str, Stamp, Stamp, Json]


def _lost_fields(keys: frozenset[str], old: Entity | None, brought: list[Contribution]) -> list[_Lost]:
    """For `lww`: each stream's last value of a field in a frame, against the latest of all, what stood included."""
    last: dict[tuple[str, int], dict[str, tuple[Stamp, Json]]] = {}
    for stamp, record in brought:
        for field, value in record.items():
            if field not in keys:
                last.setdefault((field, stamp[0]), {})[stamp[2]] = (stamp, value)
    if old is not None and isinstance(old.stamps, dict):
        for field, stamp in old.stamps.items():
            streams = last.get((field, stamp[0]))
            if streams is not None and (stamp[2] not in streams or streams[stamp[2]][0] < stamp):
                streams[stamp[2]] = (stamp, old.record[field])
    lost: list[_Lost] = []
    for (field, _), streams in last.items():
        if len(streams) > 1:
            winner, best = max(streams.values(), key=lambda claim: claim[0])
            raw = canonical(best)
            lost += [(field, winner, loser, value) for loser, value in streams.values() if canonical(value) != raw]
    return lost


def _lost_records(keys: frozenset[str], old: Entity | None, brought: list[Contribution]) -> list[_Lost]:
    """For `dedup` and `first`: of each stream its first record in a frame, against the earliest of all.

    A field that the winner does not have is lost as well, and so listed too."""
    first: dict[int, dict[str, Contribution]] = {}
    for stamp, record in brought:
        first.setdefault(stamp[0], {}).setdefault(stamp[2], (stamp, record))
    if old is not None and isinstance(old.stamps, tuple):
        streams = first.get(old.stamps[0])
        if streams is not None and (old.stamps[2] not in streams or old.stamps < streams[old.stamps[2]][0]):
            streams[old.stamps[2]] = (old.stamps, old.record)
    lost: list[_Lost] = []
    for streams in first.values():
        winner, best = min(streams.values(), key=lambda claim: claim[0])
        for loser, record in streams.values():
            for field, value in record.items():
                if field not in keys and (field not in best or canonical(best[field]) != canonical(value)):
                    lost.append((field, winner, loser, value))
    return lost
