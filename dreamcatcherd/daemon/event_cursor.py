"""The cursor of a subscription to events: one small file in the primary's state folder (docs/protocol.md#events).

Owns the file, its lock and its folder. Everything else about events is found again in git; of what is not in git, the
trips of the guard, the file also holds those that are not delivered yet."""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
import time
from pathlib import Path
from types import TracebackType
from typing import TextIO

import msgspec
from msgspec import Struct

from dreamcatcherd.core.codec import plain
from dreamcatcherd.core.errors import UsageError
from dreamcatcherd.core.events import CloudEvent
from dreamcatcherd.git.atomic_write import write_atomically

FOLDER = "events"
"""Below the state folder."""


class Cursor(Struct, frozen=True):
    """What a receiver has had: all events of the frames before `frame`, and the first `ordinal` ones of the frame that
    the commit `closing` closed, if one is in progress.

    `commit` closed the frame before, None if it is not known. `had` are the ids of the events that came before the
    close of `frame`, and `queued` those that still wait and are in no ledger."""

    frame: int
    ordinal: int = 0
    closing: str | None = None
    commit: str | None = None
    had: tuple[str, ...] = ()
    queued: tuple[CloudEvent, ...] = ()


class _File(Struct, frozen=True):
    """The file: a receiver's name for people is in it, and no URL or argument, which may be secret."""

    receiver: str
    repository: str
    cursor: Cursor


_decoder = msgspec.json.Decoder(_File)


def cursor_path(state: Path, repository: str, kind: str, receiver: str) -> Path:
    """The file of one subscription; `repository` is its identity, `receiver` the URL or the arguments."""
    named = "\0".join((repository, kind, receiver)).encode("utf-8", "surrogateescape")
    return state / FOLDER / f"{kind}-{hashlib.sha256(named).hexdigest()[:16]}.json"


def prepare_folder(path: Path) -> None:
    """Make the folder of a cursor; UsageError if nothing can be written there."""
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        # Only a file that is written shows that one can be: a full or read-only disk has folders too.
        probe = path.with_name(f".probe.{os.getpid()}")
        write_atomically(probe, b"probe\n")
        probe.unlink()
    except OSError as error:
        cause = f"the cursors of [[events]] cannot be kept in {path.parent}: {error.strerror}"
        remedy = "let the user that this runs as write there, or set STATE_DIRECTORY to another folder"
        raise UsageError(cause, remedy) from error


class CursorFile:
    """One cursor's file. It is used only while `hold` succeeded: of several daemons that share a state folder, one
    delivers, and the next goes on from the same cursor when it ends."""

    def __init__(self, path: Path, receiver: str, repository: str, before: Path | None = None) -> None:
        """`before` is the file of the same subscription under another name: what it holds is taken over."""
        self.path = path
        self._before = before
        self._about = (plain(receiver), plain(repository))  # for people who look into the file
        self._lock: TextIO | None = None

    def __enter__(self) -> CursorFile:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        if self._lock is not None:
            self._lock.close()
            self._lock = None

    def hold(self) -> bool:
        """Take the lock, which the process keeps until it ends; False while another one has it. OSError if there can be
        no lock."""
        if self._lock is None:
            self._lock = _locked(self.path)
        return self._lock is not None and self._taken_over()

    def _taken_over(self) -> bool:
        """Move the file of before here, unless there is one already; False while somebody still delivers for it."""
        if self._before is None or self.path.exists() or not self._before.exists():
            return True
        lock = _locked(self._before)
        if lock is None:
            return False
        with lock:
            self._before.replace(self.path)
        return True

    def hand_on(self, within_s: float) -> None:
        """Before it ends: take over what is left to take over, so that whoever goes on under this name finds it."""
        until = time.monotonic() + within_s
        with contextlib.suppress(OSError):
            while self._before is not None and not self.hold() and time.monotonic() < until:
                time.sleep(0.02)

    def load(self) -> Cursor | None:
        """The cursor; None if there is none yet. OSError or msgspec.DecodeError if it cannot be read."""
        try:
            return _decoder.decode(self.path.read_bytes()).cursor
        except FileNotFoundError:
            return None

    def save(self, cursor: Cursor) -> None:
        """Write the cursor so that a power cut leaves the old or the new one; OSError if that fails."""
        write_atomically(self.path, msgspec.json.encode(_File(*self._about, cursor)) + b"\n", 0o600, durable=True)


def _locked(path: Path) -> TextIO | None:
    """The lock of a cursor's file; None while another one has it."""
    lock = path.with_suffix(".lock").open("w")
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        lock.close()
        return None
    except OSError:
        lock.close()
        raise
    return lock
