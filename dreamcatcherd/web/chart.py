"""Trends as columns in the units of an SVG view box, with axes. Pure; the template only draws them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from typing import NamedTuple

WIDTH, HEIGHT = 360.0, 132.0
LEFT, RIGHT, TOP, BOTTOM = 40.0, 6.0, 8.0, 20.0
LEAST = 1.5
"""The minimum height of a column that is not 0, so that it is visible next to a very large one."""


class Span(NamedTuple):
    """One span of time, in seconds since 1970, and its values, one for each series; None: nothing is known of it."""

    begin_s: int
    width_s: int
    values: tuple[float, ...] | None
    says: str


class Part(NamedTuple):
    """The part of a column that shows one series: its number, and where it is."""

    series: int
    y: float
    height: float


class ChartColumn(NamedTuple):
    """One span as drawn: its left edge and width, its parts from the bottom up, and its text."""

    x: float
    width: float
    parts: tuple[Part, ...]
    says: str


class Tick(NamedTuple):
    """A mark on an axis."""

    at: float
    text: str


class Plot(NamedTuple):
    """One chart: its columns, oldest first, and the marks of both axes."""

    columns: list[ChartColumn]
    across: list[Tick]
    up: list[Tick]


def plot_of(spans: Sequence[Span], unit: str = "") -> Plot:
    """The chart of spans of equal width, oldest first."""
    most = max((sum(one.values) for one in spans if one.values), default=0.0)
    marks = scale_of(most)
    top, room = marks[-1], HEIGHT - TOP - BOTTOM
    each = (WIDTH - LEFT - RIGHT) / max(1, len(spans))
    columns = []
    for i, one in enumerate(spans):
        parts, base = [], HEIGHT - BOTTOM
        for series, value in enumerate(one.values or ()):
            height = min(base - TOP, max(LEAST, room * value / top)) if value else 0.0
            base -= height
            if height:
                parts.append(Part(series, round(base, 2), round(height, 2)))
        columns.append(ChartColumn(round(LEFT + i * each, 2), round(each, 2), tuple(parts), one.says))
    up = [Tick(round(HEIGHT - BOTTOM - room * mark / top, 2), mark_text(mark, unit)) for mark in marks]
    return Plot(columns, list(_times(spans, each)), up)


def scale_of(most: float) -> list[float]:
    """Round marks from 0 to at least `most`, which are 1, 2 or 5 times a power of ten apart."""
    if most <= 0:
        return [0.0, 1.0]
    step = 10.0**-9
    while True:
        for factor in (1, 2, 5):
            # Twice the step and not the step: two or three marks above 0 are enough for a small chart.
            if step * factor * 3 >= most:
                marks = [step * factor * i for i in range(4)]
                used = next(i for i, mark in enumerate(marks) if mark >= most * (1 - 1e-12))
                return marks[: max(2, used + 1)]
        step *= 10


def mark_text(value: float, unit: str = "") -> str:
    """A mark of an axis: `1.5 k`, `20`; in seconds `250 ms` or `2 s`."""
    if unit == "s":
        return "0" if not value else f"{value * 1000:.4g} ms" if value < 1 else f"{value:.4g} s"
    for size, name in ((10**9, "G"), (10**6, "M"), (10**3, "k")):
        if value >= size:
            return f"{value / size:.4g} {name}"
    return f"{value:.4g}"


def _times(spans: Sequence[Span], each: float) -> Iterable[Tick]:
    """Marks at round times of day in UTC, at least an eighth of the chart apart."""
    if not spans:
        return
    length_s = spans[-1].begin_s + spans[-1].width_s - spans[0].begin_s
    step = next(size for size in (300, 900, 3_600, 14_400, 21_600, 86_400, 10**9) if length_s / size <= 8)
    for i, one in enumerate(spans):
        x = LEFT + i * each
        # The first and last marks would run out of the box.
        if one.begin_s % step == 0 and LEFT + 12 <= x <= WIDTH - RIGHT - 12:
            yield Tick(round(x, 2), clock_text(one.begin_s, day=step >= 86_400))


def clock_text(seconds: int, *, day: bool = False) -> str:
    """A time in UTC: `14:30`, or the day, `Nov 28`."""
    at = datetime.fromtimestamp(seconds, UTC)
    return at.strftime("%b %d") if day else at.strftime("%H:%M")
