"""When the open frame closes (Protocol §6)."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from dreamcatcherd.core.codec import utc_micros, utc_text
from dreamcatcherd.core.frames import Closing, closes_at, due_at, is_due, opened
from dreamcatcherd.core.model import FrameState

SECOND = 1_000_000
START = 1_769_860_800 * SECOND
DAY = 86_400 * SECOND
TEN = Closing("interval", 10.0)


def open_at(now: int, closing: Closing = TEN) -> FrameState:
    return opened(7, now, 6, "d" * 40, closing)


def test_a_frame_that_opens_says_when_it_closes() -> None:
    """What a worker reads names the frame, the one before, the digest, and both times in RFC 3339."""
    assert open_at(START) == FrameState(7, "2026-01-31T12:00:00.000000Z", "2026-01-31T12:00:10.000000Z", 6, "d" * 40)


def test_a_manual_frame_has_no_closing_time() -> None:
    """Under manual no time closes a frame, however late it is, and grace changes nothing."""
    manual = Closing("manual", 10.0, 5.0)
    state = open_at(START, manual)
    assert (state.closes_at, closes_at(state, manual), due_at(state, manual)) == (None, None, None)
    assert not is_due(state, manual, START + 1000 * DAY)


def test_an_interval_ends_on_the_microsecond() -> None:
    """A frame is due from exactly its interval after opening."""
    state = open_at(START)
    assert not is_due(state, TEN, START + 10 * SECOND - 1)
    assert is_due(state, TEN, START + 10 * SECOND)


def test_a_fraction_of_a_second_is_an_interval() -> None:
    """Intervals are counted in microseconds, not in whole seconds."""
    closing = Closing("interval", 0.25, 0.1)
    assert (closes_at(open_at(START), closing), due_at(open_at(START), closing)) == (START + 250_000, START + 350_000)


def test_grace_waits_longer_without_moving_the_closing_time() -> None:
    """Workers read the end of the interval, the frame closes when the grace is over too."""
    closing = Closing("interval", 10.0, 3.0)
    state = open_at(START, closing)
    assert state.closes_at == utc_text(START + 10 * SECOND)
    assert not is_due(state, closing, START + 13 * SECOND - 1)
    assert is_due(state, closing, START + 13 * SECOND)


def test_a_sleep_closes_the_frame_once() -> None:
    """After a day's sleep the frame is due, and the one that opens then lasts its whole interval."""
    woken = START + DAY
    assert is_due(open_at(START), TEN, woken)
    after = opened(8, woken, 7, "e" * 40, TEN)
    assert not is_due(after, TEN, woken)
    assert not is_due(after, TEN, woken + 10 * SECOND - 1)
    assert is_due(after, TEN, woken + 10 * SECOND)


def test_a_clock_that_steps_back_closes_nothing_early() -> None:
    """Until the clock is past the interval's end again nothing is due, and then it is."""
    state = open_at(START)
    assert not is_due(state, TEN, START - DAY)
    assert is_due(state, TEN, START + 10 * SECOND)


def test_an_interval_counts_from_the_repositorys_own_time() -> None:
    """Any primary that reads the same frame file finds the same closing time, in whatever offset it is written."""
    here, there = FrameState(7, "2026-01-31T12:00:00Z"), FrameState(7, "2026-01-31T13:00:00.0+01:00")
    assert closes_at(here, TEN) == closes_at(there, TEN) == START + 10 * SECOND


def test_a_frame_without_an_opening_time_is_due() -> None:
    """A frame file that lacks the time cannot hold the frame open for ever."""
    assert is_due(FrameState(7), TEN, START)
    assert is_due(FrameState(7, "yesterday"), TEN, START)


@settings(max_examples=80, deadline=None)
@given(
    st.integers(0, 100_000),
    st.floats(0.001, 5_000, allow_nan=False),
    st.floats(0, 1_000, allow_nan=False),
    st.integers(-10_000, 10_000),
)
def test_a_frame_is_due_from_its_closing_time_and_grace_on(
    since: int, interval: float, grace: float, seconds: int
) -> None:
    """For any numbers a frame is due exactly when opening, interval and grace lie behind, and stays due."""
    closing = Closing("interval", interval, grace)
    start = START + since * SECOND
    state, now = open_at(start, closing), start + seconds * SECOND
    ends = start + round(interval * SECOND) + round(grace * SECOND)
    assert is_due(state, closing, now) == (now >= ends)
    assert is_due(state, closing, ends)
    assert utc_micros(state.closes_at or "") == start + round(interval * SECOND)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.integers(-30, 60), max_size=40))
def test_frames_are_neither_skipped_nor_doubled(steps: list[int]) -> None:
    """However the clock jumps between looks, one look closes at most one frame and numbers run on by one."""
    now, state, closed = START, open_at(START), [6]
    for step in steps:
        now += step * SECOND
        if is_due(state, TEN, now):
            closed.append(state.frame)
            state = opened(state.frame + 1, now, state.frame, "d" * 40, TEN)
            assert not is_due(state, TEN, now)
    assert closed == list(range(6, 6 + len(closed)))
