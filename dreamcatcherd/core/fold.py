"""The records of new deltas, sorted under their collections: the first half of a merge (docs/protocol.md#the-merge).

Owns what a frame's deltas come to before they meet a snapshot. Deltas are taken some at a time, so that the plain
records of many are recognised and keyed together (`records.plain_keys`)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import chain, repeat
from typing import NamedTuple

from dreamcatcherd.core.codec import canonical, canonical_each
from dreamcatcherd.core.collections import EXTRA, Collection, Table
from dreamcatcherd.core.delta_sections import Sections, known_sections
from dreamcatcherd.core.keyed_records import Ordered
from dreamcatcherd.core.model import Delta, Json, Misfit, Record, Stamp
from dreamcatcherd.core.records import Placed, in_order_of, is_plain, ordered_sections, place_section, plain_keys
from dreamcatcherd.core.shards import Change, line_of
from dreamcatcherd.core.snapshot import appended_path, near_paths, number_path, section_path, zone_of


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


Load = Callable[[Delta], Delta]
"""Gives a delta its body if it was freed to save memory."""

UNKNOWN_NAMED = 20
"""How many sections of one delta that no collection owns are named."""

PLACED_TOGETHER, PLACED_COST = 64, 2**20
"""How many deltas are decoded and placed together at most, and about how much they cost (`Delta.cost`). One record of
them that is not plain has its collection placed section by section for all of them."""


def as_it_is(delta: Delta) -> Delta:
    """A delta that has its body."""
    return delta


class _Share(NamedTuple):
    """One part of several, and the parts that each delta has records in: a bit for each."""

    part: int
    parts: int
    masks: list[int]

    def owns(self, at: int, delta: Delta) -> bool:
        """Whether all of a delta that has no key is in this part. Appended records, misfits and notes about the delta
        are all in one part, chosen by its content id: their ranks must be counted in one pass, and they touch no entity
        of another delta."""
        if self.parts == 1:
            return True
        owner = int(delta.content_id[:8], 16) % self.parts
        self.masks[at] |= 1 << owner
        return owner == self.part


class _Section(NamedTuple):
    """One section of the delta `at` some place."""

    at: int
    stamp: Stamp
    mine: bool
    """Whether what has no key is in this part."""
    name: str
    value: Json


def fold(
    deltas: Sequence[Delta],
    table: Table,
    load: Load = as_it_is,
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
    share = _Share(part, parts, masks)
    wanted = range(len(deltas)) if not part else [at for at, mask in enumerate(masks) if mask >> part & 1]
    for group in _together(deltas, wanted):
        _fold_together(folded, [(at, load(deltas[at])) for at in group], sections, table, share)
    for name in [name for name, column in folded.keyed.items() if not column.keys]:
        del folded.keyed[name]
    return folded


def _together(deltas: Sequence[Delta], wanted: Iterable[int]) -> Iterator[list[int]]:
    """The wanted deltas in groups, in order."""
    group: list[int] = []
    cost = 0
    for at in wanted:
        group.append(at)
        cost += deltas[at].cost
        if len(group) >= PLACED_TOGETHER or cost > PLACED_COST:
            yield group
            group, cost = [], 0
    if group:
        yield group


def _fold_together(
    folded: Fold, deltas: list[tuple[int, Delta]], sections: Sections, table: Table, share: _Share
) -> None:
    """Add the records of some deltas that belong to a part."""
    found: dict[str, list[_Section]] = {}
    for at, delta in deltas:
        mine, stamp = share.owns(at, delta), delta.stamp
        for row, name, value in ordered_sections(delta, sections):
            if row is not None:
                found.setdefault(row.name, []).append(_Section(at, stamp, mine, name, value))
            elif mine:
                _add_unknown(folded, stamp, name, place_section(None, name, value, in_order_of(stamp)))
    for name, group in found.items():
        row = table[name]
        if row.rule == "append":
            _add_appended(folded, row, [one for one in group if one.mine])
        else:
            _add_keyed(folded, row, group, share)


def _plain_items(row: Collection, group: list[_Section]) -> list[Record] | None:
    """All records of some sections of one collection, if all are plain."""
    if any(type(one.value) is not list or one.name == row.delete for one in group):
        return None
    items = list(chain.from_iterable(one.value for one in group))
    return items if is_plain(row, items) else None


def _placed_apart(row: Collection, group: list[_Section]) -> Iterator[tuple[_Section, Placed]]:
    """The records of some sections of one collection, section by section."""
    ordered: dict[int, Ordered] = {}  # positions are counted for each delta
    for one in group:
        counted = ordered.get(one.at) or ordered.setdefault(one.at, in_order_of(one.stamp))
        for placed in place_section(row, one.name, one.value, counted):
            yield one, placed


def _add_keyed(folded: Fold, row: Collection, group: list[_Section], share: _Share) -> None:
    items = _plain_items(row, group)
    keys = plain_keys(row, items) if items else None
    if items and keys is not None:
        counts = [len(one.value) for one in group]
        stamps = list(chain.from_iterable(map(repeat, [one.stamp for one in group], counts)))
        owners = list(chain.from_iterable(map(repeat, [one.at for one in group], counts))) if share.parts > 1 else []
        _add_columns(folded, row, Column(keys, items, stamps), owners, share)
        return
    for one, placed in _placed_apart(row, group):
        count = len(placed.records)
        if placed.keys is not None:
            column = Column(placed.keys, placed.records, [one.stamp] * count)
            _add_columns(folded, row, column, [one.at] * count, share)
        elif one.mine:
            _add_misfits(folded, one.stamp, placed)


def _add_columns(folded: Fold, row: Collection, found: Column, owners: list[int], share: _Share) -> None:
    """Add keyed records, each of the delta `owners` names, so far as they belong to a part."""
    if share.parts > 1:
        # A zone follows from the key, so all records of an entity are in one part, whichever delta brings them.
        zones = [zone_of(near) % share.parts for near in near_paths(row, found.keys)]
        for at, zone in set(zip(owners, zones, strict=True)):
            share.masks[at] |= 1 << zone
        found = found.at([at for at, zone in enumerate(zones) if zone == share.part])
    column = folded.keyed[row.name]
    column.keys.extend(found.keys)
    column.records.extend(found.records)
    column.stamps.extend(found.stamps)


def _add_appended(folded: Fold, row: Collection, group: list[_Section]) -> None:
    """Add the records that a collection without keys appends."""
    lines: list[Change[None]] = []
    ranks: Counter[int] = Counter()  # how many records a delta has appended
    if (items := _plain_items(row, group)) is not None:
        raws, start = canonical_each(items), 0
        for one, raw_stamp in zip(group, canonical_each([one.stamp for one in group]), strict=True):
            end = start + len(one.value)
            lines.extend(_ranked(appended_path(one.stamp), raw_stamp, ranks[one.at], raws[start:end]))
            ranks[one.at] += end - start
            start = end
    else:
        for one, placed in _placed_apart(row, group):
            if placed.collection is None:
                _add_misfits(folded, one.stamp, placed)
                continue
            lines.extend(append_changes(row, one.name, one.stamp, ranks[one.at], placed.records))
            ranks[one.at] += len(placed.records)
    if lines:
        folded.appended.setdefault(row.name, []).extend(lines)


def _add_unknown(folded: Fold, stamp: Stamp, section: str, found: list[Placed]) -> None:
    """Add the records of a section that no collection owns, and note its name."""
    for placed in found:
        _add_misfits(folded, stamp, placed)
        if sum(placed.misfits.values()) < len(placed.records):
            names = folded.unknown.setdefault(stamp, [])
            if section not in names and len(names) < UNKNOWN_NAMED:
                names.append(section)


def _add_misfits(folded: Fold, stamp: Stamp, placed: Placed) -> None:
    """Add the records of one section that go to `extra`: all of them, so that their ranks begin at 0."""
    for why, count in placed.misfits.items():
        folded.misfits.extend([Misfit(placed.section, stamp, why)] * count)
    lines = folded.appended.setdefault(EXTRA, [])
    lines.extend(append_changes(None, placed.section, stamp, 0, placed.records))


def append_changes(
    collection: Collection | None, section: str, stamp: Stamp, first: int, records: Sequence[Record]
) -> Iterator[Change[None]]:
    """The new lines of records that one delta appends, ranked from `first` on. Without a collection they are records of
    an extra section."""
    key = canonical(stamp) if collection else canonical([section, *stamp])
    begin = appended_path(stamp) if collection else section_path(section) + appended_path(stamp)
    return _ranked(begin, key, first, canonical_each(records))


def _ranked(begin: str, key: bytes, first: int, raws: list[bytes]) -> Iterator[Change[None]]:
    for rank, raw in enumerate(raws, first):
        raw_key = b"%b,%d]" % (key[:-1], rank)
        yield begin + number_path(rank), raw_key, line_of(raw_key, raw), None
