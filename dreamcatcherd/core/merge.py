"""The merge: a snapshot and new deltas to the next snapshot (docs/protocol.md#the-merge). Pure, and a function of the
set of deltas.

Deltas are folded by key first; then each touched file of the snapshot is read, joined and written once."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import chain
from types import MappingProxyType
from typing import NamedTuple

from dreamcatcherd.core.claims import ClaimDecision, Claimed, decide_claims
from dreamcatcherd.core.codec import canonical, canonical_each
from dreamcatcherd.core.collections import EXTRA, Collection, Table
from dreamcatcherd.core.conflicts import Contribution, find_collapsed, find_conflicts
from dreamcatcherd.core.entities import fold_entity, is_alive
from dreamcatcherd.core.entity_lines import entity_line, fresh_lines, key_fields, read_entity
from dreamcatcherd.core.fold import Column, Fold, Load, as_it_is, fold
from dreamcatcherd.core.keys import natural_key
from dreamcatcherd.core.model import Conflict, Deletion, Delta, Json, Misfit, Stamp
from dreamcatcherd.core.projection import NewProjection, ProjectionRow
from dreamcatcherd.core.rules import Contributions, Entity
from dreamcatcherd.core.shards import Change, Layout, sorted_changes, update
from dreamcatcherd.core.snapshot import (
    APPENDED,
    EXTRAS,
    Folders,
    add_merged,
    close_snapshot,
    file_name,
    keyed_layout,
    near_paths,
    open_snapshot,
)
from dreamcatcherd.core.tree import Objects


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

AT_ONCE = 16 * 2**20
"""How much is folded at a time, by the cost of the deltas (`Delta.cost`). A larger frame is folded in parts, so that
memory does not grow with it. A part takes the keys of some zones and not some of the deltas, for two reasons: a join
needs all records of an entity together, to find conflicts and what collapsed; and two parts seldom touch the same file,
so that nearly every file is still read and written once. Half as much more is one part too, since two parts decode and
place most deltas twice."""


def _own_frame(stamp: Stamp) -> int:
    return stamp.frame


def merge(
    objects: Objects,
    snapshot: str | None,
    deltas: Sequence[Delta],
    table: Table,
    projections: Sequence[NewProjection],
    load: Load = as_it_is,
    closing: ClosingFrame = _own_frame,
) -> Merged:
    """Merge deltas, in order of their stamps and none of them merged before, into a snapshot.

    `projections` has no default: a merge without one of them would give another digest, and no error. `load` gives a
    delta its body if it was freed to save memory. `closing` names the frame that merges each."""
    folders = open_snapshot(objects, snapshot)
    parts = parts_of_cost(sum(delta.cost for delta in deltas))
    collapsed: Counter[Stamp] = Counter()
    unknown: dict[Stamp, list[str]] = {}
    claims: list[ClaimDecision] = []
    merged = Merged("", [], [], {}, [], collapsed, unknown, claims)
    before = dict(folders.state)  # updates change the folders in place, and projections compare with the old state
    views = [new_projection(table) for new_projection in projections]
    masks = [0] * len(deltas)
    for part in range(parts):
        folded = fold(deltas, table, load, part, parts, masks)
        for view in views:
            view.note(folded.keyed)
        apply_fold(objects, folders, folded, table, Noted(merged.added, merged.conflicts, collapsed, claims, closing))
        unknown.update(folded.unknown)
        merged.misfits.extend(folded.misfits)
        del folded  # frees the part before the next one is folded, or the projections read their files
    for view in views:
        derived = view.update(objects, before, folders)
        merged.added.update(derived.added)
        merged.rows.extend(derived.rows)
    add_merged(objects, folders, [(delta.frame, delta.content_id) for delta in deltas])
    claims.sort(key=lambda one: (canonical([one.collection, one.key]), closing(one.stamp), one.stamp))
    return merged._replace(tree=close_snapshot(objects, folders), conflicts=sorted(merged.conflicts, key=canonical))


def parts_of_cost(cost: int) -> int:
    """In how many parts deltas of this cost together are folded."""
    return 1 if cost <= AT_ONCE * 3 // 2 else -(-cost // AT_ONCE)


class Noted(NamedTuple):
    """What is found while records are joined, and the frame that each claim is decided in."""

    added: dict[str, int]
    conflicts: list[Conflict]
    collapsed: Counter[Stamp]
    claims: list[ClaimDecision]
    closing: ClosingFrame


def apply_fold(objects: Objects, folders: Folders, folded: Fold, table: Table, noted: Noted) -> None:
    """Join the folded records with the stored ones. The fold has no keyed records afterwards."""
    added = noted.added
    # The largest collection first: the store compresses its files on another core while the others are merged.
    for name in sorted(folded.keyed, key=lambda name: -len(folded.keyed[name].keys)):
        row = table[name]
        changes = group_changes(row, folded.keyed.pop(name))  # nobody else holds its records, so they are freed
        new = update(objects, folders.state, file_name(name), changes, _joining(row, noted))
        added[name] = added.get(name, 0) + new
    for name, lines in folded.appended.items():
        plain = EXTRAS if name == EXTRA else APPENDED
        new = update(objects, folders.state, file_name(name), sorted_changes(lines), plain)
        added[name] = added.get(name, 0) + new


def group_changes(row: Collection, column: Column) -> list[Change[Contributions]]:
    """A column's records by entity, sorted by path. An entity that one record makes gets its line here: most entities
    are new and have one record, and their lines are encoded together, without a join for each."""
    raw_keys = canonical_each(column.keys)
    if len(set(raw_keys)) < len(raw_keys):
        changes, raw_keys, column = _by_entity(row, column, raw_keys)
    else:
        changes = []
    # The records of one delta have one stamp object: stamps are told apart by identity, which needs no hash of each.
    places = list(map(id, column.stamps))
    by_place = dict(zip(places, column.stamps, strict=True))
    raw_stamps = dict(zip(by_place, canonical_each(list(by_place.values())), strict=True))
    lines = fresh_lines(row, raw_keys, column.records, list(map(raw_stamps.__getitem__, places)))
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
