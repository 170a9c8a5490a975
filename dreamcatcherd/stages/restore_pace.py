"""When canonical files are restored that somebody edited: at once, and less and less often where it is done again."""

from __future__ import annotations

LONGEST_S = 300.0
RESET_AFTER_S = 900.0
"""After so long without an edit the next one is restored at once again."""


class RestorePace:
    """The waits between restore commits: none before the first, then 1 s, doubled each time. Times never step."""

    def __init__(self) -> None:
        self._count = 0
        self._last_s = 0.0

    def wait_s(self, now_s: float) -> float:
        """The seconds until the next restore may be made; 0 or less: now."""
        if self._count and now_s - self._last_s > RESET_AFTER_S:
            self._count = 0
        if not self._count:
            return 0.0
        return self._last_s + min(2.0 ** (self._count - 1), LONGEST_S) - now_s

    def restored(self, now_s: float) -> None:
        """A restore commit was just published."""
        self._count = min(self._count + 1, 20)
        self._last_s = now_s
