"""Conflicts of the simple model: which stream lost what to whom in one frame."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from tests.law.deep import leaves, stamped_leaves
from tests.law.rows import Row
from tests.law.sent import Stamp
from tests.law.values import plain, text

Bid = tuple[list[Any], Any]
"""A stamp, and the value or record that it brought."""

Place = tuple[str, ...] | None
"""A field as a path; None for a complete record."""

RESERVED = ("_stamp", "_stamps", "_deleted")


def losses(
    row: Row, keys: set[str], old: dict[str, Any] | None, brought: list[tuple[Stamp, dict[str, Any]]]
) -> Iterator[dict[str, Any]]:
    """The losses of one entity, of which `old` stands in the state and `brought` is merged now, in order."""
    for frame in sorted({stamp[0] for stamp, _ in brought}):
        bids: dict[Place, dict[str, Bid]] = {}
        for stamp, record in brought:
            if stamp[0] == frame:
                for place, value in _places(row, keys, record):
                    streams = bids.setdefault(place, {})
                    if not (_is_first(row, place) and stamp[2] in streams):
                        streams[stamp[2]] = (list(stamp), value)
        for place, value, stands in _standing(row, keys, old):
            if stands[0] == frame and place in bids:
                mine = bids[place].get(stands[2])
                if mine is None or (stands < mine[0] if _is_first(row, place) else stands > mine[0]):
                    bids[place][stands[2]] = (stands, value)
        for place, streams in bids.items():
            choose = min if _is_first(row, place) else max
            winner, best = choose(streams.values(), key=lambda bid: bid[0])
            for loser, value in streams.values():
                if text(value) != text(best):
                    field = None if place is None else ".".join(place)
                    yield {"field": field, "winner": winner, "loser": loser, "value": value}


def _is_first(row: Row, place: Place) -> bool:
    return place is None or row.rule_of(place[0]) == "first"


def _places(row: Row, keys: set[str], record: dict[str, Any]) -> Iterator[tuple[Place, Any]]:
    """Where a record takes part: as a whole, or with its fields and leaves of which one value wins."""
    if row.rule in ("dedup", "first"):
        yield None, plain(record)
        return
    for name, value in record.items():
        if name not in keys and row.rule_of(name) in ("lww", "first"):
            yield (name,), plain(value)
        elif name not in keys and row.rule_of(name) == "deep":
            yield from (((name, *path), plain(leaf)) for path, leaf in leaves(value))


def _standing(row: Row, keys: set[str], old: dict[str, Any] | None) -> Iterator[tuple[Place, Any, list[Any]]]:
    """What stands in the state, as `_places`, with the stamp of each."""
    if old is None:
        return
    if row.rule in ("dedup", "first"):
        if "_stamp" in old:
            yield None, {name: value for name, value in old.items() if name not in RESERVED}, old["_stamp"]
        return
    for name, stamps in old.get("_stamps", {}).items():
        if name in old and row.rule_of(name) in ("lww", "first"):
            yield (name,), old[name], stamps
        elif name in old and row.rule_of(name) == "deep":
            for path, value, stamp in stamped_leaves(old[name], stamps):
                yield (name, *path), value, stamp
