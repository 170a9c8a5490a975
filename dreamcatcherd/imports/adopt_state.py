"""Importing a platform's plain state: committed as deltas and closed as the first frame, in one publication."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial

from msgspec import structs

from dreamcatcherd.core.checkout import Checkout
from dreamcatcherd.core.errors import RefusedError
from dreamcatcherd.core.ledger import IMPORT, Ledger
from dreamcatcherd.core.report import plural
from dreamcatcherd.core.tree import FILE, Entry, edit
from dreamcatcherd.engine.selection import Engine
from dreamcatcherd.git.command import AUTHOR
from dreamcatcherd.git.protocols import Commit, Store
from dreamcatcherd.stages.fetch import Fetcher, View
from dreamcatcherd.stages.ingest import InboxReader
from dreamcatcherd.stages.merge import FrameMerge, merge_frame
from dreamcatcherd.stages.plan import plan_frame
from dreamcatcherd.stages.publish import publish
from dreamcatcherd.stages.snapshot import CloseContext, SnapshotOptions, snapshot_frame
from dreamcatcherd.stages.violations import find_violations, new_unsafe_paths


def adopt_state(
    store: Store,
    main: str,
    deltas: Mapping[str, bytes],
    frame: int,
    options: SnapshotOptions,
    now: int,
    engine: Engine | None = None,
    note: Callable[[int], None] = lambda more: None,
) -> Ledger:
    """Close `frame` with these deltas, given by path, and return its ledger; `options` name the frame that opens then.

    `main` is a full ref name, `now` microseconds UTC. Deltas that workers have already pushed wait for their frame;
    none of them is hidden. The workers of an engine merge them if one is given; `note` is called with how many more
    deltas are done. RefusedError if a frame is closed already, if there are no deltas, if one of them cannot be
    merged, or if the repository moves during the import; RetryableError if workers are lost."""
    view = Fetcher(main).fetch(store, now)
    if view.published.ledger is not None:
        raise RefusedError(f"{store.where} has closed frames already", "import before the first frame closes")
    inbox = InboxReader().read(store, _with_deltas(store, view, deltas, frame))
    plan = plan_frame(store, inbox)
    spread: FrameMerge | None = None
    if engine is not None:
        from dreamcatcherd.engine.spread import merge_spread  # slow to load, and few imports are so large

        spread = partial(merge_spread, engine, store, inbox.settings, note, store)
    merged = merge_frame(store, inbox, plan, spread=spread, note=note)
    unsafe = new_unsafe_paths(store, inbox, Checkout())
    context = CloseContext(IMPORT, find_violations(store, inbox, plan.quarantined, unsafe=unsafe))
    commit = snapshot_frame(store, inbox, plan, merged, context, options, now)
    unread = next((row for row in commit.ledger.quarantined if row.path in deltas), None)
    if unread is not None:
        store.discard()
        raise RefusedError(f"the records of {unread.path} cannot be merged: {unread.detail}", "see docs/time-travel.md")
    # The old values of the refs are those in the repository, not the commit of the deltas, which no ref has named.
    if not publish(store, structs.replace(inbox, view=view), commit.commit, f"import frame {frame}"):
        raise RefusedError(f"{store.where} moved during the import", "stop the daemon and the workers, import again")
    return commit.ledger


def _with_deltas(store: Store, view: View, deltas: Mapping[str, bytes], frame: int) -> View:
    """The view as if the deltas had been committed to `main`, with `frame` open."""
    head = view.refs.get(view.main)
    files = {path: Entry(FILE, store.write("blob", raw)) for path, raw in deltas.items()}
    tree = edit(store, store.commit(head).tree if head else None, files)
    if tree is None:
        raise RefusedError("the mapping finds no record to import", "correct the paths in the mapping")
    message = f"import state as {plural(len(deltas), 'delta')} of frame {frame}\n"
    parents = (head,) if head else ()
    brought = store.write_commit(Commit(tree, parents, AUTHOR, view.seen_at // 1_000_000, message))
    store.flush()
    published = structs.replace(view.published, state=structs.replace(view.published.state, frame=frame))
    return structs.replace(view, refs={**view.refs, view.main: brought}, head=brought, published=published)
