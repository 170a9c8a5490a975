"""The timeline of frames as geometry: rectangles in the units of a view box. Pure; the template only draws them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from dreamcatcherd.core.model import Record

SLOT = 12
BAR = 9
LEAST_SLOTS = 40
"""So many frames have room at least; few stand at the right end, where time has got to."""
HEIGHT = 100.0
LEAST = 2.0
"""A bar that stands for anything at all is at least so high, however small beside the largest."""


class Bar(NamedTuple):
    """One frame: `x`, and the heights of what was merged in time, of what came late, and of the merge's seconds."""

    x: int
    row: Record
    merged: float
    late: float
    seconds: float | None
    slow: float


class Chart(NamedTuple):
    """All bars, oldest first, with the width of the view box and what full height stands for."""

    bars: list[Bar]
    width: int
    deltas: int
    seconds: float


def chart_of(rows: list[Record], phases: Mapping[int, Mapping[str, float]]) -> Chart:
    """The chart of the rows of `log` (newest first); `phases` are seconds by frame, of those that are known."""
    most = max((row["deltas"] for row in rows), default=0)
    took = {row["frame"]: phases[row["frame"]].get("merge", 0.0) for row in rows if row["frame"] in phases}
    longest = max(took.values(), default=0.0)
    slots = max(LEAST_SLOTS, len(rows))
    bars = []
    for i, row in enumerate(reversed(rows), slots - len(rows)):
        late = _height(row["late"], most)
        merged = max(0.0, min(HEIGHT - late, _height(row["deltas"] - row["late"], most)))
        seconds = took.get(row["frame"])
        bars.append(Bar(i * SLOT, row, merged, late, seconds, _height(seconds or 0.0, longest)))
    return Chart(bars, slots * SLOT, most, longest)


def _height(value: float, most: float) -> float:
    return round(max(LEAST, HEIGHT * value / most), 2) if value and most else 0.0
