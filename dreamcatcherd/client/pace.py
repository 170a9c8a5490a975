"""How often a request is made again, and after which pause: exponential, with jitter, bounded, and never sooner than
the server asks for."""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from typing import TypeVar

from dreamcatcherd.core.errors import RetryableError
from dreamcatcherd.git.failures import is_passing

_T = TypeVar("_T")

BUDGET_S = 60.0
"""For how long races are run again, and the longest wait that a server may ask for."""
OUTAGES = 4
"""How many times a server is asked that does not answer."""

_RACE_S = (0.05, 2.0)
_OUTAGE_S = (0.5, 8.0)


class Pace:
    """The pauses between the attempts of one push."""

    def __init__(self, sleep: Callable[[float], None] = time.sleep) -> None:
        self._sleep = sleep
        self._until = time.monotonic() + BUDGET_S
        self._races = self._outages = 0

    def lost_race(self, failure: RetryableError) -> None:
        """Pause after somebody else was faster; raises the failure when the time is over."""
        self._races += 1
        self._pause(_RACE_S, self._races, failure)

    def failed(self, failure: RetryableError) -> None:
        """Pause after a failure that may pass; raises the failure if it will not, or happened too often."""
        self._outages += 1
        if self._outages >= OUTAGES or not is_passing(failure):
            raise failure
        self._pause(_OUTAGE_S, self._outages, failure)

    def _pause(self, bounds: tuple[float, float], attempt: int, failure: RetryableError) -> None:
        first, most = bounds
        pause = max(jittered(min(most, first * 2 ** (attempt - 1))), failure.retry_after_s or 0.0)
        if time.monotonic() + pause > self._until:
            raise failure
        self._sleep(pause)


def jittered(pause_s: float) -> float:
    """A pause of about this length, so that many clients do not ask at the same moment."""
    return pause_s * random.uniform(0.5, 1.5)  # noqa: S311 (nothing secret)


def persist(ask: Callable[[], _T], pace: Pace | None = None) -> _T:
    """Make a request, again if it fails in a way that may pass; raises the last RetryableError."""
    pace = pace or Pace()
    while True:
        try:
            return ask()
        except RetryableError as failure:
            pace.failed(failure)
