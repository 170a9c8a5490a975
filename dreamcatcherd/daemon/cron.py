"""Cron schedules, by APScheduler's CronTrigger: when, never what. Times are UTC."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta

from apscheduler.triggers.cron import CronTrigger

from dreamcatcherd.core.errors import UsageError

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def schedule_of(cron: str) -> Callable[[int], int | None]:
    """The first time of a cron schedule after a time, both in microseconds UTC; UsageError for what is no schedule."""
    try:
        trigger = CronTrigger.from_crontab(cron, timezone=UTC)
    except ValueError as error:
        remedy = 'write five fields in UTC, such as "*/10 * * * *" for every ten minutes'
        raise UsageError(f"[frames] cron {cron!r} is no schedule: {error}", remedy) from error

    def next_fire(after: int) -> int | None:
        found = trigger.get_next_fire_time(None, _EPOCH + timedelta(microseconds=after + 1))
        return round(found.timestamp()) * 1_000_000 if found else None

    return next_fire
