"""The lines of keyed entities in a snapshot: `[key, record, stamps]`, then the deletion and the last write where there
are any (design: docs/architecture.md, "The snapshot").

Owns what a line says; `snapshot` owns where it is."""

from __future__ import annotations

from functools import lru_cache

from dreamcatcherd.core.codec import canonical, canonical_each, decode, decode_exact, stamp_of
from dreamcatcherd.core.collections import Collection
from dreamcatcherd.core.decimals import doubles_but_sums
from dreamcatcherd.core.deep import all_stamps, has_form_of, stamps_from, uniform
from dreamcatcherd.core.keys import choice_of_key
from dreamcatcherd.core.model import Json, Record, Stamp
from dreamcatcherd.core.rules import Entity, by_field
from dreamcatcherd.core.shards import line_of, parts_of

FIELDS_APART = 256
"""Up to how many fields each has its own stamp in the line. A field may be a few bytes, and a stamp is 100."""


def fresh_lines(row: Collection, raw_keys: list[bytes], records: list[Record], raw_stamps: list[bytes]) -> list[bytes]:
    """The lines of entities that one record each makes; empty where `combine` must make them.

    They have the bytes that `entity_line` would give them. Most lines of a frame are such lines, and joining each
    record with nothing would take several times as long."""
    if not _is_fresh_as_it_is(row):
        return [b""] * len(records)
    parts = zip(raw_keys, canonical_each(records), raw_stamps, strict=True)
    return [b"[%b,\t%b,\t%b]" % one for one in parts]


@lru_cache(maxsize=256)
def _is_fresh_as_it_is(row: Collection) -> bool:
    """Whether the record of a new entity is stored as it was brought, with the stamp of its delta for all of it."""
    rules = {row.rule, *(rule for _, rule in row.fields)}
    # A set must be sorted and made distinct, and a claim decided. Where there are deletions, some writes have a stamp
    # besides those of their fields.
    return not rules & {"union", "claim"} and not (row.delete is not None and by_field(row) and rules - {"lww", "deep"})


def entity_line(raw_key: bytes, entity: Entity) -> bytes:
    """The line of a keyed entity. Stamps by field that are all equal are written once. If an entity has very many
    fields, each stamp is written once, with the fields that have it. A deletion, and the last write where it is not the
    record's, follow only where there is one."""
    stamps: Json = entity.stamps
    if isinstance(stamps, dict) and stamps:
        stamps = _written(entity.record, stamps)
    parts = [raw_key, canonical(entity.record), canonical(stamps)]
    if entity.deleted is not None or entity.latest is not None:
        parts.append(canonical(entity.deleted))
    if entity.latest is not None:
        parts.append(canonical(entity.latest))
    return line_of(*parts)


def _written(record: Record, stamps: dict[str, Json]) -> Json:
    first, *others = stamps.values()
    if "" not in stamps or not others:
        if all(other == first for other in others) and isinstance(first, Stamp):
            return first
        # A stamp inside an object may be of what its members hide: then one stamp cannot say it all.
        if not isinstance(first, Stamp) or not all(isinstance(one, Stamp) for one in others):
            found = {
                stamp for one in stamps.values() for stamp in ([one] if isinstance(one, Stamp) else all_stamps(one))
            }
            if len(found) == 1 and all(has_form_of(record.get(name), stamp) for name, stamp in stamps.items()):
                return found.pop()
    if len(stamps) <= FIELDS_APART:
        return stamps
    named: dict[Stamp, list[str]] = {}
    for name, stamp in stamps.items():
        if isinstance(stamp, Stamp):
            named.setdefault(stamp, []).append(name)
    inside = {name: stamp for name, stamp in stamps.items() if not isinstance(stamp, Stamp)}
    return [*((stamp, sorted(named[stamp])) for stamp in sorted(named)), *([inside] if inside else [])]


def read_entity(row: Collection, line: bytes) -> Entity:
    """A keyed entity from its line."""
    raw_key, raw_record, raw_stamps, *more = parts_of(line)
    record, stamps = _read_record(row, raw_record), decode(raw_stamps)
    deleted = _stamp_or_none(decode(more[0])) if more else None
    latest = _stamp_or_none(decode(more[1])) if len(more) > 1 else None
    if not by_field(row):
        return Entity(record, _stamp_or_none(stamps), deleted, latest)
    if isinstance(stamps, dict):
        return Entity(record, {name: stamps_from(stamp) for name, stamp in stamps.items()}, deleted, latest)
    if isinstance(stamps[0], list | dict):
        inside = stamps.pop() if isinstance(stamps[-1], dict) else {}
        found = {name: stamp_of(stamp) for stamp, names in stamps for name in names}
        return Entity(record, found | {name: stamps_from(one) for name, one in inside.items()}, deleted, latest)
    stamp = stamp_of(stamps)
    keys = key_fields(row, raw_key)
    rules = row.rules
    named = {
        name: uniform(value, stamp) if rules.get(name) == "deep" else stamp
        for name, value in record.items()
        if name not in keys
    }
    return Entity(record, named or {"": stamp}, deleted, latest)


def key_fields(row: Collection, raw_key: bytes) -> frozenset[str]:
    """The fields that make the key of an entity, by its stored key."""
    return row.choices[0].keys if len(row.key) == 1 else choice_of_key(row, decode(raw_key)).keys


def _read_record(row: Collection, raw: bytes) -> Record:
    """A record as it was stored; what was added up has all its digits."""
    if not row.adds or b"." not in raw:
        record: Record = decode(raw)
        return record
    return doubles_but_sums(row, decode_exact(raw))


def _stamp_or_none(value: Json) -> Stamp | None:
    return stamp_of(value) if value is not None else None
