"""Sections of a delta to keyed records, however messy (docs/protocol.md#a-delta). Nothing that a delta carries is
dropped.

A record that fits goes to its collection under its key; a record that does not is a misfit, kept complete in
`extra`."""

from __future__ import annotations

import hashlib
import re
from collections import Counter
from collections.abc import Iterable, Mapping
from types import MappingProxyType
from typing import NamedTuple

from dreamcatcherd.core.codec import canonical
from dreamcatcherd.core.collections import RESERVED_SECTIONS, Collection
from dreamcatcherd.core.model import Delta, Json, Record

_DECIMAL = re.compile(r"0|-?[1-9][0-9]{0,4298}")
_NUMERIC = frozenset("-0123456789")
"""The first characters of a string that may be a decimal."""

_ADDEND_DIGITS = 4000
_TOO_LARGE = 10**_ADDEND_DIGITS
"""JSON here carries 4,300 digits. With addends below this, no possible number of deltas makes a sum too long."""

_MARKS = ("_stamp", "_stamps")
_MARKED = "a record may not bring _stamp or _stamps"


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


_One = tuple[list[Json] | None, Record, str | None]
"""One record of a known section: (stored key, record, why it is a misfit). A plain tuple, since a frame makes many."""

Sections = dict[str, tuple[Collection, int]]


def place(delta: Delta, sections: Sections, appended: bool = True) -> list[Placed]:
    """Every record of a delta, in a fixed order: sections of one collection in the table's order, each by position.

    Without `appended`, sections whose records are all appended are skipped."""
    body = delta.body
    if body is None:
        raise AssertionError("a delta that is merged has its body")
    names = [name for name in body if name not in RESERVED_SECTIONS or not _is_header(name, delta)]
    if len(names) > 1:
        names.sort(key=lambda name: sections[name][1] if name in sections else -1)
    placed: list[Placed] = []
    for name in names:
        value = body[name]
        if value is None:
            continue
        entry = sections.get(name)
        # In a frame that is folded in parts, appended records belong to the part of their delta: other parts skip them.
        if not appended and (entry is None or entry[0].rule == "append"):
            continue
        if entry is None:
            placed.append(_unknown(name, _listed(value)))
            continue
        row = entry[0]
        if type(value) is dict and row.form != "records" and not _is_record(row, value):
            placed += _apart(row, name, (_named(row, member, inner) for member, inner in value.items()))
        else:
            items = _listed(value)
            plain = _place_plain(row, name, items)
            placed += [plain] if plain else _apart(row, name, (_place(row, item) for item in items))
    return placed


def _unknown(section: str, items: list[Json]) -> Placed:
    """The records of a section that no collection owns."""
    extras = [_extra(item) for item in items]
    marked = sum(why is not None for _, _, why in extras)
    return Placed(None, section, None, [record for _, record, _ in extras], {_MARKED: marked} if marked else {})


def _apart(row: Collection, section: str, ones: Iterable[_One]) -> list[Placed]:
    """The records of a section that go to its collection, and those that go to `extra`."""
    keys: list[list[Json]] = []
    records: list[Record] = []
    extras: list[Record] = []
    misfits: Counter[str] = Counter()
    for key, record, why in ones:
        if why is not None:
            extras.append(record)
            misfits[why] += 1
            continue
        records.append(record)
        if key is not None:
            keys.append(key)
    placed = [Placed(row, section, None if row.rule == "append" else keys, records)] if records else []
    return [*placed, Placed(None, section, None, extras, misfits)] if extras else placed


def _place_plain(row: Collection, section: str, items: list[Json]) -> Placed | None:
    """All records of a section together, as is possible for nearly every section; None if one of them needs `_place`.

    This is for speed alone: `_place` would leave these records as they are, and give them the same keys."""
    if not items or row.form != "records" or row.rule == "sum":
        return None
    fields = [names[0] for names in row.key]
    content = row.content
    keys: list[list[Json]] = []
    for item in items:
        if type(item) is not dict or "_stamp" in item or "_stamps" in item:
            return None
        key: list[Json] = []
        for field in fields:
            part = item.get(field)
            # A string that begins like a number may be a decimal, which `key_part` turns into an integer.
            if type(part) is not int and (type(part) is not str or part[:1] in _NUMERIC):
                return None
            key.append(part)
        if content is not None:
            text = item.get(content)
            key.append(_text_mark(text) if type(text) is str and text else content_mark(row, item))
        keys.append(key)
    return Placed(row, section, None if row.rule == "append" else keys, items)


def _listed(value: Json) -> list[Json]:
    return value if type(value) is list else [value]


def _is_header(name: str, delta: Delta) -> bool:
    return name in ("frame", "stream_id") or name == delta.utc_name


def _is_record(row: Collection, value: Record) -> bool:
    """Whether an object instead of a list is one record, rather than entities by name."""
    of_form = all(type(inner) is int if row.form == "counters" else type(inner) is dict for inner in value.values())
    return not of_form and key_part(value.get(row.key[0][0])) is not None


def _named(row: Collection, name: str, inner: Json) -> _One:
    """One member of `{name: integer}` or `{id: {…}}`."""
    field = row.key[0][0]
    if row.form == "counters" and type(inner) is int:
        return _place(row, {field: name, "value": inner})
    if row.form == "profiles" and type(inner) is dict:
        return _place(row, {field: name, "fields": inner})
    want = "an integer" if row.form == "counters" else "an object"
    return _extra({name: inner}, f"{name!r} is not {want}")


def _place(row: Collection, item: Json) -> _One:
    if type(item) is not dict:
        if row.rule == "append":
            return (None, {"value": item}, None)
        if len(row.key) != 1 or row.content or key_part(item) is None:
            return _extra(item, "not an object")
        item = {row.key[0][0]: item}
    elif "_stamp" in item or "_stamps" in item:
        return _extra(item, _MARKED)
    elif row.rule == "append":
        return (None, item, None)
    original = item
    if row.form == "profiles" and type(item.get("fields")) is dict:
        flat = _flatten(item)
        if flat is None:
            return _extra(original, "fields bring _stamp or _stamps, or set what stands beside them to another value")
        item = flat
    return _keyed(row, item, original)


def _flatten(item: Record) -> Record | None:
    """`{"agent": id, "fields": {…}}` as one record; None if the two disagree."""
    inner = item["fields"]
    outer = {name: value for name, value in item.items() if name != "fields"}
    for name in inner.keys() & (outer.keys() | {*_MARKS}):
        if name in _MARKS or canonical(inner[name]) != canonical(outer[name]):
            return None
    return {**inner, **outer}


def _keyed(row: Collection, item: Record, original: Json) -> _One:
    key: list[Json] = []
    record = item
    for names in row.key:
        first = names[0]
        name, value = first, item.get(first)
        if value is None:
            name, value = _alias(names, item)
        part = value if type(value) is int else key_part(value)
        if part is None:
            why = f"no {first}" if value is None else f"{name} is neither an integer nor a string"
            return _extra(original, why)
        key.append(part)
        # Copied only if something changes: most records are used as they were decoded.
        if name is not first or part is not value:
            if record is item:
                record = dict(item)
            if name is not first:
                del record[name]
            record[first] = part
    # Floats are refused, because their sum depends on the order of the deltas.
    if row.rule == "sum":
        if row.form == "counters" and "value" not in record:
            record = {**record, "value": 0}
        keys = {names[0] for names in row.key}
        addends = [value for name, value in record.items() if name not in keys]
        if any(type(value) is not int for value in addends):
            return _extra(original, "a sum takes integers only")
        if any(not -_TOO_LARGE < value < _TOO_LARGE for value in addends):
            return _extra(original, f"a sum takes integers of up to {_ADDEND_DIGITS} digits")
    if row.content is not None:
        key.append(content_mark(row, record))
    return (key, record, None)


def _alias(names: tuple[str, ...], item: Record) -> tuple[str, Json]:
    for name in names[1:]:
        if item.get(name) is not None:
            return name, item[name]
    return names[0], None


def _extra(item: Json, why: str | None = None) -> _One:
    if type(item) is not dict:
        return (None, {"value": item}, why)
    if "_stamp" in item or "_stamps" in item:
        return (None, {"value": item}, why or _MARKED)
    return (None, item, why)


def key_part(value: Json) -> int | str | None:
    """A value as a key part: integers and strings; a decimal string is the integer; None if the value cannot be one."""
    if type(value) is str:
        if value[:1] in _NUMERIC and _DECIMAL.fullmatch(value):
            return int(value)
        return value
    return value if type(value) is int else None


def content_of(row: Collection, record: Record) -> Json:
    """The content that keys a record: its text, else the complete record (an object, so that the two are never
    equal)."""
    text = record.get(row.content) if row.content else None
    return text if type(text) is str and text else record


def content_mark(row: Collection, record: Record) -> str:
    """A digest of the content for the stored key, so that a long text is not written twice."""
    content = content_of(row, record)
    if type(content) is str:
        return _text_mark(content)
    # The prefixes keep a text apart from a record whose canonical form is that text.
    return hashlib.sha256(b"record\0" + canonical(content)).hexdigest()


def _text_mark(text: str) -> str:
    return hashlib.sha256(b"text\0" + text.encode()).hexdigest()


def natural_key(row: Collection, record: Record) -> Json:
    """The key for people: one value, or a list if it has several parts."""
    parts: list[Json] = [record[names[0]] for names in row.key]
    if row.content is not None:
        parts.append(content_of(row, record))
    return parts[0] if len(parts) == 1 else parts


def sort_key(value: Json) -> tuple[object, ...]:
    """Natural-key order: integers before strings, strings by code point, complete records last."""
    if type(value) is list:
        return tuple(sort_key(part) for part in value)
    if type(value) is int:
        return (0, value)
    if type(value) is str:
        return (1, value)
    return (2, canonical(value))
