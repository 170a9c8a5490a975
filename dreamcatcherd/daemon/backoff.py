"""How long to wait after a failed cycle: longer with each in a row, and as long as a server asks to be left alone."""

from __future__ import annotations

import random
import time

from dreamcatcherd.core.errors import DreamcatcherError, RetryableError
from dreamcatcherd.git.failures import LimitedError

FIRST_S = 1.0
"""The wait after a failed cycle, and the longest one: it doubles with each failure in a row, and chance shortens it."""

LIMITED_S = 900.0
"""The longest wait where a server says that it is asked too often, and not for how long to leave it alone."""


class Backoff:
    """Failures in a row, and until when a server wants to be left alone: `until`, a reading of the monotonic clock."""

    def __init__(self) -> None:
        self._failures = 0
        self.until = 0.0

    @property
    def left_s(self) -> float:
        """How much longer nothing may be asked of the server, in seconds."""
        return max(0.0, self.until - time.monotonic())

    def end(self) -> None:
        """A cycle went well, or the repository is another one."""
        self._failures = 0
        self.until = 0.0

    def wait_s(self, error: DreamcatcherError, retry_s: float) -> float:
        """How long to wait after one more failure; `retry_s` is the longest wait where the server asks for none."""
        limited = isinstance(error, LimitedError)
        first, most = (retry_s, max(retry_s, LIMITED_S)) if limited else (FIRST_S, retry_s)
        longest = min(first * 2**self._failures, most)
        self._failures = min(self._failures + 1, 10)
        # Chance keeps the primaries of one server from asking it again at the same moment.
        wait_s = random.uniform(longest / 2, longest)  # noqa: S311 (no secret hangs on it)
        asked_s = error.retry_after_s if isinstance(error, RetryableError) else None
        if asked_s is not None:
            wait_s = max(asked_s, FIRST_S)  # a server that says 0 each time would be asked without a pause
        if asked_s is not None or limited:
            self.until = time.monotonic() + wait_s
        return wait_s
