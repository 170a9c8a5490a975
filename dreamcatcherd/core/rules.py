"""The seven rules, a short function each: how one more record joins an entity (docs/protocol.md#the-merge).

Each is a join over deltas: commutative, associative, and idempotent, since a delta is merged once. Records arrive in
order of stamp and position. Records with equal stamps are of one delta, and the later record wins (for `dedup` and
`first` the earlier one)."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

from dreamcatcherd.core.codec import canonical
from dreamcatcherd.core.collections import RuleName
from dreamcatcherd.core.model import Json, Record, Stamp


class Entity(NamedTuple):
    """A merged entity: the record, key fields included, and either one stamp or one for each field."""

    record: Record
    stamps: Stamp | dict[str, Stamp]


Contributions = Sequence[tuple[Stamp, Record]]
"""Everything that the new deltas bring to one entity, in order of stamps and positions."""

Join = Callable[[Entity | None, Record, Stamp, frozenset[str]], Entity]
"""`(entity so far, one more record, its stamp, key fields) -> joined entity`."""

BY_FIELD: frozenset[RuleName] = frozenset({"lww", "max"})
"""Rules whose entities have a stamp for each field."""


def lww(entity: Entity | None, brought: Contributions, keys: frozenset[str]) -> Entity:
    """Each field has its latest value."""
    newer = newer_fields(entity, brought)
    fields, stamps = (dict(entity.record), dict(_by_name(entity))) if entity else ({}, {})
    for stamp, record in brought:
        winning = winning_fields(record, stamp, newer)
        fields.update(winning)
        stamps.update(dict.fromkeys(winning, stamp))
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
    fields, stamps = (dict(entity.record), dict(_by_name(entity))) if entity else (dict(brought[0][1]), {})
    for stamp, record in brought:
        for name, value in record.items():
            if name in keys:
                continue
            if name in stamps:
                # Equal values keep the earliest stamp: it says who brought the value, whatever the order of arrival.
                old_rank, new_rank = value_order(fields[name]), value_order(value)
                if new_rank < old_rank or (new_rank == old_rank and stamp >= stamps[name]):
                    continue
            fields[name], stamps[name] = value, stamp
    return Entity(fields, stamps)


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
                fields[name] = fields.get(name, 0) + value
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
    if type(value) in (int, float):
        return (2, value, raw)
    if type(value) is str:
        return (3, value, raw)
    return (4 if type(value) is list else 5, raw, raw)


def _by_name(entity: Entity) -> dict[str, Stamp]:
    if isinstance(entity.stamps, Stamp):
        raise AssertionError("an entity of this rule has a stamp for each field")
    return entity.stamps


def _one(entity: Entity) -> Stamp:
    if isinstance(entity.stamps, dict):
        raise AssertionError("an entity of this rule has one stamp")
    return entity.stamps


def _latest(entity: Entity | None, brought: Contributions) -> Stamp:
    stamps = [stamp for stamp, _ in brought]
    return max([*stamps, _one(entity)] if entity else stamps)


def _some(entity: Entity | None) -> Entity:
    if entity is None:
        raise AssertionError("a change brings at least one record")
    return entity
