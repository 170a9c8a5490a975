"""States computed again from the deltas: as they were known then, or with hindsight. Nothing is written to the
repository: what a replay makes is laid over it in memory.

Owns the overlay and the order of a replay. Which deltas there are is the ledgers' to say; whether a ledger tells the
truth is `verify`'s to find out."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import groupby
from typing import NamedTuple

from dreamcatcherd.core import paths
from dreamcatcherd.core.collections import Table
from dreamcatcherd.core.errors import FatalError, RefusedError
from dreamcatcherd.core.ledger import DeltaRow, Ledger, read_ledger
from dreamcatcherd.core.merge import merge
from dreamcatcherd.core.model import Delta, Version
from dreamcatcherd.core.projections import PROJECTIONS
from dreamcatcherd.core.settings import DEFAULT, Settings, read_settings
from dreamcatcherd.core.snapshot import empty_like
from dreamcatcherd.core.tree import FILE, blob_at, subtree
from dreamcatcherd.git.overlay import Overlay
from dreamcatcherd.git.protocols import ObjectReader
from dreamcatcherd.stages.delta_reader import read_delta
from dreamcatcherd.stages.snapshot import IMPORT
from dreamcatcherd.stages.snapshot_chain import Link

BATCH = 2_000
"""Deltas that are merged in one go. The merge is a function of their set, so the size changes no byte."""


class ClosedFrame(NamedTuple):
    """A closed frame as a replay reads it: its commit's own ledger, and the settings that it was merged under."""

    link: Link
    ledger: Ledger
    settings: Settings


class Replayed(NamedTuple):
    """A state computed again, and the overlay that holds it. `deltas` says how many went in, the base aside."""

    frame: int
    tree: str
    chapter: ClosedFrame
    deltas: int
    overlay: Overlay


def own_ledger(store: ObjectReader, link: Link) -> bytes | None:
    """The bytes of a frame's ledger as its own snapshot commit holds it; None where it holds none."""
    oid = blob_at(store, subtree(store, store.commit(link.oid).tree, paths.LEDGER), paths.ledger_path(link.frame))
    return store.read(oid) if oid else None


def closed_frames(store: ObjectReader, links: Iterable[Link]) -> Iterator[ClosedFrame]:
    """Read closed frames one by one; FatalError where a ledger or its settings cannot be read."""
    known: dict[str | None, Settings] = {None: DEFAULT}
    for link in links:
        raw = own_ledger(store, link)
        try:
            if raw is None:
                raise ValueError("it holds no ledger")
            ledger = read_ledger(raw)
            blob = ledger.settings
            if blob is not None and blob not in known:
                known[blob] = read_settings(store.read(blob), blob)
        except ValueError as error:
            cause = f"the snapshot commit {link.oid} of frame {link.frame} cannot be read: {error}"
            raise FatalError(
                cause, "run dreamcatcherd verify, which names the first frame that is not whole"
            ) from error
        yield ClosedFrame(link, ledger, known[blob])


def is_base(ledger: Ledger) -> bool:
    """Whether a frame is an imported snapshot, from which replay and verify start: it has no deltas to come from."""
    return ledger.closed_by == IMPORT and ledger.previous is None and not any(ledger.rows())


def replay_to(store: ObjectReader, told: Iterable[ClosedFrame], to: int) -> Replayed:
    """The state after frame `to` as it was known then, from all deltas that were merged up to then."""
    parts: list[_Part] = []
    start: str | None = None
    last: ClosedFrame | None = None
    for chapter in told:
        if chapter.link.frame > to:
            break
        if is_base(chapter.ledger):
            start = chapter.ledger.snapshot
        last = chapter
        parts += [(chapter, row, chapter.settings) for row in chapter.ledger.deltas]
    if last is None or last.link.frame != to:
        raise _not_closed(to)
    return _merged(store, start, last, _by_settings(store, parts))


def replay_hindsight(store: ObjectReader, history: Iterable[ClosedFrame], to: int) -> Replayed:
    """The state after frame `to` as if every delta known by now had come in time: late ones lie where their key says.

    A delta was judged when it was merged; what the table of collections makes of it is as in its own frame."""
    told = list(history)
    here = next((chapter for chapter in told if chapter.link.frame == to), None)
    if here is None:
        raise _not_closed(to)
    start = told[0].ledger.snapshot if is_base(told[0].ledger) else None
    then = {chapter.link.frame: chapter.settings for chapter in told}
    parts = [
        (chapter, row, then.get(frame_of_row(chapter, row), told[0].settings))
        for chapter in told
        for row in chapter.ledger.deltas
        if frame_of_row(chapter, row) <= to
    ]
    parts.sort(key=lambda part: frame_of_row(part[0], part[1]))
    return _merged(store, start, here, _by_settings(store, parts))


def frame_of_row(chapter: ClosedFrame, row: DeltaRow) -> int:
    """The frame that a merged delta belongs to."""
    return chapter.ledger.frame if row.frame is None else row.frame


def delta_of(store: ObjectReader, row: DeltaRow, settings: Settings) -> Delta:
    """A merged delta read again; FatalError where it no longer is what its ledger says."""
    item = read_delta(store, Version(row.path, row.blob, FILE, row.commit), settings.limits)
    if not isinstance(item, Delta) or item.content_id != (row.content_id or row.blob):
        why = "an attachment differs" if isinstance(item, Delta) else item.fault.detail
        remedy = "run dreamcatcherd verify, which names the first frame that is not whole"
        raise FatalError(f"the delta {row.path} {row.blob} is not what was merged: {why}", remedy)
    return item


_Part = tuple[ClosedFrame, DeltaRow, Settings]
"""A merged delta: the frame that merged it, its row there, and the settings whose table it is merged under."""


def _by_settings(store: ObjectReader, parts: Iterable[_Part]) -> Iterator[tuple[list[Delta], Table]]:
    """Batches of deltas in the order of the parts, each to be merged under one table."""
    for _, group in groupby(parts, key=lambda part: part[2].blob):
        members = list(group)
        for at in range(0, len(members), BATCH):
            batch = [delta_of(store, row, chapter.settings) for chapter, row, _ in members[at : at + BATCH]]
            yield batch, members[0][2].table


def _merged(
    store: ObjectReader, start: str | None, last: ClosedFrame, batches: Iterable[tuple[list[Delta], Table]]
) -> Replayed:
    overlay = Overlay(store)
    tree = start or empty_like(overlay, last.ledger.snapshot)
    count = 0
    for deltas, table in batches:
        deltas.sort(key=lambda delta: delta.stamp)
        tree = merge(overlay, tree, deltas, table, PROJECTIONS).tree
        overlay.keep(tree)
        count += len(deltas)
    return Replayed(last.link.frame, tree, last, count, overlay)


def _not_closed(frame: int) -> RefusedError:
    return RefusedError(f"frame {frame} is not closed", "name a closed frame (dreamcatcherd log)")
