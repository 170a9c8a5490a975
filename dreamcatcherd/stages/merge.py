"""Stage 4, merge: the planned deltas are folded into the published snapshot.

The merge itself is pure (`core/merge.py`); this stage gives it the repository's objects and holds its result against
the guard *never publish less*."""

from __future__ import annotations

from functools import partial

from dreamcatcherd.core.merge import Merged, merge
from dreamcatcherd.core.plan import Plan
from dreamcatcherd.core.projections import PROJECTIONS
from dreamcatcherd.git.protocols import Store
from dreamcatcherd.stages.delta_reader import with_body
from dreamcatcherd.stages.inbox import Inbox
from dreamcatcherd.stages.published import never_less


def merge_frame(store: Store, inbox: Inbox, plan: Plan) -> Merged:
    """Merge the plan's deltas; its objects are written and not flushed. GuardError if the result lacks an entity."""
    published, settings = inbox.published, inbox.settings
    store.discard()  # what an earlier try of this close wrote
    deltas = [arrival.item for arrival in plan.deltas]
    body_of = partial(with_body, store, settings=settings)
    frame = published.state.frame
    merged = merge(store, published.snapshot, deltas, settings.table, PROJECTIONS, body_of, lambda _: frame)
    never_less(store, published.snapshot, merged.tree)
    return merged
