"""What a hint comes to: a look at the repository, at most one a second, and none that is forgotten.

Also reads the secrets that hints are signed with."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

from dreamcatcherd.config_files import credential_file
from dreamcatcherd.config_tables import HintConfig
from dreamcatcherd.core.errors import UsageError
from dreamcatcherd.daemon.timers import Timers

HINT_EVERY_S = 1.0
"""The shortest time between two looks that hints cause."""


class HintPace:
    """Calls `wake` for hints: at once for the first, and for those that follow within a second once, at its end.

    So a burst costs two looks, and the last of them begins after the last hint of the burst."""

    def __init__(self, timers: Timers, wake: Callable[[], None], steady: Callable[[], float] = time.monotonic) -> None:
        self._timers = timers
        self._wake = wake
        self._steady = steady
        self._next_s = float("-inf")
        self._waits = False
        self._lock = threading.Lock()  # hints come from the server's thread, the end of a wait from the timers'

    def hint(self) -> None:
        """Something may have been pushed."""
        with self._lock:
            left_s = self._next_s - self._steady()
            if left_s > 0:
                if not self._waits:
                    self._timers.after("hint", left_s, self._waited)
                self._waits = True
                return
            self._looks()  # also if a timer that should have ended the wait is late
        self._wake()

    def _waited(self) -> None:
        with self._lock:
            if not self._waits:
                return
            self._looks()
        self._wake()

    def _looks(self) -> None:
        self._waits = False
        self._next_s = self._steady() + HINT_EVERY_S


def read_hint_secrets(hint: HintConfig) -> tuple[bytes, ...]:
    """The secrets of `[hint]`, one for each line of the file; none without a file. UsageError if it has none."""
    path = credential_file("hint", "secret_file", hint.secret_file)
    if path is None:
        return ()
    try:
        lines = path.read_bytes().splitlines()
    except OSError as error:
        cause = f"{path} (secret_file) cannot be read: {error.strerror}"
        raise UsageError(cause, "let the daemon's user read it") from error
    secrets = tuple(line.strip() for line in lines if line.strip())
    if not secrets:
        raise UsageError(f"{path} holds no secret", "write one on its first line: openssl rand -hex 32")
    return secrets
