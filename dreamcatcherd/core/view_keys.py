"""The names of entities in views of the shape map, and back (docs/protocol.md#views).

A key of one part is its text. Parts of a key of several parts are percent-encoded and joined by slashes, so that two
keys never share a name. What no percent-encoded text holds says the rest: `*` is null, `field=` comes before each part
where two alternatives have equally many, and `*3` is the fourth record whose key lacks its text."""

from __future__ import annotations

import re
from collections.abc import Sequence
from urllib.parse import quote, unquote

from dreamcatcherd.core.collections import Choice, Collection
from dreamcatcherd.core.keys import choice_of, content_text
from dreamcatcherd.core.model import Json, Record

_NUMBER = re.compile(r"\*(0|[1-9][0-9]{0,17})")
_NULL = "*"


def _is_simple(row: Collection) -> bool:
    """Whether each key of a collection is one value, whose text needs no mark."""
    return len(row.key) == 1 and len(row.key[0]) == 1 and row.content is None


def names_in_map(row: Collection, records: Sequence[Record]) -> list[str]:
    """The name of each record in a map; records are in natural-key order. Those that only differ by the text that they
    lack are counted."""
    if _is_simple(row):
        field = row.key[0][0].name
        return [_text(record[field]) for record in records]
    found: list[str] = []
    last: str | None = None
    number = 0
    for record in records:
        name, complete = _joined(row, record)
        if not complete:
            number = number + 1 if name == last else 0
            last = name
            name = f"{name}/*{number}" if name else f"*{number}"
        found.append(name)
    return found


def _joined(row: Collection, record: Record) -> tuple[str, bool]:
    """A record's name, and whether its key has all its parts."""
    choice = choice_of(row, record)
    parts = [(name, record[name]) for name in choice.names]
    complete = choice.content is None
    if choice.content is not None and (text := content_text(choice, record)) is not None:
        parts.append((choice.content, text))
        complete = True
    texts = [_NULL if part is None else quote(_text(part), safe="") for _, part in parts]
    if choice.apart:
        texts = [f"{quote(name, safe='')}={text}" for (name, _), text in zip(parts, texts, strict=True)]
    return "/".join(texts), complete


def key_names(row: Collection, record: Record) -> frozenset[str]:
    """The fields that a map leaves out of a record, since its name says them."""
    choice = choice_of(row, record)
    has_text = content_text(choice, record) is not None
    return frozenset((*choice.names, choice.content) if choice.content and has_text else choice.names)


def fields_named(row: Collection, name: str) -> Record | None:
    """The key fields that a name in a map says; None if no key of the collection has such a name."""
    if _is_simple(row):
        return {row.key[0][0].name: name}
    for choice in row.choices:
        if (fields := _fields(choice, name)) is not None:
            return fields
    return None


def _fields(choice: Choice, name: str) -> Record | None:
    texts = name.split("/")
    names = [*choice.names]
    if choice.content is not None and _NUMBER.fullmatch(texts[-1]):
        texts.pop()
    elif choice.content is not None:
        names.append(choice.content)
    if len(texts) != len(names):
        return None
    fields: Record = {}
    for field, text in zip(names, texts, strict=True):
        part = text
        if choice.apart:
            said, mark, part = text.partition("=")
            if not mark or unquote(said) != field:
                return None
        if _NULL in part and part != _NULL:
            return None
        fields[field] = None if part == _NULL else unquote(part)
    return fields


def place_in_map(name: str) -> tuple[str, int]:
    """By this, the records of one key that lacks its text come in their order."""
    before, _, last = name.rpartition("/")
    found = _NUMBER.fullmatch(last)
    return (before, int(found[1])) if found else (name, 0)


def _text(part: Json) -> str:
    return part if type(part) is str else str(part)
