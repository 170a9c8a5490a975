"""The two tasks of a large merge, each a function of its argument: bytes in, bytes out.

    read_chunk    deltas are read, decoded and folded; the result is a piece for each part of the key space
    fold_part     all pieces of one part are joined with the snapshot; the result has the files that changed

A task that cannot read an object says so in its result, and the process that asked does the task itself."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterable
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

from msgspec import structs

from dreamcatcherd.core.errors import DreamcatcherError, FatalError
from dreamcatcherd.core.fold import Fold, fold
from dreamcatcherd.core.merge_parts import MergedPart, gather, merge_part, split
from dreamcatcherd.core.model import Delta, Stamp, Version
from dreamcatcherd.core.projections import PROJECTIONS
from dreamcatcherd.core.settings import DEFAULT, Settings, read_settings
from dreamcatcherd.core.snapshot import MergedId
from dreamcatcherd.core.tree import FILE, Kind, Reader
from dreamcatcherd.engine.wire import from_bytes, sent, to_bytes
from dreamcatcherd.git.local import LocalStore
from dreamcatcherd.git.overlay import Overlay
from dreamcatcherd.git.protocols import Commit, ObjectReader
from dreamcatcherd.stages.delta_reader import read_delta


@sent
class SettingsText(NamedTuple):
    """Settings by their file: blob id and text; None for the default."""

    blob: str | None
    text: bytes | None


@sent
class MergeItem(NamedTuple):
    """A delta to merge, by its version; its content id, as it was judged before; and the frame whose close merges
    it."""

    path: str
    blob: str
    commit: str
    content_id: str
    closing: int


@sent
class ReadTask(NamedTuple):
    """Deltas to read: from the repository in `folder`, or from `blobs` if there is none. `limits` are the settings that
    they were read under, `table` those whose collections they are merged into."""

    folder: str | None
    blobs: dict[str, bytes]
    limits: SettingsText
    table: SettingsText
    items: list[MergeItem]
    parts: int


@sent
class ReadResult(NamedTuple):
    """A piece for each part, or why the task failed; the ids of the deltas, and those that another frame than their own
    merges; those items, by index, that need more than their blob; and the seconds of processor time."""

    pieces: list[bytes]
    ids: list[MergedId]
    late: dict[Stamp, int]
    left: list[int]
    failure: str | None
    busy_s: float


@sent
class Piece(NamedTuple):
    """What some deltas bring to one part. `late` has the deltas that another frame than their own merges."""

    folded: Fold
    late: dict[Stamp, int]


@sent
class FoldTask(NamedTuple):
    """The pieces of one part, and the snapshot that they are joined with: of the repository in `folder`, or empty."""

    folder: str | None
    base: str | None
    table: SettingsText
    pieces: list[bytes]


@sent
class FoldResult(NamedTuple):
    """One part of the merge with the objects that it wrote, or why the task failed; seconds of processor time."""

    part: MergedPart | None
    objects: list[tuple[Kind, bytes]]
    failure: str | None
    busy_s: float


def read_chunk(raw: bytes) -> bytes:
    """Read, decode and fold deltas: a `ReadTask` to a `ReadResult`."""
    begun = time.thread_time()
    task: ReadTask = from_bytes(raw)
    try:
        store: ObjectReader = shared_store(task.folder) if task.folder is not None else SentObjects(task.blobs)
        result = read_items(store, task)
    except DreamcatcherError as error:
        result = ReadResult([], [], {}, [], error.cause, 0.0)
    return to_bytes(result._replace(busy_s=time.thread_time() - begun))


def fold_part(raw: bytes) -> bytes:
    """Join the pieces of one part with a snapshot: a `FoldTask` to a `FoldResult`."""
    begun = time.thread_time()
    task: FoldTask = from_bytes(raw)
    try:
        store: ObjectReader = shared_store(task.folder) if task.folder is not None else SentObjects({})
        result = join_pieces(store, task)
    except DreamcatcherError as error:
        result = FoldResult(None, [], error.cause, 0.0)
    return to_bytes(result._replace(busy_s=time.thread_time() - begun))


def read_items(store: ObjectReader, task: ReadTask) -> ReadResult:
    """The result of a `ReadTask` with objects of a store; FatalError if a delta is not what it was."""
    table = settings_from(task.table)
    then = settings_from(task.limits)
    # Read under the limits of its time; the table says which numbers are read exactly.
    settings = table if then is table else structs.replace(table, limits=then.limits, intake=then.intake)
    deltas: list[Delta] = []
    late: dict[Stamp, int] = {}
    left: list[int] = []
    for at, item in enumerate(task.items):
        try:
            delta = read_merged(store, item.path, item.blob, item.commit, item.content_id, settings)
        except NotSentError:
            left.append(at)
            continue
        deltas.append(delta)
        if item.closing != delta.frame:
            late[delta.stamp] = item.closing
    deltas.sort(key=lambda one: one.stamp)
    pieces = split(fold(deltas, table.table), table.table, task.parts)
    sent_pieces = [to_bytes(Piece(piece, late)) if any(piece) else b"" for piece in pieces]
    ids = [(one.frame, one.content_id) for one in deltas]
    return ReadResult(sent_pieces, ids, late, left, None, 0.0)


def join_pieces(store: Reader, task: FoldTask) -> FoldResult:
    """The result of a `FoldTask` with objects of a store; FatalError if it has not all of them."""
    table = settings_from(task.table).table
    pieces: list[Piece] = [from_bytes(raw) for raw in task.pieces]
    late = {stamp: frame for piece in pieces for stamp, frame in piece.late.items()}
    folded = gather(piece.folded for piece in pieces)
    del pieces
    overlay = Overlay(store)
    part = merge_part(overlay, task.base, folded, table, PROJECTIONS, lambda stamp: late.get(stamp, stamp.frame))
    return FoldResult(part, list(overlay.objects(part.state)), None, 0.0)


def read_merged(store: ObjectReader, path: str, blob: str, commit: str, content_id: str, settings: Settings) -> Delta:
    """Read a delta again that was judged before; FatalError if it is not the same."""
    item = read_delta(store, Version(path, blob, FILE, commit), settings)
    if not isinstance(item, Delta) or item.content_id != content_id:
        why = "an attachment differs" if isinstance(item, Delta) else item.fault.detail
        remedy = "run dreamcatcherd verify, which names the first damaged frame"
        raise FatalError(f"the delta {path} {blob} is not what was merged: {why}", remedy)
    return item


@lru_cache(maxsize=8)
def settings_from(given: SettingsText) -> Settings:
    """The settings of a file that was accepted before."""
    return read_settings(given.text, given.blob) if given.text is not None else DEFAULT


# Objects -----------------------------------------------------------------------------------------------------------

_opened = threading.local()


def shared_store(folder: str) -> LocalStore:
    """The repository in a folder, opened once by each thread of a worker; UsageError if there is none."""
    stores: dict[str, LocalStore] = _opened.__dict__.setdefault("stores", {})
    if folder not in stores:
        stores.clear()  # a worker serves one repository at a time
        stores[folder] = LocalStore(Path(folder))
    else:
        stores[folder].refresh()
    return stores[folder]


class NotSentError(FatalError):
    """A worker without a repository needs an object that it was not sent."""


class SentObjects:
    """The objects that came with a task, for a worker that has no repository."""

    where = "the task"
    cut: frozenset[str] = frozenset()

    def __init__(self, blobs: dict[str, bytes]) -> None:
        self._blobs = blobs

    def read(self, oid: str) -> bytes:
        """The content of a blob; NotSentError if it did not come with the task."""
        if oid not in self._blobs:
            raise NotSentError(f"object {oid} was not sent", "give the worker the repository")
        return self._blobs[oid]

    def size(self, oid: str) -> int:
        """A blob's size in bytes."""
        return len(self.read(oid))

    def commit(self, oid: str) -> Commit:
        """NotSentError: no commit comes with a task."""
        raise NotSentError(f"commit {oid} was not sent", "give the worker the repository")

    through = commit

    def new_commits(self, tips: Iterable[str], hidden: Iterable[str]) -> dict[str, Commit]:
        """NotSentError: no history comes with a task."""
        raise NotSentError(f"the history of {list(tips)} was not sent", "give the worker the repository")

    def descends(self, oid: str, ancestor: str) -> bool:
        """NotSentError: no history comes with a task."""
        raise NotSentError(f"the history of {oid} was not sent", "give the worker the repository")
