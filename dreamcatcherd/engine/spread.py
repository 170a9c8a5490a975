"""One frame merged by the workers of an engine: what they are given, and what is kept of what they write."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from dreamcatcherd.core.merge import Merged
from dreamcatcherd.core.model import Delta
from dreamcatcherd.core.settings import Settings
from dreamcatcherd.core.tree import Objects
from dreamcatcherd.engine.large_merge import Place, Work, merge_large
from dreamcatcherd.engine.pools import Pool, task_failure
from dreamcatcherd.engine.selection import Engine, folder_of
from dreamcatcherd.engine.tasks import MergeItem, SettingsText
from dreamcatcherd.git.disk_overlay import DiskOverlay
from dreamcatcherd.git.protocols import ObjectReader


def settings_text(store: ObjectReader, settings: Settings) -> SettingsText:
    """Settings as their file."""
    return SettingsText(settings.blob, store.read(settings.blob) if settings.blob is not None else None)


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
    """The merge of one frame by an engine's workers: the deltas, which are in `store`, into a snapshot of `objects`.

    Whatever an engine raises is an error of this package: the frame fails, and not the daemon that closes it."""
    try:
        with engine.pool(folder_of(store), deltas[0].version.blob if deltas else None) as pool:
            return merge_in(pool, store, settings, objects, snapshot, deltas, frame, note)
    except Exception as error:
        raise task_failure(error) from error


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
    for kind, data in scratch.objects(merged.tree):
        objects.write(kind, data)
    return merged


def _version(delta: Delta) -> tuple[str, str, str]:
    return (delta.version.path, delta.version.blob, delta.version.commit)
