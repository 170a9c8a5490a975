"""Stage 6, publish: the one move of refs that makes a closed frame count (docs/protocol.md#publishing)."""

from __future__ import annotations

from dreamcatcherd.core import paths
from dreamcatcherd.git.protocols import Move, Store
from dreamcatcherd.stages.inbox import Inbox
from dreamcatcherd.stages.snapshot_chain import claimed_seen


def publish(store: Store, inbox: Inbox, commit: str, subject: str) -> bool:
    """Make the commit durable, then move `main` and the published ref to it; False if another push came first.

    The refs move from what the inbox's own view showed, so a publication never hides a commit that was not read."""
    store.flush()
    moves = [Move(inbox.main, commit, inbox.refs.get(inbox.main))]
    seen, old_seen = claimed_seen(store.commit(commit)), inbox.refs.get(paths.SEEN)
    if seen is not None and seen != old_seen:
        moves.append(Move(paths.SEEN, seen, old_seen))
    # Last, for a server that moves one ref after the other: what is published must have all that it names.
    moves.append(Move(paths.PUBLISHED, commit, inbox.refs.get(paths.PUBLISHED)))
    return store.move_refs(moves, subject)
