"""Signals: which one asks for what, and how a daemon ends that cannot come to an end by itself."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable
from types import FrameType

_STOPS = (signal.SIGTERM, signal.SIGINT)


def catch_signals(stop: Callable[[], None], ask: Callable[[str], None], overdue: Callable[[], None]) -> None:
    """Call `stop` on SIGTERM and SIGINT, `ask` with what SIGHUP (`reload`) and SIGUSR1 (`close`) ask for.

    Python runs handlers in the main thread, and only once a call of libgit2 has returned, which may wait for a server
    for a long time. So `overdue` is called at once on a stop, in a thread of its own: it sets the time limit."""

    def on_stop(number: int, frame: FrameType | None) -> None:
        stop()

    for number in _STOPS:
        signal.signal(number, on_stop)
    signal.signal(signal.SIGHUP, lambda *_: ask("reload"))
    signal.signal(signal.SIGUSR1, lambda *_: ask("close"))
    # What catches a signal writes its number here, whatever the main thread is doing.
    numbers, written = os.pipe()
    os.set_blocking(written, False)
    signal.set_wakeup_fd(written, warn_on_full_buffer=False)

    def watch() -> None:
        while os.read(numbers, 1)[0] not in _STOPS:
            pass
        overdue()

    threading.Thread(target=watch, name="stop", daemon=True).start()
