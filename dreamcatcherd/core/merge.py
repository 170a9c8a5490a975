"""The merge: a snapshot and new deltas to the next snapshot (Protocol §5). Pure, and a function of the set of deltas.

Deltas are folded by key first; then each touched file of the snapshot is read, joined and written once."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from types import MappingProxyType
from typing import NamedTuple

from dreamcatcherd.core.book_library import BookRow, Touched, touch, update_library
from dreamcatcherd.core.codec import canonical, canonical_each
from dreamcatcherd.core.collections import EXTRA, Collection, Table, sections_of
from dreamcatcherd.core.model import Conflict, Delta, Json, Misfit, Record, Stamp
from dreamcatcherd.core.records import natural_key, place
from dreamcatcherd.core.rules import FOLDS, Brought, Entity
from dreamcatcherd.core.shards import Change, Layout, line_of, sorted_changes, update
from dreamcatcherd.core.snapshot import (
    APPENDED,
    EXTRAS,
    Folders,
    add_merged,
    appended_key,
    appended_path,
    close_snapshot,
    entity_line,
    extra_path,
    file_name,
    fresh_lines,
    keyed_layout,
    near_paths,
    open_snapshot,
    read_entity,
    zone_of,
)
from dreamcatcherd.core.tree import Objects

Contribution = tuple[Stamp, Record]


class Column(NamedTuple):
    """Every record that the new deltas bring to one collection, side by side: keys, records, stamps."""

    keys: list[Json]
    records: list[Record]
    stamps: list[Stamp]


class Fold(NamedTuple):
    """New deltas folded by collection: keyed records in columns, appended ones as finished lines."""

    keyed: dict[str, Column]
    appended: dict[str, list[Change[None]]]
    misfits: list[Misfit]
    unknown: dict[Stamp, list[str]]


class Merged(NamedTuple):
    """The next snapshot's tree id, and what the ledger says of the way there."""

    tree: str
    conflicts: list[Conflict]
    misfits: list[Misfit]
    added: dict[str, int]
    """New entities by collection, all extras under `extra`."""
    books: list[BookRow]
    collapsed: Mapping[Stamp, int] = MappingProxyType({})
    """By delta, the records that changed nothing: their key was there already, and what they bring too."""
    unknown: Mapping[Stamp, Sequence[str]] = MappingProxyType({})
    """By delta, the sections that no collection owns."""


UNKNOWN_NAMED = 20
"""How many sections of one delta that no collection owns are named."""

AT_ONCE = 20_000
"""How many deltas are folded at once. A larger frame is folded in parts, each with the keys of some zones, so that its
memory does not grow with it: all that comes to one entity comes in one part, and parts touch few files in common."""


def _as_it_is(delta: Delta) -> Delta:
    return delta


def merge(
    objects: Objects,
    snapshot: str | None,
    deltas: Sequence[Delta],
    table: Table,
    load: Callable[[Delta], Delta] = _as_it_is,
) -> Merged:
    """Merge deltas, in order of their stamps and none of them merged before, into a snapshot.

    `load` gives a delta its body where that is not at hand."""
    folders = open_snapshot(objects, snapshot)
    parts = max(1, -(-len(deltas) // AT_ONCE))
    collapsed: Counter[Stamp] = Counter()
    unknown: dict[Stamp, list[str]] = {}
    merged = Merged("", [], [], {}, [], collapsed, unknown)
    before = dict(folders.state)
    touched: Touched = {}
    for part in range(parts):
        folded = fold(map(load, deltas), table, part, parts)
        _apply(objects, folders, folded, table, merged, collapsed)
        unknown.update(folded.unknown)
        merged.misfits.extend(folded.misfits)
        touch(touched, table, folded.keyed)
    if touched:
        shelved = update_library(objects, before, folders.state, table, touched)
        merged.added.update(shelved.added)
        merged.books.extend(shelved.rows)
    add_merged(objects, folders, [(delta.frame, delta.content_id) for delta in deltas])
    return merged._replace(tree=close_snapshot(objects, folders), conflicts=sorted(merged.conflicts, key=canonical))


def _apply(
    objects: Objects, folders: Folders, folded: Fold, table: Table, merged: Merged, collapsed: Counter[Stamp]
) -> None:
    """Join what was folded with what stands; conflicts and new entities are noted in `merged`."""
    added, conflicts = merged.added, merged.conflicts
    # The largest collection first: the store compresses its files on another core while the rest is merged.
    for name, column in sorted(folded.keyed.items(), key=lambda one: -len(one[1].keys)):
        row = table[name]
        changes = group_changes(row, column)
        new = update(objects, folders.state, file_name(name), changes, _joining(row, conflicts, collapsed))
        added[name] = added.get(name, 0) + new
    for name, lines in folded.appended.items():
        plain = EXTRAS if name == EXTRA else APPENDED
        new = update(objects, folders.state, file_name(name), sorted_changes(lines), plain)
        added[name] = added.get(name, 0) + new


def fold(deltas: Iterable[Delta], table: Table, part: int = 0, parts: int = 1) -> Fold:
    """Sort every record of the deltas under the collection that it belongs to: all of them, or one part of several."""
    sections = sections_of(table)
    folded = Fold({}, {}, [], {})
    columns = {name: Column([], [], []) for name in table}
    for delta in deltas:
        stamp = delta.stamp
        ranks: dict[str, int] = {}
        mine = parts == 1 or int(delta.content_id[:8], 16) % parts == part
        for collection, section, keys, records, why in place(delta, sections):
            if collection is not None and keys is not None and parts > 1:
                zones = map(zone_of, near_paths(collection, keys, map(canonical, keys)))
                chosen = [i for i, zone in enumerate(zones) if zone % parts == part]
                keys, records = [keys[i] for i in chosen], [records[i] for i in chosen]
            elif not mine:
                continue
            if why is not None:
                folded.misfits.extend([Misfit(section, stamp, why)] * len(records))
            if collection is not None and keys is not None:
                column = columns[collection.name]
                column.keys.extend(keys)
                column.records.extend(records)
                column.stamps.extend([stamp] * len(records))
                continue
            if collection is None and why is None:
                names = folded.unknown.setdefault(stamp, [])
                if section not in names and len(names) < UNKNOWN_NAMED:
                    names.append(section)
            name = collection.name if collection else f"{EXTRA}/{section}"
            lines = folded.appended.setdefault(collection.name if collection else EXTRA, [])
            for record in records:
                rank = ranks[name] = ranks.get(name, -1) + 1
                lines.append(append_change(collection, section, stamp, rank, record))
    folded.keyed.update((name, column) for name, column in columns.items() if column.keys)
    return folded


def group_changes(row: Collection, column: Column) -> list[Change[Brought]]:
    """A column's records by entity, sorted by path. An entity that one record makes has its line at once."""
    raw_keys = canonical_each(column.keys)
    raw_stamps = {stamp: canonical(stamp) for stamp in dict.fromkeys(column.stamps)}
    lines = fresh_lines(row, raw_keys, column.records, [raw_stamps[stamp] for stamp in column.stamps])
    paths = near_paths(row, column.keys, raw_keys)
    brought: Iterable[Brought] = zip(zip(column.stamps, column.records, strict=True), strict=True)  # one of one each
    changes: Iterable[Change[Brought]] = zip(paths, raw_keys, lines, brought, strict=True)
    if len(set(raw_keys)) < len(raw_keys):
        changes = _by_entity(changes)
    return sorted_changes(changes)


def _by_entity(changes: Iterable[Change[Brought]]) -> Iterable[Change[Brought]]:
    """One change for each key, with all that was brought to it."""
    groups: dict[bytes, Change[Brought]] = {}
    shared: dict[bytes, list[Contribution]] = {}
    for change in changes:
        path, raw_key, _, brought = change
        first = groups.setdefault(raw_key, change)
        if first is change:
            continue
        if raw_key not in shared:
            shared[raw_key] = [*first[3]]
            groups[raw_key] = (path, raw_key, b"", shared[raw_key])
        shared[raw_key].extend(brought)
    return groups.values()


def append_change(collection: Collection | None, section: str, stamp: Stamp, rank: int, record: Record) -> Change[None]:
    """The new line of an appended record; of an extra section's where there is no collection."""
    path, key = appended_path(stamp, rank), appended_key(stamp, rank)
    if collection is None:
        path, key = extra_path(section, stamp, rank), [section, *key]
    raw_key = canonical(key)
    return (path, raw_key, line_of(raw_key, canonical(record)), None)


def _joining(row: Collection, conflicts: list[Conflict], collapsed: Counter[Stamp]) -> Layout[Brought]:
    """A layout whose lines come about by the collection's rule; conflicts are noted on the way, and what collapses."""
    keys = frozenset(names[0] for names in row.key)
    fold_records = FOLDS[row.rule]

    def combine(raw_key: bytes, standing: bytes | None, brought: Brought) -> bytes:
        old = read_entity(row, standing) if standing is not None else None
        entity = fold_records(old, brought, keys)
        if old is not None or len(brought) > 1:
            conflicts.extend(_conflicts(row, keys, old, brought, entity))
            collapsed.update(_collapsed(row, keys, old, brought))
        return entity_line(raw_key, entity)

    return keyed_layout(row, combine)


def _collapsed(row: Collection, keys: frozenset[str], old: Entity | None, brought: Brought) -> Iterator[Stamp]:
    """The stamps of records whose key was there already and that brought nothing new, one for each such record.

    Under `dedup` and `first` that is every further record, unless a late one takes the first's place; under `lww` one
    whose fields all stand as it has them, or are newer. Sums, sets and extremes have no such thing."""
    if row.rule in ("dedup", "first"):
        standing = (old.stamps, old.record) if old is not None and isinstance(old.stamps, tuple) else None
        for stamp, record in brought:
            if standing is None or stamp < standing[0]:
                if standing is not None and _same(standing[1], record):
                    yield stamp
                standing = (stamp, record)
            else:
                yield stamp
    elif row.rule == "lww":
        fields: dict[str, tuple[Stamp, Json]] | None = None
        if old is not None and isinstance(old.stamps, dict):
            fields = {name: (stamp, old.record[name]) for name, stamp in old.stamps.items()}
        for stamp, record in brought:
            fresh = fields is None
            fields = {} if fields is None else fields
            for name, value in record.items():
                known = fields.get(name)
                if name not in keys and (known is None or known[0] <= stamp):
                    fresh = fresh or known is None or not _same(known[1], value)
                    fields[name] = (stamp, value)
            if not fresh:
                yield stamp


def _same(one: Json, other: Json) -> bool:
    """Whether two JSON values are one; Python takes 1, 1.0 and True for the same."""
    return bool(one == other) and canonical(one) == canonical(other)


def _conflicts(
    row: Collection, keys: frozenset[str], old: Entity | None, brought: Brought, entity: Entity
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


def _lost_fields(keys: frozenset[str], old: Entity | None, brought: Brought) -> list[_Lost]:
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


def _lost_records(keys: frozenset[str], old: Entity | None, brought: Brought) -> list[_Lost]:
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
