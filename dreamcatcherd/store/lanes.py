"""Removing lanes that are merged whole and silent (Protocol §3). Their commits stay reachable from `main`."""

from __future__ import annotations

from itertools import takewhile

from dreamcatcherd.store.base import snapshot_commits
from dreamcatcherd.store.ports import Move, Store

LANES_AT_ONCE = 100


def silent_lanes(store: Store, settled: dict[str, str], published: str, since_s: float) -> dict[str, str]:
    """The merged lanes whose head was published before `since_s` (seconds since 1970), by ref.

    `settled` are the lanes that the published commit reaches whole. When a head was merged is read from history: the
    snapshot commits of the time since then have the heads that they merged among their parents."""
    recent: set[str] = set()
    for commit in takewhile(lambda commit: commit.time >= since_s, snapshot_commits(store, published)):
        recent.update(commit.parents)
    return {ref: oid for ref, oid in settled.items() if oid not in recent}


def remove_lanes(store: Store, lanes: dict[str, str]) -> list[str]:
    """Delete lanes that still stand where they were merged, some at a time; returns those that went.

    All in one move; where one of them was pushed to meanwhile, one by one."""
    moves = [Move(ref, None, oid) for ref, oid in sorted(lanes.items())][:LANES_AT_ONCE]
    if not moves:
        return []
    if store.move_refs(moves, "merged and silent"):
        return [move.ref for move in moves]
    return [move.ref for move in moves if store.move_refs([move], "merged and silent")]
