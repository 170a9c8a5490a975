"""The charts of the trends: in the box, in proportion, with marks that say what they measure."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dreamcatcherd.web.chart import BOTTOM, HEIGHT, LEFT, RIGHT, TOP, WIDTH, Span, mark_text, plot_of, scale_of

VALUES = st.floats(0, 1e12, allow_nan=False).map(lambda one: one if one > 1e-6 else 0.0)
SPANS = st.lists(st.none() | st.tuples(VALUES, VALUES), max_size=80).map(
    lambda many: [Span(60 * i, 60, values, f"span {i}") for i, values in enumerate(many)]
)


@given(SPANS)
def test_every_column_is_in_the_box_and_in_its_place(spans: list[Span]) -> None:
    """Columns follow each other without overlap; the parts of one stand on each other, above the ground."""
    plot = plot_of(spans)
    assert len(plot.columns) == len(spans)
    for column, following in pairwise(plot.columns):
        assert column.x + column.width <= following.x + 0.02
    for column, span in zip(plot.columns, spans, strict=True):
        assert column.says == span.says
        assert column.x >= LEFT
        assert column.x + column.width <= WIDTH - RIGHT + 0.02
        bottom = HEIGHT - BOTTOM
        for part in column.parts:
            assert abs(part.y + part.height - bottom) < 0.02
            assert part.y >= TOP - 0.02
            bottom = part.y
        shown = {part.series for part in column.parts}
        assert shown <= {series for series, value in enumerate(span.values or ()) if value}


@given(SPANS)
def test_more_is_drawn_higher(spans: list[Span]) -> None:
    """Of two columns the one with the larger sum is at least as high, but for the least height of what is there."""
    sums = [(sum(span.values or ()), column) for span, column in zip(spans, plot_of(spans).columns, strict=True)]
    heights = sorted((value, sum(part.height for part in column.parts)) for value, column in sums)
    for (less, low), (more, high) in pairwise(heights):
        assert less == more or low <= high + 3.1


@given(SPANS)
def test_the_marks_of_both_axes_are_in_order_and_in_the_box(spans: list[Span]) -> None:
    """From the ground upward and from the left to the right, without two of one text upward."""
    plot = plot_of(spans)
    ups, acrosses = [mark.at for mark in plot.up], [mark.at for mark in plot.across]
    assert ups == sorted(ups, reverse=True)
    assert all(TOP - 0.02 <= at <= HEIGHT - BOTTOM for at in ups)
    assert acrosses == sorted(acrosses)
    assert all(LEFT <= at <= WIDTH - RIGHT for at in acrosses)
    assert len({mark.text for mark in plot.up}) == len(plot.up)


@given(st.floats(1e-6, 1e12))
def test_the_scale_reaches_the_largest_value_and_not_far_beyond(most: float) -> None:
    """Marks are evenly spaced from 0; the largest value is in the upper part of the chart."""
    marks = scale_of(most)
    assert marks[0] == 0
    assert 2 <= len(marks) <= 4
    steps = [after - before for before, after in pairwise(marks)]
    assert max(steps) - min(steps) <= 1e-9 * max(steps)
    assert marks[-1] >= most * (1 - 1e-9)
    assert most > marks[-2] * (1 - 1e-9) or len(marks) == 2


@pytest.mark.parametrize(
    ("value", "unit", "text"),
    [(0, "", "0"), (20, "", "20"), (1_500, "", "1.5 k"), (2e6, "", "2 M"), (0.25, "s", "250 ms"), (2.0, "s", "2 s")],
)
def test_marks_are_written_shortly_with_their_unit(value: float, unit: str, text: str) -> None:
    """Thousands and millions by their letters, seconds with their unit."""
    assert mark_text(value, unit) == text


def test_marks_of_time_are_round_times_of_day() -> None:
    """An hour has quarters, a day has hours, a week has days."""
    day = 1_767_225_600

    def texts(width: int, count: int) -> list[str]:
        return [mark.text for mark in plot_of([Span(day + width * i, width, (1.0,), "") for i in range(count)]).across]

    assert texts(60, 60) == ["00:15", "00:30", "00:45"]
    assert texts(1_800, 48) == ["04:00", "08:00", "12:00", "16:00", "20:00"]
    assert texts(10_800, 56) == ["Jan 02", "Jan 03", "Jan 04", "Jan 05", "Jan 06", "Jan 07"]


def test_what_is_not_known_is_not_drawn_as_nothing() -> None:
    """A span of which nothing is known has no column; a small value next to a large one is visible all the same."""
    plot = plot_of([Span(0, 60, None, "not read yet"), Span(60, 60, (1.0,), "1"), Span(120, 60, (1e6,), "many")])
    assert [len(column.parts) for column in plot.columns] == [0, 1, 1]
    assert plot.columns[1].parts[0].height >= 1.5
