"""A file without a name below `$TMPDIR`, for what a computation writes and memory would not hold.

Owns that a disk that refuses, whenever it does, is an error with a remedy: nothing is buffered, so there is none to be
written later."""

from __future__ import annotations

import contextlib
import os
import tempfile
import weakref

from dreamcatcherd.core.errors import RetryableError


class ScratchFile:
    """Bytes by their place. `what` names them in errors. The system removes the file with this object or process."""

    def __init__(self, what: str) -> None:
        """RetryableError if there is no folder for it."""
        self._what = what
        self._end = 0
        try:
            # Unbuffered: what a full disk refuses is known at once, and not when something else is read.
            self._file = tempfile.TemporaryFile(prefix="dreamcatcherd-", buffering=0)  # noqa: SIM115 (closed below)
        except OSError as error:
            raise self._unwritten(error) from error
        self._finalizer = weakref.finalize(self, _close, self._file)

    def add(self, data: bytes) -> tuple[int, int]:
        """Keep bytes; returns their place. RetryableError if the disk refuses."""
        place = self._end, len(data)
        left = memoryview(data)
        try:
            while left:
                done = os.pwrite(self._file.fileno(), left, self._end + len(data) - len(left))
                left = left[done:]
        except OSError as error:
            raise self._unwritten(error) from error
        self._end += len(data)
        return place

    def read(self, place: tuple[int, int]) -> bytes:
        """The bytes at a place; RetryableError if the disk does not give them back."""
        at, size = place
        found = b""
        try:
            while len(found) < size:
                more = os.pread(self._file.fileno(), size - len(found), at + len(found))
                if not more:
                    raise OSError(0, "the file is shorter than what was written")
                found = found + more if found else more
        except OSError as error:
            cause = f"{self._what} could not be read from {_folder()}: {error.strerror}"
            raise RetryableError(cause, "look at that disk, or name another folder: TMPDIR=…") from error
        return found

    def close(self) -> None:
        """Let go of the file."""
        self._finalizer()

    def _unwritten(self, error: OSError) -> RetryableError:
        cause = f"{self._what} could not be written to {_folder()}: {error.strerror}"
        return RetryableError(cause, "free some space there, or name another folder: TMPDIR=…")


def _close(file: object) -> None:
    with contextlib.suppress(OSError):  # nothing of it is needed any more
        file.close()  # type: ignore[attr-defined]


def _folder() -> str:
    try:
        return tempfile.gettempdir()
    except OSError:  # none of the usual folders can be written to
        return os.environ.get("TMPDIR", "a temporary folder")
