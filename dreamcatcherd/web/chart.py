"""The timeline of frames as rectangles in the units of an SVG view box. Pure; the template only draws them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from dreamcatcherd.core.model import Record

SLOT = 12
BAR = 9
LEAST_SLOTS = 40
"""The chart has room for at least this many frames. Fewer frames are drawn at its right end, the present."""
HEIGHT = 100.0
LEAST = 2.0
"""The minimum height of a bar that is not 0, so that it is visible next to a very large one."""


class Bar(NamedTuple):
    """One frame: its `x`, and the heights of the deltas merged in time, of the late ones, and of the merge's
    duration."""

    x: int
    row: Record
    merged: float
    late: float
    seconds: float | None
    slow: float


class Chart(NamedTuple):
    """All bars, oldest first, the width of the view box, and the values at full height."""

    bars: list[Bar]
    width: int
    deltas: int
    seconds: float


def chart_of(rows: list[Record], phases: Mapping[int, Mapping[str, float]]) -> Chart:
    """The chart of the rows of `log` (newest first); `phases` has seconds by frame, as far as they are known."""
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
