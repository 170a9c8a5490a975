"""Stage 4, merge: the planned deltas are folded into the published snapshot.

The merge itself is pure (`core/merge.py`); this stage gives it the repository's objects and holds its result against
the guard *never publish less*."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import NamedTuple

from dreamcatcherd.core.delta_sections import PlacedSections
from dreamcatcherd.core.merge import Merged, merge
from dreamcatcherd.core.model import Delta
from dreamcatcherd.core.plan import Plan
from dreamcatcherd.core.projections import PROJECTIONS
from dreamcatcherd.git.protocols import Store
from dreamcatcherd.stages.delta_reader import with_body
from dreamcatcherd.stages.inbox import Inbox
from dreamcatcherd.stages.published import never_less


class NewBase(NamedTuple):
    """A snapshot in place of the published one, whose records new settings have placed, and its entities by
    collection. Its objects are in the store."""

    tree: str
    entities: dict[str, int]


FrameMerge = Callable[[str | None, Sequence[Delta], int], Merged]
"""A merge by several workers: snapshot, deltas and frame to what `merge` gives, its objects in the store."""


def merge_frame(
    store: Store, inbox: Inbox, plan: Plan, onto: NewBase | None = None, spread: FrameMerge | None = None
) -> Merged:
    """Merge the plan's deltas, by `spread` if it is given; the objects are written and not flushed. GuardError if the
    result lacks an entity."""
    published, settings = inbox.published, inbox.settings
    if onto is None:
        store.discard()  # what an earlier try of this close wrote
    deltas = [arrival.item for arrival in plan.deltas]
    body_of = partial(with_body, store, settings=settings)
    frame = published.state.frame
    base = onto.tree if onto is not None else published.snapshot
    if spread is not None:
        merged = spread(base, deltas, frame)
    else:
        merged = merge(store, base, deltas, settings.table, PROJECTIONS, body_of, lambda _: frame)
    moved = PlacedSections(settings.sections) if onto is not None else frozenset()
    never_less(store, published.snapshot, merged.tree, moved)
    return merged
