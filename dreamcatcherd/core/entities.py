"""How new records and deletions join one entity, under the rules of its collection (docs/protocol.md#the-merge,
docs/protocol.md#deletion).

Owns rules by field and deletions; `rules` has each rule on its own."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from dreamcatcherd.core.collections import Collection
from dreamcatcherd.core.deep import all_stamps, deep, leaves, leaves_written, without
from dreamcatcherd.core.model import Deletion, Json, Record, Stamp
from dreamcatcherd.core.rules import (
    FOLDS,
    Contributions,
    Entity,
    FieldFold,
    Stamped,
    added_up,
    by_field,
    earliest_value,
    largest,
    latest_value,
    smallest,
    united,
)

_FIELDS: Mapping[str, FieldFold] = {
    "lww": latest_value,
    "first": earliest_value,
    "max": largest,
    "min": smallest,
    "sum": added_up,
    "union": united,
    "deep": deep,
}

_DELETED = frozenset({"lww", "deep"})
"""Rules of fields that a deletion ends; the others keep what they have."""

_SILENT = frozenset({"max", "min", "first"})
"""Rules of fields whose stamp may be older than their last write."""


def fold_entity(row: Collection, old: Entity | None, brought: Contributions, keys: frozenset[str]) -> Entity:
    """The entity after new records and deletions, in order of their stamps; `keys` are the fields of its key."""
    if not row.fields and row.delete is None and (old is None or old.deleted is None):
        return FOLDS[row.rule](old, brought, keys)
    writes = [one for one in brought if type(one[1]) is not Deletion]
    deletions = [stamp for stamp, record in brought if type(record) is Deletion]
    if old is not None and old.deleted is not None:
        deletions.append(old.deleted)
    deleted = max(deletions, default=None)
    if by_field(row):
        return _by_field(row, old, brought, keys, deleted)
    # An entity that was only ever deleted has no stamp, so for a rule with one stamp it is as good as none.
    known = old if old is not None and old.stamps is not None else None
    if not writes:
        return (known or Entity(dict(old.record if old else brought[0][1]), None))._replace(deleted=deleted)
    entity = FOLDS[row.rule](known, writes, keys)._replace(deleted=deleted, latest=None)
    if row.rule not in ("dedup", "first"):
        return entity
    stamps = [stamp for stamp, _ in writes] + ([last_write(known)] if known else [])
    latest = max(stamp for stamp in stamps if stamp is not None)
    return entity._replace(latest=latest if latest != entity.stamps else None)


def _by_field(
    row: Collection, old: Entity | None, brought: Contributions, keys: frozenset[str], deleted: Stamp | None
) -> Entity:
    rules = row.rules
    record: Record = dict(old.record) if old is not None else {}
    stamps: dict[str, Json] = dict(old.stamps) if old is not None and isinstance(old.stamps, dict) else {}
    values: dict[str, list[Stamped]] = {}
    for stamp, item in brought:
        if old is None:
            record.update((name, item[name]) for name in keys)
        if type(item) is Deletion:
            continue
        quiet = True
        for name, value in item.items():
            if name not in keys:
                values.setdefault(name, []).append((value, stamp))
                quiet = quiet and row.delete is not None and rules.get(name, row.rule) in _SILENT
        # Such a write may leave no stamp at a field, and yet it says that the entity is there.
        if quiet:
            stamps[""] = max(stamp, stamps.get("", stamp))
    for name, pairs in values.items():
        # A field without stamp was deleted, or never written: the rules then begin anew.
        before = (record[name], stamps[name]) if name in stamps else None
        record[name], stamps[name] = _FIELDS[rules.get(name, row.rule)](before, pairs)
    if deleted is not None:
        _end(row, record, stamps, deleted)
    return Entity(record, stamps, deleted)


def _end(row: Collection, record: Record, stamps: dict[str, Json], deleted: Stamp) -> None:
    """Take away what a deletion ends: the fields that were not written later."""
    rules = row.rules
    for name, stamp in list(stamps.items()):
        rule = "lww" if name == "" else rules.get(name, row.rule)
        if rule == "deep":
            left = without(record[name], stamp, deleted)
            if left is not None:
                record[name], stamps[name] = left
                continue
        elif rule not in _DELETED or stamp > deleted:
            continue
        del stamps[name]
        record.pop(name, None)


def last_write(entity: Entity) -> Stamp | None:
    """The latest stamp that an entity has of a write."""
    if isinstance(entity.stamps, dict):
        return max(_stamps(entity.stamps), default=None)
    return entity.latest or entity.stamps


def _stamps(stamps: Mapping[str, Json]) -> Iterator[Stamp]:
    for stamp in stamps.values():
        if isinstance(stamp, Stamp):
            yield stamp
        else:
            yield from all_stamps(stamp)


def is_alive(entity: Entity) -> bool:
    """Whether an entity is there: it was not deleted, or was written later. Others are tombstones."""
    if entity.deleted is None:
        return True
    latest = last_write(entity)
    return latest is not None and latest > entity.deleted


def leaf_record(record: Record, rules: Mapping[str, str]) -> Record:
    """A record with the leaves of its deep fields as fields of their own, named by their paths."""
    if "deep" not in rules.values():
        return record
    found: Record = {}
    for name, value in record.items():
        found.update(leaves_written(value, name) if rules.get(name) == "deep" else [(name, value)])
    return found


def leaf_entity(entity: Entity, rules: Mapping[str, str]) -> Entity:
    """A stored entity in the same form, with the stamps of its leaves."""
    if not isinstance(entity.stamps, dict) or "deep" not in rules.values():
        return entity
    record, stamps = dict(entity.record), dict(entity.stamps)
    for name in rules:
        if rules[name] == "deep" and name in stamps:
            for path, value, stamp in leaves(record.pop(name), stamps.pop(name), name):
                record[path], stamps[path] = value, stamp
    return entity._replace(record=record, stamps=stamps)
