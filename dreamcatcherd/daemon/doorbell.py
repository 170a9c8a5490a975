"""Sleeping until Linux reports a change below a folder (inotify): nothing runs while nothing changes.

watchfiles has to be asked again and again whether it saw something, and each question wakes a thread up. Where pushes
must be noticed at once, a doorbell is beside it. Owns the handles that it sleeps on. It says that something changed,
and not what: the poll that follows looks at all refs."""

from __future__ import annotations

import ctypes
import errno
import os
import select
import struct
import threading
from collections.abc import Sequence
from pathlib import Path

_CREATE, _DELETE, _MODIFY, _CLOSE_WRITE, _MOVED_FROM, _MOVED_TO = 0x100, 0x200, 0x2, 0x8, 0x40, 0x80
_OVERFLOW, _IGNORED, _IS_FOLDER = 0x4000, 0x8000, 0x4000_0000
_FOLDERS_ONLY = 0x0100_0000
_ASKED = _CREATE | _DELETE | _MODIFY | _CLOSE_WRITE | _MOVED_FROM | _MOVED_TO | _FOLDERS_ONLY
_EVENT = struct.Struct("iIII")  # watch, mask, cookie, length of the name that follows
_READ_MOST = 65_536
_GONE = (errno.ENOENT, errno.ENOTDIR, errno.ELOOP)


class Doorbell:
    """Rings when something changes below the folders. One thread waits; `stop` can be called from any."""

    def __init__(self, folders: Sequence[Path]) -> None:
        """OSError where the system has no inotify, or no watch left. A folder that is not there is left out."""
        self._lock = threading.Lock()  # of the handles: none is used after it was closed
        self._closed = False
        self._paths: dict[int, bytes] = {}
        self._folders = [os.fsencode(one) for one in folders]
        try:
            libc = ctypes.CDLL(None, use_errno=True)
            self._watch, made = libc.inotify_add_watch, libc.inotify_init1(os.O_CLOEXEC | os.O_NONBLOCK)
        except (AttributeError, OSError) as error:  # no Linux
            raise OSError(errno.ENOSYS, "this system has no inotify") from error
        if made < 0:
            raise _last_error()
        self._events = made
        self._ended = os.eventfd(0)
        try:
            self._add(self._folders)
        except OSError:
            self.close()
            raise

    def wait(self) -> bool:
        """Sleep until something changed; False once it is stopped. OSError: not every folder can be watched any more.

        Locks of git alone are no change: what they guard changes when they are gone."""
        waited = select.poll()
        for handle in (self._events, self._ended):
            waited.register(handle, select.POLLIN)
        while True:
            if any(handle == self._ended for handle, _ in waited.poll()):
                return False
            if self.take():
                return True

    def take(self) -> bool:
        """Whether something changed since the last time, without waiting. New folders are watched from now on."""
        try:
            raw = os.read(self._events, _READ_MOST)
        except BlockingIOError:
            return False
        changed, at = False, 0
        while at < len(raw):
            watch, mask, _, length = _EVENT.unpack_from(raw, at)
            name = raw[at + _EVENT.size : at + _EVENT.size + length].rstrip(b"\0")
            at += _EVENT.size + length
            changed |= self._heard(watch, mask, name)
        return changed

    def _heard(self, watch: int, mask: int, name: bytes) -> bool:
        if mask & _OVERFLOW:  # folders may have come unseen
            self._add(self._folders)
            return True
        if mask & _IGNORED:  # the folder is gone
            self._paths.pop(watch, None)
            return False
        if mask & _IS_FOLDER and mask & (_CREATE | _MOVED_TO) and watch in self._paths:
            # Whatever was written in it before this line is seen by the look that this event causes.
            self._add([b"/".join((self._paths[watch], name))])
        return not name.endswith(b".lock")

    def _add(self, paths: Sequence[bytes]) -> None:
        """Watch folders with all below them."""
        todo = list(paths)
        while todo:
            path = todo.pop()
            number = self._watch(self._events, path, _ASKED)
            if number < 0:
                if ctypes.get_errno() in _GONE:  # git removes empty folders
                    continue
                raise _last_error()
            self._paths[number] = path
            try:
                with os.scandir(path) as entries:
                    todo += [one.path for one in entries if one.is_dir(follow_symlinks=False)]
            except OSError as error:
                if error.errno not in _GONE:
                    raise

    def stop(self) -> None:
        """Let `wait` return."""
        with self._lock:
            if not self._closed:
                os.eventfd_write(self._ended, 1)

    def close(self) -> None:
        """Close the handles; for the thread that waits, when it waits no longer."""
        with self._lock:
            if not self._closed:
                self._closed = True
                os.close(self._events)
                os.close(self._ended)


def _last_error() -> OSError:
    number = ctypes.get_errno()
    return OSError(number, os.strerror(number))
