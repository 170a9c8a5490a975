"""Whether a push is a publication, judged by its commits if the repository names no primary
(docs/protocol.md#the-server-side-check).

History before a published commit is never read for deltas again, so the commit must hide none: that is checked. Merging
the deltas again would take too long for a push; whether the snapshot is right is left to `verify` and other
primaries."""

from __future__ import annotations

from msgspec import structs

from dreamcatcherd.core import paths
from dreamcatcherd.core.platform_views import BYTES_MOST
from dreamcatcherd.core.snapshot import empty_snapshot
from dreamcatcherd.core.tree import entries_at, lookup, subtree
from dreamcatcherd.git.overlay import Overlay
from dreamcatcherd.git.protocols import RepositoryReader
from dreamcatcherd.hook.push import settings_at
from dreamcatcherd.stages.delta_reader import versions_of
from dreamcatcherd.stages.frame_file import read_frame_file
from dreamcatcherd.stages.published import (
    PublishedState,
    find_published,
    follows,
    load_ledger,
    load_published,
    read_published,
)
from dreamcatcherd.stages.snapshot_chain import claimed_frame, claimed_previous
from dreamcatcherd.stages.views import view_files


def opens_first(store: RepositoryReader, commit: str) -> bool:
    """Whether a commit opens the first frame: an empty snapshot, no ledger, and no closed frame."""
    tree = store.commit(commit).tree
    state = read_frame_file(store, tree)
    scratch = Overlay(store)
    snapshot = subtree(store, tree, paths.SNAPSHOT)
    return (
        state is not None
        and state.last_closed is None
        and state.snapshot == snapshot
        and snapshot == empty_snapshot(scratch)
        and lookup(store, tree, paths.LEDGER) is None
    )


def is_newest(store: RepositoryReader, refs: dict[str, str], main: str, commit: str) -> bool:
    """Whether a commit is the last complete publication in the history of `main`."""
    return load_published(store, refs, main).commit == commit


def why_no_publication(store: RepositoryReader, refs: dict[str, str], main: str, new: str) -> str | None:
    """Why moving `main` and the published ref to the commit `new` would not publish a complete frame; None if it would.

    FatalError if an object of the published history cannot be read."""
    head, published = refs.get(main), refs.get(paths.PUBLISHED)
    # An empty repository has no ledger to account for deltas, so its first commit must have none in its history.
    if head is None and published is None and opens_first(store, new):
        roots = settings_at(store, refs, main, new).intake.roots
        hidden = any(versions_of(store, commit, roots) for commit in store.new_commits([new], []).values())
        return "the commit that opens the first frame holds deltas" if hidden else None
    base = load_published(store, refs, main)
    # The primary may have fetched before another push landed. Then its commit would drop that push.
    left = store.new_commits([oid for oid in (head, base.commit) if oid], [new])
    if left:
        return f"it lacks {len(left)} of the commits of main"
    # Without a publication `find_published` would accept the newest frame that can be read, whatever it follows.
    if base.commit is None:
        complete = claimed_frame(store.commit(new)) is not None and follows(store, new, base)
    else:
        complete = find_published(store, base.commit, new) == new
    if not complete:
        return f"it does not close frame {base.state.frame} with a ledger that accounts for all that it reaches"
    # Versions in snapshot commits are exempt from the ledger, as copies of merged deltas. Here they must be copies.
    if (path := _unaccounted(store, base, new)) is not None:
        return f"its own {paths.printable(path)} is in no ledger"
    if (path := _other_view(store, base, new)) is not None:
        return f"its view {paths.printable(path)} does not follow from its snapshot"
    return None


def _other_view(store: RepositoryReader, base: PublishedState, new: str) -> str | None:
    """The path of a view in a new snapshot commit that does not follow from its snapshot."""
    oid: str | None = new
    while oid is not None and oid != base.commit:
        previous = claimed_previous(store.commit(oid))
        before = read_published(store, previous) if previous and previous != base.commit else base
        if (path := _view_unlike(store, before, oid)) is not None:
            return path
        oid = previous
    return None


def _view_unlike(store: RepositoryReader, before: PublishedState, commit: str) -> str | None:
    """The path of a view of one frame that is not what its snapshot gives. Making a large view again takes long: and is
    left to `verify`."""
    after, tree = read_published(store, commit), store.commit(commit).tree
    if after.state.last_closed is None or after.snapshot is None:
        return None
    found = {view.path: lookup(store, tree, view.path) for view in after.settings.views.values()}
    small = {path for path, one in found.items() if one is None or not one.is_file or store.size(one.oid) <= BYTES_MOST}
    views = {name: view for name, view in after.settings.views.items() if view.path in small}
    settings = structs.replace(after.settings, views=views)
    made = view_files(store, Overlay(store), before, settings, after.snapshot, after.state.last_closed)
    return next((path for path, entry in made.items() if found[path] != entry), None)


def _unaccounted(store: RepositoryReader, base: PublishedState, new: str) -> str | None:
    """The path of a delta in a new snapshot commit that is neither a copy of one in a ledger nor a file put back."""
    fresh = store.new_commits([new], base.tips)
    claims = {oid: frame for oid, commit in fresh.items() if (frame := claimed_frame(commit)) is not None}
    roots = {oid: read_published(store, oid).settings.intake.roots for oid in claims}
    own = [(path, blob) for oid in claims for path, blob, _ in versions_of(store, fresh[oid], roots[oid])]
    if not own:
        return None
    ledgers = read_published(store, new).ledgers
    listed = {
        row.blob for frame in claims.values() if (ledger := load_ledger(store, ledgers, frame)) for row in ledger.rows()
    }
    previous = entries_at(store, base.tree, [path for path, _ in own])
    for path, blob in own:
        back = previous.get(path)
        if blob not in listed and (back is None or back.oid != blob):
            return path
    return None
