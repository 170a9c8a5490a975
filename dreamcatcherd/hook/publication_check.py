"""Whether a push publishes: told from the commits alone, where the repository names no primary (Protocol §8).

What a published commit hides is never read again. So the check is that it hides nothing; that its snapshot is what the
deltas give is for the other primaries and for `verify` to see."""

from __future__ import annotations

import msgspec

from dreamcatcherd.core import paths
from dreamcatcherd.core.codec import read_as
from dreamcatcherd.core.model import FrameState
from dreamcatcherd.core.snapshot import FORMAT, UNBOUNDED, close_snapshot, empty_snapshot
from dreamcatcherd.core.tree import blob_at, entries_at, lookup, subtree
from dreamcatcherd.git.overlay import Overlay
from dreamcatcherd.git.protocols import RepositoryReader
from dreamcatcherd.stages.delta_reader import versions_of
from dreamcatcherd.stages.published import (
    PublishedState,
    find_published,
    follows,
    load_ledger,
    load_published,
    read_published,
)
from dreamcatcherd.stages.snapshot_chain import claimed_frame


def opens_first(store: RepositoryReader, commit: str) -> bool:
    """Whether a commit opens the first frame: an empty snapshot, no ledger, and nothing closed."""
    tree = store.commit(commit).tree
    raw = blob_at(store, tree, paths.FRAME)
    try:
        state = read_as(store.read(raw), FrameState) if raw else None
    except msgspec.DecodeError:
        return False
    scratch = Overlay(store)
    empty = [close_snapshot(scratch, empty_snapshot(name)) for name in (FORMAT, UNBOUNDED)]
    standing = subtree(store, tree, paths.SNAPSHOT)
    return (
        state is not None
        and state.last_closed is None
        and state.snapshot == standing
        and standing in empty
        and lookup(store, tree, paths.LEDGER) is None
    )


def is_newest(store: RepositoryReader, refs: dict[str, str], main: str, commit: str) -> bool:
    """Whether a commit is the last whole publication that `main` holds."""
    return load_published(store, refs, main).commit == commit


def why_no_publication(store: RepositoryReader, refs: dict[str, str], main: str, new: str) -> str | None:
    """Why moving `main` and the published ref to this commit would publish no whole frame, or None."""
    head, published = refs.get(main), refs.get(paths.PUBLISHED)
    if head is None and published is None and opens_first(store, new):
        hidden = any(versions_of(store, commit) for commit in store.new_commits([new], []).values())
        return "the first frame is opened by a commit that holds deltas" if hidden else None
    base = load_published(store, refs, main)
    left = store.new_commits([oid for oid in (head, base.commit) if oid], [new])
    if left:
        return f"{len(left)} commits of main are not in it"
    if base.commit is None:
        whole = claimed_frame(store.commit(new)) is not None and follows(store, new, base)
    else:
        whole = find_published(store, base.commit, new) == new
    if not whole:
        return f"it does not close frame {base.state.frame} with a ledger that accounts for all that it reaches"
    if (path := _unaccounted(store, base, new)) is not None:
        return f"its own {paths.printable(path)} is in no ledger"
    return None


def _unaccounted(store: RepositoryReader, base: PublishedState, new: str) -> str | None:
    """A delta that the snapshot commits themselves bring in; theirs are copies of what was judged, or put back."""
    fresh = store.new_commits([new], base.tips)
    claims = {oid: frame for oid, commit in fresh.items() if (frame := claimed_frame(commit)) is not None}
    own = [(path, blob) for oid in claims for path, blob, _ in versions_of(store, fresh[oid])]
    if not own:
        return None
    ledgers = read_published(store, new).ledgers
    judged = {
        row.blob for frame in claims.values() if (ledger := load_ledger(store, ledgers, frame)) for row in ledger.rows()
    }
    standing = entries_at(store, base.deltas, [path.removeprefix(paths.DELTAS + "/") for path, _ in own])
    for path, blob in own:
        stood = standing.get(path.removeprefix(paths.DELTAS + "/"))
        if blob not in judged and (stood is None or stood.oid != blob):
            return path
    return None
