"""Sections of a delta to records and deletions with their keys, as the simple model reads them."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, NamedTuple

from tests.law.rows import Alternative, Row
from tests.law.sent import look, without
from tests.law.values import is_number, plain, text

RESERVED = {"_stamp", "_stamps", "_deleted"}
OPS = ("claim", "renew", "release")


class Key(NamedTuple):
    """The parts of a key, with the fields that they stand in; a text that is the last part stands in `content`."""

    fields: tuple[str, ...]
    parts: tuple[Any, ...]
    confusable: bool = False
    content: str | None = None

    def shown(self) -> Any:
        """The key as people see it: one value, a list of parts, or an object where another alternative is as long."""
        if self.confusable:
            return dict(zip((*self.fields, self.content), self.parts, strict=False))
        return self.parts[0] if len(self.parts) == 1 else list(self.parts)

    def own(self) -> dict[str, Any]:
        """The key fields with their values; a text that is part of the key is no field of it."""
        return dict(zip(self.fields, self.parts, strict=False))


class Placed(NamedTuple):
    """One record or one deletion of a delta, and where it belongs; records without a key are appended as they come."""

    collection: str
    row: Row | None
    key: Key | None
    record: dict[str, Any]
    appended: bool = False
    deletes: bool = False


class _Member(NamedTuple):
    """A member of an object by name: the record that it is, and what is kept of it where that does not fit."""

    item: Any
    given: Any


_NO_RECORD = object()


def place(rows: Mapping[str, Row], document: dict[str, Any]) -> list[Placed]:
    """All that a delta brings, in order; what does not fit is in `extra/<section>`."""
    found: list[Placed] = []
    body = document
    for row in rows.values():
        for section in [*row.sections, *([row.delete] if row.delete else [])]:
            path = [section] if section in document else section.split(".")
            if look(document, path) is not None:
                deletes = section == row.delete
                for item in _items(row, look(document, path), deletes):
                    given = item.given if isinstance(item, _Member) else item
                    read = item.item if isinstance(item, _Member) else item
                    fit = None if read is _NO_RECORD else _doomed(row, read) if deletes else _fit(row, read)
                    found.append(fit or _extra(section, given))
            if _stands(document, path):
                body = without(body, path)
    for section, value in body.items():
        found += [_extra(section, item) for item in _listed(value)]
    return found


def _stands(value: Any, path: list[str]) -> bool:
    """Whether a path is there, whatever stands at it."""
    parent = look(value, path[:-1])
    return isinstance(parent, dict) and path[-1] in parent


def _listed(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [] if value is None else [value]


def _extra(section: str, item: Any) -> Placed:
    record = item if isinstance(item, dict) and not RESERVED & item.keys() else {"value": item}
    return Placed(f"extra/{section}", None, None, record, appended=True)


def _items(row: Row, value: Any, deletes: bool) -> list[Any]:
    """The items of a section: of an object by name, its members."""
    if not isinstance(value, dict) or row.form == "records" or deletes:
        return _listed(value)
    of_form = is_number if row.form == "counters" else lambda inner: isinstance(inner, dict)
    field = row.key[0][0][0]
    if all(map(of_form, value.values())) or key_part(value.get(field)) is None:
        return [
            _member(row, field, name, inner) if of_form(inner) else _Member(_NO_RECORD, {name: inner})
            for name, inner in value.items()
        ]
    return [value]


def _member(row: Row, field: str, name: str, inner: Any) -> Any:
    if row.form == "counters":
        return {field: name, "value": inner}
    if row.form == "profiles":
        return {field: name, "fields": inner}
    other = inner.get(field) is not None and key_part(inner[field]) != key_part(name)
    return _Member(_NO_RECORD if other else {**inner, field: name}, {name: inner})


def key_part(value: Any) -> Any:
    """A value as part of a key, a decimal string as the integer; None if it cannot be one."""
    if isinstance(value, str):
        return int(value) if re.fullmatch(r"0|-?[1-9][0-9]*", value) else value
    return value if type(value) is int else None


def _fit(row: Row, item: Any) -> Placed | None:
    """A record with its key; None if it does not fit."""
    if isinstance(item, dict) and RESERVED & item.keys():
        return None
    if row.rule == "append":
        return Placed(row.name, row, None, item if isinstance(item, dict) else {"value": item}, appended=True)
    if not isinstance(item, dict):
        found = _bare(row, item)
    elif row.form == "profiles" and isinstance(item.get("fields"), dict):
        flat = _flat(item)
        found = None if flat is None else _named(row, flat)
    else:
        found = _named(row, dict(item))
    placed = _keyed(row, *found) if found else None
    if placed is None or placed.key is None:
        return None
    record = placed.record
    if row.form == "counters":
        record.setdefault("value", 0)
    if "" in record and row.rule not in ("dedup", "first", "claim"):
        return None
    fields = record.keys() - set(placed.key.fields)
    if any(row.rule_of(name) == "sum" and not is_number(record[name]) for name in fields):
        return None
    if row.rule == "claim" and record.get("op") not in (None, *OPS):
        return None
    return placed


def _doomed(row: Row, item: Any) -> Placed | None:
    """A deletion with its key; None if it does not fit."""
    if isinstance(item, list):
        names = [(one, _own(one) + ([str(row.content)] if row.is_keyed_by_text(one) else [])) for one in row.key]
        of_length = [(one, dict(zip(own, item, strict=True)), False) for one, own in names if len(own) == len(item)]
        found = of_length[0] if of_length else None
    elif not isinstance(item, dict):
        found = _bare(row, item)
    else:
        found = None if RESERVED & item.keys() else _named(row, dict(item))
    placed = _keyed(row, *found) if found else None
    # A record without the text of its key cannot be named.
    return placed._replace(deletes=True) if placed is not None and not placed.appended else None


_Read = tuple[Alternative, dict[str, Any], bool]
"""A record, the alternative that keys it, and whether nulls are parts of its key."""


def _flat(item: dict[str, Any]) -> dict[str, Any] | None:
    """`{"agent": …, "fields": {…}}` as one record; None if the two disagree."""
    inner, outer = item["fields"], {name: value for name, value in item.items() if name != "fields"}
    if RESERVED & inner.keys() or any(
        text(plain(inner[name])) != text(plain(outer[name])) for name in inner.keys() & outer.keys()
    ):
        return None
    return {**inner, **outer}


def _named(row: Row, record: dict[str, Any]) -> _Read | None:
    """A record whose fields have the row's own names, and the first alternative that it has."""
    for names in [names for alternative in row.key for names in alternative]:
        own, *aliases = names
        given = [alias for alias in aliases if record.get(alias) is not None]
        if record.get(own) is None and given:
            record[own] = record.pop(given[0])
    for alternative in row.key:
        if all(record.get(own) is not None or own in row.nullable for own in _own(alternative)):
            return alternative, record, False
    return None


def _bare(row: Row, item: Any) -> _Read | None:
    """A bare string or integer as a record."""
    if key_part(item) is None:
        return None
    for pattern in row.scalar if isinstance(item, str) else ():
        fields = _matched(pattern, item)
        if fields:
            alternative = next(one for one in row.key if fields.keys() <= set(_own(one)))
            return alternative, {**dict.fromkeys(_own(alternative)), **fields}, True
    for alternative in row.key:
        if len(alternative) == 1 and not row.is_keyed_by_text(alternative):
            return alternative, {alternative[0][0]: item}, False
    return None


def _matched(pattern: str, item: str) -> dict[str, str] | None:
    """The fields of a bare string, separated where the text between them is first found; None if it does not match."""
    before, *pairs = re.split(r"\{([^}]*)\}", pattern)
    if not item.startswith(before):
        return None
    rest, found = item[len(before) :], {}
    for number in range(0, len(pairs), 2):
        name, after = pairs[number], pairs[number + 1]
        end = rest.find(after) if after else len(rest)
        if end < 1:
            return None
        found[name], rest = rest[:end], rest[end + len(after) :]
    return found if not rest else None


def _keyed(row: Row, alternative: Alternative, record: dict[str, Any], nulls: bool) -> Placed | None:
    """A record under the key of one alternative; None if a part of it is neither integer nor string."""
    record = dict(record)
    for own in _own(alternative):
        value = record.get(own)
        record[own] = key_part(value)
        if record[own] is None and not (value is None and (nulls or own in row.nullable)):
            return None
    parts = [record[own] for own in _own(alternative)]
    body = record.get(row.content) if row.content else None
    texts = [body] if row.is_keyed_by_text(alternative) and isinstance(body, str) and body else []
    key = Key(tuple(_own(alternative)), (*parts, *texts), row.is_confusable(alternative), row.content)
    return Placed(row.name, row, key, record, appended=row.is_keyed_by_text(alternative) and not texts)


def _own(alternative: Alternative) -> list[str]:
    return [names[0] for names in alternative]


def order_of(key: Any) -> tuple[Any, ...]:
    """The place of a key among those of its collection, part by part: null, integers, strings."""
    parts = [*key.values(), *key] if isinstance(key, dict) else key if isinstance(key, list) else [key]
    return tuple((0, 0) if part is None else (1, part) if isinstance(part, int) else (2, part) for part in parts)


def key_of(row: Row, record: Mapping[str, Any]) -> Key:
    """The key of a stored record."""
    for nulls in (False, True):
        for alternative in row.key:
            own = _own(alternative)
            some = nulls and own[0] in record and record[own[0]] is not None
            if some or all(record.get(name) is not None or name in row.nullable for name in own):
                placed = _keyed(row, alternative, {**dict.fromkeys(own), **record}, nulls)
                assert placed is not None
                assert placed.key is not None
                return placed.key
    raise AssertionError(f"no key of {row.name} in {record}")
