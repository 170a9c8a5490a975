"""States recomputed from the deltas: as they were known at the time, or with hindsight.

The result is an overlay, in memory or on disk; nothing is written to the repository. The ledgers are trusted to say
which deltas were merged; `verify` checks whether they are right."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from itertools import groupby, takewhile
from typing import NamedTuple

from msgspec import structs

from dreamcatcherd.core import paths
from dreamcatcherd.core.errors import FatalError, RefusedError
from dreamcatcherd.core.ledger import CONVERT, IMPORT, RECLASSIFY, DeltaRow, Ledger, read_ledger
from dreamcatcherd.core.merge import merge
from dreamcatcherd.core.model import Delta, Stamp
from dreamcatcherd.core.projections import PROJECTIONS
from dreamcatcherd.core.reclassify import place_extra
from dreamcatcherd.core.settings import DEFAULT, Settings, read_settings
from dreamcatcherd.core.snapshot import empty_snapshot
from dreamcatcherd.core.tree import blob_at, subtree
from dreamcatcherd.engine.large_merge import Place, Spent, Work, estimated_cost, merge_large
from dreamcatcherd.engine.pools import Pool
from dreamcatcherd.engine.spread import settings_text
from dreamcatcherd.engine.tasks import MergeItem, read_merged
from dreamcatcherd.git.disk_overlay import DiskOverlay
from dreamcatcherd.git.overlay import Overlay
from dreamcatcherd.git.protocols import ObjectReader
from dreamcatcherd.stages.snapshot_chain import Link

BATCH = 2_000
"""How many deltas are merged in one step. The merge is a function of their set, so the size changes no byte."""


SAMPLE = 1_000
"""How many deltas are looked at to estimate the cost of all."""


class ReplaySpread(NamedTuple):
    """Who recomputes large states: workers, and where the deltas are; from how many deltas on; what is called with
    how many more were read, and what the workers spent."""

    pool: Pool
    place: Place
    threshold: int
    note: Callable[[int], None]
    spent: Callable[[Spent], None]


class ClosedFrame(NamedTuple):
    """A closed frame as a replay reads it: its commit's own ledger, and the settings that it was merged under."""

    link: Link
    ledger: Ledger
    settings: Settings


class Replayed(NamedTuple):
    """A recomputed state: its tree, and the overlay that holds its objects.

    `chapter` is the last frame that was replayed, `deltas` the number of deltas merged (without an imported base)."""

    frame: int
    tree: str
    chapter: ClosedFrame
    deltas: int
    overlay: Overlay | DiskOverlay


def own_ledger(store: ObjectReader, link: Link) -> bytes | None:
    """The bytes of a frame's ledger in its own snapshot commit; None if there is none."""
    oid = blob_at(store, subtree(store, store.commit(link.oid).tree, paths.LEDGER), paths.ledger_path(link.frame))
    return store.read(oid) if oid else None


def closed_frames(store: ObjectReader, links: Iterable[Link]) -> Iterator[ClosedFrame]:
    """Read closed frames one by one; FatalError if a ledger or its settings cannot be read."""
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
            raise FatalError(cause, "run dreamcatcherd verify, which names the first damaged frame") from error
        yield ClosedFrame(link, ledger, known[blob])


def is_base(ledger: Ledger) -> bool:
    """Whether a frame is an imported or converted snapshot: no deltas lead to it, so replay and verify start there."""
    if ledger.closed_by == CONVERT:
        return True
    return ledger.closed_by == IMPORT and ledger.previous is None and not any(ledger.rows())


def replay_to(
    store: ObjectReader, history: Iterable[ClosedFrame], to: int, spread: ReplaySpread | None = None
) -> Replayed:
    """The state after frame `to` as it was known at the time: from all deltas merged in frames up to it.

    `history` is oldest first. The workers of `spread` recompute large states. RefusedError if the frame is not closed;
    FatalError if a delta is not as merged; RetryableError if workers are lost."""
    chapters = list(takewhile(lambda chapter: chapter.link.frame <= to, history))
    if not chapters or chapters[-1].link.frame != to:
        raise _not_closed(to)
    overlay = Overlay(store) if spread is None else DiskOverlay(store)
    tree, count = recomputed(overlay, store, chapters, spread=spread)
    return Replayed(to, tree, chapters[-1], count, overlay)


def recomputed(
    overlay: Overlay | DiskOverlay,
    store: ObjectReader,
    chapters: Sequence[ClosedFrame],
    settings: Settings | None = None,
    spread: ReplaySpread | None = None,
) -> tuple[str, int]:
    """The snapshot after closed frames, oldest first, and the number of deltas merged.

    `settings` place all records; without them each frame's own, or those of the last frame that reclassified them."""
    start: str | None = None
    parts: list[_Part] = []
    last = settings
    for chapter in chapters:
        if is_base(chapter.ledger):
            start, parts = chapter.ledger.snapshot, []
        if settings is None and chapter.ledger.closed_by == RECLASSIFY:
            last = chapter.settings
            parts = [(one, row, last) for one, row, _ in parts]
        parts += [(chapter, row, settings or chapter.settings) for row in chapter.ledger.deltas]
    # The base has no deltas to place anew, only its records.
    if start is not None and last is not None:
        start = place_extra(overlay, start, last.table, PROJECTIONS)
    return _merged(overlay, start, store, parts, spread), len(parts)


def replay_hindsight(
    store: ObjectReader, history: Iterable[ClosedFrame], to: int, spread: ReplaySpread | None = None
) -> Replayed:
    """The state after frame `to` as if all deltas known today had come in time: a late one is merged in its own frame.

    `history` is oldest first, up to today. RefusedError if the frame is not closed; FatalError if a delta is not as it
    was merged."""
    chapters = list(history)
    here = next((chapter for chapter in chapters if chapter.link.frame == to), None)
    if here is None:
        raise _not_closed(to)
    first = max(at for at, chapter in enumerate(chapters) if at == 0 or is_base(chapter.ledger))
    start = chapters[first].ledger.snapshot if is_base(chapters[first].ledger) else None
    # Two settings apply to a late delta: the limits that it passed are those of the frame that merged it, and the
    # collections are those of its own frame.
    then = {chapter.link.frame: chapter.settings for chapter in chapters}
    last: ClosedFrame | None = None
    for chapter in chapters:
        if chapter.ledger.closed_by == RECLASSIFY and chapter.link.frame <= to:
            last = chapter
    overlay = Overlay(store) if spread is None else DiskOverlay(store)
    if last is not None:
        then |= {frame: last.settings for frame in then if frame < last.link.frame}
        start = place_extra(overlay, start, last.settings.table, PROJECTIONS) if start is not None else None
    parts = [
        (chapter, row, then.get(frame_of_row(chapter, row), chapters[first].settings))
        for chapter in chapters[first:]
        for row in chapter.ledger.deltas
        if frame_of_row(chapter, row) <= to
    ]
    parts.sort(key=lambda part: frame_of_row(part[0], part[1]))
    tree = _merged(overlay, start, store, parts, spread, own_frames=True)
    return Replayed(to, tree, here, len(parts), overlay)


def frame_of_row(chapter: ClosedFrame, row: DeltaRow) -> int:
    """The frame that a merged delta belongs to: the one that merged it, for a late delta an earlier one."""
    return chapter.ledger.frame if row.frame is None else row.frame


def delta_of(store: ObjectReader, row: DeltaRow, settings: Settings) -> Delta:
    """Read a merged delta again; FatalError if it is not what its ledger says."""
    return read_merged(store, row.path, row.blob, row.commit, row.content_id or row.blob, settings)


_Part = tuple[ClosedFrame, DeltaRow, Settings]
"""A merged delta: the frame that merged it, its row there, and the settings whose collections it is merged under."""


def _merged(
    overlay: Overlay | DiskOverlay,
    start: str | None,
    store: ObjectReader,
    parts: Sequence[_Part],
    spread: ReplaySpread | None,
    own_frames: bool = False,
) -> str:
    """The snapshot that deltas give, in the order of the parts, each under its settings. With `own_frames` claims are
    decided as if each delta had been merged in its own frame."""
    tree = start
    for _, group in groupby(parts, key=lambda part: part[2].blob):
        members = list(group)
        if spread is not None and len(members) > spread.threshold:
            work = _work(store, members, own_frames, spread.note)
            merged, spent = merge_large(spread.pool, spread.place, overlay, tree, work)
            tree = merged.tree
            spread.spent(spent)
        else:
            tree = _merged_here(overlay, tree or empty_snapshot(overlay), store, members, own_frames)
            if spread is not None:
                spread.note(len(members))
    return tree or empty_snapshot(overlay)


def _work(store: ObjectReader, members: Sequence[_Part], own_frames: bool, note: Callable[[int], None]) -> Work:
    """The work that deltas of one table are for an engine."""
    chosen = members[:: max(1, len(members) // SAMPLE)]
    cost = sum(estimated_cost(store.size(row.blob)) for _, row, _ in chosen) * len(members) // len(chosen)
    groups = (list(group) for _, group in groupby(members, key=lambda part: part[0].settings.blob))
    batches = (
        (settings_text(store, group[0][0].settings), [_item(chapter, row, own_frames) for chapter, row, _ in group])
        for group in groups
    )
    return Work(batches, settings_text(store, members[0][2]), cost, note)


def _item(chapter: ClosedFrame, row: DeltaRow, own_frames: bool) -> MergeItem:
    closing = frame_of_row(chapter, row) if own_frames else chapter.link.frame
    return MergeItem(row.path, row.blob, row.commit, row.content_id or row.blob, closing)


def _merged_here(
    overlay: Overlay | DiskOverlay, tree: str, store: ObjectReader, members: Sequence[_Part], own_frames: bool
) -> str:
    """The snapshot after deltas of one table, merged in this process."""
    for at in range(0, len(members), BATCH):
        deltas: list[Delta] = []
        closing: dict[Stamp, int] = {}
        for chapter, row, settings in members[at : at + BATCH]:
            # It was read under the limits of its time; the table says which numbers are read exactly.
            then = chapter.settings
            if settings is not then:
                then = structs.replace(settings, limits=then.limits, intake=then.intake)
            delta = delta_of(store, row, then)
            deltas.append(delta)
            if not own_frames:
                closing[delta.stamp] = chapter.link.frame
        deltas.sort(key=lambda delta: delta.stamp)
        frame_of = partial(_closing_frame, closing)
        tree = merge(overlay, tree, deltas, members[0][2].table, PROJECTIONS, closing=frame_of).tree
        overlay.keep(tree)
    return tree


def _closing_frame(closing: dict[Stamp, int], stamp: Stamp) -> int:
    return closing.get(stamp, stamp.frame)


def _not_closed(frame: int) -> RefusedError:
    return RefusedError(f"frame {frame} is not closed", "name a closed frame (dreamcatcherd log)")
