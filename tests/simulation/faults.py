"""Five faults that this project once had, put back into the code: the simulation must find each of them.

Each is a context manager that patches the real code with what stood there, reduced to the mistake itself."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from unittest.mock import patch

from msgspec import structs

from dreamcatcherd.core.merge import Merged
from dreamcatcherd.core.plan import Plan
from dreamcatcherd.daemon import cycle
from dreamcatcherd.daemon.primary import Primary
from dreamcatcherd.git.protocols import Commit, Move, ObjectReader, Store
from dreamcatcherd.git.reachability import Reached
from dreamcatcherd.git.remote import RemoteStore
from dreamcatcherd.stages import snapshot_chain
from dreamcatcherd.stages.inbox import Inbox
from dreamcatcherd.stages.merge import NewBase
from dreamcatcherd.stages.publish import publish
from dreamcatcherd.stages.snapshot_chain import Link, claimed_frame

SLOP = 5
"""How many commits a walk by date goes on after the last one that it wants, as git does."""


@contextmanager
def nearest_parent() -> Iterator[None]:
    """The snapshot before is the nearest one in history: an old one, where a lane was made on that."""

    def nearest(store: ObjectReader, tip: str | None) -> Iterator[Link]:
        todo = [tip] if tip is not None else []
        seen = set(todo)
        while todo:
            oid = todo.pop(0)
            commit = store.commit(oid)
            frame = claimed_frame(commit)
            if frame is not None:
                yield Link(frame, oid)
                todo = []
            todo += [parent for parent in commit.parents if parent not in seen]
            seen.update(commit.parents)

    right = snapshot_chain.links
    with ExitStack() as patches:
        for module in [one for one in list(sys.modules.values()) if getattr(one, "links", None) is right]:
            patches.enter_context(patch.object(module, "links", nearest))
        yield


@contextmanager
def dates_in_the_walk() -> Iterator[None]:
    """Which commits are new is found by a walk in the order of dates, which ends once it meets older ones alone."""

    def by_date(self: Reached, tips: Iterable[str], hidden: Iterable[str]) -> dict[str, Commit]:
        found: dict[str, Commit] = {}
        hides = set(hidden)
        todo = {oid: self._commit(oid) for oid in (*tips, *hides)}
        old: set[str] = set()
        left = SLOP
        while todo and (left or todo.keys() - hides):
            oid = max(todo, key=lambda one: (todo[one].time, one))
            commit = todo.pop(oid)
            if oid in hides:
                hides.update(commit.parents)
                old.add(oid)
                left -= not todo.keys() - hides
            else:
                found[oid] = commit
            todo |= {parent: self._commit(parent) for parent in commit.parents if parent not in {*found, *old}}
        return {oid: commit for oid, commit in found.items() if oid not in hides}

    with patch.object(Reached, "new_commits", by_date):
        yield


@contextmanager
def unloaded_state() -> Iterator[None]:
    """A publication moves the refs from where they are by then, and not from where the close saw them."""

    def onto_whatever_is_there(store: Store, inbox: Inbox, commit: str, subject: str) -> bool:
        return publish(
            store, structs.replace(inbox, view=structs.replace(inbox.view, refs=store.refs())), commit, subject
        )

    with patch.object(cycle, "publish", onto_whatever_is_there):
        yield


@contextmanager
def no_read_back() -> Iterator[None]:
    """A push counts as done if its answer says so: the remote's refs are not read afterwards."""

    def believed(self: RemoteStore, moves: list[Move], reason: str) -> bool:
        trouble = self._wire.push(moves)
        if trouble is not None:
            raise trouble
        self._listed |= {move.ref: move.new for move in moves if move.new is not None}
        self._note(moves)
        return True

    with patch.object(RemoteStore, "move_refs", believed):
        yield


@contextmanager
def filtered() -> Iterator[None]:
    """Of what the plan merges, the merge takes what looks like a decoded delta: one that waited long was freed by then,
    and is passed by. Its ledger says that it is merged."""
    merge = Primary.merge

    def decoded_alone(self: Primary, inbox: Inbox, plan: Plan, base: NewBase | None = None) -> Merged:
        kept = [one for one in plan.deltas if one.item.body is not None]
        return merge(self, inbox, structs.replace(plan, deltas=kept), base)

    with patch.object(Primary, "merge", decoded_alone):
        yield


FAULTS: dict[str, Callable[[], AbstractContextManager[None]]] = {
    "nearest-parent": nearest_parent,
    "dates-in-walk": dates_in_the_walk,
    "unloaded-state": unloaded_state,
    "no-read-back": no_read_back,
    "filtered": filtered,
}
"""The faults by name."""
