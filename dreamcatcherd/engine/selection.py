"""Which engine does a piece of work: by its kind as configured, and by the size of the work (docs/engine.md)."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Literal

from msgspec import Struct

from dreamcatcherd.core.errors import UsageError
from dreamcatcherd.core.merge import Merged
from dreamcatcherd.core.model import Delta
from dreamcatcherd.core.settings import Settings
from dreamcatcherd.core.tree import Objects
from dreamcatcherd.engine.large_merge import Place, Work, merge_large
from dreamcatcherd.engine.pools import InlinePool, Pool, ProcessPool
from dreamcatcherd.engine.tasks import MergeItem, SettingsText
from dreamcatcherd.git.overlay import DiskOverlay
from dreamcatcherd.git.protocols import GitStore, ObjectReader

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

        UsageError if the extra `dask` is not installed; RetryableError if a scheduler cannot be reached, has no
        workers, or workers of another version."""
        found = self._open(folder, probe)
        try:
            yield found
        finally:
            found.close()

    def _open(self, folder: Path | None, probe: str | None) -> Pool:
        workers = self.workers or len(os.sched_getaffinity(0))
        if self.kind == "inline":
            return InlinePool()
        if self.kind == "processes":
            return ProcessPool(workers)
        try:
            from dreamcatcherd.engine.dask_pool import DaskPool, security_of
        except ModuleNotFoundError as error:
            cause = f"the engine dask needs a library that is not installed: {error.name}"
            raise UsageError(cause, "pip install 'dreamcatcherd[dask]'") from error
        security = security_of(self.ca_file, self.tls_cert, self.tls_key)
        return DaskPool(self.scheduler, workers, security, folder, probe)


def folder_of(store: ObjectReader) -> Path | None:
    """The folder of a store's repository, if it is on this disk."""
    return store.folder.absolute() if isinstance(store, GitStore) else None


def settings_text(store: ObjectReader, settings: Settings) -> SettingsText:
    """Settings as their file."""
    return SettingsText(settings.blob, store.read(settings.blob) if settings.blob is not None else None)


def is_large(engine: Engine, deltas: Sequence[object]) -> bool:
    """Whether a frame is merged by the workers of an engine."""
    return engine.kind != "inline" and len(deltas) > engine.threshold


def merge_spread(
    engine: Engine,
    store: ObjectReader,
    settings: Settings,
    note: Callable[[int], None],
    objects: Objects,
    snapshot: str | None,
    deltas: Sequence[Delta],
    frame: int,
) -> Merged:
    """The merge of one frame by an engine's workers: the deltas, which are in `store`, into a snapshot of `objects`."""
    with engine.pool(folder_of(store), deltas[0].version.blob if deltas else None) as pool:
        return merge_in(pool, store, settings, objects, snapshot, deltas, frame, note)


def merge_in(
    pool: Pool,
    store: ObjectReader,
    settings: Settings,
    objects: Objects,
    snapshot: str | None,
    deltas: Sequence[Delta],
    frame: int,
    note: Callable[[int], None],
) -> Merged:
    """The same by the workers of a pool."""
    items = [MergeItem(*_version(one), one.content_id, frame) for one in deltas]
    text = settings_text(store, settings)
    work = Work([(text, items)], text, sum(one.cost for one in deltas), note)
    # Parts write files that others change again. Only what the result names is kept.
    scratch = DiskOverlay(objects)
    merged = merge_large(pool, Place(store, folder_of(store)), scratch, snapshot, work)[0]
    for kind, data in scratch.reached(merged.tree):
        objects.write(kind, data)
    return merged


def _version(delta: Delta) -> tuple[str, str, str]:
    return (delta.version.path, delta.version.blob, delta.version.commit)
