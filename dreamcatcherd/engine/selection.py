"""Which engine does a piece of work: by its kind as configured, and by the size of the work (docs/engine.md)."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from msgspec import Struct

from dreamcatcherd.core.errors import RetryableError
from dreamcatcherd.git.protocols import GitStore, ObjectReader

if TYPE_CHECKING:
    from dreamcatcherd.engine.pools import Pool

EngineKind = Literal["inline", "processes", "dask"]


class Engine(Struct, frozen=True):
    """How large work is spread. More than `threshold` deltas at once are large. `scheduler` is the address of a Dask
    scheduler, None for a cluster on this machine; the files are for its TLS."""

    kind: EngineKind = "inline"
    workers: int = 0
    """Processes, or workers of a cluster on this machine; 0 is one for each processor."""
    scheduler: str | None = None
    threshold: int = 50_000
    ca_file: Path | None = None
    tls_cert: Path | None = None
    tls_key: Path | None = None

    @contextmanager
    def pool(self, folder: Path | None, probe: str | None) -> Iterator[Pool]:
        """Workers for one piece of work on the repository in `folder`, which has the object `probe`.

        RetryableError if the extra `dask` is not installed, or if a scheduler cannot be reached, has no workers, or
        workers of another version."""
        found = self._open(folder, probe)
        try:
            yield found
        finally:
            found.close()

    def _open(self, folder: Path | None, probe: str | None) -> Pool:
        workers = self.workers or len(os.sched_getaffinity(0))
        # Each kind is slow to load, and most processes need none.
        if self.kind == "inline":
            from dreamcatcherd.engine.pools import InlinePool

            return InlinePool()
        if self.kind == "processes":
            from dreamcatcherd.engine.process_pool import ProcessPool

            return ProcessPool(workers)
        try:
            from dreamcatcherd.engine.dask_pool import DaskPool, security_of
        except ImportError as error:  # it was there when the configuration was read, or nobody looked
            raise RetryableError(*without_library(error.name or str(error))) from error
        security = security_of(self.ca_file, self.tls_cert, self.tls_key)
        return DaskPool(self.scheduler, workers, security, folder, probe)


def without_library(name: str) -> tuple[str, str]:
    """Cause and remedy of an engine whose library cannot be loaded."""
    return f"the engine dask needs a library that is not installed: {name}", "pip install 'dreamcatcherd[dask]'"


def folder_of(store: ObjectReader) -> Path | None:
    """The folder of a store's repository, if it is on this disk."""
    return store.folder.absolute() if isinstance(store, GitStore) else None


def is_large(engine: Engine, deltas: Sequence[object]) -> bool:
    """Whether a frame is merged by the workers of an engine."""
    return engine.kind != "inline" and len(deltas) > engine.threshold
