"""Every timer of the daemon, on one APScheduler, and cron schedules.

A timer says only *when*: which frame is open and whether it is due comes from the repository at each poll. The loop
polls once an interval even if the scheduler never speaks, so a scheduler that died delays nothing."""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

from apscheduler.schedulers.background import BackgroundScheduler
from apscheduler.triggers.cron import CronTrigger

from dreamcatcherd.core.errors import UsageError

_LONGEST_S = 86_400.0
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)

_STEP_S = 1.0
"""From how many seconds on a clock was set, and did not only drift."""

_SAME_MOMENT = timedelta(milliseconds=10)

# APScheduler drops a run that is a second late, and a second run of a job that still runs. Both are wanted here: a tick
# that was missed while the machine slept is made up for, once.
_LATE_RUNS = {"misfire_grace_time": None, "coalesce": True}


class Timers:
    """Named timers; each calls a function in the scheduler's thread, which must return at once."""

    def __init__(self) -> None:
        self._scheduler = BackgroundScheduler(timezone=UTC)
        self._ahead_s = _ahead_s()

    def start(self) -> None:
        """Start the scheduler's thread."""
        self._scheduler.start()

    def after(self, name: str, seconds: float, call: Callable[[], object]) -> None:
        """Call once in so many seconds, in place of the time that this name was set to before.

        The job is repeated a day later: the scheduler's thread dies if a job ends just while it is shut down."""
        moment = datetime.now(UTC) + timedelta(seconds=min(max(seconds, 0.0), _LONGEST_S))
        job = self._scheduler.get_job(name)
        if job is not None and job.func == call and abs(job.next_run_time - moment) < _SAME_MOMENT:
            return  # every poll says again when the frame is due; setting it would wake the scheduler
        self._scheduler.add_job(
            call, "interval", days=1, next_run_time=moment, id=name, replace_existing=True, **_LATE_RUNS
        )

    def every(self, name: str, seconds: float, call: Callable[[], object]) -> None:
        """Call again and again, the first time after one interval, in place of the interval that was set before."""
        self._scheduler.add_job(call, "interval", seconds=seconds, id=name, replace_existing=True, **_LATE_RUNS)

    def follow_clock(self) -> None:
        """Keep the times of all timers if the wall clock, by which APScheduler goes, was set back: they would stop for
        as long. A clock that was set forward only makes timers early."""
        before, self._ahead_s = self._ahead_s, _ahead_s()
        back_s = before - self._ahead_s
        if back_s < _STEP_S:
            return
        for job in self._scheduler.get_jobs():
            job.modify(next_run_time=job.next_run_time - timedelta(seconds=back_s))

    def stop(self) -> None:
        """End the scheduler's thread; a call that is running is not waited for."""
        if self._scheduler.running:
            self._scheduler.shutdown(wait=False)


def _ahead_s() -> float:
    """How far the wall clock is ahead of the one that never steps, in seconds."""
    return datetime.now(UTC).timestamp() - time.monotonic()


def schedule_of(cron: str) -> Callable[[int], int | None]:
    """The first time of a cron schedule after a time, both in microseconds UTC; UsageError if it is not a schedule."""
    try:
        trigger = CronTrigger.from_crontab(cron, timezone=UTC)
    except ValueError as error:
        remedy = 'write five fields in UTC, such as "*/10 * * * *" for every ten minutes'
        raise UsageError(f"[frames] cron {cron!r} is no schedule: {error}", remedy) from error

    def next_fire(after: int) -> int | None:
        found = trigger.get_next_fire_time(None, _EPOCH + timedelta(microseconds=after + 1))
        return round(found.timestamp()) * 1_000_000 if found else None

    return next_fire
