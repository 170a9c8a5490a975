"""Ref locks that a killed process left behind: waited for, then removed by rule (Protocol §7).

A live git holds a ref's lock for milliseconds. One that has stood untouched for STALE_S seconds belongs to nobody;
until it is gone no worker can push to that ref, so the primary removes it."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterable
from pathlib import Path

STALE_S = 10.0


def lock_files(repository: Path, refs: Iterable[str]) -> list[Path]:
    """The locks that stand in the way of moving these refs. HEAD's is taken with that of the branch that it names."""
    places = [repository / f"{ref}.lock" for ref in (*refs, "HEAD", "packed-refs")]
    return [place for place in places if place.exists()]


def remove_stale(repository: Path, refs: Iterable[str]) -> list[Path]:
    """Remove the locks among these that nobody can be holding any more; returns what was removed."""
    removed = []
    for lock in lock_files(repository, refs):
        with contextlib.suppress(FileNotFoundError):
            if time.time() - lock.stat().st_mtime > STALE_S:
                lock.unlink()
                removed.append(lock)
    return removed
