"""How the shared branch of a relay's repository follows upstream's (docs/relay.md).

It is moved forward, never back: what workers pushed to it and upstream has not merged yet stays on it, by a merge
commit whose tree is upstream's with those deltas. The one exception is in `relay_unreadable`."""

from __future__ import annotations

from collections.abc import Iterable

from dreamcatcherd.core import paths
from dreamcatcherd.core.errors import FatalError, UnreadableError
from dreamcatcherd.core.tree import Entry, NamePath, edit_at, entries_at
from dreamcatcherd.core.troubles import Trouble
from dreamcatcherd.git.command import AUTHOR
from dreamcatcherd.git.protocols import Commit, Move, Store
from dreamcatcherd.git.upstream import UpstreamRefs
from dreamcatcherd.stages.delta_reader import files_of
from dreamcatcherd.stages.frame_file import read_frame_file
from dreamcatcherd.stages.snapshot_chain import builds_on, claimed_frame

COPY = "copy upstream, with the deltas that were pushed here"
"""The subject of such a merge commit."""

NO_CLOSE = "this is a relay's repository: frames are closed upstream"
CLOSE_UPSTREAM = "close it there, or wait for the primary there"
"""Why no frame closes in a copy, and what to do."""


def follow_upstream(store: Store, main: str, upstream: UpstreamRefs, roots: paths.Roots, now: int) -> bool:
    """Bring the shared branch and the primary's refs to where upstream's are, in one move; `now` is microseconds UTC.

    False if a push moved the branch meanwhile; then it is to be asked again. FatalError if the repository has frames of
    its own, RetryableError if the disk refuses."""
    refs = store.refs()
    head, published = refs.get(main), refs.get(paths.PUBLISHED)
    if upstream.main is None:
        return True
    if is_ahead(store, published, upstream):
        return True  # what upstream lost is kept here until it goes on
    target = _target(store, refs, main, upstream, roots, now)
    wanted = {main: target, paths.PUBLISHED: upstream.published, paths.SEEN: upstream.seen}
    moves = [Move(ref, oid, refs.get(ref)) for ref, oid in wanted.items() if oid is not None and oid != refs.get(ref)]
    if not moves:
        return True
    if target != head:
        store.flush()
    if not store.move_refs(moves, "copied from upstream"):
        store.discard()
        return False
    if upstream.published is not None:
        store.remember(upstream.published)
    return True


def is_ahead(store: Store, published: str | None, upstream: UpstreamRefs) -> bool:
    """Whether a repository has seen frames that its upstream has no more: upstream was restored from a backup, and has
    closed no other frame since."""
    if published is None or upstream.published is None or published == upstream.published:
        return False
    return builds_on(store, published, upstream.published)


def ahead_trouble(store: Store, published: str, upstream: UpstreamRefs) -> Trouble:
    """What status says of an upstream that is behind its relay."""
    here, there = (
        read_frame_file(store, store.commit(oid).tree) if oid is not None else None
        for oid in (published, upstream.published)
    )
    frames = f"frame {there.frame if there else '?'} is open there, and here {here.frame if here else '?'} was"
    remedy = "nothing is lost: what it lacks is forwarded again; see whether upstream was restored from a backup"
    return Trouble(f"upstream was moved back: {frames}", None, remedy)


def check_copy(store: Store, main: str, upstream: UpstreamRefs) -> None:
    """FatalError if a repository that was no relay's before has frames of its own: they could not stay."""
    refs = store.refs()
    published, head = refs.get(paths.PUBLISHED), refs.get(main)
    if head is None or upstream.main is None:
        return
    own = store.new_commits([oid for oid in (head, published) if oid], upstream.history)
    if any(claimed_frame(commit) is not None for commit in own.values()):
        remedy = "let [repository] url name an empty folder, or none: the relay makes the copy"
        raise FatalError(f"{store.where} has frames that its upstream does not have: it cannot be made a copy", remedy)


def _target(
    store: Store, refs: dict[str, str], main: str, upstream: UpstreamRefs, roots: paths.Roots, now: int
) -> str | None:
    """The commit that the shared branch is to have."""
    head = refs.get(main)
    if head is None or upstream.main is None or head == upstream.main:
        return upstream.main
    if store.descends(head, upstream.main):
        return head  # pushes that upstream has not merged yet, or upstream was moved back
    own = store.new_commits([head], upstream.history)
    if all(is_opening(store, commit) for commit in own.values()):
        return upstream.main
    return merge_into(store, upstream.main, head, own.values(), roots, now)


def merge_into(store: Store, base: str, head: str, own: Iterable[Commit], roots: paths.Roots, now: int) -> str:
    """Write a commit on top of two others whose tree is the first one's, with the deltas that the second one's `own`
    commits brought; returns its id."""
    files = _pushed_files(store, own, head, base, roots)
    tree = edit_at(store, store.commit(base).tree, files) if files else store.commit(base).tree
    if tree is None:
        raise AssertionError("upstream's tree has its frame file")
    return store.write_commit(Commit(tree, (base, head), AUTHOR, now // 1_000_000, f"{COPY}\n"))


def is_opening(store: Store, commit: Commit) -> bool:
    """Whether a commit only opened a first frame, as `init` does: nothing in it needs to be kept."""
    state = read_frame_file(store, commit.tree)
    return not commit.parents and state is not None and commit.message == f"open frame {state.frame}\n"


def _pushed_files(
    store: Store, commits: Iterable[Commit], head: str, upstream: str, roots: paths.Roots
) -> dict[NamePath, Entry | None]:
    """The files below the delta roots that some commits brought, as `head` has them, if upstream has no such file."""
    brought: set[str] = set()
    for commit in commits:
        try:
            brought |= {path for path, _, _ in files_of(store, commit, roots)}
        except UnreadableError:
            continue  # nothing of it can be shown
    here = entries_at(store, store.commit(head).tree, sorted(brought))
    there = entries_at(store, store.commit(upstream).tree, sorted(brought))
    return {tuple(path.split("/")): entry for path, entry in here.items() if path not in there}
