"""Keys of entities: which alternative a record has, the key that is stored, and the key that people see
(docs/protocol.md#keys).

A stored key is a list of its parts, the near part of the snapshot's layout among them. A text that is part of the key
is there as a digest; an appended record has its stamp and position instead. Where two alternatives have equally many
parts, the names of the fields follow as a list, which no part can be."""

from __future__ import annotations

import hashlib
import re

from dreamcatcherd.core.codec import canonical
from dreamcatcherd.core.collections import Choice, Collection, KeyField
from dreamcatcherd.core.model import Json, Record

_DECIMAL = re.compile(r"0|-?[1-9][0-9]{0,4298}")
NUMERIC = frozenset("-0123456789")
"""The first characters of a string that may be a decimal."""


def key_part(value: Json) -> int | str | None:
    """A value as a key part: integers and strings; a decimal string is the integer; None if the value cannot be one."""
    if type(value) is str:
        if value[:1] in NUMERIC and _DECIMAL.fullmatch(value):
            return int(value)
        return value
    return value if type(value) is int else None


def choice_of(row: Collection, record: Record) -> Choice:
    """The alternative by which a stored record is keyed."""
    choices = row.choices
    if len(choices) == 1:
        return choices[0]
    for choice in choices:
        if all(_is_part(record, field) for field in choice.fields):
            return choice
    # A bare string names some of the fields; the others are there as null.
    for choice in choices:
        if all(name in record for name in choice.names):
            return choice
    raise AssertionError(f"a stored record of {row.name} has no key")


def _is_part(record: Record, field: KeyField) -> bool:
    """Whether a stored record has a key part in a field. Another alternative's field may have been null when the record
    was keyed, and be a set by now."""
    value = record.get(field.name)
    return type(value) in (int, str) or (value is None and field.nullable and field.name in record)


def choice_of_key(row: Collection, key: list[Json]) -> Choice:
    """The alternative that a stored key was made by."""
    choices = row.choices
    if len(choices) == 1:
        return choices[0]
    if names := _names_in(key):
        return next(choice for choice in choices if choice.apart and list(choice.names) == names)
    return next(choice for choice in choices if len(choice.names) + (choice.content is not None) == len(key))


def _names_in(key: list[Json]) -> list[str] | None:
    last = key[-1]
    return last if type(last) is list and type(last[0]) is str else None


def stored_key(choice: Choice, parts: list[Json], last: Json = None) -> list[Json]:
    """The stored key of its parts; `last` is the digest of a text, or the order of an appended record."""
    key = parts if last is None else [*parts, last]
    return [*key, list(choice.names)] if choice.apart else key


def order_in_key(key: list[Json]) -> list[Json] | None:
    """The stamp and position of an appended record, from its stored key; None for any other."""
    for part in key[-2:]:
        if type(part) is list and type(part[0]) is int:
            return part
    return None


def content_text(choice: Choice, record: Record) -> str | None:
    """The text that is part of a record's key; None if it has none, and is appended."""
    text = record.get(choice.content) if choice.content is not None else None
    return text if type(text) is str and text else None


def text_mark(text: str) -> str:
    """A digest of a text for the stored key, so that a long text is not written twice."""
    return hashlib.sha256(b"text\0" + text.encode()).hexdigest()


def key_of_record(row: Collection, record: Record, order: Json = None) -> list[Json]:
    """The stored key of a stored record; `order` is the stamp and position that it has if it is appended."""
    choice = choice_of(row, record)
    parts = [record[name] for name in choice.names]
    if choice.content is None:
        return stored_key(choice, parts)
    text = content_text(choice, record)
    return stored_key(choice, parts, text_mark(text) if text is not None else order)


def natural_key(row: Collection, record: Record) -> Json:
    """The key for people: one value, or a list if it has several parts; an object by field where two alternatives have
    equally many parts. An appended record has no part for its missing text."""
    choice = choice_of(row, record)
    parts: list[Json] = [record[name] for name in choice.names]
    names = list(choice.names)
    if (text := content_text(choice, record)) is not None:
        parts.append(text)
        names.append(choice.content or "")
    if choice.apart:
        return dict(zip(names, parts, strict=False))
    return parts[0] if len(parts) == 1 else parts


def names_entity(row: Collection, key: Json) -> bool:
    """Whether a natural key names one entity. That of an appended record lacks its text, and may be that of several."""
    parts = len(key) if isinstance(key, list | dict) else 1
    return any(parts == len(one.names) + (one.content is not None) for one in row.choices)


def sort_key(value: Json) -> tuple[object, ...]:
    """Natural-key order, part by part: null, integers, strings by code point, then anything else."""
    if type(value) is dict:
        return (*map(_part_order, value.values()), *map(_part_order, value))
    return tuple(map(_part_order, value)) if type(value) is list else (_part_order(value),)


def _part_order(part: Json) -> tuple[object, ...]:
    if part is None:
        return (0, 0)
    if type(part) is int:
        return (1, part)
    if type(part) is str:
        return (2, part)
    return (3, canonical(part))
