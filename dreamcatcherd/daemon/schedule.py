"""What says "look now": the clock through APScheduler, the file system through watchfiles. Hints only.

Neither decides anything: which frame is open and whether it is due comes from the repository at each look, and the
loop looks once a poll interval even if nothing here ever speaks."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import watchfiles
from apscheduler.schedulers.background import BackgroundScheduler

from dreamcatcherd.core.troubles import Trouble

_LONGEST_S = 86_400.0


class Ticker:
    """Calls `wake` when the open frame is due, and whenever something in the watched folders changes."""

    def __init__(
        self, wake: Callable[[], None], watched: list[Path], degraded: Callable[[str], None] = lambda _: None
    ) -> None:
        """`degraded` is called, from the watcher's thread, when changes are no longer reported: only polls see them."""
        self._wake = wake
        self._watched = watched
        self._degraded = degraded
        self.trouble: Trouble | None = None
        self._stop = threading.Event()
        self._scheduler = BackgroundScheduler(timezone=UTC)
        self._watcher = threading.Thread(target=self._watch, name="watch", daemon=True)

    def start(self) -> None:
        self._scheduler.start()
        if self._watched:
            self._watcher.start()

    def wake_in(self, seconds: float) -> None:
        """Wake in so many seconds, in place of the time set before.

        The job comes again a day later: the scheduler's thread dies of one that is over just while it is shut down."""
        moment = datetime.now(UTC) + timedelta(seconds=min(max(seconds, 0.0), _LONGEST_S))
        self._scheduler.add_job(
            self._wake, "interval", days=1, next_run_time=moment, id="close", replace_existing=True,
            misfire_grace_time=None, coalesce=True,
        )  # fmt: skip

    def stop(self) -> None:
        self._stop.set()
        self._scheduler.shutdown(wait=False)

    def _watch(self) -> None:
        if os.environ.get("WATCHFILES_FORCE_POLLING"):
            self._degrade("WATCHFILES_FORCE_POLLING is set: it looks for changes itself, which costs processor time")
        try:
            changes = watchfiles.watch(
                *self._watched, watch_filter=None, debounce=50, step=10, rust_timeout=500, stop_event=self._stop
            )
            for _ in changes:
                self._wake()
        except (OSError, RuntimeError) as error:
            self._degrade(" ".join(str(error).split()))
            return
        if not self._stop.is_set():
            self._degrade("the watch ended")

    def _degrade(self, why: str) -> None:
        remedy = "raise fs.inotify.max_user_watches and max_user_instances (sysctl), then restart; polling goes on"
        self.trouble = Trouble(f"changes are seen by polling alone: {why}", None, remedy)
        self._degraded(why)
