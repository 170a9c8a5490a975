"""Stage 4, merge: the planned deltas are folded into the published snapshot.

The merge itself is pure (`core/merge.py`); this stage gives it the repository's objects and holds its result against
the guard *never publish less*."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import NamedTuple

from dreamcatcherd.core.delta_sections import PlacedSections
from dreamcatcherd.core.merge import AT_ONCE, Merged, merge
from dreamcatcherd.core.model import Delta, Stamp
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

COUNTED = 10_000
"""From how many deltas on the progress of a merge in this process is noted, and after how many each time."""


def _nobody(_: int) -> None:
    pass


def merge_frame(
    store: Store,
    inbox: Inbox,
    plan: Plan,
    onto: NewBase | None = None,
    spread: FrameMerge | None = None,
    note: Callable[[int], None] = _nobody,
) -> Merged:
    """Merge the plan's deltas, by `spread` if it is given; the objects are written and not flushed. GuardError if the
    result lacks an entity.

    `note` is called now and then with how many more deltas are done; a merge by `spread` notes that itself."""
    published, settings = inbox.published, inbox.settings
    if onto is None:
        store.discard()  # what an earlier try of this close wrote
    deltas = [arrival.item for arrival in plan.deltas]
    body_of: Callable[[Delta], Delta] = partial(with_body, store, settings=settings)
    frame = published.state.frame
    base = onto.tree if onto is not None else published.snapshot
    if spread is not None:
        merged = spread(base, deltas, frame)
    else:
        if len(deltas) >= COUNTED:
            body_of = CountedLoads(body_of, deltas, note)
        merged = merge(store, base, deltas, settings.table, PROJECTIONS, body_of, lambda _: frame)
    moved = PlacedSections(settings.sections) if onto is not None else frozenset()
    never_less(store, published.snapshot, merged.tree, moved)
    return merged


class CountedLoads:
    """Loads the bodies of deltas for a merge, and notes how far it has come.

    A large merge goes through the deltas once for each of its parts, in order of stamps, and leaves out those without
    records in the part. So a pass begins where the stamps do again."""

    def __init__(self, load: Callable[[Delta], Delta], deltas: Sequence[Delta], note: Callable[[int], None]) -> None:
        self._load = load
        self._note = note
        self._all = len(deltas)
        self._passes = max(1, -(-sum(delta.cost for delta in deltas) // AT_ONCE))
        self._pass = self._at = self._noted = 0
        self._last: Stamp | None = None

    def __call__(self, delta: Delta) -> Delta:
        stamp = delta.stamp
        if self._last is not None and stamp <= self._last:
            self._pass, self._at = self._pass + 1, 0
            self._say()
        self._last = stamp
        self._at += 1
        if self._at % COUNTED == 0:
            self._say()
        return self._load(delta)

    def _say(self) -> None:
        # How many deltas a later pass loads is not known before it ends.
        through = min(self._at, self._all) / self._all if self._pass == 0 else 0.0
        done = min(self._all, int(self._all * (self._pass + through) / self._passes))
        self._note(done - self._noted)
        self._noted = done
