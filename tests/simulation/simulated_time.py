"""Time, sleep and chance of the daemon, all from the simulated world: nothing of the real clock reaches a decision."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import cache
from random import Random
from types import SimpleNamespace
from unittest.mock import patch

from dreamcatcherd.core.settings import read_settings
from dreamcatcherd.daemon import backoff, cycle, mirror_copier, mirror_keeper, relay, upkeep
from dreamcatcherd.daemon.upkeep import Upkeep
from dreamcatcherd.stages import published, settings_file
from tests.law.fleet import NOW

_read_settings = cache(read_settings)


class Time:
    """The true time of a world, in seconds since its begin; machines add their own errors to it."""

    def __init__(self) -> None:
        self.now_s = 0.0

    def wall(self) -> int:
        """The true time, in microseconds UTC."""
        return NOW + round(self.now_s * 1e6)

    def steady(self) -> float:
        """Seconds that never step."""
        return self.now_s

    def pass_by(self, seconds: float) -> None:
        """Let time pass."""
        self.now_s += seconds


@contextmanager
def simulated(time: Time, chance: Random, busy_s: Callable[[], float]) -> Iterator[None]:
    """While this holds, the daemon's modules know this time and this chance alone. `busy_s` is what they measure as
    their own processor time."""
    clock = SimpleNamespace(
        monotonic=time.steady, time=lambda: time.wall() / 1e6, sleep=time.pass_by, thread_time=busy_s
    )
    with ExitStack() as patches:
        for module in (backoff, cycle, mirror_copier, mirror_keeper, relay, upkeep):
            patches.enter_context(patch.object(module, "time", clock))
        for module in (backoff, relay):
            patches.enter_context(patch.object(module, "random", chance))
        patches.enter_context(patch.object(mirror_keeper, "wall_clock", time.wall))
        patches.enter_context(patch("random.uniform", chance.uniform))  # imported where it is called
        # Settings are one pure function of their bytes, and reading them again and again is a quarter of all time.
        for reads in (published, settings_file):
            patches.enter_context(patch.object(reads, "read_settings", _read_settings))
        # git's maintenance works on a folder, in a thread: there is neither here.
        patches.enter_context(patch.object(Upkeep, "_begin", lambda *_: None))
        yield
