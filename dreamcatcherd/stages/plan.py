"""Stage 3, plan: every version of the inbox gets its fate (merged, late, duplicate, held or quarantined).

The decision itself is pure (`core/plan.py`); this stage looks up what the repository has merged already."""

from __future__ import annotations

from collections.abc import Container

from dreamcatcherd.core.plan import Plan, make_plan
from dreamcatcherd.core.snapshot import MergedId, already_merged, open_snapshot
from dreamcatcherd.core.waiting import already_waiting
from dreamcatcherd.git.protocols import Store
from dreamcatcherd.stages.inbox import Inbox


def plan_frame(store: Store, inbox: Inbox, only: Container[MergedId] | None = None) -> Plan:
    """The plan for the open frame. With `only`, what is due and not in it waits for the next frame."""
    published = inbox.published
    folders = open_snapshot(store, published.snapshot)
    return make_plan(
        inbox.arrivals,
        published.state.frame,
        inbox.settings.limits,
        lambda ids: already_merged(store, folders, ids),
        lambda ids: already_waiting(store, published.ledgers, ids),
        deferred=lambda one: only is not None and one not in only,
    )
