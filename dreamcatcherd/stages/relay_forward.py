"""What a relay forwards, and the commit by which it does so (docs/relay.md).

The commits of workers stay as they are. A forwarding commit has them as parents and an empty tree: it brings no version
of its own, and whoever reads the lane finds each delta in the commit that brought it."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence

from msgspec import structs

from dreamcatcherd.core import paths
from dreamcatcherd.core.model import DeltaArrival
from dreamcatcherd.core.report import Forwarded, plural
from dreamcatcherd.git.command import AUTHOR
from dreamcatcherd.git.protocols import Commit, Store
from dreamcatcherd.git.upstream import UpstreamRefs
from dreamcatcherd.stages.inbox import Inbox
from dreamcatcherd.stages.snapshot_chain import claimed_frame

PARENTS_MOST = 500
"""How many heads one forwarding commit has; further ones get a commit of their own in the same push."""


def missing_upstream(store: Store, inbox: Inbox, branch: Iterable[str], upstream: UpstreamRefs) -> dict[str, Commit]:
    """The commits of this repository that upstream does not have: of lanes that can be read, of these heads of the
    shared `branch`, and of frames that upstream has lost."""
    refs = inbox.refs
    tips = {oid for ref, oid in inbox.lanes if ref != inbox.main}.union(branch)
    tips |= {oid for ref in (paths.PUBLISHED, paths.SEEN) if (oid := refs.get(ref))}
    tips -= set(upstream.tips)
    return store.new_commits(sorted(tips), upstream.tips) if tips else {}


def waiting_here(inbox: Inbox, missing: Collection[str]) -> Inbox:
    """The inbox with the lanes alone that bring something that upstream does not have."""
    return structs.replace(inbox, lanes=[one for one in inbox.lanes if one[1] in missing])


def count_waiting(inbox: Inbox, missing: Collection[str]) -> int:
    """How many deltas upstream does not have."""
    return sum(isinstance(one, DeltaArrival) and one.item.version.commit in missing for one in inbox.arrivals)


def within_reach(commits: Mapping[str, Commit], tips: Iterable[str], most: int) -> dict[str, Commit]:
    """The commits that some tips reach among the given ones, at most so many, and none before its parents."""
    found: dict[str, Commit] = {}
    opened: set[str] = set()
    todo = sorted(tips, reverse=True)
    while todo and len(found) < most:
        oid = todo[-1]
        if oid not in commits or oid in found:
            todo.pop()
        elif oid in opened:
            found[oid] = commits[todo.pop()]
        else:
            opened.add(oid)
            todo += [parent for parent in commits[oid].parents if parent in commits and parent not in opened]
    return found


def heads_among(commits: Mapping[str, Commit]) -> list[str]:
    """The commits that none of the others leads to, sorted. Snapshot commits count for nothing: upstream made them
    once, and has lost them if they are among these."""
    wanted = [oid for oid, commit in commits.items() if claimed_frame(commit) is None]
    covered: set[str] = set()
    todo = [parent for oid in wanted for parent in commits[oid].parents]
    while todo:
        oid = todo.pop()
        if oid in commits and oid not in covered:
            covered.add(oid)
            todo += commits[oid].parents
    return sorted(set(wanted) - covered)


def write_forwarding(store: Store, name: str, lane: str | None, heads: Sequence[str], now: int) -> str:
    """Write the commit that forwards some heads on top of the relay's lane; `now` is microseconds UTC. Returns its id,
    before anything is durable."""
    empty = store.write("tree", b"")
    for start in range(0, len(heads), PARENTS_MOST):
        group = heads[start : start + PARENTS_MOST]
        parents = (*([lane] if lane is not None else []), *group)
        message = f"relay {name}: forward {plural(len(group), 'head')}\n"
        lane = store.write_commit(Commit(empty, parents, AUTHOR, now // 1_000_000, message))
    if lane is None:
        raise AssertionError("there is nothing to forward")
    return lane


def forwarded(commit: str, inbox: Inbox, batch: Collection[str]) -> Forwarded:
    """What a push of a forwarding commit brought upstream."""
    lanes = sum(oid in batch for _, oid in inbox.lanes)
    return Forwarded(commit, len(batch), count_waiting(inbox, batch), lanes)
