"""Removing lanes that are completely merged and silent (docs/protocol.md#the-repository).

Their commits stay reachable: from `main`, or in a linear history from the commit that holds the merged lanes."""

from __future__ import annotations

from dreamcatcherd.git.protocols import Move, ObjectReader, Store
from dreamcatcherd.stages.snapshot_chain import links, merged_heads

LANES_AT_ONCE = 100

_STRAGGLERS = 16
"""How many snapshot commits in a row must be older than the time in question: one alone may be of a slow clock."""


def silent_lanes(store: ObjectReader, settled: dict[str, str], published: str, since_s: float) -> dict[str, str]:
    """The merged lanes whose head was published before `since_s` (seconds since 1970), by ref.

    `settled` are the lanes whose heads the published commit reaches. When a head was merged is read from history: the
    snapshot commits of the time since then have the heads that they merged among their parents."""
    recent: set[str] = set()
    older = 0
    for link in links(store, published):
        commit = store.commit(link.oid)
        if commit.time >= since_s:
            older = 0
            recent |= merged_heads(store, commit)
        elif (older := older + 1) > _STRAGGLERS:
            break
    return {ref: oid for ref, oid in settled.items() if oid not in recent}


def remove_lanes(store: Store, lanes: dict[str, str]) -> list[str]:
    """Delete lanes whose heads have not moved since, up to LANES_AT_ONCE of them; returns the refs that were deleted.

    All in one move; where one of them was pushed to meanwhile, one by one."""
    # Each lane is deleted from the head that was merged: a push that came meanwhile keeps its lane.
    moves = [Move(ref, None, oid) for ref, oid in sorted(lanes.items())][:LANES_AT_ONCE]
    if not moves:
        return []
    if store.move_refs(moves, "merged and silent"):
        return [move.ref for move in moves]
    return [move.ref for move in moves if store.move_refs([move], "merged and silent")]
