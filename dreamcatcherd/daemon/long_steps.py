"""A line in the log now and then while one step of the loop takes long, so that somebody who looks sees that it goes on
and when it may be over.

The loop's thread only sets values; a timer's thread reads them and writes the line."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager

from dreamcatcherd.daemon.primary import Primary
from dreamcatcherd.observe.families import PHASES
from dreamcatcherd.observe.logs import CycleLog

LONG_S = 30.0
"""From how many seconds on a step is long, and how often it is reported."""


class LongSteps:
    """What step of the loop is in progress."""

    def __init__(self, cycles: CycleLog) -> None:
        self._cycles = cycles
        self._primary: Primary | None = None
        self._began_s = 0.0
        self._timeline: object = None

    @contextmanager
    def timed(self, primary: Primary) -> Iterator[None]:
        """Measure a `with` block as one step: a poll, and the close that follows if the frame is due."""
        self._timeline, self._began_s = primary.timeline, time.monotonic()
        self._primary = primary
        try:
            yield
        finally:
            self._primary = None

    def report(self) -> None:
        """Log the step in progress, if it is a long one: the phase, the seconds since it began, and during a merge the
        deltas that are done, the rate and the seconds that are left."""
        primary, began_s = self._primary, self._began_s
        seconds = time.monotonic() - began_s
        if primary is None or seconds < LONG_S:
            return
        timeline = primary.timeline
        if timeline is None or timeline is self._timeline:  # a close sets its own once it has read what waits
            self._cycles.logger.info("still reading", seconds=round(seconds))
            return
        runs = timeline.runs
        phase = PHASES[(PHASES.index(runs[-1].phase) + 1) % len(PHASES)] if runs else PHASES[0]
        what = {"frame": timeline.frame, "phase": phase, "seconds": round(seconds)}
        if phase == "merge":
            what |= _merge_progress(primary)
        self._cycles.logger.info("still closing", **what)


def _merge_progress(primary: Primary) -> dict[str, int]:
    merging = primary.merging
    done, spent_s = merging.done, time.monotonic() - merging.began_s
    if not done or spent_s <= 0:
        return {"deltas": merging.total}
    rate = done / spent_s
    left = {"per_s": round(rate), "left_s": round((merging.total - done) / rate)}
    return {"deltas": merging.total, "done": done, **left}
