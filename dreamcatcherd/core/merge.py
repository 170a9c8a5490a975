"""The merge: a snapshot and new deltas to the next snapshot (docs/protocol.md#the-merge). Pure, and a function of the
set of deltas.

Deltas are folded by key first; then each touched file of the snapshot is read, joined and written once."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import chain
from types import MappingProxyType
from typing import NamedTuple

from dreamcatcherd.core.claims import ClaimDecision, Claimed, decide_claims
from dreamcatcherd.core.codec import canonical, canonical_each
from dreamcatcherd.core.collections import EXTRA, Collection, Table
from dreamcatcherd.core.conflicts import Contribution, find_collapsed, find_conflicts
from dreamcatcherd.core.delta_sections import Sections, known_sections
from dreamcatcherd.core.entities import fold_entity, is_alive
from dreamcatcherd.core.entity_lines import entity_line, fresh_lines, key_fields, read_entity
from dreamcatcherd.core.keys import natural_key
from dreamcatcherd.core.model import Conflict, Deletion, Delta, Json, Misfit, Record, Stamp
from dreamcatcherd.core.projection import NewProjection, ProjectionRow
from dreamcatcherd.core.records import place
from dreamcatcherd.core.rules import Contributions, Entity
from dreamcatcherd.core.shards import Change, Layout, line_of, sorted_changes, update
from dreamcatcherd.core.snapshot import (
    APPENDED,
    EXTRAS,
    Folders,
    add_merged,
    appended_path,
    close_snapshot,
    file_name,
    keyed_layout,
    near_paths,
    number_path,
    open_snapshot,
    section_path,
    zone_of,
)
from dreamcatcherd.core.tree import Objects


class Column(NamedTuple):
    """Every record that the new deltas bring to one collection, side by side: keys, records, stamps."""

    keys: list[Json]
    records: list[Record]
    stamps: list[Stamp]

    def at(self, chosen: Iterable[int]) -> Column:
        """The chosen records, in the order in which they are named."""
        return Column(*(list(map(side.__getitem__, chosen)) for side in self))


class Fold(NamedTuple):
    """New deltas folded by collection: keyed records in columns, appended ones as finished lines."""

    keyed: dict[str, Column]
    appended: dict[str, list[Change[None]]]
    misfits: list[Misfit]
    unknown: dict[Stamp, list[str]]


class Merged(NamedTuple):
    """The next snapshot's tree id, and the facts that the ledger records."""

    tree: str
    conflicts: list[Conflict]
    misfits: list[Misfit]
    added: dict[str, int]
    """New entities by collection, all extras under `extra`."""
    rows: list[ProjectionRow]
    """Rows of the projections for the ledger."""
    collapsed: Mapping[Stamp, int] = MappingProxyType({})
    """By delta, the records that changed nothing: their key existed already, and so did their values."""
    unknown: Mapping[Stamp, Sequence[str]] = MappingProxyType({})
    """By delta, the sections that no collection owns."""
    claims: Sequence[ClaimDecision] = ()
    """What became of each claim, in order of collection and key."""


ClosingFrame = Callable[[Stamp], int]
"""The frame whose close merges a delta, by its stamp: its own unless it is late. Only claims depend on it."""

UNKNOWN_NAMED = 20
"""How many sections of one delta that no collection owns are named."""

AT_ONCE = 16 * 2**20
"""How much is folded at a time, by the cost of the deltas (`Delta.cost`). A larger frame is folded in parts, so that
memory does not grow with it. A part takes the keys of some zones and not some of the deltas, for two reasons: a join
needs all records of an entity together, to find conflicts and what collapsed; and two parts seldom touch the same file,
so that nearly every file is still read and written once."""


def _as_it_is(delta: Delta) -> Delta:
    return delta


def _own_frame(stamp: Stamp) -> int:
    return stamp.frame


def merge(
    objects: Objects,
    snapshot: str | None,
    deltas: Sequence[Delta],
    table: Table,
    projections: Sequence[NewProjection],
    load: Callable[[Delta], Delta] = _as_it_is,
    closing: ClosingFrame = _own_frame,
) -> Merged:
    """Merge deltas, in order of their stamps and none of them merged before, into a snapshot.

    `projections` has no default: a merge without one of them would give another digest, and no error. `load` gives a
    delta its body if it was freed to save memory. `closing` names the frame that merges each."""
    folders = open_snapshot(objects, snapshot)
    parts = max(1, -(-sum(delta.cost for delta in deltas) // AT_ONCE))
    collapsed: Counter[Stamp] = Counter()
    unknown: dict[Stamp, list[str]] = {}
    claims: list[ClaimDecision] = []
    merged = Merged("", [], [], {}, [], collapsed, unknown, claims)
    before = dict(folders.state)  # updates change the folders in place, and projections compare with the old state
    views = [new_projection(table) for new_projection in projections]
    masks = [0] * len(deltas)
    for part in range(parts):
        folded = fold(deltas, table, load, part, parts, masks)
        apply_fold(objects, folders, folded, table, Noted(merged.added, merged.conflicts, collapsed, claims, closing))
        unknown.update(folded.unknown)
        merged.misfits.extend(folded.misfits)
        for view in views:
            view.note(folded.keyed)
        del folded  # frees the part before the next one is folded, or the projections read their files
    for view in views:
        derived = view.update(objects, before, folders)
        merged.added.update(derived.added)
        merged.rows.extend(derived.rows)
    add_merged(objects, folders, [(delta.frame, delta.content_id) for delta in deltas])
    claims.sort(key=lambda one: (canonical([one.collection, one.key]), closing(one.stamp), one.stamp))
    return merged._replace(tree=close_snapshot(objects, folders), conflicts=sorted(merged.conflicts, key=canonical))


class Noted(NamedTuple):
    """What is found while records are joined, and the frame that each claim is decided in."""

    added: dict[str, int]
    conflicts: list[Conflict]
    collapsed: Counter[Stamp]
    claims: list[ClaimDecision]
    closing: ClosingFrame


def apply_fold(objects: Objects, folders: Folders, folded: Fold, table: Table, noted: Noted) -> None:
    """Join the folded records with the stored ones."""
    added = noted.added
    # The largest collection first: the store compresses its files on another core while the others are merged.
    for name, column in sorted(folded.keyed.items(), key=lambda one: -len(one[1].keys)):
        row = table[name]
        changes = group_changes(row, column)
        new = update(objects, folders.state, file_name(name), changes, _joining(row, noted))
        added[name] = added.get(name, 0) + new
    for name, lines in folded.appended.items():
        plain = EXTRAS if name == EXTRA else APPENDED
        new = update(objects, folders.state, file_name(name), sorted_changes(lines), plain)
        added[name] = added.get(name, 0) + new


def fold(
    deltas: Sequence[Delta],
    table: Table,
    load: Callable[[Delta], Delta] = _as_it_is,
    part: int = 0,
    parts: int = 1,
    masks: list[int] | None = None,
) -> Fold:
    """Sort every record of the deltas under its collection: all records, or one part of several.

    `masks` has a bit for each part that a delta has records in. The first part reads every delta and sets the bits;
    later parts load only the deltas that they need, since reading a body again costs as much as folding it."""
    sections = known_sections(table)
    folded = Fold({name: Column([], [], []) for name in table}, {}, [], {})
    masks = [0] * len(deltas) if masks is None else masks
    for at, known in enumerate(deltas):
        if not part or masks[at] >> part & 1:
            masks[at] |= _fold_delta(folded, load(known), sections, part, parts)  # one body at a time
    for name in [name for name, column in folded.keyed.items() if not column.keys]:
        del folded.keyed[name]
    return folded


def _fold_delta(folded: Fold, delta: Delta, sections: Sections, part: int, parts: int) -> int:
    """Add the records of one delta that belong to a part; returns the parts that it has records in, a bit for each.

    Appended records, misfits and notes about the delta are all in one part, chosen by its content id: their ranks must
    be counted in one pass, and they touch no entity of another delta."""
    stamp = delta.stamp
    ranks: Counter[str] = Counter()
    owner = int(delta.content_id[:8], 16) % parts
    mine = owner == part
    mask = 1 << owner
    for collection, section, keys, records, misfits in place(delta, sections, mine):
        if collection is not None and keys is not None and parts > 1:
            # A zone follows from the key, so all records of an entity are in one part, whichever delta brings them.
            zones = [zone_of(near) % parts for near in near_paths(collection, keys)]
            for zone in set(zones):
                mask |= 1 << zone
            chosen = [i for i, zone in enumerate(zones) if zone == part]
            keys, records = [keys[i] for i in chosen], [records[i] for i in chosen]
        elif not mine:
            continue
        if collection is not None and keys is not None:
            column = folded.keyed[collection.name]
            column.keys.extend(keys)
            column.records.extend(records)
            column.stamps.extend([stamp] * len(records))
            continue
        for why, count in misfits.items():
            folded.misfits.extend([Misfit(section, stamp, why)] * count)
        if collection is None and sum(misfits.values()) < len(records):
            names = folded.unknown.setdefault(stamp, [])
            if section not in names and len(names) < UNKNOWN_NAMED:
                names.append(section)
        name = collection.name if collection else f"{EXTRA}/{section}"
        lines = folded.appended.setdefault(collection.name if collection else EXTRA, [])
        lines.extend(append_changes(collection, section, stamp, ranks[name], records))
        ranks[name] += len(records)
    return mask


def group_changes(row: Collection, column: Column) -> list[Change[Contributions]]:
    """A column's records by entity, sorted by path. An entity that one record makes gets its line here: most entities
    are new and have one record, and their lines are encoded together, without a join for each."""
    raw_keys = canonical_each(column.keys)
    if len(set(raw_keys)) < len(raw_keys):
        changes, raw_keys, column = _by_entity(row, column, raw_keys)
    else:
        changes = []
    raw_stamps = {stamp: canonical(stamp) for stamp in dict.fromkeys(column.stamps)}
    lines = fresh_lines(row, raw_keys, column.records, [raw_stamps[stamp] for stamp in column.stamps])
    if row.delete is not None:  # a deletion of what is not there makes a tombstone
        marked = zip(lines, column.records, strict=True)
        lines = [b"" if type(record) is Deletion else line for line, record in marked]
    paths = near_paths(row, column.keys)
    pairs = zip(column.stamps, column.records, strict=True)
    brought: Iterable[Contributions] = zip(pairs, strict=True)  # each pair as the only contribution to its entity
    return sorted_changes(chain(changes, zip(paths, raw_keys, lines, brought, strict=True)))


def _by_entity(
    row: Collection, column: Column, raw_keys: list[bytes]
) -> tuple[list[Change[Contributions]], list[bytes], Column]:
    """A change for each key that several records bring; the rest of the column, with its keys."""
    several = {raw_key for raw_key, count in Counter(raw_keys).items() if count > 1}
    brought: dict[bytes, list[Contribution]] = {raw_key: [] for raw_key in several}
    keys: dict[bytes, list[Json]] = {}
    single: list[int] = []
    for at, raw_key in enumerate(raw_keys):
        if raw_key in several:
            keys.setdefault(raw_key, column.keys[at])
            brought[raw_key].append((column.stamps[at], column.records[at]))
        else:
            single.append(at)
    paths = near_paths(row, keys.values())
    changes: list[Change[Contributions]] = [
        (path, raw_key, b"", brought[raw_key]) for path, raw_key in zip(paths, keys, strict=True)
    ]
    return changes, [raw_keys[at] for at in single], column.at(single)


def append_changes(
    collection: Collection | None, section: str, stamp: Stamp, first: int, records: Sequence[Record]
) -> Iterator[Change[None]]:
    """The new lines of records that one delta appends, ranked from `first` on. Without a collection they are records of
    an extra section."""
    key = canonical(stamp) if collection else canonical([section, *stamp])
    begin = appended_path(stamp) if collection else section_path(section) + appended_path(stamp)
    for rank, raw in enumerate(canonical_each(records), first):
        raw_key = b"%b,%d]" % (key[:-1], rank)
        yield begin + number_path(rank), raw_key, line_of(raw_key, raw), None


def _joining(row: Collection, noted: Noted) -> Layout[Contributions]:
    """A layout that makes lines by the collection's rule, and notes conflicts, collapsed records and how many entities
    are there. They are found here because only here the stored entity and the new records are in memory together."""
    if row.rule == "claim":
        return keyed_layout(row, _claiming(row, noted))

    def combine(raw_key: bytes, stored: bytes | None, brought: Contributions) -> bytes:
        old = read_entity(row, stored) if stored is not None else None
        entity = fold_entity(row, old, brought, key_fields(row, raw_key))
        if old is not None or len(brought) > 1:
            noted.conflicts.extend(find_conflicts(row, old, brought, entity))
            noted.collapsed.update(find_collapsed(row, old, brought))
        _count(row, noted, old, entity)
        return entity_line(raw_key, entity)

    return keyed_layout(row, combine)


def _claiming(row: Collection, noted: Noted) -> Callable[[bytes, bytes | None, Contributions], bytes]:
    """How claims on one resource are decided, in the order of the closes that merge them."""

    def combine(raw_key: bytes, stored: bytes | None, brought: Contributions) -> bytes:
        old = read_entity(row, stored) if stored is not None else None
        claimed = [Claimed(noted.closing(stamp), stamp, record) for stamp, record in brought]
        # In replay one merge may hold the deltas of several closes; the sort is stable, so stamps decide within one.
        claimed.sort(key=lambda one: one.frame)
        entity, decisions = decide_claims(old, claimed, key_fields(row, raw_key), row.ttl)
        key = natural_key(row, entity.record)
        noted.claims.extend(ClaimDecision(row.name, key, *one) for one in decisions)
        _count(row, noted, old, entity)
        return entity_line(raw_key, entity)

    return combine


def _count(row: Collection, noted: Noted, old: Entity | None, entity: Entity) -> None:
    """Correct the number of new lines by what is a tombstone, before or now."""
    if entity.deleted is None and (old is None or old.deleted is None):
        return
    before = 1 if old is None else is_alive(old)  # a new line is counted as an entity
    noted.added[row.name] = noted.added.get(row.name, 0) + is_alive(entity) - before
