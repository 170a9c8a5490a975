"""One record of a known section, with its key, or why it does not fit (docs/protocol.md#a-delta).

Owns what a row of the table makes of a record, a bare value, a member of a map, and a deletion; `records` goes through
the sections of a delta."""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import lru_cache
from typing import NamedTuple

from dreamcatcherd.core.claims import OPERATIONS
from dreamcatcherd.core.codec import Exact, canonical
from dreamcatcherd.core.collections import BY_RECORD, MARKS, Choice, Collection
from dreamcatcherd.core.decimals import doubles, exact, why_no_addend
from dreamcatcherd.core.keys import content_text, key_part, stored_key, text_mark
from dreamcatcherd.core.model import Deletion, Json, Record

MARKED = f"a record may not bring {', '.join(MARKS[:-1])} or {MARKS[-1]}"
UNMARKED = frozenset(MARKS).isdisjoint
NAMELESS = "a field has no name"
_BRACES = re.compile(r"\{([^{}]+)\}")

One = tuple[list[Json] | None, Record, str | None]
"""One record of a known section: (stored key, record, why it is a misfit). A plain tuple, since a frame makes many."""

Ordered = Callable[[Collection, list[Json]], Json]
"""The stamp and position of a record that is appended to a keyed collection, by its collection and key parts."""


class BarePattern(NamedTuple):
    """How a bare string is read: what it looks like, the fields that it names, and the key that they belong to."""

    expression: re.Pattern[str]
    names: tuple[str, ...]
    choice: Choice


@lru_cache(maxsize=256)
def bare_patterns(row: Collection) -> tuple[BarePattern, ...]:
    """The patterns of a row's bare strings, in order."""
    patterns = []
    for pattern in row.scalar:
        parts = _BRACES.split(pattern)
        named = tuple(parts[1::2])
        # The text between two fields is looked for from the left, so only the last field may hold it.
        texts = [re.escape(text) for text in parts[::2]]
        found = texts[0] + "".join(
            ("(.+)" if at == len(named) else "(.+?)") + text for at, text in enumerate(texts[1:], 1)
        )
        choice = next(choice for choice in row.choices if {*named} <= choice.keys)
        patterns.append(BarePattern(re.compile(found, re.DOTALL), named, choice))
    return tuple(patterns)


def is_record(row: Collection, value: Record) -> bool:
    """Whether an object instead of a list is one record, rather than entities by name."""
    if all(map(_is_number if row.form == "counters" else _is_object, value.values())):
        return False
    return any(all(key_part(value.get(name)) is not None for name in choice.names) for choice in row.choices)


def _is_number(value: Json) -> bool:
    return type(value) in (int, float, Exact)


def _is_object(value: Json) -> bool:
    return type(value) is dict


def read_member(row: Collection, name: str, inner: Json, ordered: Ordered) -> One:
    """One member of `{name: number}` or `{id: {…}}`."""
    first = row.key[0]
    if not first:
        return as_extra({name: inner}, "a map gives no key")
    field = first[0].name
    if row.form == "counters" and _is_number(inner):
        return read_record(row, {field: name, "value": inner}, ordered)
    if row.form == "profiles" and type(inner) is dict:
        return read_record(row, {field: name, "fields": inner}, ordered)
    if row.form == "map" and type(inner) is dict:
        if inner.get(field) is not None and canonical(key_part(inner[field])) != canonical(key_part(name)):
            return as_extra({name: inner}, f"{field} is another value than its name in the map")
        if not UNMARKED(inner):
            return as_extra({name: inner}, MARKED)
        return _keyed(row, {**inner, field: name}, {name: inner}, ordered)
    want = "a number" if row.form == "counters" else "an object"
    return as_extra({name: inner}, f"{name!r} is not {want}")


def read_record(row: Collection, item: Json, ordered: Ordered) -> One:
    choice = None
    original = item
    if type(item) is not dict:
        if row.rule == "append":
            return (None, {"value": item}, None)
        choice, item = _bare(row, item)
        if choice is None:
            return as_extra(original, "not an object")
    elif not UNMARKED(item):
        return as_extra(item, MARKED)
    elif row.rule == "append":
        return (None, item, None)
    if row.form == "profiles" and type(item.get("fields")) is dict:
        flat = _flatten(item)
        if flat is None:
            return as_extra(original, "fields set a reserved name, or another value than what stands beside them")
        item = flat
    return _keyed(row, item, original, ordered, choice)


def _bare(row: Collection, item: Json) -> tuple[Choice | None, Record]:
    """The record that a bare number or string stands for, with its key; None if it stands for none."""
    if type(item) is str:
        for pattern, names, choice in bare_patterns(row):
            if (match := pattern.fullmatch(item)) is not None:
                return choice, {**dict.fromkeys(choice.names), **dict(zip(names, match.groups(), strict=True))}
    single = next((choice for choice in row.choices if len(choice.names) == 1 and choice.content is None), None)
    if single is None or key_part(item) is None:
        return None, {}
    return single, {single.names[0]: item}


def _flatten(item: Record) -> Record | None:
    """`{"agent": id, "fields": {…}}` as one record; None if the two disagree."""
    inner = item["fields"]
    outer = {name: value for name, value in item.items() if name != "fields"}
    for name in inner.keys() & (outer.keys() | {*MARKS}):
        if name in MARKS or canonical(inner[name]) != canonical(outer[name]):
            return None
    return {**inner, **outer}


def _keyed(row: Collection, item: Record, original: Json, ordered: Ordered, bare: Choice | None = None) -> One:
    """A record with its key; `bare` is the alternative that a bare value names, whose other fields are null."""
    record = _renamed(row, item)
    choice, why = (bare, None) if bare is not None else _chosen(row, record)
    if choice is None:
        return as_extra(original, why)
    if "" in record and row.rule not in BY_RECORD:
        return as_extra(original, NAMELESS)
    parts: list[Json] = []
    for name in choice.names:
        value = record.get(name)
        part = value if type(value) is int or value is None else key_part(value)
        if part is None and value is not None:
            return as_extra(original, f"{name} is neither an integer nor a string")
        parts.append(part)
        # Copied only if something changes: most records are used as they were decoded.
        if part is not value or name not in record:
            record = {**record, name: part} if record is item else record
            record[name] = part
    if row.adds:
        record, why = _summed(row, record, choice)
        if why is not None:
            return as_extra(original, why)
    if row.rule == "claim" and record.get("op") not in (None, *OPERATIONS):
        return as_extra(original, f"op is none of {', '.join(OPERATIONS)}")
    if choice.content is None:
        return (stored_key(choice, parts), record, None)
    text = content_text(choice, record)
    return (stored_key(choice, parts, text_mark(text) if text is not None else ordered(row, parts)), record, None)


def _renamed(row: Collection, item: Record) -> Record:
    """A record with the collection's own names for the fields of all keys; the same object if nothing changes."""
    record = item
    for field in row.aliased:
        if record.get(field.name) is None:
            alias = next((alias for alias in field.aliases if record.get(alias) is not None), None)
            if alias is not None:
                record = dict(record) if record is item else record
                record[field.name] = record.pop(alias)
    return record


def _chosen(row: Collection, record: Record) -> tuple[Choice | None, str | None]:
    """The first alternative whose fields are all present, or why there is none."""
    missing = []
    for choice in row.choices:
        absent = [field.name for field in choice.fields if record.get(field.name) is None and not field.nullable]
        if not absent:
            return choice, None
        missing.append(absent[0])
    return None, " and ".join(f"no {name}" for name in dict.fromkeys(missing))


def _summed(row: Collection, record: Record, choice: Choice) -> tuple[Record, str | None]:
    """A record with exact addends and ordinary numbers elsewhere, or why it cannot be added up."""
    if row.form == "counters" and "value" not in record:
        record = {**record, "value": 0}
    rules = row.rules
    found: Record = {}
    for name, value in record.items():
        if name in choice.names or rules.get(name, row.rule) != "sum":
            found[name] = doubles(value)
        elif (why := why_no_addend(value)) is not None:
            return record, why
        else:
            found[name] = exact(value)
    return found, None


def read_deletion(row: Collection, item: Json) -> One:
    """A deletion with the key of its entity: a bare key, a list of its parts, or a record with the key fields."""
    choice: Choice | None
    why: str | None = "not a key"
    if type(item) is dict:
        if not UNMARKED(item):
            return as_extra(item, MARKED)
        record = _renamed(row, item)
        choice, why = _chosen(row, record)
    elif type(item) is list:
        fits = [one for one in row.choices if len(one.names) + (one.content is not None) == len(item)]
        choice = fits[0] if fits else None
        names = (*choice.names, choice.content) if choice else ()
        record = {name: part for name, part in zip(names, item, strict=False) if name is not None}
    else:
        choice, record = _bare(row, item)
    if choice is None:
        return as_extra(item, why)
    parts: list[Json] = []
    for field in choice.fields:
        value = record.get(field.name)
        part = key_part(value)
        if part is None and (value is not None or type(item) is list) and not (field.nullable and value is None):
            return as_extra(item, f"{field.name} is neither an integer nor a string")
        parts.append(part)
    deletion = Deletion(zip(choice.names, parts, strict=True))
    if choice.content is None:
        return (stored_key(choice, parts), deletion, None)
    text = content_text(choice, record)
    if text is None:
        return as_extra(item, f"no {choice.content}")
    deletion[choice.content] = text
    return (stored_key(choice, parts, text_mark(text)), deletion, None)


def as_extra(item: Json, why: str | None = None) -> One:
    if type(item) is not dict:
        return (None, {"value": item}, why)
    if not UNMARKED(item):
        return (None, {"value": item}, why or MARKED)
    return (None, item, why)
