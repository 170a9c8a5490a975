"""The verdict: what makes it, in which order, and in which words."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import structs

from dreamcatcherd.core.codec import utc_text
from dreamcatcherd.core.errors import FatalError
from dreamcatcherd.core.report import LastDelta, Pending
from dreamcatcherd.core.troubles import Trouble, disk_full, failing, overdue
from dreamcatcherd.core.verdict import HealthSigns, Recent, span_text, verdict

NOW = 1_767_225_600_000_000
SECOND = 1_000_000
PENDING = Pending(
    412, utc_text(NOW - 2 * SECOND), utc_text(NOW + 8 * SECOND), 411, NOW / 1e6 - 2, "d" * 40, {"a": 12}, 0, 1.0, {},
    seen={"a": LastDelta(411, NOW), "b": LastDelta(400, NOW), "c": LastDelta(401, NOW)}, due_at_s=NOW / 1e6 + 8,
)  # fmt: skip
WELL = HealthSigns(PENDING, True)
REFUSED = Trouble("the configuration on disk is refused: no such key", None, "correct it")
LATE = overdue(412, NOW / 1e6 - 40, NOW)
assert LATE is not None


def signs(**changes: Any) -> HealthSigns:
    """A healthy fleet with some changes; those of `Pending` go there."""
    pending = {name: changes.pop(name) for name in list(changes) if name in Pending.__struct_fields__}
    return structs.replace(WELL, pending=structs.replace(PENDING, **pending), **changes)


@pytest.mark.parametrize(
    ("found", "level", "sentence"),
    [
        (WELL, "healthy", "frame 412 closes in 8 s, 12 deltas wait"),
        (signs(streams={"a": 1}), "healthy", "frame 412 closes in 8 s, 1 delta waits"),
        (signs(streams={}, closes_at=None), "healthy", "frame 412 is open, no delta waits"),
        (signs(closing=True), "healthy", "frame 412 is being merged, 12 deltas wait"),
        (signs(due_at_s=NOW / 1e6 - 3), "healthy", "frame 412 closes in 8 s, 12 deltas wait"),
        (signs(silent=["b"]), "attention", "1 stream is silent: b"),
        (signs(silent=["a", "b", "c"]), "attention", "all streams are silent"),
        (
            signs(silent=["b", "c"], recent=Recent(100, quarantined=1)),
            "attention",
            "1 delta was quarantined in the last 100 frames, 2 streams are silent: b and c",
        ),
        (
            signs(recent=Recent(9, violations=2, violated=7)),
            "attention",
            "2 violations were repaired in the last 9 frames",
        ),
        (signs(recent=Recent(9, 40, 21)), "attention", "21 of 40 deltas came late in the last 9 frames"),
        (signs(recent=Recent(9, 40, 20)), "healthy", "frame 412 closes in 8 s, 12 deltas wait"),
        (signs(recent=Recent(9, 19, 19)), "healthy", "frame 412 closes in 8 s, 12 deltas wait"),
        (signs(daemon_troubles=(REFUSED,)), "attention", REFUSED.what),
        (signs(troubles=[Trouble("view v is large", None, "declare less")]), "attention", "view v is large"),
        (signs(troubles=[LATE]), "failing", "frame 412 is 40 s overdue"),
        (signs(due_at_s=NOW / 1e6 - 40), "failing", "frame 412 is 40 s overdue"),
        (signs(due_at_s=NOW / 1e6 - 40, closing=True), "attention", "frame 412 is being merged, 40 s after its time"),
        (signs(ready=False, why="the disk is full"), "failing", "the disk is full"),
        (
            signs(ready=False, why="the disk is full", due_at_s=NOW / 1e6 - 130, silent=["b"]),
            "failing",
            "the disk is full, frame 412 is 3 min overdue, and 1 more",
        ),
        (HealthSigns(why="no poll yet"), "attention", "nothing is read yet: no poll yet"),
        (HealthSigns(None, False, "gone", (Trouble("gone", None, "mount it"),)), "failing", "gone"),
    ],
)  # fmt: skip
def test_each_sign_has_its_level_and_its_words(found: HealthSigns, level: str, sentence: str) -> None:
    """The rules of docs/operations.md, one by one."""
    made = verdict(found, NOW)
    assert (made.level, made.sentence) == (level, sentence)
    assert made.countdown in made.sentence
    assert (made.level == "healthy") == (not made.reasons)


def test_a_reason_says_since_when_what_to_do_and_where_to_look() -> None:
    """Every reason has a remedy and a page; a failure carries those of the trouble that it is."""
    why = failing(FatalError("gone", "mount it"), NOW)
    full = disk_full(1, "/srv")
    assert full is not None
    made = verdict(
        signs(ready=False, why="gone", daemon_troubles=(why, full), troubles=[LATE, REFUSED], silent=["b"],
              recent=Recent(5, 30, 30, 1, 1, utc_text(NOW), utc_text(NOW), 409)),
        NOW,
    )  # fmt: skip
    assert [one.page for one in made.reasons] == [
        "troubles", "frames", "troubles", "troubles", "quarantine", "frames/409#violations", "frames?kind=late",
        "streams?state=silent",
    ]  # fmt: skip
    assert made.reasons[0].since == utc_text(NOW)
    assert made.reasons[0].remedy == "mount it"
    assert made.reasons[1].since == utc_text(NOW - 40 * SECOND)
    assert all(one.remedy and one.text for one in made.reasons)


def test_a_frame_is_overdue_because_of_the_failure() -> None:
    """While the cycle fails nobody is sent to restart the daemon for the frame that waits for it."""
    made = verdict(signs(ready=False, why="gone", due_at_s=NOW / 1e6 - 40), NOW)
    assert made.reasons[1].remedy == "it closes once the failure above is over"


def test_a_trouble_is_a_reason_once() -> None:
    """The cause of the failure is among the daemon's troubles, and the overdue frame among the repository's."""
    why = Trouble("gone", utc_text(NOW), "mount it")
    made = verdict(
        signs(ready=False, why="gone", daemon_troubles=(why,), troubles=[LATE], due_at_s=NOW / 1e6 - 40), NOW
    )
    assert [one.text for one in made.reasons] == ["gone", "frame 412 is 40 s overdue"]


TROUBLES = st.builds(Trouble, st.text(min_size=1, max_size=120), st.none(), st.just("do something"))
SIGNS = st.builds(
    HealthSigns,
    st.none() | st.builds(
        lambda silent, troubles, due, streams: structs.replace(
            PENDING, silent=silent, troubles=troubles, due_at_s=due, streams=streams
        ),
        st.lists(st.text(max_size=9), max_size=3),
        st.lists(TROUBLES, max_size=3),
        st.none() | st.integers(-100, 100).map(lambda one: NOW / 1e6 + one),
        st.dictionaries(st.text(max_size=9), st.integers(1, 99), max_size=3),
    ),
    st.booleans(),
    st.text(max_size=20),
    st.lists(TROUBLES, max_size=3).map(tuple),
    st.booleans(),
    st.builds(Recent, *(st.integers(0, most) for most in (100, 99, 99, 3, 3))),
)  # fmt: skip


@given(SIGNS)
def test_the_level_is_that_of_the_first_reason_and_reasons_are_in_order_of_urgency(found: HealthSigns) -> None:
    """Failures come before what asks for attention; without a reason the fleet is healthy, and only then."""
    made = verdict(found, NOW)
    levels = [one.level for one in made.reasons]
    assert levels == sorted(levels, reverse=True)  # `failing` comes after `attention` in the alphabet
    assert made.level == (levels[0] if levels else "healthy")
    assert made.sentence


@given(SIGNS, st.text(min_size=1, max_size=50))
def test_one_more_sign_never_makes_the_verdict_better(found: HealthSigns, text: str) -> None:
    """A trouble that is added is a reason, and the level stays or gets worse."""
    order = ["healthy", "attention", "failing"]
    more = structs.replace(found, daemon_troubles=(*found.daemon_troubles, Trouble(f"new: {text}", None, "mend it")))
    before, after = verdict(found, NOW), verdict(more, NOW)
    assert order.index(after.level) >= order.index(before.level)
    assert any(one.text == f"new: {text}" for one in after.reasons)


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0.2, "1 s"),
        (8, "8 s"),
        (119.5, "120 s"),
        (120, "2 min"),
        (7_199, "120 min"),
        (7_200, "2 h"),
        (172_800, "2 days"),
    ],
)
def test_spans_of_time_are_written_for_people(seconds: float, text: str) -> None:
    """Seconds, minutes, hours and days, rounded up: what closes in 0.2 s does not close in 0 s."""
    assert span_text(seconds) == text
