"""Lock files that a killed process left behind: waited for, then removed by rule (Protocol §7).

A live git holds a ref's lock for milliseconds. One that has stood untouched for STALE_S seconds belongs to nobody;
until it is gone nobody can move that ref, so the primary removes it."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterable
from pathlib import Path

STALE_S = 10.0


def locks_of(repository: Path, refs: Iterable[str]) -> list[Path]:
    """The locks that stand in the way of moving these refs. HEAD's is taken with that of the branch that it names."""
    places = [repository / f"{ref}.lock" for ref in (*refs, "HEAD", "packed-refs")]
    return [place for place in places if place.exists()]


def all_locks(repository: Path) -> list[Path]:
    """Every lock in a repository: of its refs, its configuration, and of maintenance."""
    return [*repository.glob("*.lock"), *repository.glob("objects/*.lock"), *(repository / "refs").rglob("*.lock")]


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
    removed = stale(locks, age_s)
    for lock in removed:
        lock.unlink(missing_ok=True)
    return removed
