"""Lock files that a killed process left behind: waited for, then removed by rule (docs/protocol.md#publishing).

A running git holds a ref's lock for milliseconds. A lock that was not touched for STALE_S seconds belongs to a process
that is gone, and nobody can move that ref before the lock is removed. So the primary removes it."""

from __future__ import annotations

import contextlib
import fcntl
import time
from collections.abc import Iterable, Iterator
from pathlib import Path

STALE_S = 10.0

LOCK_WAIT_S = STALE_S + 2
"""How long a lock in the way is waited for: it becomes stale meanwhile."""

LOCK_POLL_S = 0.05
"""How often it is looked for meanwhile."""

MAINTAINED = "dreamcatcherd-maintenance"
"""A file in a repository that maintenance holds with flock while it runs; the kernel frees it with the process."""


@contextlib.contextmanager
def maintaining(repository: Path) -> Iterator[None]:
    """Hold the file `MAINTAINED`: while maintenance runs, a lock in the repository may belong to it."""
    with (repository / MAINTAINED).open("ab") as file:
        fcntl.flock(file, fcntl.LOCK_SH)
        yield


@contextlib.contextmanager
def alone(repository: Path) -> Iterator[bool]:
    """Whether no maintenance runs here; as long as this is held, none begins."""
    with (repository / MAINTAINED).open("ab") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            yield False
        else:
            yield True


def locks_of(repository: Path, refs: Iterable[str]) -> list[Path]:
    """The locks that prevent these refs from being moved. git locks HEAD together with the branch that it names."""
    places = [repository / f"{ref}.lock" for ref in (*refs, "HEAD", "packed-refs")]
    return [place for place in places if place.exists()]


def all_locks(repository: Path) -> list[Path]:
    """Every lock in a repository: of its refs, its configuration, and of maintenance."""
    objects = repository / "objects"
    found = [*repository.glob("*.lock"), *objects.glob("*.lock"), *(objects / "info").rglob("*.lock")]
    return [*found, *(repository / "refs").rglob("*.lock")]


def stale(locks: Iterable[Path], age_s: float = STALE_S) -> list[Path]:
    """The locks among these that are too old to be held by a running process."""
    found = []
    for lock in locks:
        with contextlib.suppress(FileNotFoundError):
            # By age alone: the process that made a lock cannot be known, but a live git holds one for milliseconds.
            if time.time() - lock.stat().st_mtime > age_s:
                found.append(lock)
    return found


def remove_stale(locks: Iterable[Path], age_s: float = STALE_S) -> list[Path]:
    """Remove the locks among these that are too old to be held by a running process; returns the removed ones."""
    return remove_locks(stale(locks, age_s))


def remove_locks(locks: list[Path]) -> list[Path]:
    """Remove locks of processes that are known to be gone; returns them."""
    for lock in locks:
        lock.unlink(missing_ok=True)
    return locks
