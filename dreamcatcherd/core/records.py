"""Sections of a delta to keyed records, however messy (docs/protocol.md#a-delta). Nothing that a delta carries is
dropped.

A record that fits goes to its collection under its key; a record that does not is a misfit, kept complete in
`extra`."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from types import MappingProxyType
from typing import NamedTuple

from dreamcatcherd.core.codec import canonical
from dreamcatcherd.core.collections import Collection
from dreamcatcherd.core.decimals import doubles
from dreamcatcherd.core.delta_sections import Sections, sections_in
from dreamcatcherd.core.keyed_records import (
    MARKED,
    One,
    Ordered,
    as_extra,
    is_record,
    read_deletion,
    read_member,
    read_record,
)
from dreamcatcherd.core.keys import NUMERIC, stored_key, text_mark
from dreamcatcherd.core.model import Delta, Json, Record, Stamp


class Placed(NamedTuple):
    """Records of one section that take the same way into the snapshot, in order."""

    collection: Collection | None
    """The collection that they go to; None for `extra/<section>`."""
    section: str
    keys: list[list[Json]] | None
    """The stored key of each; None if records are appended."""
    records: list[Record]
    misfits: Mapping[str, int] = MappingProxyType({})
    """How many of them are in `extra` for want of a usable key, by reason."""


def place(delta: Delta, sections: Sections) -> list[Placed]:
    """Every record of a delta, in a fixed order: sections of one collection in the table's order, each by position."""
    ordered = in_order_of(delta.stamp)
    return [
        placed
        for row, name, value in ordered_sections(delta, sections)
        for placed in place_section(row, name, value, ordered)
    ]


def ordered_sections(delta: Delta, sections: Sections) -> list[tuple[Collection | None, str, Json]]:
    """The sections of a delta in the order of their records, each with its collection if one owns it, and its value."""
    if delta.body is None:
        raise AssertionError("a delta that is merged has its body")
    known = sections.known
    found = [
        (known.get(name, _NOBODYS), name, value)
        for name, value in sections_in(delta.body, delta.header, sections.dotted)
    ]
    if len(found) > 1:
        found.sort(key=_place_in_table)
    return [(row, name, value) for (row, _), name, value in found]


_NOBODYS = (None, -1)


def _place_in_table(found: tuple[tuple[Collection | None, int], str, Json]) -> int:
    return found[0][1]


def place_section(row: Collection | None, name: str, value: Json, ordered: Ordered) -> list[Placed]:
    """Every record of one section; `row` is the collection that owns it, if there is one."""
    if row is None:
        return [_unknown(name, _listed(value))]
    if name == row.delete:
        return _apart(row, name, (read_deletion(row, item) for item in _listed(value)))
    if type(value) is dict and row.form != "records" and not is_record(row, value):
        return _apart(row, name, (read_member(row, member, inner, ordered) for member, inner in value.items()))
    items = _listed(value)
    if is_plain(row, items):
        if row.rule == "append":
            return [Placed(row, name, None, items)]
        if (keys := plain_keys(row, items)) is not None:
            return [Placed(row, name, keys, items)]
    return _apart(row, name, (read_record(row, item, ordered) for item in items))


def in_order_of(stamp: Stamp) -> Ordered:
    """Positions of one delta's appended records, counted for each key."""
    ranks: Counter[bytes] = Counter()

    def ordered(row: Collection, parts: list[Json]) -> Json:
        known_by = canonical([row.name, parts])
        ranks[known_by] += 1
        return [*stamp, ranks[known_by] - 1]

    return ordered


def _unknown(section: str, items: list[Json]) -> Placed:
    """The records of a section that no collection owns."""
    extras = [as_extra(item) for item in items]
    marked = sum(why is not None for _, _, why in extras)
    return Placed(None, section, None, [record for _, record, _ in extras], {MARKED: marked} if marked else {})


def _apart(row: Collection, section: str, ones: Iterable[One]) -> list[Placed]:
    """The records of a section that go to its collection, and those that go to `extra`."""
    keys: list[list[Json]] = []
    records: list[Record] = []
    extras: list[Record] = []
    misfits: Counter[str] = Counter()
    summed = row.adds
    for key, record, why in ones:
        if why is not None:
            extras.append(doubles(record) if summed else record)
            misfits[why] += 1
            continue
        records.append(record)
        if key is not None:
            keys.append(key)
    placed = [Placed(row, section, None if row.rule == "append" else keys, records)] if records else []
    return [*placed, Placed(None, section, None, extras, misfits)] if extras else placed


def _listed(value: Json) -> list[Json]:
    """A section as a list: anything but a list is a list of one."""
    return value if type(value) is list else [value]


# Plain records ----------------------------------------------------------------------------------------------------
#
# Nearly every record of a fleet is stored as it came. Such records are recognised and keyed many at a time, those of
# many deltas together, which takes a fraction of the time of `read_record` for each. This is for speed alone:
# `read_record` would leave these records as they are, and give them the same keys.


def is_plain(row: Collection, items: list[Json]) -> bool:
    """Whether all records of a section are stored as they came, if they have a key; False if one may need
    `read_record`."""
    if not items or row.form in ("counters", "profiles") or row.rule == "claim" or row.adds:
        return False
    return set(map(type, items)) == {dict} and all(map(row.as_it_is, items))


def plain_keys(row: Collection, items: list[Record]) -> list[list[Json]] | None:
    """The stored keys of plain records, some at least; None if one of them may need `read_record`."""
    for choice in row.choices:
        columns = [[item.get(name) for item in items] for name in choice.names]
        missing = [column.count(None) for column in columns]
        if len(items) in missing:
            continue  # none of them has this alternative
        if any(missing) or not all(map(_are_parts, columns)):
            return None
        if choice.content is not None:
            texts: list[Json] = [item.get(choice.content) for item in items]
            if set(map(type, texts)) != {str} or not all(texts):
                return None
            columns.append([text_mark(text) for text in texts])
        if not columns:
            return None
        keys = list(map(list, zip(*columns, strict=True)))
        return [stored_key(choice, key) for key in keys] if choice.apart else keys
    return None


def _are_parts(column: list[Json]) -> bool:
    """Whether all values are key parts as they are. A string that begins like a number may be a decimal, which
    `key_part` turns into an integer."""
    kinds = set(map(type, column))
    if kinds == {int}:
        return True
    return kinds <= {int, str} and not any(type(part) is str and part[:1] in NUMERIC for part in set(column))
