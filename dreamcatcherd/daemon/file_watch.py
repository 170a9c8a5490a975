"""Watching folders: a push is noticed at once instead of at the next poll.

watchfiles reports changes, on every system, to a thread that asks it every few milliseconds. On Linux the thread asks
rarely, because a doorbell (`doorbell.py`) rings beside it for what cannot wait. Events are hints. Where the system
limits watches, or the file system reports nothing, polls see the changes."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import watchfiles

from dreamcatcherd.core.troubles import Trouble
from dreamcatcherd.daemon.doorbell import Doorbell

STEP_MS = 10
"""How often watchfiles is asked without a doorbell, in milliseconds."""

SLOW_STEP_MS = 500
"""The same where nobody waits for it: a hundred wake-ups a second are most of what an idle daemon costs."""

SETTLE_S = 0.005
"""How long after the first change the loop is woken up: most transactions move more than one ref."""

PACE_S = 0.045
"""How long nothing wakes the loop after that. Changes meanwhile are reported at its end, once."""


class _Watching:
    """The threads of one watch: `stop` ends them."""

    def __init__(self) -> None:
        self.stop = threading.Event()
        self.doorbell: Doorbell | None = None

    def end(self) -> None:
        self.stop.set()
        if self.doorbell is not None:
            self.doorbell.stop()


class FileWatch:
    """One watch, in threads of its own from `start` on; none if there is nothing to watch."""

    def __init__(
        self,
        folders: Sequence[Path],
        changed: Callable[[], None],
        degraded: Callable[[str], None] = lambda _: None,
        *,
        at_once: bool = True,
    ) -> None:
        """`changed` and `degraded` are called in the watch's threads; `degraded` with the reason when changes are no
        longer reported, and with an empty one when a watch begins.

        With `at_once` a change anywhere below the folders is reported within milliseconds; without it, one of the files
        directly in them within a second."""
        self._folders = folders
        self._changed = changed
        self._degraded = degraded
        self._at_once = at_once
        self._seen: list[tuple[int, int] | None] = []
        self._watching = _Watching()

    def start(self) -> None:
        """Start watching."""
        self._degraded("")
        if self._folders:
            self._seen = [_identity(folder) for folder in self._folders]
            threading.Thread(target=self._run, args=(self._watching,), name="watch", daemon=True).start()

    def follow(self) -> None:
        """Watch again if other folders have the names now, as after a repository was restored: a watch is of a folder,
        whatever its name. It costs one question for each folder."""
        now = [_identity(folder) for folder in self._folders]
        if self._watching.stop.is_set() or not self._seen or now == self._seen or None in now:
            return
        self._watching.end()
        self._watching = _Watching()
        self.start()
        self._changed()  # what was pushed between the two

    def stop(self) -> None:
        """End the watch within a second; the threads are not waited for."""
        self._watching.end()

    def _run(self, watching: _Watching) -> None:
        if os.environ.get("WATCHFILES_FORCE_POLLING"):
            self._degraded("WATCHFILES_FORCE_POLLING is set: it looks for changes itself, which costs processor time")
        fast = self._at_once and not self._hang_doorbell(watching)
        try:
            # The default filter of watchfiles hides `.git`, where the refs of a repository with a work tree are.
            changes = watchfiles.watch(
                *self._folders, watch_filter=None, debounce=50, step=STEP_MS if fast else SLOW_STEP_MS,
                rust_timeout=500, stop_event=watching.stop, recursive=self._at_once,
            )  # fmt: skip
            # What changed does not matter: the poll that follows looks at all refs.
            for _ in changes:
                self._changed()
        except UnicodeEncodeError:  # it takes only paths in UTF-8
            if watching.doorbell is None:
                self._degraded("the path is not UTF-8")
            return
        except (OSError, RuntimeError) as error:
            if not watching.stop.is_set():
                self._degraded(" ".join(str(error).split()))
            return
        if not watching.stop.is_set():
            self._degraded("the watch ended")

    def _hang_doorbell(self, watching: _Watching) -> bool:
        """Whether the system has a doorbell for these folders; it rings from then on."""
        try:
            doorbell = watching.doorbell = Doorbell(self._folders)
        except OSError:
            return False
        if watching.stop.is_set():  # perhaps before it was there to be stopped
            doorbell.stop()
        self._changed()  # what was pushed before it was there
        threading.Thread(target=self._listen, args=(watching, doorbell), name="doorbell", daemon=True).start()
        return True

    def _listen(self, watching: _Watching, doorbell: Doorbell) -> None:
        try:
            while doorbell.wait():
                time.sleep(SETTLE_S)
                doorbell.take()
                self._changed()
                watching.stop.wait(PACE_S)
        except OSError as error:  # such as the limit on watches, reached meanwhile
            self._degraded(str(error))
        finally:
            doorbell.close()


def _identity(folder: Path) -> tuple[int, int] | None:
    """Which folder has a name now; None if there is none."""
    try:
        found = folder.stat()
    except OSError:
        return None
    return found.st_dev, found.st_ino


def degraded_trouble(why: str) -> Trouble:
    """What status says while only polls see changes."""
    remedy = "raise fs.inotify.max_user_watches and max_user_instances (sysctl), then restart; polling goes on"
    return Trouble(f"changes are seen by polling alone: {why}", None, remedy)
