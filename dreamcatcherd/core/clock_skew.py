"""The clock guard: deltas whose UTC cannot be right are flagged, and merged all the same (docs/protocol.md#frames).

Owns two signs of a wrong clock: a delta from the future, and a stream whose time runs backwards."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import NamedTuple

from dreamcatcherd.core.model import DeltaArrival, Stamp


class ClockFlag(NamedTuple):
    """`ahead_s`: how many seconds the delta's UTC was ahead of its arrival. `backward`: its stream gave a later time
    before."""

    ahead_s: int | None
    backward: bool


def clock_flags(
    deltas: Iterable[DeltaArrival], frame: int, max_skew_s: float, last_utc: Mapping[str, int]
) -> dict[Stamp, ClockFlag]:
    """The flagged deltas among those that a close merges. `last_utc` is each stream's last UTC in the frame before.

    A stream's deltas are compared in order of arrival and of their commits. Late ones are reruns, so their order says
    nothing about the clock."""
    flags: dict[Stamp, ClockFlag] = {}
    latest = dict(last_utc)
    for arrival in sorted(deltas, key=_arrival_order):
        item = arrival.item
        ahead_s = None
        if arrival.arrived is not None and item.utc - arrival.arrived > max_skew_s * 1e6:
            ahead_s = (item.utc - arrival.arrived) // 1_000_000
        backward = False
        if item.frame == frame:
            before = latest.get(item.stream_id)
            backward = before is not None and item.utc < before
            latest[item.stream_id] = max(item.utc, before or item.utc)
        if ahead_s is not None or backward:
            flags[item.stamp] = ClockFlag(ahead_s, backward)
    return flags


def _arrival_order(arrival: DeltaArrival) -> tuple[int, int, int]:
    return (arrival.arrived or 0, arrival.committed_s, arrival.item.utc)
