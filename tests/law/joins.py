"""The rules of the simple model: an entity from everything that all deltas bring to it, in order."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

from tests.law.deep import deep, stamps_in
from tests.law.records import Key
from tests.law.rows import Row
from tests.law.sent import Stamp
from tests.law.values import plain, rank, text, total

Values = list[tuple[Stamp, Any]]
"""The values that were brought to one field, with their stamps, in order."""

Joined = tuple[Any, Any]
"""A field's value and its stamp (under `deep`: its stamps)."""


def entity(row: Row, key: Key, writes: list[tuple[Stamp, dict[str, Any]]], deletions: list[Stamp]) -> dict[str, Any]:
    """The record of an export: fields, `_stamp` or `_stamps`, and `_deleted` if it was ever deleted."""
    deleted = max(deletions, default=None)
    if row.by_field:
        found = _by_field(row, key, writes, deleted)
    elif row.rule in ("sum", "union"):
        found = {**key.own(), **{name: joined[0] for name, joined in _fields(row, key, writes, deleted).items()}}
        if writes:
            found["_stamp"] = list(writes[-1][0])
    else:
        found = plain(writes[0][1]) if writes else key.own()
        if writes:
            found["_stamp"] = list(writes[0][0])
        if row.delete and writes and writes[0][0] != writes[-1][0]:
            found["_stamps"] = {"": list(writes[-1][0])}
    return found if deleted is None else {**found, "_deleted": list(deleted)}


def is_alive(record: dict[str, Any]) -> bool:
    """Whether an exported record is an entity, and not a tombstone."""
    deleted = record.get("_deleted")
    stamps = [record["_stamp"]] if "_stamp" in record else []
    stamps += [stamp for inner in record.get("_stamps", {}).values() for stamp in stamps_in(inner)]
    return deleted is None or any(stamp > deleted for stamp in stamps)


def _by_field(row: Row, key: Key, writes: list[tuple[Stamp, dict[str, Any]]], deleted: Stamp | None) -> dict[str, Any]:
    fields = _fields(row, key, writes, deleted)
    stamps = {name: joined[1] for name, joined in fields.items()}
    bare = [stamp for stamp, record in writes if _leaves_no_stamp(row, key, record)]
    if bare and (deleted is None or bare[-1] > deleted):
        stamps[""] = list(bare[-1])
    return {**key.own(), **{name: joined[0] for name, joined in fields.items()}, "_stamps": stamps}


def _leaves_no_stamp(row: Row, key: Key, record: dict[str, Any]) -> bool:
    """Whether a write may leave no stamp of its own in any field, so that it is stamped under the empty name."""
    others = {name: value for name, value in record.items() if name not in key.fields}
    if not row.delete:
        return not others
    return all(row.rule_of(name) in ("max", "min", "first") for name in others)


def _fields(row: Row, key: Key, writes: list[tuple[Stamp, dict[str, Any]]], deleted: Stamp | None) -> dict[str, Joined]:
    brought: dict[str, Values] = {}
    for stamp, record in writes:
        for name, value in record.items():
            if name not in key.fields:
                brought.setdefault(name, []).append((stamp, value))
    joined = {name: RULES[row.rule_of(name)](values, deleted) for name, values in brought.items()}
    return {name: one for name, one in joined.items() if one is not None}


def _last(values: Values, deleted: Stamp | None) -> Joined | None:
    stamp, value = values[-1]
    return None if deleted is not None and stamp <= deleted else (plain(value), list(stamp))


def _first(values: Values, deleted: Stamp | None) -> Joined:
    return plain(values[0][1]), list(values[0][0])


def _total(values: Values, deleted: Stamp | None) -> Joined:
    return total([value for _, value in values]), list(values[-1][0])


def _largest(values: Values, deleted: Stamp | None) -> Joined:
    best = max(rank(plain(value)) for _, value in values)
    return next((plain(value), list(stamp)) for stamp, value in values if rank(plain(value)) == best)


def _smallest(values: Values, deleted: Stamp | None) -> Joined:
    best = min(rank(plain(value)) for _, value in values)
    return next((plain(value), list(stamp)) for stamp, value in values if rank(plain(value)) == best)


def _union(values: Values, deleted: Stamp | None) -> Joined:
    every = {text(one) for _, value in values for one in (plain(value) if isinstance(value, list) else [plain(value)])}
    return [json.loads(one) for one in sorted(every)], list(values[-1][0])


def _deep(values: Values, deleted: Stamp | None) -> Joined | None:
    return deep([(stamp, plain(value)) for stamp, value in values], deleted)


RULES: dict[str, Callable[[Values, Stamp | None], Joined | None]] = {
    "lww": _last,
    "first": _first,
    "sum": _total,
    "max": _largest,
    "min": _smallest,
    "union": _union,
    "deep": _deep,
}
