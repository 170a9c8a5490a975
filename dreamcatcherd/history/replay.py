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


class PlannedMerge(NamedTuple):
    """A merged delta: where it is and which close merges it, the settings that it was read under, and those whose
    collections it is merged into."""

    item: MergeItem
    limits: Settings
    table: Settings


class ReplayPlan(NamedTuple):
    """What a replay merges, in order: deltas, after a base or without one, whose records `base_table` places if it is
    given. `chapter` is the last frame. Of each delta about 400 bytes stay in memory, and no ledger."""

    start: str | None
    base_table: Settings | None
    merges: list[PlannedMerge]
    chapter: ClosedFrame | None


def plan_replay(chapters: Iterable[ClosedFrame], settings: Settings | None = None) -> ReplayPlan:
    """What leads to the state after closed frames, oldest first.

    `settings` place all records; without them each frame's own, or those of the last frame that reclassified them."""
    start: str | None = None
    merges: list[PlannedMerge] = []
    last = settings
    final: ClosedFrame | None = None
    for chapter in chapters:
        if is_base(chapter.ledger):
            start, merges = chapter.ledger.snapshot, []
        if settings is None and chapter.ledger.closed_by == RECLASSIFY:
            last = chapter.settings
            merges = [one._replace(table=last) for one in merges]
        table = settings or chapter.settings
        merges += _planned(chapter, table)
        # The rows are in the plan now; a ledger is far larger than its part of that.
        final = chapter._replace(ledger=structs.replace(chapter.ledger, deltas=[]))
    return ReplayPlan(start, last, merges, final)


def _planned(chapter: ClosedFrame, table: Settings) -> Iterator[PlannedMerge]:
    """The deltas of a frame, as its close merged them."""
    commits: dict[str, str] = {}  # many deltas come in one commit
    for row in chapter.ledger.deltas:
        commit = commits.setdefault(row.commit, row.commit)
        item = merge_item(row, chapter.link.frame)
        yield PlannedMerge(item._replace(commit=commit), chapter.settings, table)


def replay_to(
    store: ObjectReader, history: Iterable[ClosedFrame], to: int, spread: ReplaySpread | None = None
) -> Replayed:
    """The state after frame `to` as it was known at the time: from all deltas merged in frames up to it.

    `history` is oldest first. The workers of `spread` recompute large states. RefusedError if the frame is not closed;
    FatalError if a delta is not as merged; RetryableError if workers are lost."""
    return replay_planned(store, plan_replay_to(history, to), spread)


def plan_replay_to(history: Iterable[ClosedFrame], to: int) -> ReplayPlan:
    """What leads to the state after frame `to` as it was known at the time; `history` is oldest first, and read frame
    by frame. RefusedError if the frame is not closed."""
    plan = plan_replay(takewhile(lambda chapter: chapter.link.frame <= to, history))
    if plan.chapter is None or plan.chapter.link.frame != to:
        raise _not_closed(to)
    return plan


def replay_planned(store: ObjectReader, plan: ReplayPlan, spread: ReplaySpread | None = None) -> Replayed:
    """The state that a plan leads to. FatalError if a delta is not as merged; RetryableError if workers are lost."""
    if plan.chapter is None:
        raise AssertionError("a replay of no frames")
    overlay = Overlay(store) if spread is None else DiskOverlay(store)
    tree = recomputed(overlay, store, plan, spread)
    return Replayed(plan.chapter.link.frame, tree, plan.chapter, len(plan.merges), overlay)


def recomputed(
    overlay: Overlay | DiskOverlay, store: ObjectReader, plan: ReplayPlan, spread: ReplaySpread | None = None
) -> str:
    """The snapshot that a plan leads to; its objects are in the overlay."""
    start = plan.start
    # The base has no deltas to place anew, only its records.
    if start is not None and plan.base_table is not None:
        start = place_extra(overlay, start, plan.base_table.table, PROJECTIONS)
    return _merged(overlay, start, store, plan.merges, spread)


def replay_hindsight(
    store: ObjectReader, history: Iterable[ClosedFrame], to: int, spread: ReplaySpread | None = None
) -> Replayed:
    """The state after frame `to` as if all deltas known today had come in time: a late one is merged in its own frame.

    `history` is oldest first, up to today. RefusedError if the frame is not closed; FatalError if a delta is not as it
    was merged."""
    return replay_planned(store, plan_hindsight(history, to), spread)


def plan_hindsight(history: Iterable[ClosedFrame], to: int) -> ReplayPlan:
    """What leads to the state after frame `to` with hindsight; `history` is oldest first, up to today. RefusedError if
    the frame is not closed."""
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
    if last is not None:
        then |= {frame: last.settings for frame in then if frame < last.link.frame}
    # Claims are decided as if each delta had been merged in its own frame.
    merges = [
        PlannedMerge(merge_item(row, frame), chapter.settings, then.get(frame, chapters[first].settings))
        for chapter in chapters[first:]
        for row in chapter.ledger.deltas
        if (frame := frame_of_row(chapter, row)) <= to
    ]
    merges.sort(key=lambda one: one.item.closing)
    return ReplayPlan(start, last.settings if last is not None else None, merges, here)


def frame_of_row(chapter: ClosedFrame, row: DeltaRow) -> int:
    """The frame that a merged delta belongs to: the one that merged it, for a late delta an earlier one."""
    return chapter.ledger.frame if row.frame is None else row.frame


def merge_item(row: DeltaRow, closing: int) -> MergeItem:
    """A ledger's row as a delta to merge, which the close of a frame merges."""
    return MergeItem(row.path, row.blob, row.commit, row.content_id or row.blob, closing)


def _merged(
    overlay: Overlay | DiskOverlay,
    start: str | None,
    store: ObjectReader,
    merges: Sequence[PlannedMerge],
    spread: ReplaySpread | None,
) -> str:
    """The snapshot that deltas give, in their order, each under its settings."""
    tree = start
    for _, group in groupby(merges, key=lambda one: one.table.blob):
        members = list(group)
        if spread is not None and len(members) > spread.threshold:
            work = _work(store, members, spread.note)
            merged, spent = merge_large(spread.pool, spread.place, overlay, tree, work)
            tree = merged.tree
            spread.spent(spent)
        else:
            tree = _merged_here(overlay, tree or empty_snapshot(overlay), store, members)
            if spread is not None:
                spread.note(len(members))
    return tree or empty_snapshot(overlay)


def _work(store: ObjectReader, members: Sequence[PlannedMerge], note: Callable[[int], None]) -> Work:
    """The work that deltas of one table are for an engine."""
    chosen = members[:: max(1, len(members) // SAMPLE)]
    cost = sum(estimated_cost(store.size(one.item.blob)) for one in chosen) * len(members) // len(chosen)
    groups = (list(group) for _, group in groupby(members, key=lambda one: one.limits.blob))
    batches = ((settings_text(store, group[0].limits), [one.item for one in group]) for group in groups)
    return Work(batches, settings_text(store, members[0].table), cost, note)


def _merged_here(
    overlay: Overlay | DiskOverlay, tree: str, store: ObjectReader, members: Sequence[PlannedMerge]
) -> str:
    """The snapshot after deltas of one table, merged in this process."""
    for at in range(0, len(members), BATCH):
        deltas: list[Delta] = []
        closing: dict[Stamp, int] = {}
        for item, then, table in members[at : at + BATCH]:
            # It was read under the limits of its time; the table says which numbers are read exactly.
            if table is not then:
                then = structs.replace(table, limits=then.limits, intake=then.intake)
            delta = read_merged(store, item.path, item.blob, item.commit, item.content_id, then)
            deltas.append(delta)
            if item.closing != delta.frame:
                closing[delta.stamp] = item.closing
        deltas.sort(key=lambda delta: delta.stamp)
        frame_of = partial(_closing_frame, closing)
        tree = merge(overlay, tree, deltas, members[0].table.table, PROJECTIONS, closing=frame_of).tree
        overlay.keep(tree)
    return tree


def _closing_frame(closing: dict[Stamp, int], stamp: Stamp) -> int:
    return closing.get(stamp, stamp.frame)


def _not_closed(frame: int) -> RefusedError:
    return RefusedError(f"frame {frame} is not closed", "name a closed frame (dreamcatcherd log)")
