"""What wakes the loop: a moved ref, a set time; and that nothing is left running (docs/protocol.md#frames)."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta, tzinfo
from pathlib import Path
from typing import cast

import pytest
from apscheduler.schedulers import base
from apscheduler.triggers import interval

from dreamcatcherd.core.frames import Closing
from dreamcatcherd.daemon import timers as timers_module
from dreamcatcherd.daemon.file_watch import FileWatch
from dreamcatcherd.daemon.timers import Timers
from dreamcatcherd.imports.new_repository import create
from tests.law.fleet import NOW, commit_files

FAR_S = 3600
LONG_S = 60.0


@pytest.fixture
def woken() -> threading.Event:
    return threading.Event()


@pytest.fixture
def timers() -> Iterator[Timers]:
    one = Timers()
    one.start()
    yield one
    one.stop()


def left_running(before: set[threading.Thread]) -> list[str]:
    """The threads that came since `before` and do not end by themselves. One of them may just be starting another."""
    until = time.monotonic() + LONG_S
    while (left := set(threading.enumerate()) - before) and time.monotonic() < until:
        time.sleep(0.01)
    return [thread.name for thread in left]


def test_it_wakes_at_the_time_that_was_set_last(timers: Timers, woken: threading.Event) -> None:
    """A nearer time takes the place of a far one."""
    timers.after("due", FAR_S, woken.set)
    assert not woken.is_set()
    timers.after("due", 0.05, woken.set)
    assert woken.wait(LONG_S)


def test_a_time_that_was_put_off_wakes_nobody(timers: Timers, woken: threading.Event) -> None:
    """A farther time takes the place of a near one: the job that is left is the far one."""
    timers.after("due", FAR_S / 4, woken.set)
    timers.after("due", FAR_S, woken.set)
    (job,) = timers._scheduler.get_jobs()
    assert job.next_run_time.timestamp() > time.time() + FAR_S / 2
    assert not woken.is_set()


def test_the_same_time_again_leaves_the_job_as_it_is(
    timers: Timers, woken: threading.Event, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each poll says again when the frame is due: only another time, or another call, is set."""
    begun = datetime.now(UTC)

    class Still(datetime):
        @classmethod
        def now(cls, tz: tzinfo | None = None) -> Still:
            return cast(Still, begun)

    monkeypatch.setattr(timers_module, "datetime", Still)
    timers.after("due", FAR_S, woken.set)
    (first,) = timers._scheduler.get_jobs()
    moment = first.next_run_time
    timers.after("due", FAR_S + 0.005, woken.set)
    assert timers._scheduler.get_jobs()[0].next_run_time == moment
    timers.after("due", FAR_S + 1, woken.set)
    assert timers._scheduler.get_jobs()[0].next_run_time != moment
    other = threading.Event()
    timers.after("due", FAR_S + 1, other.set)
    assert timers._scheduler.get_jobs()[0].func == other.set


def test_a_time_that_is_over_wakes_at_once(timers: Timers, woken: threading.Event) -> None:
    """A tick that was missed, however long ago, is made up for."""
    timers.after("due", -FAR_S, woken.set)
    assert woken.wait(LONG_S)


@pytest.mark.parametrize("ref", ["refs/heads/main", "refs/heads/dc/s/1-x"])
def test_it_wakes_when_a_ref_moves(tmp_path: Path, woken: threading.Event, ref: str) -> None:
    """A push to `main`, or to a lane in a folder that is new, wakes the loop."""
    store = create(tmp_path / "fleet.git", 1, NOW, Closing("manual"))
    watch = FileWatch([store.folder / "refs"], woken.set)
    watch.start()
    try:
        for number in range(600):  # the watcher may not be there yet at the first of them
            commit_files(store, ref, {"a": str(number).encode()})
            if woken.wait(0.1):
                break
        assert woken.is_set()
    finally:
        watch.stop()


def test_stopping_ends_all_that_was_started(tmp_path: Path, woken: threading.Event) -> None:
    """Watcher, clock and their workers end, also where a time is still set."""
    store = create(tmp_path / "fleet.git", 1, NOW, Closing("manual"))
    before = set(threading.enumerate())
    timers, watch = Timers(), FileWatch([store.folder / "refs"], woken.set)
    timers.start()
    watch.start()
    timers.after("due", 0, woken.set)
    assert woken.wait(LONG_S)
    timers.after("due", FAR_S, woken.set)
    assert len(set(threading.enumerate()) - before) >= 2
    watch.stop()
    timers.stop()
    assert left_running(before) == []


def test_a_clock_that_is_set_back_delays_no_timer(timers: Timers, monkeypatch: pytest.MonkeyPatch) -> None:
    """APScheduler goes by the wall clock: what is repeated often goes on after it was set back by an hour."""
    back = timedelta(0)

    class Moved(datetime):
        @classmethod
        def now(cls, tz: tzinfo | None = None) -> Moved:
            return cast(Moved, datetime.now(tz) - back)

    for module in (base, interval, timers_module):
        monkeypatch.setattr(module, "datetime", Moved)
    runs = threading.Semaphore(0)
    timers.every("measure", 0.2, runs.release)
    assert runs.acquire(timeout=LONG_S)
    back = timedelta(hours=1)
    timers.follow_clock()
    for _ in range(5):
        assert runs.acquire(timeout=LONG_S)
