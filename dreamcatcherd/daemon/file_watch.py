"""Watching folders through watchfiles: a push is noticed at once instead of at the next poll.

Events are hints. Where the system limits watches, or the file system reports nothing, polls see the changes."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Sequence
from pathlib import Path

import watchfiles

from dreamcatcherd.core.troubles import Trouble

STEP_MS = 10
"""How often a watch looks whether changes were reported, in milliseconds."""

SLOW_STEP_MS = 250
"""The same where nobody waits for it: a hundred wake-ups a second are most of what an idle daemon costs."""


class FileWatch:
    """One watch, in a thread of its own from `start` on; no thread if there is nothing to watch."""

    def __init__(
        self,
        folders: Sequence[Path],
        changed: Callable[[], None],
        degraded: Callable[[str], None] = lambda _: None,
        *,
        recursive: bool = True,
        step_ms: int = STEP_MS,
    ) -> None:
        """`changed` and `degraded` are called in the watch's thread; `degraded` when changes are no longer reported.
        Without `recursive` only the files directly in the folders are watched. A change is reported after one to two
        steps; each step wakes the thread up."""
        self._folders = folders
        self._changed = changed
        self._degraded = degraded
        self._recursive = recursive
        self._step_ms = step_ms
        self._stop = threading.Event()

    def start(self) -> None:
        """Start watching."""
        if self._folders:
            threading.Thread(target=self._run, name="watch", daemon=True).start()

    def stop(self) -> None:
        """End the watch within half a second; the thread is not waited for."""
        self._stop.set()

    def _run(self) -> None:
        if os.environ.get("WATCHFILES_FORCE_POLLING"):
            self._degraded("WATCHFILES_FORCE_POLLING is set: it looks for changes itself, which costs processor time")
        try:
            # The default filter of watchfiles hides `.git`, where the refs of a repository with a work tree are.
            changes = watchfiles.watch(
                *self._folders, watch_filter=None, debounce=50, step=self._step_ms, rust_timeout=500,
                stop_event=self._stop, recursive=self._recursive,
            )  # fmt: skip
            # What changed does not matter: the poll that follows looks at all refs.
            for _ in changes:
                self._changed()
        except (OSError, RuntimeError) as error:
            self._degraded(" ".join(str(error).split()))
            return
        if not self._stop.is_set():
            self._degraded("the watch ended")


def degraded_trouble(why: str) -> Trouble:
    """What status says while only polls see changes."""
    remedy = "raise fs.inotify.max_user_watches and max_user_instances (sysctl), then restart; polling goes on"
    return Trouble(f"changes are seen by polling alone: {why}", None, remedy)
