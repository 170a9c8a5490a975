"""Pushes to the shared branch give way to a frame that is overdue, and to nothing else.

Contract: docs/protocol.md#publishing."""

from __future__ import annotations

import pytest

from dreamcatcherd.core import paths
from dreamcatcherd.core.frames import Closing
from dreamcatcherd.hook import backpressure
from dreamcatcherd.hook.backpressure import is_overdue, wait_while_overdue
from dreamcatcherd.hook.push import Offence, Update
from dreamcatcherd.stages.first_frame import open_first
from dreamcatcherd.testing import MemoryStore
from tests.law.fleet import MAIN, NOW, commit_files

NEW = "1" * 40


def opened(closing: Closing, at: int = NOW) -> MemoryStore:
    store = MemoryStore()
    open_first(store, 1, at, closing, MAIN)
    return store


@pytest.mark.parametrize(
    ("seconds", "overdue"), [(-1, False), (0.9, False), (1.1, True), (299, True), (301, False), (86_400, False)]
)
def test_a_frame_is_overdue_from_a_second_to_five_minutes_after_its_time(seconds: float, overdue: bool) -> None:
    """Before that it may be closing in good time; after that whoever should close it is gone."""
    store = opened(Closing("interval", 10))
    assert is_overdue(store, store.refs()[MAIN], NOW / 1e6 + 10 + seconds) is overdue


def test_a_frame_that_no_time_closes_is_never_overdue() -> None:
    """Closed by hand, or with a frame.json that somebody broke: nobody waits."""
    store = opened(Closing("manual"))
    assert not is_overdue(store, store.refs()[MAIN], NOW / 1e6 + 20)
    for raw in (b"{", b'{"frame": 1, "closes_at": "soon"}'):
        commit_files(store, MAIN, {paths.FRAME: raw})
        assert not is_overdue(store, store.refs()[MAIN], NOW / 1e6 + 20)


class Clock:
    """Clocks that go on while somebody sleeps, and at no other time."""

    def __init__(self, at_s: float) -> None:
        self.at_s = at_s

    def time(self) -> float:
        return self.at_s

    monotonic = time


class Waiting:
    """Counts the sleeps, and may let the branch move at one of them."""

    def __init__(self, store: MemoryStore, clock: Clock, moves_at: int | None = None) -> None:
        self.head: str | None = store.refs()[MAIN]
        self.sleeps = 0
        self._clock = clock
        self._moves_at = moves_at

    def sleep(self, seconds: float) -> None:
        self._clock.at_s += seconds
        self.sleeps += 1
        if self.sleeps == self._moves_at:
            self.head = NEW


def given(store: MemoryStore, waiting: Waiting, *updates: Update) -> Offence | None:
    return wait_while_overdue(store, updates, MAIN, lambda: waiting.head, waiting.sleep)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    """Twenty seconds after the frame was opened."""
    found = Clock(NOW / 1e6 + 20)
    monkeypatch.setattr(backpressure, "time", found)
    return found


@pytest.fixture
def late() -> MemoryStore:
    """A repository whose frame should have been closed ten seconds ago."""
    return opened(Closing("interval", 10))


def test_a_push_to_the_shared_branch_waits_and_may_enter_then(late: MemoryStore, clock: Clock) -> None:
    """Where nobody closes the frame meanwhile, the push goes on."""
    waiting = Waiting(late, clock)
    before = clock.at_s
    assert given(late, waiting, Update(MAIN, late.refs()[MAIN], NEW)) is None
    assert waiting.sleeps > 1
    assert clock.at_s - before == pytest.approx(backpressure.WAIT_S, abs=0.1)


def test_a_push_that_was_overtaken_while_it_waited_is_told_so(late: MemoryStore, clock: Clock) -> None:
    """It could not land any more, and does not wait any longer."""
    waiting = Waiting(late, clock, moves_at=2)
    stale = given(late, waiting, Update(MAIN, late.refs()[MAIN], NEW))
    assert stale is not None
    assert (stale.path, stale.reason, waiting.sleeps) == (MAIN, "main-moved", 2)


def test_lanes_publications_and_first_pushes_never_wait(late: MemoryStore, clock: Clock) -> None:
    """Only who pushes to the shared branch, and is no primary, stands in a primary's way."""
    head = late.refs()[MAIN]
    for updates in (
        [Update("refs/heads/dc/a", None, NEW)],
        [Update(MAIN, head, NEW), Update(paths.PUBLISHED, head, NEW)],
        [Update(MAIN, None, NEW)],
    ):
        waiting = Waiting(late, clock)
        assert given(late, waiting, *updates) is None
        assert waiting.sleeps == 0


def test_nobody_waits_for_a_frame_that_is_not_due(clock: Clock) -> None:
    """While the frame is open in good time a push costs nothing more."""
    store = opened(Closing("interval", 3600))
    waiting = Waiting(store, clock)
    assert given(store, waiting, Update(MAIN, store.refs()[MAIN], NEW)) is None
    assert waiting.sleeps == 0
