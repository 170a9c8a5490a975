"""The trends of the first page: spans of an hour, a day or a week, from the timeline."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from dreamcatcherd.core.codec import utc_micros
from dreamcatcherd.history.timeline import KEPT_S, MINUTE_S, Sums, Timeline, minutes_between
from dreamcatcherd.web.chart import Plot, Span, clock_text, plot_of
from dreamcatcherd.web.pages.display import duration, number
from dreamcatcherd.web.query_executor import Reading


class Range(NamedTuple):
    """A range of time: its seconds, the seconds of one column, and these in words."""

    length_s: int
    width_s: int
    column: str


RANGES = {
    "1h": Range(3_600, 60, "minute"),
    "24h": Range(86_400, 1_800, "30 minutes"),
    "7d": Range(KEPT_S, 10_800, "3 hours"),
}


class Trend(NamedTuple):
    """One chart: its title, the total in words, the names of its series, and the drawing."""

    name: str
    title: str
    total: str
    series: tuple[tuple[str, str], ...]
    plot: Plot

    @property
    def drawn(self) -> bool:
        """Whether there is anything to see."""
        return any(column.parts for column in self.plot.columns)


class Trends(NamedTuple):
    """The charts of one range; `covered` says what they rest on, `rows` has the same numbers as a table."""

    chosen: str
    column: str
    covered: str
    complete: bool
    measured: str
    charts: list[Trend]
    rows: list[tuple[str, Sums, str]]


def read_trends(
    reading: Reading, timeline: Timeline, wanted: str | None, phases: Mapping[int, Mapping[str, float]], now_s: float
) -> Trends:
    """The charts, after one step of the timeline. `phases` has the seconds by frame that this daemon measured."""
    timeline.step(reading.store, reading.base, reading.chain, now_s)
    chosen = wanted or _fitting(timeline, now_s)
    length = RANGES[chosen]
    end = int(now_s // length.width_s + 1) * length.width_s
    start = end - length.length_s
    known = timeline.covered_s
    sums = list(minutes_between(timeline.minutes, start, end, length.width_s))
    took = _merge_times(reading, phases, length.width_s)
    width = length.width_s
    day = length.length_s > 86_400

    def chart(name: str, title: str, unit: str, *series: tuple[str, str]) -> Trend:
        spans, total = [], Sums()
        for begin, one in sums:
            # What was not read yet must not look like a time in which nothing happened.
            values = tuple(float(getattr(one, field)) for field, _ in series)
            if name == "deltas":  # the two series are shown on top of each other
                values = (float(one.deltas - one.late), float(one.late))
            unread = not timeline.complete and (known is None or begin + width <= known)
            words = "not read yet" if unread else _words(name, one)
            spans.append(Span(begin, width, None if unread else values, f"{_when(begin, width, day)}: {words}"))
            total.add(one)
        return Trend(name, title, _words(name, total), series, plot_of(spans, unit))

    charts = [
        chart("deltas", "Deltas", "", ("deltas", "in time"), ("late", "late")),
        chart("frames", "Frames closed", "", ("frames", "frames")),
        _merge_chart(sums, took, width, day),
        chart("conflicts", "Conflicts", "", ("conflicts", "conflicts")),
        chart("quarantined", "Quarantined deltas", "", ("quarantined", "quarantined")),
        chart("violations", "Violations repaired", "", ("violations", "violations")),
    ]
    rows = [(_when(begin, width, day), one, duration(took.get(begin))) for begin, one in reversed(sums) if one.frames]
    newest = "the last frame" if len(phases) == 1 else f"the last {len(phases)} frames"
    measured = f"{newest} that this daemon closed" if phases else "none since the daemon started"
    complete = timeline.complete or (known is not None and known <= start)
    return Trends(chosen, length.column, _covered(timeline, start), complete, measured, charts, rows)


def _fitting(timeline: Timeline, now_s: float) -> str:
    """The hour while no frame is older, so that a young fleet has more than one column; else the day."""
    young = timeline.complete and all(minute * MINUTE_S > now_s - RANGES["1h"].length_s for minute in timeline.minutes)
    return "1h" if young else "24h"


def _merge_times(reading: Reading, phases: Mapping[int, Mapping[str, float]], width_s: int) -> dict[int, float]:
    """The longest merge of each span of time, in seconds."""
    longest: dict[int, float] = {}
    if phases:
        for row in reading.chain.log(reading.store, reading.base, len(phases) + 10):
            took = phases.get(row["frame"], {}).get("merge")
            at = utc_micros(row["closed_at"]) if row["closed_at"] else None
            if took is not None and at is not None:
                begin = at // 1_000_000 // width_s * width_s
                longest[begin] = max(took, longest.get(begin, 0.0))
    return longest


def _merge_chart(sums: list[tuple[int, Sums]], took: dict[int, float], width: int, day: bool) -> Trend:
    spans = [
        Span(begin, width, (took[begin],) if begin in took else None,
             f"{_when(begin, width, day)}: {duration(took[begin]) if begin in took else 'not measured'}")
        for begin, _ in sums
    ]  # fmt: skip
    most = max(took.values(), default=None)
    total = f"at most {duration(most)}" if most is not None else "not measured"
    return Trend("merge", "Longest merge", total, (("merge", "longest merge"),), plot_of(spans, "s"))


def _words(name: str, one: Sums) -> str:
    if name != "deltas":
        return number(getattr(one, name))
    late = f", {number(one.late)} late" if one.late else ""
    return f"{number(one.deltas)}{late}"


def _when(begin: int, width: int, day: bool) -> str:
    text = f"{clock_text(begin)} to {clock_text(begin + width)}"
    return f"{clock_text(begin, day=True)}, {text}" if day else text


def _covered(timeline: Timeline, start: int) -> str:
    """What the charts rest on, in words."""
    known = timeline.covered_s
    if known is None:
        return "no frame is closed yet"
    frames = f"{number(timeline.frames)} frames"
    if timeline.complete or known <= start:
        return "complete"
    at = f"{clock_text(known, day=True)}, {clock_text(known)} UTC"
    return f"read back to {at} so far ({frames}); older frames follow, some with each new frame or reload"
