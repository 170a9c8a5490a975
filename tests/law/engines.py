"""Primaries of the law whose closes are spread by an engine, over workers that are started once.

`make law ENGINE=processes` runs the law with all closes on such primaries; `tests/engine/test_law.py` is a sample of
it."""

from __future__ import annotations

import atexit
import contextlib
import functools
import itertools
import os
import subprocess
import tempfile
import weakref
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from dreamcatcherd.engine import large_merge
from dreamcatcherd.engine.pools import InlinePool, Pool
from dreamcatcherd.engine.selection import Engine
from dreamcatcherd.git.local import LocalStore
from dreamcatcherd.git.protocols import Store
from dreamcatcherd.testing import MemoryStore

KIND = os.environ.get("LAW_ENGINE", "")
"""The engine of all primaries of the law: inline, processes or dask; without it they merge as a small fleet does."""

SMALL = {"TASK_ITEMS": 3, "PART_COST": 4_000, "TOGETHER": 20}
"""Constants of `large_merge` by which a handful of deltas is cut into chunks and parts as a large frame is."""

ON_DISK = 4
"""One of so many repositories is on disk, where workers read it themselves. A repository in memory is sent to them."""


class OpenEngine(Engine, frozen=True, kw_only=True):
    """An engine whose closes all use one pool, however small they are."""

    workers_of_all: Pool

    @contextmanager
    def pool(self, folder: Path | None, probe: str | None) -> Iterator[Pool]:
        """The pool, which stays open."""
        yield self.workers_of_all


def engine_on(pool: Pool) -> Engine:
    """An engine that spreads every close over a pool, even over one that is this process."""
    return OpenEngine(kind="processes", threshold=0, workers_of_all=pool)


def empty_repository() -> LocalStore:
    """A repository on disk, removed with its store."""
    folder = tempfile.TemporaryDirectory(prefix="law-")
    repository = Path(folder.name) / "r.git"
    subprocess.run(["git", "init", "--quiet", "--bare", "--initial-branch=main", str(repository)], check=True)
    store = LocalStore(repository)
    weakref.finalize(store, folder.cleanup)
    return store


_numbers = itertools.count()


def new_store() -> Store:
    """An empty repository for one example of the law."""
    return empty_repository() if KIND and next(_numbers) % ON_DISK == 0 else MemoryStore()


def law_engine() -> Engine:
    """The engine that $LAW_ENGINE names for all primaries of the law."""
    return engine_on(_workers()) if KIND else Engine()


@functools.cache
def _workers() -> Pool:
    """The workers of this process, which end with it."""
    for name, value in SMALL.items():
        setattr(large_merge, name, value)
    if KIND == "inline":
        return InlinePool()
    opened = contextlib.ExitStack()
    atexit.register(opened.close)
    return opened.enter_context(Engine("dask" if KIND == "dask" else "processes", 2).pool(None, None))
