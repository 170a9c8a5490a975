"""What says "look now": the clock through APScheduler, the file system through watchfiles. Hints only.

Neither decides anything: which frame is open and whether it is due comes from the repository at each look, and the
loop looks once a poll interval even if nothing here ever speaks."""

from __future__ import annotations

import threading
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import watchfiles
from apscheduler.schedulers.background import BackgroundScheduler


class Ticker:
    """Calls `wake` when the open frame is due, and whenever a ref of a repository on this disk changes."""

    def __init__(self, wake: Callable[[], None], repository: Path | None) -> None:
        self._wake = wake
        self._refs = repository / "refs" if repository else None
        self._stop = threading.Event()
        self._scheduler = BackgroundScheduler(timezone=UTC)
        self._watcher = threading.Thread(target=self._watch, name="watch", daemon=True)

    def start(self) -> None:
        self._scheduler.start()
        if self._refs is not None:
            self._watcher.start()

    def wake_at(self, micros: int) -> None:
        """Wake at a time (microseconds UTC), in place of the one set before."""
        moment = datetime.fromtimestamp(micros / 1e6, UTC)
        self._scheduler.add_job(
            self._wake, "date", run_date=moment, id="close", replace_existing=True, misfire_grace_time=None
        )

    def stop(self) -> None:
        self._stop.set()
        self._scheduler.shutdown(wait=False)

    def _watch(self) -> None:
        if self._refs is None:
            return
        changes = watchfiles.watch(
            self._refs, watch_filter=None, debounce=50, step=10, rust_timeout=500, stop_event=self._stop
        )
        for _ in changes:
            self._wake()
