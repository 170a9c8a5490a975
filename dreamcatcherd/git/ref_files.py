"""The refs of a repository, listed from its files: after the first look, only those that changed are read again.

Owns when a file or folder counts as unchanged. Its stamp (times, inode, size) proves that only once the stamp is old: a
second change within one tick of the file system's clock leaves the same stamp. So what has a new stamp is read again at
each look, until the stamp is older than the longest tick. Every RELIST_S everything is read, whatever its stamp.

What counts as a ref is git's rule (`git for-each-ref`). Files are read first and `packed-refs` after them: git's own
writers pack a ref before they remove its file, so no ref falls in between."""

from __future__ import annotations

import errno
import os
import re
import stat
import time
from collections.abc import Callable
from pathlib import Path

from msgspec import Struct

from dreamcatcherd.git.integrity import DamagedRefsError, check_there, empty_packed_refs

RACY_S = 2.5
"""How long a stamp must have been seen before it proves anything. The coarsest clock of a file system ticks every two
seconds. Measured on this machine's steady clock, because the clock of a file server may be wrong."""

RELIST_S = 30.0
"""How often everything is read again."""

_OID = re.compile(rb"([0-9a-fA-F]{40})(?:\s|$)")
_READ_MOST = 4_096
_SYMBOLIC = b"ref:"
_BAD_NAME = re.compile(r"[\x00-\x09\x0b-\x20\x7f~^:?*\[\\]|\.\.|@\{|/\.|//|\.lock(?:/|$)|[./]$", re.MULTILINE)
_PACKED = re.compile(r"^([0-9a-f]{40}) (.+)$", re.MULTILINE)
_PASSED_OVER = re.compile(r"^(?:#.*|\^[0-9a-f]{40})$", re.MULTILINE)
_UNREAD = (0, 0, 0, 0, 0)
_GONE = (errno.ENOENT, errno.ENOTDIR, errno.ELOOP, errno.ENAMETOOLONG, errno.EISDIR)

FileStamp = tuple[int, int, int, int, int]


class _File(Struct, frozen=True):
    """One loose ref. `oid` is None for a symbolic ref, and for a damaged one that never named a commit here.

    The stamp was first seen at `seen_s`, and the file last read by the look that began at `read_s`."""

    stamp: FileStamp
    seen_s: float
    read_s: float
    oid: str | None
    damaged: bool


class _Folder(Struct, frozen=True):
    """One folder of loose refs: its sub-folders as ref names, and its files as (file name, ref name)."""

    stamp: FileStamp
    seen_s: float
    read_s: float
    folders: tuple[str, ...]
    files: tuple[tuple[str, str], ...]


class _PackedFile(Struct, frozen=True):
    """`packed-refs`, with all of its bytes: it is parsed again only if these differ."""

    stamp: FileStamp | None
    seen_s: float
    read_s: float
    raw: bytes
    refs: dict[str, str]


class RefFiles:
    """The refs in one folder. `damaged` are the names of those whose file names no commit, as the last look found them.

    `loose` is how many refs have a file of their own: each is asked for its stamp at each look."""

    def __init__(self, folder: Path, clock: Callable[[], float] = time.monotonic) -> None:
        """`clock` is in seconds and never steps."""
        self._root = str(folder)
        self._clock = clock
        self._folders: dict[str, _Folder] = {}
        self._files: dict[str, _File] = {}
        self._packed = _PackedFile(None, 0.0, 0.0, b"", {})
        self._refs: dict[str, str] | None = None
        self._moved = False  # whether something changed since `_refs` was made, also in a look that failed
        self._relist_s = 0.0
        self.damaged: tuple[str, ...] = ()

    @property
    def loose(self) -> int:
        return len(self._files)

    def look(self) -> dict[str, str]:
        """All refs with the objects that they name, without symbolic ones. The caller must not change it: it is the
        same object as before if nothing changed, except every RELIST_S, so that nothing is remembered for ever.

        A damaged ref keeps the last value that was seen. DamagedRefsError: the refs cannot be listed."""
        now = self._clock()
        every = self._refs is None or now >= self._relist_s
        try:
            self._moved |= self._look_at_files(now, every)
            self._moved |= self._look_at_packed(now, every)
        except OSError as error:
            remedy = f"see with git -C {self._root} for-each-ref what is wrong; a daemon goes on by itself"
            raise DamagedRefsError(f"the refs of {self._root} cannot be read: {error}", remedy) from error
        if self._moved or every or self._refs is None:
            refs = dict(self._packed.refs)  # thousands, of which a copy is the cheapest
            for name, file in self._files.items():
                if file.oid is not None:
                    refs[name] = file.oid
                else:
                    refs.pop(name, None)
            self._refs = refs
            self._moved = False
        if every:
            self._relist_s = now + RELIST_S
        return self._refs

    # Loose refs ---------------------------------------------------------------------------------------------------

    def _look_at_files(self, now: float, every: bool) -> bool:
        """Bring the loose refs up to date; returns whether one of them changed."""
        folders: dict[str, _Folder] = {}
        files: dict[str, _File] = {}
        todo = ["refs"]
        while todo:
            name = todo.pop()
            handle = self._opened(name)
            if handle is None:
                continue
            try:
                folder = folders[name] = self._folder(name, handle, now, every)
                todo += folder.folders
                for file_name, ref in folder.files:
                    if (file := self._file(ref, file_name, handle, now, every)) is not None:
                        files[ref] = file
            finally:
                os.close(handle)
        for ref in self._files.keys() - files.keys():
            # A folder that changes while it is listed may leave out a file that is there all the time.
            if (file := self._file(ref, f"{self._root}/{ref}", None, now, every)) is not None:
                files[ref] = file
        old, self._folders, self._files = self._files, folders, files
        if old.keys() == files.keys() and all(one is old[ref] or _same(one, old[ref]) for ref, one in files.items()):
            return False
        self.damaged = tuple(sorted(ref for ref, one in files.items() if one.damaged))
        return True

    def _opened(self, name: str) -> int | None:
        """A handle of a folder, None if it is gone. On a network file system opening it asks the server for its stamp,
        while `stat` may answer from memory."""
        try:
            return os.open(f"{self._root}/{name}", os.O_RDONLY | os.O_DIRECTORY)
        except OSError as error:
            if name == "refs":
                check_there(Path(self._root))
            if name == "refs" or error.errno not in _GONE:
                raise
            return None

    def _folder(self, name: str, handle: int, now: float, every: bool) -> _Folder:
        stamp = _stamp(os.fstat(handle))
        known = self._folders.get(name)
        if known is not None and not every and _is_unchanged(known, stamp):
            return known
        seen_s = known.seen_s if known is not None and known.stamp == stamp else self._clock()
        folders: list[str] = []
        files: list[tuple[str, str]] = []
        with os.scandir(handle) as entries:
            for entry in entries:
                ref = f"{name}/{entry.name}"
                if entry.name.startswith(".") or entry.name.endswith(".lock"):
                    continue
                if entry.is_dir():
                    folders.append(ref)
                elif _is_name(ref):
                    files.append((entry.name, ref))
        return _Folder(stamp, seen_s, now, tuple(folders), tuple(files))

    def _file(self, ref: str, path: str, handle: int | None, now: float, every: bool) -> _File | None:
        """The file at a path from a folder's handle; None if there is none. Symbolic links are followed, as by git."""
        known = self._files.get(ref)
        try:
            if known is not None and not every and _is_unchanged(known, _stamp(os.stat(path, dir_fd=handle))):
                return known
            stamp, link, raw = _read(path, handle)
        except OSError as error:
            if error.errno in _GONE:
                return None
            # One that may not be read is one that cannot be read: it must not stop all others.
            stamp, link, raw = _UNREAD, "", b""
        seen_s = known.seen_s if known is not None and known.stamp == stamp else self._clock()
        # git's oldest kind of symbolic ref was a symbolic link.
        if link.startswith("refs/") or raw.startswith(_SYMBOLIC):
            return _File(stamp, seen_s, now, None, False)
        match = _OID.match(raw)
        # git itself takes an id of zeros for damage, and so it is after a power cut.
        if match is None or not match[1].strip(b"0"):
            return _File(stamp, seen_s, now, self._refs.get(ref) if self._refs else None, True)
        return _File(stamp, seen_s, now, match[1].decode().lower(), False)

    # Packed refs --------------------------------------------------------------------------------------------------

    def _look_at_packed(self, now: float, every: bool) -> bool:
        """Bring the packed refs up to date; returns whether the file was replaced."""
        known = self._packed
        try:
            with Path(self._root, "packed-refs").open("rb", buffering=0) as file:
                stamp = _stamp(os.fstat(file.fileno()))
                if not every and known.stamp is not None and _is_unchanged(known, stamp):
                    return False
                raw = file.readall()
        except FileNotFoundError:
            self._packed = _PackedFile(None, 0.0, 0.0, b"", {})
            return known.stamp is not None
        if not raw:
            raise empty_packed_refs(Path(self._root))
        seen_s = known.seen_s if known.stamp == stamp else self._clock()
        refs = known.refs if raw == known.raw else _parsed(raw)
        if refs is None:
            remedy = f"restore packed-refs from a backup; reflogs in {self._root}/logs have the last values"
            raise DamagedRefsError(f"the refs of {self._root} cannot be read: packed-refs is damaged", remedy)
        self._packed = _PackedFile(stamp, seen_s, now, raw, refs)
        return refs is not known.refs


def _stamp(found: os.stat_result) -> FileStamp:
    return (found.st_mtime_ns, found.st_ctime_ns, found.st_ino, found.st_size, found.st_dev)


def _is_unchanged(known: _File | _Folder | _PackedFile, stamp: FileStamp) -> bool:
    """Whether a stamp proves that what was read still holds."""
    return known.stamp == stamp and known.read_s >= known.seen_s + RACY_S


def _same(one: _File, other: _File) -> bool:
    return one.oid == other.oid and one.damaged == other.damaged


def _read(path: str, handle: int | None) -> tuple[FileStamp, str, bytes]:
    """The stamp of a file, where it leads if it is a symbolic link, and its first bytes."""
    link = ""
    try:
        link = os.readlink(path, dir_fd=handle)
    except OSError as error:
        if error.errno != errno.EINVAL:  # no link
            raise
    # Without O_NONBLOCK a pipe would be waited for.
    file = os.open(path, os.O_RDONLY | os.O_NONBLOCK, dir_fd=handle)
    try:
        found = os.fstat(file)
        return _stamp(found), link, os.read(file, _READ_MOST) if stat.S_ISREG(found.st_mode) else b""
    finally:
        os.close(file)


def _is_name(ref: str) -> bool:
    """Whether git accepts a name that begins with `refs/`."""
    return "\n" not in ref and _BAD_NAME.search(ref) is None


def _parsed(raw: bytes) -> dict[str, str] | None:
    """The refs of a `packed-refs` file; None if a line is none of git's, or the last one is cut."""
    text = raw.decode("utf-8", "surrogateescape")
    rows = _PACKED.findall(text)
    if not text.endswith("\n") or len(rows) + len(_PASSED_OVER.findall(text)) != text.count("\n"):
        return None
    bad = _BAD_NAME.search("\n".join(name for _, name in rows)) is not None
    return {name: oid for oid, name in rows if name.startswith("refs/") and not (bad and not _is_name(name))}
