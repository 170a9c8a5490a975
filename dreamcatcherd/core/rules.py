"""The rules, a short function each: how more records join an entity (docs/protocol.md#the-merge).

Each is a join over deltas: commutative, associative, and idempotent, since a delta is merged once. Records arrive in
order of stamp and position. Records with equal stamps are of one delta, and the later record wins (for `dedup` and
`first` the earlier one)."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple, TypeVar

from dreamcatcherd.core.codec import Exact, canonical
from dreamcatcherd.core.collections import Collection, RuleName
from dreamcatcherd.core.decimals import add
from dreamcatcherd.core.model import Json, Record, Stamp

_F = TypeVar("_F")

DeepStamps = Any
"""The stamps inside an object that is merged leaf by leaf; `deep` has their form."""


class Entity(NamedTuple):
    """A merged entity: the record, key fields included, and either one stamp or one for each field.

    A write of nothing but the key has its stamp under the name "". An entity that was only ever deleted has no stamp at
    all. `latest` is the last write under `dedup` and `first`, if it is another one than the record's and the
    collection has deletions."""

    record: Record
    stamps: Stamp | dict[str, DeepStamps] | None
    deleted: Stamp | None = None
    latest: Stamp | None = None


Contributions = Sequence[tuple[Stamp, Record]]
"""Everything that the new deltas bring to one entity, in order of stamps and positions."""

Join = Callable[[Entity | None, Record, Stamp, frozenset[str]], Entity]
"""`(entity so far, one more record, its stamp, key fields) -> joined entity`."""

BY_FIELD: frozenset[RuleName] = frozenset({"lww", "max", "min"})
"""Rules whose entities have a stamp for each field."""


def by_field(row: Collection) -> bool:
    """Whether the entities of a collection have a stamp for each field."""
    return row.rule in BY_FIELD or bool(row.fields)


def lww(entity: Entity | None, brought: Contributions, keys: frozenset[str]) -> Entity:
    """Each field has its latest value."""
    newer = newer_fields(entity, brought)
    fields, stamps = (dict(entity.record), dict(_by_name(entity))) if entity else ({}, {})
    for stamp, record in brought:
        winning = winning_fields(record, stamp, newer)
        fields.update(winning)
        stamps.update(dict.fromkeys(winning, stamp))
        if len(record) == len(keys) and stamp >= stamps.get("", stamp):
            stamps[""] = stamp
    # Key fields are the same in every record of an entity, so a stamp of theirs would say nothing.
    for key in keys:
        stamps.pop(key, None)
    return Entity(fields, stamps)


def newer_fields(entity: Entity | None, brought: Contributions) -> dict[str, Stamp]:
    """The stored fields with a later stamp than the first record brought. Only a late delta finds any, so an empty
    result spares `winning_fields` a comparison for each field."""
    first = brought[0][0]
    return {name: stamp for name, stamp in _by_name(entity).items() if stamp > first} if entity else {}


def winning_fields(record: Record, stamp: Stamp, newer: Mapping[str, Stamp]) -> Record:
    """The fields of a record that no later stamp has set, under `lww`; key fields among them."""
    if not newer:
        return record
    return {name: value for name, value in record.items() if name not in newer or newer[name] <= stamp}


def maximum(entity: Entity | None, brought: Contributions, keys: frozenset[str]) -> Entity:
    """Each field has its largest value, with the stamp that brought it first."""
    return _extreme(entity, brought, keys, largest)


def minimum(entity: Entity | None, brought: Contributions, keys: frozenset[str]) -> Entity:
    """Each field has its smallest value, with the stamp that brought it first."""
    return _extreme(entity, brought, keys, smallest)


def _extreme(entity: Entity | None, brought: Contributions, keys: frozenset[str], fold: FieldFold) -> Entity:
    fields, stamps = (dict(entity.record), dict(_by_name(entity))) if entity else (dict(brought[0][1]), {})
    for stamp, record in brought:
        for name, value in record.items():
            if name not in keys:
                old = (fields[name], stamps[name]) if name in stamps else None
                fields[name], stamps[name] = fold(old, [(value, stamp)])
        if len(record) == len(keys):
            stamps[""] = max(stamp, stamps.get("", stamp))
    return Entity(fields, stamps)


Stamped = tuple[Json, Stamp]
"""A value of a field with its stamp."""

FieldFold = Callable[[Stamped | None, Sequence[Stamped]], Stamped]
"""`(value so far, more values in order of their stamps) -> joined value`."""


def latest_value(old: Stamped | None, brought: Sequence[Stamped]) -> Stamped:
    """The value with the latest stamp; of equal stamps the later one."""
    found = old
    for value, stamp in brought:
        if found is None or stamp >= found[1]:
            found = (value, stamp)
    return _some(found)


def earliest_value(old: Stamped | None, brought: Sequence[Stamped]) -> Stamped:
    """The value with the earliest stamp; of equal stamps the earlier one."""
    found = old
    for value, stamp in brought:
        if found is None or stamp < found[1]:
            found = (value, stamp)
    return _some(found)


def largest(old: Stamped | None, brought: Sequence[Stamped]) -> Stamped:
    """The largest value, with the stamp that brought it first."""
    # Equal values keep the earliest stamp: it says who brought the value, whatever the order of arrival.
    return _best(old, brought, lambda order, other: order > other)


def smallest(old: Stamped | None, brought: Sequence[Stamped]) -> Stamped:
    """The smallest value, with the stamp that brought it first."""
    return _best(old, brought, lambda order, other: order < other)


def _best(
    old: Stamped | None, brought: Sequence[Stamped], better: Callable[[tuple[Any, ...], tuple[Any, ...]], bool]
) -> Stamped:
    found = old
    for value, stamp in brought:
        if found is not None:
            order, other = value_order(value), value_order(found[0])
            if not better(order, other) and (order != other or stamp >= found[1]):
                continue
        found = (value, stamp)
    return _some(found)


def added_up(old: Stamped | None, brought: Sequence[Stamped]) -> Stamped:
    """The sum of all values; the stamp is the latest."""
    result: Json = old[0] if old else 0
    for value, _ in brought:
        result = add(result, value)
    return result, max([stamp for _, stamp in brought] + ([old[1]] if old else []))


def united(old: Stamped | None, brought: Sequence[Stamped]) -> Stamped:
    """The set of all values, as a list in canonical order; the stamp is the latest."""
    found = {canonical(item): item for item in (old[0] if old else ())}
    for value, _ in brought:
        found.update((canonical(item), item) for item in (value if type(value) is list else (value,)))
    return [found[key] for key in sorted(found)], max([stamp for _, stamp in brought] + ([old[1]] if old else []))


def earliest(entity: Entity | None, brought: Contributions, keys: frozenset[str]) -> Entity:
    """The complete record of the earliest stamp (`dedup`, `first`)."""
    for stamp, record in brought:
        if entity is None or stamp < _one(entity):
            entity = Entity(record, stamp)
    return _some(entity)


def total(entity: Entity | None, brought: Contributions, keys: frozenset[str]) -> Entity:
    """Each field is the sum over all deltas; the stamp is the latest."""
    fields = dict(entity.record if entity else brought[0][1])
    for _, record in brought if entity else brought[1:]:
        for name, value in record.items():
            if name not in keys:
                fields[name] = add(fields.get(name, 0), value)
    return Entity(fields, _latest(entity, brought))


def union(entity: Entity | None, brought: Contributions, keys: frozenset[str]) -> Entity:
    """Each field is the set of all values brought, as a list in canonical order; the stamp is the latest."""
    fields = dict(entity.record) if entity else {name: brought[0][1][name] for name in brought[0][1] if name in keys}
    distinct: dict[str, dict[bytes, Json]] = {}
    for _, record in brought:
        for name, value in record.items():
            if name not in keys:
                if name not in distinct:
                    distinct[name] = {canonical(item): item for item in fields.get(name, ())}
                values = value if type(value) is list else (value,)
                distinct[name].update((canonical(item), item) for item in values)
    for name, found in distinct.items():
        fields[name] = [found[key] for key in sorted(found)]
    return Entity(fields, _latest(entity, brought))


FOLDS: dict[RuleName, Callable[[Entity | None, Contributions, frozenset[str]], Entity]] = {
    "lww": lww,
    "max": maximum,
    "min": minimum,
    "dedup": earliest,
    "first": earliest,
    "sum": total,
    "union": union,
}
"""The rules over all records of one entity together, so that the cost follows the new records and not the size of the
entity for each. `append` does not join entities: each record is one of its own."""


def _joining(rule: RuleName) -> Join:
    return lambda entity, record, stamp, keys: FOLDS[rule](entity, [(stamp, record)], keys)


MERGE_RULES: dict[RuleName, Join] = {rule: _joining(rule) for rule in FOLDS}
"""The rules for one more record."""


def value_order(value: Json) -> tuple[int, object, bytes]:
    """A total order over JSON values: null, booleans, numbers by size, strings, lists, objects by canonical bytes."""
    raw = canonical(value)
    if value is None or type(value) is bool:
        return (0 if value is None else 1, bool(value), raw)
    if type(value) in (int, float, Exact):
        return (2, value, raw)
    if type(value) is str:
        return (3, value, raw)
    return (4 if type(value) is list else 5, raw, raw)


def _by_name(entity: Entity | None) -> dict[str, DeepStamps]:
    if entity is None or not isinstance(entity.stamps, dict):
        raise AssertionError("an entity of this rule has a stamp for each field")
    return entity.stamps


def _one(entity: Entity) -> Stamp:
    if not isinstance(entity.stamps, Stamp):
        raise AssertionError("an entity of this rule has one stamp")
    return entity.stamps


def _latest(entity: Entity | None, brought: Contributions) -> Stamp:
    stamps = [stamp for stamp, _ in brought]
    return max([*stamps, _one(entity)] if entity else stamps)


def _some(found: _F | None) -> _F:
    if found is None:
        raise AssertionError("a change brings at least one record")
    return found
