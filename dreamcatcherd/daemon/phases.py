"""The phases of a cycle while it runs: how long each took, and when."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Protocol

from dreamcatcherd.core.report import PhaseRun


class MergeCount:
    """How many deltas of a merge are done, and since when it runs. The loop writes it, and the timers' thread reads
    it."""

    def __init__(self, total: int = 0) -> None:
        self.total = total
        self.done = 0
        self.began_s = time.monotonic()

    def add(self, more: int) -> None:
        """So many more deltas are done."""
        self.done += more


class Watched(Protocol):
    """What a cycle's phases are measured with: the wall clock in microseconds UTC, and what to call after each."""

    clock: Callable[[], int]
    progress: Callable[[], None]


class Phases:
    """The phases of a cycle, on top of those that `began` it: `runs` in order, `seconds` of each in total."""

    def __init__(self, watched: Watched, began: Sequence[PhaseRun] = ()) -> None:
        self.runs = list(began)
        self.seconds: dict[str, float] = {}
        self.attempt = 1
        self._watched = watched
        for run in began:
            self._add(run)

    @contextmanager
    def of(self, name: str) -> Iterator[None]:
        """Measure a `with` block as one run of a phase."""
        began, start = self._watched.clock(), time.perf_counter()
        failed = True
        try:
            yield
            failed = False
        finally:
            run = PhaseRun(name, began, time.perf_counter() - start, self.attempt, failed)
            self.runs.append(run)
            self._add(run)
            self._watched.progress()

    def _add(self, run: PhaseRun) -> None:
        self.seconds[run.phase] = self.seconds.get(run.phase, 0.0) + run.seconds
