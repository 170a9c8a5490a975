"""When the open frame closes (docs/protocol.md#frames). Time and arrivals come as arguments; nothing here waits.

A frame goes through its states once and in order: `STATES` says what holds in each, `LIFE` what leads from one to
the next, and `SPEAKS` when each closing rule speaks. The tests compare these tables with `decide` and `opened`, and the
picture in docs/protocol.md is drawn from them.

The repository says which frame is open, since when, and perhaps when it closes: workers read that, so it holds for the
open frame, and a configuration with a later time counts from the next one. A primary adds when it first saw the frame
open, by its wall clock and by its monotonic clock: an interval or deadline ends when either clock says so. So a sleep
or a step forward closes the frame once, late or early, and a step back holds no frame open. The observations of a
primary are lost when it restarts. Then the time in the repository alone decides: it is in the past, or after a step
back the wait is counted from the restart."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal, NamedTuple

from msgspec import Struct, structs

from dreamcatcherd.core.codec import utc_micros, utc_text
from dreamcatcherd.core.model import FrameState

CloseRule = Literal["interval", "cron", "counter", "quorum", "next", "manual"]

DEADLINE = "deadline"
"""The closing rule of a frame whose own rule waited for somebody in vain."""

LifeState = Literal["open", "over", "due", "closed"]
LifeCause = Literal["rule", "deadline", "grace", "skip_empty", "publication"]

STATES: dict[LifeState, str] = {
    "open": "the closing rule has not spoken",
    "over": "the rule or its deadline has spoken",
    "due": "the next cycle closes it",
    "closed": "its ledger is published",
}
"""What holds in each state, in order. The publication that closes a frame opens the next one. Closed by hand, a frame
skips the states in between."""


class Transition(NamedTuple):
    """A step in the life of a frame, or, from a state to itself, what keeps the frame there."""

    source: LifeState
    target: LifeState
    cause: LifeCause
    says: str


LIFE: tuple[Transition, ...] = (
    Transition("open", "over", "rule", "the closing rule speaks"),
    Transition("open", "over", "deadline", "the deadline passes"),
    Transition("over", "due", "grace", "grace passes"),
    Transition("over", "over", "skip_empty", "with skip_empty: nothing to do"),
    Transition("due", "closed", "publication", "it is published"),
)

SPEAKS: dict[CloseRule, str] = {
    "manual": "never: a person or a job closes the frame",
    "interval": "interval seconds after opened_at",
    "cron": "at the first time of the schedule after opened_at",
    "counter": "once the counter file is beyond the open frame",
    "quorum": "once all expected streams have delivered",
    "next": "once a delta of a later frame has arrived",
}
"""When each closing rule speaks. An interval counts from the repository's time, so that several primaries close one
frame an interval."""

RULES_BY_TIME: frozenset[CloseRule] = frozenset({"interval", "cron"})
"""The rules by which a time ends every frame."""

RULES_WITH_DEADLINE: frozenset[CloseRule] = frozenset({"counter", "quorum", "next"})
"""The rules that wait for somebody: a deadline ends such a wait."""


class Closing(Struct, frozen=True):
    """The closing rule and its numbers, in seconds. `next_fire` is the cron schedule: the first time after a time.

    `streams` are the streams that a quorum waits for: names, or all that delivered in this many of the last frames."""

    rule: CloseRule = "interval"
    interval_s: float = 10.0
    grace_s: float = 0.0
    deadline_s: float | None = None
    skip_empty: bool = False
    streams: tuple[str, ...] | int = ()
    counter: str = "state/frame_counter.json"
    next_fire: Callable[[int], int | None] | None = None


class Signs(Struct, frozen=True):
    """The arrivals that rules depend on: streams that delivered for the open frame, streams that a quorum waits for,
    whether there is a delta of a later frame, the counter file's frame, and whether a close would have nothing to
    do."""

    delivered: frozenset[str] = frozenset()
    expected: frozenset[str] = frozenset()
    later: bool = False
    counter: int | None = None
    empty: bool = False

    @property
    def missing(self) -> list[str]:
        return sorted(self.expected - self.delivered)


class Moment(NamedTuple):
    """Now: microseconds UTC by the wall clock, and seconds by a clock that never steps."""

    wall: int
    steady_s: float


class Watch(Struct, frozen=True):
    """The observations of one primary: since when it watches the open frame, and since when the rule has spoken."""

    frame: int
    since: Moment
    spoke_s: float | None = None


class Decision(Struct, frozen=True):
    """Whether the frame is due, and by which rule. `wake_in_s` is in how many seconds it may be due, None if no time
    says so. If the frame is due, it is 0 or less: how long it has been due."""

    watch: Watch
    due: bool
    closed_by: str
    wake_in_s: float | None = None


class _Spoken(NamedTuple):
    """When the rule speaks: at a wall time, after some steady seconds of watching, or now."""

    at: int | None = None
    after_s: float | None = None
    now: bool = False


def _manual(start: int, state: FrameState, closing: Closing, signs: Signs) -> _Spoken:
    return _Spoken()


def _interval(start: int, state: FrameState, closing: Closing, signs: Signs) -> _Spoken:
    return _Spoken(start + _micros(closing.interval_s), closing.interval_s)


def _cron(start: int, state: FrameState, closing: Closing, signs: Signs) -> _Spoken:
    return _Spoken(closing.next_fire(start) if closing.next_fire else None)


def _counter(start: int, state: FrameState, closing: Closing, signs: Signs) -> _Spoken:
    return _Spoken(now=signs.counter is not None and signs.counter > state.frame)


def _quorum(start: int, state: FrameState, closing: Closing, signs: Signs) -> _Spoken:
    return _Spoken(now=bool(signs.expected) and not signs.missing)


def _next(start: int, state: FrameState, closing: Closing, signs: Signs) -> _Spoken:
    return _Spoken(now=signs.later)


CLOSE_RULES: dict[CloseRule, Callable[[int, FrameState, Closing, Signs], _Spoken]] = {
    "manual": _manual,
    "interval": _interval,
    "cron": _cron,
    "counter": _counter,
    "quorum": _quorum,
    "next": _next,
}


def watch_frame(watch: Watch | None, state: FrameState, now: Moment) -> Watch:
    """Continue to watch the open frame, or begin to. If the wall clock went back, the watch begins at its present
    time."""
    if watch is None or watch.frame != state.frame:
        return Watch(state.frame, now)
    if now.wall < watch.since.wall:
        return structs.replace(watch, since=Moment(now.wall, watch.since.steady_s))
    return watch


def decide(watch: Watch | None, state: FrameState, closing: Closing, signs: Signs, now: Moment) -> Decision:
    """Whether the open frame is to be closed now."""
    watch = watch_frame(watch, state, now)
    opened_at = utc_micros(state.opened_at) if state.opened_at else None
    start = min(opened_at or 0, watch.since.wall)
    watched_s = now.steady_s - watch.since.steady_s
    # Rules are asked at each poll and remember nothing; what was said once is kept in the watch, because a quorum
    # that was complete may look incomplete after a rewind.
    spoken = CLOSE_RULES[closing.rule](start, state, closing, signs)
    if spoken.now and watch.spoke_s is None:
        watch = structs.replace(watch, spoke_s=now.steady_s)
    waits = [_wait_s(spoken, now, watched_s, closing.grace_s)]
    if watch.spoke_s is not None:
        waits.append(watch.spoke_s + closing.grace_s - now.steady_s)
    deadline = _Spoken()
    if closing.deadline_s is not None and closing.rule in RULES_WITH_DEADLINE:
        deadline = _Spoken(start + _micros(closing.deadline_s), closing.deadline_s)
    limits = [_wait_s(deadline, now, watched_s, closing.grace_s)]
    promise = utc_micros(state.closes_at) if state.closes_at and closing.rule != "manual" else None
    kept = waits if closing.rule in RULES_BY_TIME else limits
    kept.append(_wait_s(_Spoken(promise), now, watched_s, closing.grace_s))
    by_rule = min((wait for wait in waits if wait is not None), default=None)
    by_deadline = min((wait for wait in limits if wait is not None), default=None)
    wake_in_s = min((wait for wait in (by_rule, by_deadline) if wait is not None), default=None)
    closed_by = closing.rule if by_rule is not None and by_rule <= 0 else DEADLINE
    over = wake_in_s is not None and wake_in_s <= 0
    if not over:
        return Decision(watch, False, closing.rule, wake_in_s)
    # A frame that is over and empty stays open until the first delta, and closes with it.
    due = not (closing.skip_empty and signs.empty)
    return Decision(watch, due, closed_by, wake_in_s if due else None)


def _wait_s(spoken: _Spoken, now: Moment, watched_s: float, grace_s: float) -> float | None:
    """The seconds until the rule has spoken and grace is over; 0 or less if both are past."""
    waits = []
    if spoken.at is not None:
        waits.append((spoken.at + _micros(grace_s) - now.wall) / 1e6)
    if spoken.after_s is not None:
        waits.append(spoken.after_s + grace_s - watched_s)
    return min(waits, default=None)


def _micros(seconds: float) -> int:
    return round(seconds * 1e6)


def opened(frame: int, now: int, last_closed: int | None, snapshot: str | None, closing: Closing) -> FrameState:
    """The state of a frame that opens now (microseconds UTC). `closes_at` is the time that ends it, without grace, if a
    time does."""
    state = FrameState(frame, utc_text(now), None, last_closed, snapshot)
    at = CLOSE_RULES[closing.rule](now, state, closing, Signs()).at
    if at is None and closing.deadline_s is not None and closing.rule in RULES_WITH_DEADLINE:
        at = now + _micros(closing.deadline_s)
    return structs.replace(state, closes_at=utc_text(at) if at is not None else None)
