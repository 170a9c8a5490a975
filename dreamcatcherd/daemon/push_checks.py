"""The process that answers the hooks of the served repository (`hook/check_server.py`), kept running beside the loop.

Owns when it is started and ended, and what is logged of it. It is another process, so that what workers push costs the
loop neither time nor memory."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import threading
from collections.abc import Mapping
from pathlib import Path

from dreamcatcherd.core.errors import DreamcatcherError
from dreamcatcherd.git.command import git
from dreamcatcherd.hook.check_socket import SOCKET
from dreamcatcherd.observe.logs import EventLogger

START_S = 10.0
"""How long after the daemon the process starts, in seconds: the first poll is more urgent, and a daemon that
runs for a moment needs none."""
AGAIN_S = 30.0
"""How long after it ended the process is started once more, in seconds."""
_END_S = 0.5
_OWN = ("NOTIFY_SOCKET", "WATCHDOG_PID", "WATCHDOG_USEC", "CREDENTIALS_DIRECTORY")
"""Variables of the daemon that are nobody else's business."""


class PushChecks:
    """Checks pushes to the repository on this disk that was last given to `use`, from `start` to `stop`."""

    def __init__(self, logger: EventLogger, start_s: float = START_S) -> None:
        self._logger = logger
        self._start_s = start_s
        self._folder: Path | None = None
        self._running = False
        self._stopped = threading.Event()
        self._lock = threading.Lock()  # of the process: one that is started while `stop` runs is ended as well
        self._process: subprocess.Popen[str] | None = None

    def use(self, folder: Path | None, logger: EventLogger) -> None:
        """Serve the hooks of another repository from now on; of none where it is not on this disk."""
        self._logger = logger
        if folder == self._folder:
            return
        self._folder = folder
        if self._running:
            self.stop()
            self.start()

    def start(self) -> None:
        """Start the thread that keeps the process running."""
        self._running = True
        if self._folder is not None:
            self._stopped = threading.Event()
            keep = threading.Thread(target=self._keep, args=(self._folder, self._stopped), name="checks", daemon=True)
            keep.start()

    def stop(self) -> None:
        """End the process."""
        self._running = False
        with self._lock:
            self._stopped.set()
            process, self._process = self._process, None
        if process is None or process.stdin is None:
            return
        with contextlib.suppress(OSError):
            process.stdin.close()
        try:
            process.wait(_END_S)
        except subprocess.TimeoutExpired:
            process.kill()

    def _keep(self, folder: Path, stopped: threading.Event) -> None:
        logged = ""
        stopped.wait(self._start_s)
        while not stopped.is_set():
            why = self._serve(folder, stopped) if has_hook(folder) else ""  # without a hook nobody asks
            if stopped.is_set():
                return
            if why and why != logged:
                self._logger.info("pushes are checked by the hook alone", cause=why, again_s=AGAIN_S)
                logged = why
            stopped.wait(AGAIN_S)

    def _serve(self, folder: Path, stopped: threading.Event) -> str:
        """Run the process until it ends or is no longer wanted; returns why it serves no longer."""
        with self._lock:
            if stopped.is_set():
                return ""
            try:
                process = self._process = start_process(folder)
            except OSError as error:
                return f"the process for it cannot be started: {error}"
        # Its standard input stays open as long as this process lives, which is how it knows.
        with process:
            if process.stdout is None:
                raise AssertionError("the process was made with pipes")
            said = process.stdout.readline().strip()
            if said != "ready":
                return said or "the process for it ended at once"
            self._logger.info("checking pushes for the hook", socket=str(folder / SOCKET), pid=process.pid)
            code = process.wait()
        return f"the process for it ended with {code}"


def start_process(folder: Path, environment: Mapping[str, str] = os.environ) -> subprocess.Popen[str]:
    """Start the process for a repository. It says `ready`, or why not, and ends with its standard input."""
    return subprocess.Popen(
        [sys.executable, "-P", "-m", "dreamcatcherd.hook.check_server", str(folder)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env={name: value for name, value in environment.items() if name not in _OWN and not name.startswith("GIT_")},
        start_new_session=True,  # Ctrl-C is for the daemon
    )


def has_hook(folder: Path) -> bool:
    """Whether a repository has a pre-receive hook, which may ask for a check."""
    try:
        named = git(folder, "rev-parse", "--git-path", "hooks/pre-receive").stdout.decode("utf-8", "replace").strip()
    except DreamcatcherError:
        return False  # the loop reports a repository that git cannot read
    return bool(named) and (folder / named).is_file()
