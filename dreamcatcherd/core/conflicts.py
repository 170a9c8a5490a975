"""The losses of a join: fields and records that another stream set in the same frame, and records that changed nothing.

Owns who lost to whom (docs/protocol.md#the-merge, "A conflict"); the winning values are decided by `rules`."""

from __future__ import annotations

from collections.abc import Container, Iterable, Iterator, Mapping
from itertools import chain
from operator import itemgetter

from dreamcatcherd.core.codec import canonical
from dreamcatcherd.core.collections import Collection
from dreamcatcherd.core.entities import is_alive, leaf_entity, leaf_record
from dreamcatcherd.core.keys import natural_key
from dreamcatcherd.core.model import Conflict, Deletion, Json, Record, Stamp
from dreamcatcherd.core.rules import Contributions, Entity, newer_fields, winning_fields

Contribution = tuple[Stamp, Record]

FIELDS_LISTED = 100
"""How many fields of one entity that one delta lost to another are conflicts of their own; more are one conflict
together. Else a delta could make the ledger many times as large as itself."""


def find_collapsed(row: Collection, old: Entity | None, brought: Contributions) -> Iterator[Stamp]:
    """The stamps of records whose key existed already and that brought nothing new, one for each such record.

    Under `dedup` and `first` that is every further record, unless a late one takes the first's place; under `lww` a
    record whose fields all have its value already, or a newer one, or were deleted later. Sums, sets and extremes have
    no such records."""
    writes = _writes(row, brought)
    if row.rule in ("dedup", "first"):
        current = (old.stamps, old.record) if old is not None and isinstance(old.stamps, Stamp) else None
        for stamp, record in writes:
            if current is None or stamp < current[0]:
                if current is not None and _same(current[1], record):
                    yield stamp
                current = (stamp, record)
            else:
                yield stamp
    elif row.rule == "lww" and writes:
        rules = row.rules
        flat = leaf_entity(old, rules) if old is not None else None
        newer = newer_fields(flat, writes)
        values: Record = dict(flat.record) if flat is not None else {}
        dead = old is not None and not is_alive(old)
        for stamp, record in writes:
            if dead and old is not None and old.deleted is not None and stamp > old.deleted:
                values.update(leaf_record(record, rules))
                dead = False  # what brings an entity back is something new, be it nothing but the key
                continue
            if not rules.keys().isdisjoint(record) and any(
                rules.get(name) not in (None, "lww", "deep") for name in record
            ):
                values.update(record)
                continue
            winning = winning_fields(leaf_record(record, rules), stamp, newer)
            if old is not None and old.deleted is not None and stamp <= old.deleted:
                winning = {}
            if all(name in values and _same(values[name], value) for name, value in winning.items()) and values:
                yield stamp
            values.update(winning)


def _writes(row: Collection, brought: Contributions) -> Contributions:
    """The records without deletions, which lose nothing and bring nothing."""
    if row.delete is None:
        return brought
    return [one for one in brought if type(one[1]) is not Deletion]


def _same(one: Json, other: Json) -> bool:
    """Whether two JSON values are the same one. Python takes 1, 1.0 and True as equal, and 0.0 and -0.0."""
    if type(one) is type(other) and type(one) in (str, int, bool):
        return bool(one == other)
    return bool(one == other) and canonical(one) == canonical(other)


def find_conflicts(row: Collection, old: Entity | None, brought: Contributions, entity: Entity) -> list[Conflict]:
    """Fields that two streams set to different values in one frame, one row for each stream that lost; under `dedup`
    and `first` the records that lost."""
    writes = _writes(row, brought)
    if not writes:
        return []
    if row.rule in ("dedup", "first"):
        lost_records = list(_lost_records(old, writes))
        key = natural_key(row, entity.record) if lost_records else None
        return [Conflict(row.name, key, None, winner, loser, record) for winner, loser, record in lost_records]
    rules = row.rules
    if row.rule != "lww" and {"lww", "deep", "first"}.isdisjoint(rules.values()):
        return []
    lost = _lost_fields(*_comparable(row, rules, old, writes))
    for pair, values in _lost_first_values(rules, old, writes).items():
        lost.setdefault(pair, {}).update(values)
    if not lost:
        return []
    key = natural_key(row, entity.record)
    found = []
    for (winner, loser), values in lost.items():
        if len(values) > FIELDS_LISTED:
            found.append(Conflict(row.name, key, None, winner, loser, values))
        else:
            found += [Conflict(row.name, key, field, winner, loser, value) for field, value in values.items()]
    return found


def _comparable(
    row: Collection, rules: Mapping[str, str], old: Entity | None, writes: Contributions
) -> tuple[Entity | None, Contributions]:
    """The entity and the records with the fields alone that one stream can take from another."""
    if not rules:
        return old, writes

    def taken(name: str) -> bool:
        return rules.get(name, row.rule) in ("lww", "deep")

    kept = [(stamp, {name: value for name, value in record.items() if taken(name)}) for stamp, record in writes]
    if old is not None and isinstance(old.stamps, dict):
        stamps = {name: stamp for name, stamp in old.stamps.items() if taken(name)}
        old = leaf_entity(old._replace(stamps=stamps), rules)
    return old, [(stamp, leaf_record(record, rules)) for stamp, record in kept]


_Lost = dict[tuple[Stamp, Stamp], Record]
"""By winner and loser, the fields that one lost to the other."""


def _lost_fields(old: Entity | None, brought: Contributions) -> _Lost:
    """For `lww`: each stream's last value of a field in a frame, compared with the latest of all streams.

    A late delta is compared with the stored values, although the deltas that set them are no longer available. Their
    stamps are: the stored fields are grouped by stamp, and each group takes part as if its delta were merged now."""
    frames: dict[int, dict[str, list[Contribution]]] = {}
    for stamp, record in brought:
        frames.setdefault(stamp.frame, {}).setdefault(stamp.stream_id, []).append((stamp, record))
    if old is not None and isinstance(old.stamps, dict):
        for stamp, record in _current(old.record, old.stamps, frames):
            streams = frames[stamp.frame]
            mine = streams.get(stamp.stream_id, [])
            # The sort is stable: at an equal stamp the stored values count as the later ones.
            streams[stamp.stream_id] = sorted([*mine, (stamp, record)], key=itemgetter(0))
    lost: _Lost = {}
    for streams in frames.values():
        if len(streams) > 1:
            _add_lost(lost, streams.values())
    return lost


def _current(record: Record, stamps: dict[str, Stamp], frames: Container[int]) -> Iterator[Contribution]:
    """The stored fields as one contribution for each stamp of the given frames."""
    found: dict[Stamp, Record] = {}
    for field, stamp in stamps.items():
        # The stamp under "" is of a write that set no field.
        if stamp.frame in frames and field in record:
            found.setdefault(stamp, {})[field] = record[field]
    yield from found.items()


def _add_lost(lost: _Lost, streams: Iterable[list[Contribution]]) -> None:
    """Add the losses between the streams of one frame: each field goes to the stream that set it last.

    Claims are visited from the latest stamp down, so the first claim on a field is its winner, and one pass is enough
    however many streams claim it."""
    claims = chain.from_iterable(map(_last_values, streams))
    best: dict[str, Contribution] = {}
    for claim in sorted(claims, key=itemgetter(0), reverse=True):
        loser, values = claim
        winner = loser
        for field, value in values.items():
            first, winning = best.setdefault(field, claim)
            if first is loser or _same(winning[field], value):
                continue
            if first is not winner:
                winner = first
                found = lost.setdefault((winner, loser), {})
            found[field] = value


def _last_values(contributions: list[Contribution]) -> Iterable[Contribution]:
    """The last value that one stream gave to each field, by stamp. A stream does not lose to itself: its earlier values
    are dropped here, so that only different streams are compared."""
    if len(contributions) == 1:
        return contributions
    joined: dict[Stamp, Record] = {}
    for stamp, record in contributions:
        joined.setdefault(stamp, {}).update(record)
    if len(joined) == 1:
        return joined.items()
    seen: set[str] = set()
    last: list[Contribution] = []
    for stamp, record in reversed(joined.items()):
        last.append((stamp, {field: value for field, value in record.items() if field not in seen}))
        seen.update(record)
    return last


def _lost_first_values(rules: Mapping[str, str], old: Entity | None, brought: Contributions) -> _Lost:
    """For fields with the rule `first`: each stream's first value in a frame, where it is another one than the earliest
    of all streams."""
    names = [name for name, rule in rules.items() if rule == "first"]
    first: dict[tuple[int, str], dict[str, tuple[Stamp, Json]]] = {}
    for stamp, record in brought:
        for name in names:
            if name in record:
                streams = first.setdefault((stamp.frame, name), {})
                streams.setdefault(stamp.stream_id, (stamp, record[name]))
    for name in names:
        stored = old.stamps.get(name) if old is not None and isinstance(old.stamps, dict) else None
        if old is not None and stored is not None and (stored.frame, name) in first:
            streams = first[stored.frame, name]
            if stored.stream_id not in streams or stored < streams[stored.stream_id][0]:
                streams[stored.stream_id] = (stored, old.record[name])
    lost: _Lost = {}
    for (_, name), streams in first.items():
        winner, best = min(streams.values(), key=itemgetter(0))
        for loser, value in streams.values():
            if loser != winner and not _same(best, value):
                lost.setdefault((winner, loser), {})[name] = value
    return lost


def _lost_records(old: Entity | None, brought: Contributions) -> Iterator[tuple[Stamp, Stamp, Record]]:
    """For `dedup` and `first`: each stream's first record in a frame, where it is another one than the earliest of all
    streams; as (winner, loser, the loser's record)."""
    first: dict[int, dict[str, Contribution]] = {}
    for stamp, record in brought:
        first.setdefault(stamp.frame, {}).setdefault(stamp.stream_id, (stamp, record))
    if old is not None and isinstance(old.stamps, Stamp):
        streams = first.get(old.stamps.frame)
        mine = old.stamps.stream_id
        if streams is not None and (mine not in streams or old.stamps < streams[mine][0]):
            streams[mine] = (old.stamps, old.record)
    for streams in first.values():
        winner, best = min(streams.values(), key=itemgetter(0))
        for loser, record in streams.values():
            if loser != winner and not _same(best, record):
                yield winner, loser, record
