"""Publishing: the one move of refs that makes a closed frame count."""

from __future__ import annotations

from dreamcatcherd.core import paths
from dreamcatcherd.git.protocols import Move, Store
from dreamcatcherd.stages.ingest import Inbox
from dreamcatcherd.stages.snapshot_chain import claimed_seen


def publish(store: Store, survey: Inbox, commit: str, subject: str) -> bool:
    """Make the commit durable, then move `main` and the published ref to it; False where another was first."""
    store.flush()
    moves = [
        Move(survey.main, commit, survey.refs.get(survey.main)),
        Move(paths.PUBLISHED, commit, survey.refs.get(paths.PUBLISHED)),
    ]
    seen, stands = claimed_seen(store.commit(commit)), survey.refs.get(paths.SEEN)
    if seen is not None and seen != stands:
        moves.append(Move(paths.SEEN, seen, stands))
    return store.move_refs(moves, subject)
