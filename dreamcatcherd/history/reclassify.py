"""Placing everything that was merged by the settings in force, as if they had been there from the start
(docs/protocol.md#reclassify)."""

from __future__ import annotations

from collections.abc import Sequence

from dreamcatcherd.core.ledger import RECLASSIFY, Ledger
from dreamcatcherd.core.reclassify import count_entities
from dreamcatcherd.core.settings import Settings
from dreamcatcherd.core.snapshot import empty_snapshot
from dreamcatcherd.git.disk_overlay import DiskOverlay
from dreamcatcherd.git.overlay import Overlay
from dreamcatcherd.git.protocols import ObjectReader
from dreamcatcherd.history.replay import ReplayPlan, ReplaySpread, closed_frames, plan_replay, recomputed
from dreamcatcherd.stages.merge import NewBase
from dreamcatcherd.stages.published import PublishedState
from dreamcatcherd.stages.snapshot_chain import Link


def reclassified(
    overlay: Overlay | DiskOverlay,
    store: ObjectReader,
    plan: ReplayPlan,
    settings: Settings,
    spread: ReplaySpread | None = None,
) -> NewBase:
    """The snapshot that a plan of closed frames under some settings leads to, and its entities. Its objects are in the
    overlay; the workers of `spread` compute it if it is large.

    FatalError if a delta is not as it was merged; RetryableError if workers are lost."""
    tree = recomputed(overlay, store, plan, spread)
    return NewBase(tree, count_entities(overlay, tree, settings.table))


def frame_base(
    overlay: Overlay,
    store: ObjectReader,
    chain: Sequence[Link],
    base: PublishedState,
    ledger: Ledger,
    settings: Settings,
) -> NewBase:
    """The snapshot that a closed frame's deltas were merged into: the one before it, or what a reclassification made of
    all frames before it."""
    if ledger.closed_by == RECLASSIFY:
        before = closed_frames(store, (link for link in chain if link.frame < ledger.frame))
        return reclassified(overlay, store, plan_replay(before, settings), settings)
    return NewBase(base.snapshot or empty_snapshot(overlay), base.ledger.counts.entities if base.ledger else {})
