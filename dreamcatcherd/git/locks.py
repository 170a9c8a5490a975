"""Lock files that a killed process left behind: waited for, then removed by rule (Protocol §7).

A live git holds a ref's lock for milliseconds. One that has stood untouched for STALE_S seconds belongs to nobody;
until it is gone nobody can move that ref, so the primary removes it."""

from __future__ import annotations

import contextlib
import fcntl
import time
from collections.abc import Iterable, Iterator
from pathlib import Path

STALE_S = 10.0


MAINTAINED = "dreamcatcherd-maintenance"
"""A file in a repository that maintenance holds with flock while it runs; the kernel frees it with the process."""


@contextlib.contextmanager
def maintaining(repository: Path) -> Iterator[None]:
    """Show, while maintenance runs, that a lock may be its own."""
    with (repository / MAINTAINED).open("ab") as file:
        fcntl.flock(file, fcntl.LOCK_SH)
        yield


@contextlib.contextmanager
def alone(repository: Path) -> Iterator[bool]:
    """Whether no maintenance runs here; none begins meanwhile."""
    with (repository / MAINTAINED).open("ab") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            yield False
        else:
            yield True


def locks_of(repository: Path, refs: Iterable[str]) -> list[Path]:
    """The locks that stand in the way of moving these refs. HEAD's is taken with that of the branch that it names."""
    places = [repository / f"{ref}.lock" for ref in (*refs, "HEAD", "packed-refs")]
    return [place for place in places if place.exists()]


def all_locks(repository: Path) -> list[Path]:
    """Every lock in a repository: of its refs, its configuration, and of maintenance."""
    objects = repository / "objects"
    found = [*repository.glob("*.lock"), *objects.glob("*.lock"), *(objects / "info").rglob("*.lock")]
    return [*found, *(repository / "refs").rglob("*.lock")]


def stale(locks: Iterable[Path], age_s: float = STALE_S) -> list[Path]:
    """Those that nobody can be holding any more."""
    found = []
    for lock in locks:
        with contextlib.suppress(FileNotFoundError):
            if time.time() - lock.stat().st_mtime > age_s:
                found.append(lock)
    return found


def remove_stale(locks: Iterable[Path], age_s: float = STALE_S) -> list[Path]:
    """Remove the locks among these that nobody can be holding any more; returns what was removed."""
    return remove_locks(stale(locks, age_s))


def remove_locks(locks: list[Path]) -> list[Path]:
    """Remove locks whose owner is known to be dead; returns them."""
    for lock in locks:
        lock.unlink(missing_ok=True)
    return locks
