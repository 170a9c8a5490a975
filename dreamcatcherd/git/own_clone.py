"""A primary's own bare clone of a remote repository, as a folder: how it is made and checked. It may be deleted.

Owns the rule that only a folder that dreamcatcherd made itself is ever removed: it contains a mark, or parts of a bare
repository that git cannot open."""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import time
from collections.abc import Iterator, Mapping
from pathlib import Path

import pygit2

from dreamcatcherd.core.errors import RetryableError, UsageError
from dreamcatcherd.git.atomic_write import sync_all, sync_folder
from dreamcatcherd.git.command import error_message, git
from dreamcatcherd.git.disk_errors import is_of_the_place, remedy_in
from dreamcatcherd.git.failures import UnclearError

MARK = "dreamcatcherd-clone"
_PARTS = {"HEAD", "FETCH_HEAD", "branches", "config", "description", "hooks", "home", "info", "logs", "objects"}
_PARTS |= {"packed-refs", "refs", "shallow", MARK}
NO_REDIRECTS = ("http.followRedirects", "false")
"""For libgit2, which reads it only here. It still follows redirects to another port or path of the same host."""
_CONFIG = (
    ("core.logAllRefUpdates", "false"),
    ("maintenance.auto", "false"),  # the daemon runs maintenance itself, between cycles
    ("gc.autoDetach", "false"),
    NO_REDIRECTS,
)


def lock_of(clone: Path) -> Path:
    """The file by which a clone is held, beside it: the clone itself may be recreated."""
    return clone.with_name(f"{clone.name}.lock")


@contextlib.contextmanager
def hold(lock: Path, timeout_s: float) -> Iterator[None]:
    """Hold a clone for one operation: a command and the daemon may share it.

    The lock is a flock: the kernel releases it when a process is killed, so it never becomes stale."""
    try:
        lock.parent.mkdir(parents=True, exist_ok=True)
        opened = lock.open("ab")
    except OSError as error:
        raise _unwritable(lock, error.strerror or str(error)) from error
    with opened as file:
        until = time.monotonic() + timeout_s
        while True:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError as error:
                if time.monotonic() > until:
                    cause = f"another process holds {lock} for longer than {timeout_s:g} s"
                    raise RetryableError(cause, "see which with fuser, and wait for it or stop it") from error
                time.sleep(0.02)
        yield


def prepare_clone(folder: Path, url: str) -> None:
    """Make sure that `folder` is a clone of the URL: one that is half made, broken or of another URL is recreated.

    UsageError if something else is there."""
    try:
        found = {entry.name for entry in folder.iterdir()} if folder.exists() else set()
    except OSError as error:
        raise _unwritable(folder, error.strerror or str(error)) from error
    if not found:
        make_clone(folder, url)
        return
    ours = (folder / MARK).is_file()
    # Without the mark a folder is only replaced if it is the remains of a clone that was being made.
    if not ours and (_opens(folder) or found - _PARTS or "objects" not in found):
        cause = f"{folder} is not a clone that dreamcatcherd made"
        raise UsageError(cause, "name another folder with [repository] clone, or remove that one")
    if not ours or (folder / MARK).read_text() != url or not _opens(folder):
        make_clone(folder, url)
    else:
        _refuse_redirects(folder)
        _remove_torn_packs(folder)


def _refuse_redirects(folder: Path) -> None:
    """Set what is missing in a clone that an older version made."""
    name, value = NO_REDIRECTS
    config = pygit2.Config(str(folder / "config"))
    if name not in config or config[name] != value:
        config[name] = value


def make_clone(folder: Path, url: str) -> None:
    """Make an empty clone at `folder`, in place of what is there. The caller holds the clone's lock.

    It is made under another name and renamed: a process that is killed in between leaves no half-made clone."""
    for left in folder.parent.glob(f"{folder.name}.new-*"):
        shutil.rmtree(left, ignore_errors=True)
    fresh = folder.with_name(f"{folder.name}.new-{os.getpid()}")
    result = git(fresh, "init", "--quiet", "--bare", "--template=", "--initial-branch=main")
    for name, value in _CONFIG:
        result = result if result.returncode else git(fresh, "config", name, value)
    if result.returncode:
        raise _unwritable(folder, error_message(result))
    old = folder.with_name(f"{folder.name}.new-old")
    # Renamed into place, so that the clone is never half made under its own name.
    try:
        (fresh / MARK).write_text(url)
        for left in fresh.glob("t??????"):  # by which git finds out about links, and does not remove on a bad disk
            left.unlink()
        sync_all(fresh)
        if folder.exists():
            folder.rename(old)
        fresh.rename(folder)
        sync_folder(folder.parent)
    except OSError as error:
        raise _unwritable(folder, error.strerror or str(error)) from error
    shutil.rmtree(old, ignore_errors=True)


def _remove_torn_packs(folder: Path) -> None:
    """Remove packs of which a power cut left the name and a part: each is in the way of the same pack when it is
    fetched again, for libgit2 as long as the process lives. What else is missing then is found by `git fsck`."""
    for index in (folder / "objects" / "pack").glob("pack-*.idx"):
        if _is_torn(index):
            for path in folder.glob(f"objects/pack/{index.stem}.*"):
                path.unlink(missing_ok=True)


def _is_torn(index: Path) -> bool:
    """Whether a pack is not complete, by its index and the ends of both files; no object is read."""
    try:
        with index.open("rb") as file, index.with_suffix(".pack").open("rb") as pack:
            count = int.from_bytes(file.read(_FANOUT)[-4:], "big")
            file.seek(-2 * _CHECKSUM, os.SEEK_END)
            pack.seek(-_CHECKSUM, os.SEEK_END)
            fits = file.read(_CHECKSUM) == pack.read(_CHECKSUM)
            return not fits or file.seek(0, os.SEEK_END) < _FANOUT + count * _ROW + 2 * _CHECKSUM
    except OSError:  # such as for a file that is shorter than a checksum
        return True


def _unwritable(folder: Path, why: str) -> UsageError | RetryableError:
    """The failure to write a clone: of the configuration, unless the disk or the machine failed."""
    cause = f"{folder} cannot be made: {why}"
    if is_of_the_place(why):
        return UsageError(cause, "name a folder that may be written to with [repository] clone")
    return RetryableError(cause, remedy_in(why, folder.parent, f"see whether the disk of {folder.parent} is full"))


_FANOUT, _ROW, _CHECKSUM = 8 + 256 * 4, 20 + 4 + 4, 20
"""Sizes in the index of a pack: its header with counts, what an object takes, and each of two checksums at its end."""


def _opens(folder: Path) -> bool:
    try:
        return pygit2.Repository(str(folder)).is_bare
    except (pygit2.GitError, KeyError, ValueError):
        return False


def set_refs(clone: Path, wanted: Mapping[str, str | None]) -> None:
    """Let refs of a clone name commits, or delete them, with one git process. libgit2 writes all packed refs again for
    each ref that it deletes. UnclearError if git cannot move them."""
    lines = [f"update {name} {oid}\n" if oid else f"delete {name}\n" for name, oid in wanted.items()]
    done = git(clone, "update-ref", "--stdin", stdin="".join(lines).encode("utf-8", "surrogateescape"))
    if done.returncode:
        cause = f"the refs of {clone} could not be moved: {error_message(done)}"
        raise UnclearError(cause, remedy_in(error_message(done), clone, "the clone is recreated by itself"))
