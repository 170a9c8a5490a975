"""What a join loses: fields and records that another stream set in the same frame, and records that changed nothing.

Owns who lost to whom (Protocol §5, "A conflict"); what stands afterwards is the rules' to say."""

from __future__ import annotations

from collections import Counter
from collections.abc import Container, Iterator, Mapping
from operator import itemgetter

from dreamcatcherd.core.codec import canonical
from dreamcatcherd.core.collections import Collection
from dreamcatcherd.core.model import Conflict, Json, Record, Stamp
from dreamcatcherd.core.records import natural_key
from dreamcatcherd.core.rules import Brought, Entity

Contribution = tuple[Stamp, Record]

FIELDS_LISTED = 100
"""How many fields of one entity that one delta lost to another are conflicts of their own; more are one, together."""


def find_collapsed(row: Collection, keys: frozenset[str], old: Entity | None, brought: Brought) -> Iterator[Stamp]:
    """The stamps of records whose key was there already and that brought nothing new, one for each such record.

    Under `dedup` and `first` that is every further record, unless a late one takes the first's place; under `lww` one
    whose fields all stand as it has them, or are newer. Sums, sets and extremes have no such thing."""
    if row.rule in ("dedup", "first"):
        standing = (old.stamps, old.record) if old is not None and isinstance(old.stamps, tuple) else None
        for stamp, record in brought:
            if standing is None or stamp < standing[0]:
                if standing is not None and _same(standing[1], record):
                    yield stamp
                standing = (stamp, record)
            else:
                yield stamp
    elif row.rule == "lww":
        fields: dict[str, tuple[Stamp, Json]] | None = None
        if old is not None and isinstance(old.stamps, dict):
            fields = {name: (stamp, old.record[name]) for name, stamp in old.stamps.items()}
        for stamp, record in brought:
            fresh = fields is None
            fields = {} if fields is None else fields
            for name, value in record.items():
                known = fields.get(name)
                if name not in keys and (known is None or known[0] <= stamp):
                    fresh = fresh or known is None or not _same(known[1], value)
                    fields[name] = (stamp, value)
            if not fresh:
                yield stamp


def _same(one: Json, other: Json) -> bool:
    """Whether two JSON values are one; Python takes 1, 1.0 and True for the same, and 0.0 and -0.0."""
    if type(one) is type(other) and type(one) in (str, int, bool):
        return bool(one == other)
    return bool(one == other) and canonical(one) == canonical(other)


def find_conflicts(
    row: Collection, keys: frozenset[str], old: Entity | None, brought: Brought, entity: Entity
) -> list[Conflict]:
    """Fields that two streams set to different values in one frame, one row for each stream that lost."""
    if row.rule == "lww":
        lost = _lost_fields(keys, old, brought)
    elif row.rule in ("dedup", "first"):
        lost = _lost_records(keys, old, brought)
    else:
        return []
    if not lost:
        return []
    key = natural_key(row, entity.record)
    many: dict[tuple[Stamp, Stamp], dict[str, Json]] = {}
    if len(lost) > FIELDS_LISTED:
        counts = Counter((winner, loser) for _, winner, loser, _ in lost)
        many = {pair: {} for pair, count in counts.items() if count > FIELDS_LISTED}
    found = []
    for field, winner, loser, value in lost:
        if (winner, loser) in many:
            many[winner, loser][field] = value
        else:
            found.append(Conflict(row.name, key, field, winner, loser, value))
    return found + [Conflict(row.name, key, None, *pair, fields) for pair, fields in many.items()]


_Lost = tuple[str, Stamp, Stamp, Json]


def _lost_fields(keys: frozenset[str], old: Entity | None, brought: Brought) -> list[_Lost]:
    """For `lww`: each stream's last value of a field in a frame, against the latest of all, what stood included."""
    frames: dict[int, dict[str, list[Contribution]]] = {}
    for stamp, record in brought:
        frames.setdefault(stamp[0], {}).setdefault(stamp[2], []).append((stamp, record))
    if old is not None and isinstance(old.stamps, dict):
        for stamp, record in _standing(old.record, old.stamps, frames):
            streams = frames[stamp[0]]
            mine = streams.get(stamp[2], [])
            streams[stamp[2]] = sorted([*mine, (stamp, record)], key=itemgetter(0))  # stable: its own is after that
    lost: list[_Lost] = []
    for streams in frames.values():
        if len(streams) > 1:
            lost += _lost_in_a_frame(keys, streams)
    return lost


def _standing(record: Record, stamps: dict[str, Stamp], frames: Container[int]) -> Iterator[Contribution]:
    """What stood before, as one contribution for each stamp of the given frames."""
    found: dict[Stamp, Record] = {}
    for field, stamp in stamps.items():
        if stamp[0] in frames:
            found.setdefault(stamp, {})[field] = record[field]
    yield from found.items()


def _lost_in_a_frame(keys: frozenset[str], streams: dict[str, list[Contribution]]) -> Iterator[_Lost]:
    claims = [_last_values(contributions) for contributions in streams.values()]
    seen: set[str] = set()
    twice: set[str] = set()
    for values, _ in claims:
        twice |= seen & values.keys()
        seen |= values.keys()
    for field in twice - keys:
        here = [(stamps[field], values[field]) for values, stamps in claims if field in values]
        winner, best = max(here, key=itemgetter(0))
        for loser, value in here:
            if loser != winner and not _same(best, value):
                yield field, winner, loser, value


def _last_values(contributions: list[Contribution]) -> tuple[Record, Mapping[str, Stamp]]:
    """The last value that one stream gave to each field, and its stamp."""
    if len(contributions) == 1:
        stamp, record = contributions[0]
        return record, dict.fromkeys(record, stamp)
    values: Record = {}
    stamps: dict[str, Stamp] = {}
    for stamp, record in contributions:
        values.update(record)
        stamps.update(dict.fromkeys(record, stamp))
    return values, stamps


def _lost_records(keys: frozenset[str], old: Entity | None, brought: Brought) -> list[_Lost]:
    """For `dedup` and `first`: of each stream its first record in a frame, against the earliest of all.

    A field that the winner does not have is lost as well, and so listed too."""
    first: dict[int, dict[str, Contribution]] = {}
    for stamp, record in brought:
        first.setdefault(stamp[0], {}).setdefault(stamp[2], (stamp, record))
    if old is not None and isinstance(old.stamps, tuple):
        streams = first.get(old.stamps[0])
        if streams is not None and (old.stamps[2] not in streams or old.stamps < streams[old.stamps[2]][0]):
            streams[old.stamps[2]] = (old.stamps, old.record)
    lost: list[_Lost] = []
    for streams in first.values():
        winner, best = min(streams.values(), key=lambda claim: claim[0])
        for loser, record in streams.values():
            for field, value in record.items():
                if field not in keys and (field not in best or canonical(best[field]) != canonical(value)):
                    lost.append((field, winner, loser, value))
    return lost
