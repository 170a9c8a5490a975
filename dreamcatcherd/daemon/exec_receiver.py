"""A receiver of events that is a program: run once for each event, which it gets on standard input
(docs/protocol.md#events).

Owns the program's environment, its limit of time, and its end: whatever it started ends with it."""

from __future__ import annotations

import contextlib
import os
import selectors
import shutil
import signal
import subprocess
import time
from collections.abc import Sequence
from typing import IO

from dreamcatcherd.core.errors import RetryableError, UsageError
from dreamcatcherd.git.http_answers import cut, one_line

INHERITED = ("HOME", "LANG", "LC_ALL", "LOGNAME", "PATH", "TMPDIR", "TZ", "USER")
"""The variables that a program gets: none of the daemon's own, which may name credentials."""
KEPT_MOST = 8_192
"""Bytes of its output that are kept for the log; all of it is read."""
_PIECE = 65_536


class Program:
    """One program with its arguments. A thread delivers to it; another one may `abort` what it waits for."""

    def __init__(self, words: Sequence[str], shown: str, timeout_s: float) -> None:
        """UsageError if there is no such program."""
        self.shown = shown
        self._words = list(words)
        self._timeout_s = timeout_s
        self._running: subprocess.Popen[bytes] | None = None
        self._aborted = False
        if shutil.which(self._words[0]) is None:
            cause = f"[[events]] exec: {self._words[0]} is not a program that can be run"
            raise UsageError(cause, "name one by its path, or on the PATH, that this user may execute")

    def send(self, event_id: str, body: bytes) -> None:
        """Run the program on one event; RetryableError unless it ends with 0 in time."""
        remedy = "look at the program; events wait in git, and are delivered in order when it ends with 0"
        kept = {name: os.environ[name] for name in INHERITED if name in os.environ}
        try:
            # A file and not a pipe: if the daemon is killed, the program still has the complete event.
            with os.fdopen(os.memfd_create("event"), "w+b") as event:
                event.write(body)
                event.seek(0)
                running = subprocess.Popen(
                    self._words,
                    stdin=event,
                    stdout=subprocess.PIPE,
                    stderr=subprocess.STDOUT,
                    env=kept,
                    start_new_session=True,  # a group of its own, which ends together
                )
        except OSError as error:
            raise RetryableError(f"{self.shown} did not start: {error.strerror}", remedy, kind=self.shown) from error
        self._running = running
        output = bytearray()
        try:
            if self._aborted:
                raise RetryableError(f"{self.shown} was stopped", remedy)
            _listen(running, time.monotonic() + self._timeout_s, output)
        except TimeoutError:
            cause = f"{self.shown} did not end within {self._timeout_s:g} s{_said(output)}"
            raise RetryableError(cause, remedy, kind=f"{self.shown} late") from None
        finally:
            _end(running)
            self._running = None
        if running.returncode != 0:
            cause = f"{self.shown} {_ended(running.returncode)}{_said(output)}"
            raise RetryableError(cause, remedy, kind=f"{self.shown} {running.returncode}")

    def close(self) -> None:
        """Nothing is kept between two events."""

    def abort(self) -> None:
        """End the program that another thread waits for in `send`."""
        self._aborted = True
        running = self._running
        if running is not None:
            _kill(running)


def _ended(code: int) -> str:
    """How a program ended, in words."""
    if code >= 0:
        return f"ended with {code}"
    try:
        return f"was killed by {signal.Signals(-code).name}"
    except ValueError:  # a real-time signal has no name
        return f"was killed by signal {-code}"


def _said(output: bytearray) -> str:
    """The beginning of its output, for the end of a sentence."""
    said = cut(one_line(output.decode("utf-8", "replace")))
    return f": {said}" if said else ""


def _listen(running: subprocess.Popen[bytes], until: float, output: bytearray) -> None:
    """Read a program's output until it ends; TimeoutError if that takes too long.

    The end is that of the program, not of its output: something that it left behind may hold that open."""
    if running.stdout is None:
        raise AssertionError("the program was started with a pipe")
    ended = os.pidfd_open(running.pid)
    try:
        with selectors.DefaultSelector() as ready:
            os.set_blocking(running.stdout.fileno(), False)
            ready.register(running.stdout, selectors.EVENT_READ)
            ready.register(ended, selectors.EVENT_READ)
            while True:
                if (left_s := until - time.monotonic()) <= 0:
                    raise TimeoutError
                for key, _ in ready.select(left_s):
                    if key.fd == ended:
                        _keep(running.stdout, output)
                        running.wait()
                        return
                    if not _keep(running.stdout, output):
                        ready.unregister(key.fileobj)
    finally:
        os.close(ended)


def _keep(pipe: IO[bytes], output: bytearray) -> bool:
    """Read one piece of output, and keep what there is room for; False at its end."""
    try:
        piece = os.read(pipe.fileno(), _PIECE)
    except BlockingIOError:
        return True
    output += piece[: KEPT_MOST - len(output)]
    return bool(piece)


def _kill(running: subprocess.Popen[bytes]) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(running.pid, signal.SIGKILL)


def _end(running: subprocess.Popen[bytes]) -> None:
    """Kill what is left of the group, and let go of the pipe."""
    _kill(running)
    if running.stdout is not None:
        with contextlib.suppress(OSError):
            running.stdout.close()
    running.wait()
