"""When the open frame closes (docs/protocol.md#frames)."""

from __future__ import annotations

from itertools import pairwise
from typing import get_args

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec import structs

from dreamcatcherd.core.codec import utc_text
from dreamcatcherd.core.frames import (
    CLOSE_RULES,
    LIFE,
    RULES_WITH_DEADLINE,
    SPEAKS,
    STATES,
    CloseRule,
    Closing,
    Decision,
    LifeCause,
    LifeState,
    Moment,
    Signs,
    Transition,
    Watch,
    decide,
    opened,
)
from dreamcatcherd.core.model import FrameState

SECOND = 1_000_000
START = 1_769_860_800 * SECOND
HOUR = 3600
TEN = Closing("interval", 10.0)
NOTHING = Signs()


def open_at(now: int = START, closing: Closing = TEN, frame: int = 7) -> FrameState:
    return opened(frame, now, frame - 1, "d" * 40, closing)


def at(seconds: float, steady: float | None = None) -> Moment:
    """So many seconds after START by the wall clock, and by the steady one unless that is given."""
    return Moment(START + round(seconds * SECOND), seconds if steady is None else steady)


def ask(closing: Closing, now: Moment, signs: Signs = NOTHING, watch: Watch | None = None) -> Decision:
    return decide(watch or Watch(7, at(0)), open_at(closing=closing), closing, signs, now)


def hourly(after: int) -> int | None:
    hour = HOUR * SECOND
    return (after // hour + 1) * hour


def test_a_frame_that_opens_says_when_it_closes() -> None:
    """What a worker reads names the frame, the one before, the digest, and both times in RFC 3339."""
    assert open_at() == FrameState(7, "2026-01-31T12:00:00.000000Z", "2026-01-31T12:00:10.000000Z", 6, "d" * 40)


@pytest.mark.parametrize(
    ("closing", "seconds"),
    [
        (Closing("manual", deadline_s=5), None),
        (Closing("cron", next_fire=hourly), HOUR),
        (Closing("counter"), None),
        (Closing("counter", deadline_s=60), 60),
        (Closing("quorum", deadline_s=30), 30),
        (Closing("next", deadline_s=30, grace_s=9), 30),
    ],
    ids=lambda value: getattr(value, "rule", str(value)),
)
def test_closes_at_is_the_time_that_ends_it_or_null(closing: Closing, seconds: int | None) -> None:
    """Workers read the time of the rule or of its deadline, without grace; null where no time ends the frame."""
    expected = None if seconds is None else utc_text(START + seconds * SECOND)
    assert open_at(closing=closing).closes_at == expected


def test_a_manual_frame_is_never_due_by_itself() -> None:
    """Under manual no time closes a frame, however late it is."""
    decision = ask(Closing("manual", 10.0, 5.0, deadline_s=5.0), at(1000 * HOUR), Signs(later=True, counter=99))
    assert (decision.due, decision.wake_in_s) == (False, None)


def test_an_interval_ends_on_the_microsecond_and_grace_waits_longer() -> None:
    """A frame is due from exactly its interval and grace after opening, and says how long that takes."""
    closing = Closing("interval", 10.0, 3.0)
    assert ask(closing, at(12.999999)).due is False
    assert ask(closing, at(13)) == Decision(Watch(7, at(0)), True, "interval", 0.0)
    assert ask(closing, at(4)).wake_in_s == 9.0


def test_an_interval_counts_from_the_repositorys_time() -> None:
    """A primary that sees the frame later closes it at the same time as one that saw it open."""
    late = Watch(7, at(6))
    assert ask(TEN, at(9.5), watch=late).due is False
    assert ask(TEN, at(10), watch=late).due is True


@pytest.mark.parametrize(
    ("now", "by"),
    [
        (Closing("interval", 3600.0), "interval"),
        (Closing("cron", next_fire=hourly), "cron"),
        (Closing("counter"), "deadline"),
        (Closing("quorum", deadline_s=60), "deadline"),
        (Closing("next", deadline_s=60), "deadline"),
    ],
    ids=lambda value: getattr(value, "rule", str(value)),
)
def test_the_time_that_the_repository_names_holds_for_the_open_frame(now: Closing, by: str) -> None:
    """A primary whose rule names a later time, or none, closes the frame when workers were told, with its own grace."""
    state, watch = open_at(), Watch(7, at(0))
    later = structs.replace(now, grace_s=2.0)
    assert decide(watch, state, later, NOTHING, at(11.9)).due is False
    decision = decide(watch, state, later, NOTHING, at(12))
    assert (decision.due, decision.closed_by) == (True, by)


def test_a_rule_with_an_earlier_time_counts_at_once() -> None:
    """The named time is the latest one, and under manual it closes nothing."""
    state = open_at(closing=Closing("interval", 3600.0))
    assert decide(Watch(7, at(0)), state, TEN, NOTHING, at(10)).due is True
    assert decide(Watch(7, at(0)), open_at(), Closing("manual"), NOTHING, at(HOUR)).due is False


def test_cron_speaks_at_the_first_time_of_the_schedule_after_opening() -> None:
    """The schedule's times before opening do not count; one that was slept through closes the frame late."""
    closing = Closing("cron", next_fire=hourly)
    assert ask(closing, at(HOUR - 0.001)).due is False
    assert ask(closing, at(HOUR)).closed_by == "cron"
    assert ask(closing, at(50 * HOUR)).due is True


def test_a_counter_beyond_the_frame_closes_it() -> None:
    """The external driver closes by raising the number; an equal, lower or unreadable one does nothing."""
    closing = Closing("counter")
    assert [ask(closing, at(0), Signs(counter=number)).due for number in (None, 6, 7, 8, 99)] == [
        False, False, False, True, True,
    ]  # fmt: skip


def test_a_quorum_waits_for_all_or_for_its_deadline() -> None:
    """All expected streams close the frame; where one is missing the deadline does, and says so."""
    closing = Closing("quorum", deadline_s=60)
    expected = frozenset("ab")
    assert ask(closing, at(5), Signs(frozenset("a"), expected)).due is False
    assert ask(closing, at(5), Signs(frozenset("abc"), expected)).closed_by == "quorum"
    late = ask(closing, at(60), Signs(frozenset("a"), expected))
    assert (late.due, late.closed_by) == (True, "deadline")
    assert Signs(frozenset("a"), expected).missing == ["b"]


def test_a_quorum_of_nobody_is_none() -> None:
    """Where no stream is known yet, only the deadline closes the frame."""
    assert ask(Closing("quorum", deadline_s=60), at(5), Signs(frozenset("a"))).due is False
    assert ask(Closing("quorum", deadline_s=60), at(60)).closed_by == "deadline"


def test_a_delta_of_a_later_frame_closes_the_one_before() -> None:
    """Under next the first delta of a later frame ends the open one; without any the deadline does."""
    closing = Closing("next", deadline_s=60)
    assert ask(closing, at(5)).due is False
    assert ask(closing, at(5), Signs(later=True)).closed_by == "next"
    assert ask(closing, at(61)).closed_by == "deadline"


def test_grace_runs_from_when_the_rule_was_seen_to_speak() -> None:
    """A quorum with grace stays open for stragglers, counted from the look that saw it complete."""
    closing = Closing("quorum", grace_s=2, deadline_s=60)
    signs = Signs(frozenset("a"), frozenset("a"))
    first = ask(closing, at(5), signs)
    assert (first.due, first.wake_in_s) == (False, 2.0)
    assert decide(first.watch, open_at(closing=closing), closing, signs, at(6.9)).due is False
    assert decide(first.watch, open_at(closing=closing), closing, signs, at(7)).due is True


@pytest.mark.parametrize("rule", ["interval", "next"])
def test_an_empty_frame_waits_with_skip_empty(rule: CloseRule) -> None:
    """A frame that is over and has nothing to do stays open until it has."""
    closing = Closing(rule, 10.0, deadline_s=10, skip_empty=True)
    assert ask(closing, at(500), Signs(empty=True)).due is False
    assert ask(closing, at(500), Signs(empty=False)).due is True
    assert ask(structs.replace(closing, skip_empty=False), at(500), Signs(empty=True)).due is True


def test_a_step_back_of_the_clock_does_not_hold_a_frame_open() -> None:
    """An hour's step back: the interval ends by the steady clock; after a restart it is counted from there."""
    stepped = at(4 - HOUR, 4)
    watching = ask(TEN, stepped)
    assert watching.due is False
    assert watching.watch.since.wall == stepped.wall
    state = open_at()
    assert decide(watching.watch, state, TEN, NOTHING, at(10 - HOUR, 10)).due is True
    restarted = decide(None, state, TEN, NOTHING, at(4 - HOUR, 0))
    assert (restarted.due, restarted.wake_in_s) == (False, 10.0)
    assert decide(restarted.watch, state, TEN, NOTHING, at(14 - HOUR, 10)).due is True


def test_a_step_back_of_the_clock_does_not_put_a_deadline_off() -> None:
    """An hour's step back: a quorum that nobody completes still ends by the seconds of its deadline."""
    closing = Closing("quorum", deadline_s=60)
    watching = ask(closing, at(4 - HOUR, 4))
    assert (watching.due, watching.wake_in_s) == (False, 56.0)
    late = decide(watching.watch, open_at(closing=closing), closing, NOTHING, at(60 - HOUR, 60))
    assert (late.due, late.closed_by) == (True, "deadline")


def test_cron_after_a_step_back_takes_the_next_time_of_the_schedule() -> None:
    """A frame that seems to open in the future closes at the schedule's next time by the clock as it is now."""
    closing = Closing("cron", next_fire=hourly)
    stepped = ask(closing, at(60 - HOUR, 60))
    assert stepped.wake_in_s == HOUR - 60
    assert decide(stepped.watch, open_at(closing=closing), closing, NOTHING, at(0, HOUR)).due is True


def test_a_step_forward_or_a_sleep_closes_once() -> None:
    """The frame is due at once, and the one that opens then lasts its whole interval."""
    assert ask(TEN, at(HOUR, 1)).due is True
    state = open_at(START + HOUR * SECOND, frame=8)
    fresh = decide(Watch(7, at(0)), state, TEN, NOTHING, at(HOUR, 1))
    assert (fresh.due, fresh.watch, fresh.wake_in_s) == (False, Watch(8, at(HOUR, 1)), 10.0)


def test_a_frame_without_an_opening_time_is_due() -> None:
    """A frame file that lacks the time, or has no time in it, cannot hold the frame open for ever."""
    for told in (None, "yesterday"):
        assert decide(None, FrameState(7, told), TEN, NOTHING, at(0)).due is True


@settings(max_examples=100)
@given(st.floats(0.1, 5_000), st.floats(0, 1_000), st.floats(-10_000, 10_000))
def test_a_frame_is_due_from_its_closing_time_and_grace_on(interval: float, grace: float, seconds: float) -> None:
    """For any numbers an unwatched frame is due exactly when opening, interval and grace lie behind."""
    closing = Closing("interval", interval, grace)
    now = Moment(START + round(seconds * SECOND), 0.0)
    ends = min(START, now.wall) + round(interval * SECOND) + round(grace * SECOND)
    assert decide(None, open_at(closing=closing), closing, NOTHING, now).due == (now.wall >= ends)


# The life of a frame as a table -----------------------------------------------------------------------------------


def never(after: int) -> int | None:
    """A schedule without a next time."""
    return None


def state_of(closing: Closing, now: Moment, signs: Signs = NOTHING, watch: Watch | None = None) -> LifeState:
    """The state that `decide` finds the frame in: it is over if it would be due without grace and `skip_empty`."""
    if ask(closing, now, signs, watch).due:
        return "due"
    at_its_end = structs.replace(closing, grace_s=0.0, skip_empty=False)
    return "over" if ask(at_its_end, now, signs, watch).due else "open"


def states_of(closing: Closing, looks: list[tuple[float, Signs]]) -> list[LifeState]:
    """The states at several looks of one primary, which remembers what it saw."""
    found: list[LifeState] = []
    watch = Watch(7, at(0))
    for seconds, signs in looks:
        found.append(state_of(closing, at(seconds), signs, watch))
        watch = ask(closing, at(seconds), signs, watch).watch
    return found


COMPLETE = Signs(frozenset("a"), frozenset("a"))
WAITED_FOR = Signs(frozenset(), frozenset("a"))
EMPTY = Signs(empty=True)
SHOWN: dict[LifeCause, tuple[Closing, list[tuple[float, Signs]]]] = {
    "rule": (Closing("quorum", grace_s=2, deadline_s=60), [(5, WAITED_FOR), (6, COMPLETE)]),
    "deadline": (Closing("quorum", grace_s=2, deadline_s=60), [(59, WAITED_FOR), (60, WAITED_FOR)]),
    "grace": (Closing("interval", 10.0, 3.0), [(12.9, NOTHING), (13, NOTHING)]),
    "skip_empty": (Closing("interval", 10.0, skip_empty=True), [(10, EMPTY), (500, EMPTY)]),
}
"""For each cause a frame and two looks at it, between which the cause brings the step about."""


@pytest.mark.parametrize("step", [step for step in LIFE if step.cause != "publication"], ids=lambda step: step.cause)
def test_each_step_of_the_table_is_taken(step: Transition) -> None:
    """Between two looks the cause takes the frame from the step's source to its target."""
    assert states_of(*SHOWN[step.cause]) == [step.source, step.target]


def test_a_publication_closes_the_frame_and_opens_the_next() -> None:
    """A due frame is the last closed one of the state that is published with it, and the next one is open."""
    (step,) = [step for step in LIFE if step.cause == "publication"]
    assert (state_of(TEN, at(10)), step.source, step.target) == ("due", "due", "closed")
    state = opened(8, at(10).wall, 7, "d" * 40, TEN)
    decision = decide(Watch(7, at(0)), state, TEN, NOTHING, at(10))
    assert (state.last_closed, decision.watch.frame, decision.due) == (7, 8, False)


@settings(max_examples=200)
@given(st.data())
def test_no_look_finds_a_step_that_is_not_in_the_table(data: st.DataObject) -> None:
    """Whatever arrives and however often a primary looks, a frame passes its states in the order of the table."""
    rule = data.draw(st.sampled_from(sorted(CLOSE_RULES)))
    numbers = st.sampled_from([0.0, 1.0, 7.5])
    deadline_s = data.draw(st.sampled_from([None, 20.0]))
    skip_empty = data.draw(st.booleans())
    closing = Closing(rule, 10.0, data.draw(numbers), deadline_s, skip_empty, next_fire=hourly)
    before, after = Signs(expected=frozenset("a"), empty=True), Signs(frozenset("a"), frozenset("a"), True, 99)
    times = sorted(data.draw(st.lists(st.floats(0, 2 * HOUR), max_size=8)))
    arrives = data.draw(st.integers(0, 8))
    found = states_of(closing, [(time, before if look < arrives else after) for look, time in enumerate(times)])
    order = list(STATES)
    steps = {(step.source, step.target) for step in LIFE}
    for one, two in pairwise(found):
        between = order[order.index(one) : order.index(two) + 1]
        assert between, f"{one} came after {two}"
        assert all(pair in steps for pair in pairwise(between))
    if rule == "manual":
        assert set(found) <= {"open"}


def test_the_tables_name_every_rule_and_state_once() -> None:
    """Each rule has its words, each state is reached from the first one, and the last one has no way out."""
    assert set(SPEAKS) == set(CLOSE_RULES) == set(get_args(CloseRule))
    assert tuple(STATES) == get_args(LifeState)
    assert {step.cause for step in LIFE} == set(get_args(LifeCause)) == {*SHOWN, "publication"}
    order = list(STATES)
    assert {step.source for step in LIFE} == set(order[:-1])
    assert {step.target for step in LIFE} == set(order[1:])


@pytest.mark.parametrize("rule", CLOSE_RULES)
def test_only_rules_that_wait_for_somebody_have_a_deadline(rule: CloseRule) -> None:
    """A deadline ends the frame under the rules of the table and under no other."""
    closing = Closing(rule, 1000.0, deadline_s=5, next_fire=never)
    assert ask(closing, at(5)).due == (rule in RULES_WITH_DEADLINE)
