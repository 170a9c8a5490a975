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
from dreamcatcherd.core.collections import Choice, Collection
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


def place(delta: Delta, sections: Sections, appended: bool = True) -> list[Placed]:
    """Every record of a delta, in a fixed order: sections of one collection in the table's order, each by position.

    Without `appended`, sections whose records are all appended are skipped."""
    body = delta.body
    if body is None:
        raise AssertionError("a delta that is merged has its body")
    known = sections.known
    found = list(sections_in(body, delta.header, sections.dotted))
    if len(found) > 1:
        found.sort(key=lambda one: known[one[0]][1] if one[0] in known else -1)
    ordered = _in_order_of(delta.stamp)
    placed: list[Placed] = []
    for name, value in found:
        entry = known.get(name)
        # In a frame that is folded in parts, appended records belong to the part of their delta: other parts skip them.
        if not appended and (entry is None or entry[0].rule == "append"):
            continue
        if entry is None:
            placed.append(_unknown(name, _listed(value)))
            continue
        row = entry[0]
        if name == row.delete:
            placed += _apart(row, name, (read_deletion(row, item) for item in _listed(value)))
        elif type(value) is dict and row.form != "records" and not is_record(row, value):
            placed += _apart(row, name, (read_member(row, member, inner, ordered) for member, inner in value.items()))
        else:
            items = _listed(value)
            plain = _place_plain(row, name, items)
            placed += [plain] if plain else _apart(row, name, (read_record(row, item, ordered) for item in items))
    return placed


def _in_order_of(stamp: Stamp) -> Ordered:
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


def _place_plain(row: Collection, section: str, items: list[Json]) -> Placed | None:
    """All records of a section together, as is possible for nearly every section; None if one needs `read_record`.

    This is for speed alone: `read_record` would leave these records as they are, and give them the same keys."""
    if not items or row.form in ("counters", "profiles") or row.rule == "claim" or row.adds:
        return None
    changes_nothing = row.as_it_is
    for item in items:
        if type(item) is not dict or not changes_nothing(item):
            return None
    if row.rule == "append":
        return Placed(row, section, None, items)
    choices = row.choices
    keys: list[list[Json]] = []
    for item in items:
        key = _plain_key(choices, item)
        if key is None:
            return None
        keys.append(key)
    return Placed(row, section, keys, items)


def _plain_key(choices: tuple[Choice, ...], item: Record) -> list[Json] | None:
    """The key of a record that needs no change; None if it may need one."""
    get = item.get
    for choice in choices:
        key: list[Json] = []
        for name in choice.names:
            part = get(name)
            if part is None:
                break
            # A string that begins like a number may be a decimal, which `key_part` turns into an integer.
            if type(part) is not int and (type(part) is not str or part[:1] in NUMERIC):
                return None
            key.append(part)
        else:
            if choice.content is None:
                return stored_key(choice, key) if choice.apart else key
            text = get(choice.content)
            if type(text) is not str or not text:
                return None
            key.append(text_mark(text))
            return stored_key(choice, key) if choice.apart else key
    return None


def _listed(value: Json) -> list[Json]:
    return value if type(value) is list else [value]
