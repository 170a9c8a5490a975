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


class Timers:
    """Calls `wake` when the open frame is due, and whenever something changes that is watched."""

    def __init__(
        self,
        wake: Callable[[], None],
        watched: list[Path],
        degraded: Callable[[str], None] = lambda _: None,
        beside: list[Path] | None = None,
    ) -> None:
        """`watched` are folders, watched with all that is below them, `beside` ones of which only the files are.
        `degraded` is called, from a watcher's thread, when changes are no longer reported: only polls see them."""
        self._wake = wake
        self._degraded = degraded
        self.trouble: Trouble | None = None
        self._scheduler = BackgroundScheduler(timezone=UTC)
        self._repository = _Watch(watched, True, wake, self._degrade)
        self._beside = _Watch(beside or [], False, wake, self._degrade)

    def start(self) -> None:
        self._scheduler.start()
        for watch in (self._repository, self._beside):
            watch.start()

    def watch(self, folders: list[Path]) -> None:
        """Watch other folders in place of those that were watched with all below them."""
        self._repository.stop()
        self.trouble = None
        self._repository = _Watch(folders, True, self._wake, self._degrade)
        self._repository.start()

    def wake_in(self, seconds: float) -> None:
        """Wake in so many seconds, in place of the time set before.

        The job comes again a day later: the scheduler's thread dies of one that is over just while it is shut down."""
        moment = datetime.now(UTC) + timedelta(seconds=min(max(seconds, 0.0), _LONGEST_S))
        self._scheduler.add_job(
            self._wake, "interval", days=1, next_run_time=moment, id="close", replace_existing=True,
            misfire_grace_time=None, coalesce=True,
        )  # fmt: skip

    def stop(self) -> None:
        for watch in (self._repository, self._beside):
            watch.stop()
        self._scheduler.shutdown(wait=False)

    def _degrade(self, why: str) -> None:
        remedy = "raise fs.inotify.max_user_watches and max_user_instances (sysctl), then restart; polling goes on"
        self.trouble = Trouble(f"changes are seen by polling alone: {why}", None, remedy)
        self._degraded(why)


class _Watch:
    """One watch of the file system, in a thread of its own from `start` on; none where there is nothing to watch."""

    def __init__(
        self, folders: list[Path], recursive: bool, wake: Callable[[], None], degrade: Callable[[str], None]
    ) -> None:
        self._folders = folders
        self._recursive = recursive
        self._wake = wake
        self._degrade = degrade
        self._stop = threading.Event()

    def start(self) -> None:
        if self._folders:
            threading.Thread(target=self._run, name="watch", daemon=True).start()

    def stop(self) -> None:
        self._stop.set()

    def _run(self) -> None:
        if os.environ.get("WATCHFILES_FORCE_POLLING"):
            self._degrade("WATCHFILES_FORCE_POLLING is set: it looks for changes itself, which costs processor time")
        try:
            changes = watchfiles.watch(
                *self._folders, watch_filter=None, debounce=50, step=10, rust_timeout=500, stop_event=self._stop,
                recursive=self._recursive,
            )  # fmt: skip
            for _ in changes:
                self._wake()
        except (OSError, RuntimeError) as error:
            self._degrade(" ".join(str(error).split()))
            return
        if not self._stop.is_set():
            self._degrade("the watch ended")
