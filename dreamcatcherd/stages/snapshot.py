"""Stage 5, snapshot: the ledger and the snapshot commit of a closed frame, written and named by no ref yet.

Owns the tree that will be published: snapshot, ledger and frame.json are the primary's, delta files are added or put
back, everything else stays as it is on `main` (docs/protocol.md#publishing)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from msgspec import Struct

from dreamcatcherd.core import paths
from dreamcatcherd.core.frames import Closing, opened
from dreamcatcherd.core.ledger import CONVERT, IMPORT, Ledger, Violation, write_ledger
from dreamcatcherd.core.ledger_builder import Basis, make_ledger
from dreamcatcherd.core.merge import Merged
from dreamcatcherd.core.model import DeltaArrival, FrameState
from dreamcatcherd.core.plan import Plan
from dreamcatcherd.core.report import plural
from dreamcatcherd.core.tree import FILE, TREE, Entry, NamePath, edit, edit_at, subtree
from dreamcatcherd.core.waiting import next_ledgers
from dreamcatcherd.git.command import AUTHOR
from dreamcatcherd.git.protocols import Commit, Store
from dreamcatcherd.git.reachability import reach_within
from dreamcatcherd.stages.delta_copies import Copies, deleted_deltas
from dreamcatcherd.stages.early_deltas import count, ending
from dreamcatcherd.stages.frame_file import format_frame_file
from dreamcatcherd.stages.inbox import Inbox
from dreamcatcherd.stages.published import PublishedState
from dreamcatcherd.stages.retention import outdated
from dreamcatcherd.stages.settings import settings_change
from dreamcatcherd.stages.snapshot_chain import CONVERTED
from dreamcatcherd.stages.views import view_files


class CloseContext(Struct, frozen=True):
    """What a close records and writes besides its deltas: what closed the frame, what others broke, the streams that a
    quorum waited for in vain, and the paths of `main` that no clone can hold."""

    closed_by: str
    violations: list[Violation] = []
    missing: list[str] = []
    unsafe: tuple[NamePath, ...] = ()
    entities: dict[str, int] | None = None
    """How many entities each collection had before the deltas, where it is not what the last ledger says."""


class SnapshotOptions(Struct, frozen=True):
    """How the primary writes snapshots: the closing rule of the next frame, for how many closed frames delta files stay
    in the tree (None: for ever), and the number of the next frame (None: one more)."""

    closing: Closing
    deltas_frames: int | None = None
    next_frame: int | None = None


class FrameCommit(Struct, frozen=True):
    """A snapshot commit that no ref names yet, with its ledger, the deltas that it merges, and when it was made
    (microseconds UTC)."""

    commit: str
    ledger: Ledger
    merged: list[DeltaArrival]
    made_at: int


def snapshot_frame(
    store: Store, inbox: Inbox, plan: Plan, merged: Merged, context: CloseContext, options: SnapshotOptions, now: int
) -> FrameCommit:
    """Write the snapshot commit of the open frame (microseconds UTC `now`); nothing is flushed."""
    frame = inbox.published.state.frame
    ledger = frame_ledger(store, inbox, plan, merged, context)
    after = frame + 1 if options.next_frame is None else options.next_frame
    state = opened(after, now, frame, ledger.snapshot, options.closing)
    views = view_files(store, store, inbox.published, inbox.settings, ledger.snapshot, frame)
    keep, unsafe = options.deltas_frames, context.unsafe
    commit = build_commit(store, inbox, ledger, state, plan.deltas, now, views, keep, unsafe)
    return FrameCommit(commit, ledger, plan.deltas, now)


def frame_ledger(store: Store, inbox: Inbox, plan: Plan, merged: Merged, context: CloseContext) -> Ledger:
    """The ledger that a plan and its merge make."""
    published, settings = inbox.published, inbox.settings
    before = published.ledger
    basis = Basis(
        previous=published.snapshot if before else None,
        entities=_entities_before(published, context),
        settings=settings.blob,
        violations=context.violations,
        settings_change=settings_change(store, inbox.head, published, settings),
        missing=context.missing,
        max_skew_s=settings.limits.max_skew,
        last_utc=published.delivered,
        waiting=count(store, published),
        ended=ending(store, published),
    )
    return make_ledger(plan, merged, basis, context.closed_by)


def _entities_before(published: PublishedState, context: CloseContext) -> dict[str, int]:
    if context.entities is not None:
        return context.entities
    return published.ledger.counts.entities if published.ledger else {}


def build_commit(
    store: Store,
    inbox: Inbox,
    ledger: Ledger,
    state: FrameState,
    merged: list[DeltaArrival],
    now: int,
    files: Mapping[str, Entry] | None = None,
    keep: int | None = None,
    unsafe: Iterable[NamePath] = (),
) -> str:
    """Write the snapshot commit of a closed frame and return its id; nothing refers to it yet.

    `files` are further files to set, by path. Delta files leave the tree `keep` closed frames after their own. `unsafe`
    are paths of `main` that no clone can hold: they are left out."""
    base = inbox.published
    basis_commit = inbox.head or base.commit
    head_tree = store.commit(basis_commit).tree if basis_commit else None
    # A path that no clone can hold would break every checkout of `main`, so the commit leaves it out.
    if removed := dict.fromkeys(unsafe):
        head_tree = edit_at(store, head_tree, removed)
    ledgers = next_ledgers(store, base.ledgers, ledger, store.write("blob", write_ledger(ledger)))
    changes: dict[str, Entry | None] = {
        **(files or {}),
        paths.SNAPSHOT: Entry(TREE, ledger.snapshot),
        paths.LEDGER: Entry(TREE, ledgers),
        paths.FRAME: Entry(FILE, store.write("blob", format_frame_file(state))),
    }
    changes |= _delta_files(store, inbox, head_tree, ledger, merged, keep)
    root = edit(store, head_tree, changes)
    if root is None:
        raise AssertionError("a published tree is never empty")
    # In a linear history the commit has one parent, and another commit holds the merged lanes: they stay reachable.
    seen, parents = _seen(store, inbox, now) if inbox.settings.linear else (base.seen, _parents(inbox))
    message = commit_message(ledger, base.commit if base.ledger else None, seen)
    return store.write_commit(Commit(root, parents, AUTHOR, now // 1_000_000, message))


def _delta_files(
    store: Store, inbox: Inbox, head_tree: str | None, ledger: Ledger, merged: list[DeltaArrival], keep: int | None
) -> dict[str, Entry | None]:
    """What a close changes below the delta roots: old frames leave, deleted files are put back, and lane deltas are
    copied in."""
    roots = inbox.settings.intake.roots
    changes: dict[str, Entry | None] = {}
    copies = Copies(store, head_tree, roots, inbox.published.tree)
    for root in roots:
        before, now = subtree(store, inbox.published.tree, root), subtree(store, head_tree, root)
        gone = outdated(store, root, (now, before), ledger, keep) if keep is not None else set()
        changes |= {f"{root}/{name}": None for name in gone}
        # A delta that was merged stays below its root: whoever deleted it gets it back.
        for path, entry in deleted_deltas(store, before, now) if root in inbox.kept_roots else ():
            if path.partition("/")[0] not in gone and path.count("/") <= paths.DELTA_LEVELS + 1:
                copies.put_back(f"{root}/{path}", entry)
    # Where `main` was rewound, its tree lacks what came on it before.
    tips = [tip for ref, tip in inbox.lanes if ref == inbox.main]
    rewound = {oid for tip in tips for oid in reach_within(inbox.commits, tip)}
    for arrival in merged:
        if arrival.source != "main" or arrival.item.version.commit in rewound:
            copies.put(arrival.item)
    return changes | copies.added


def _seen(store: Store, inbox: Inbox, now: int) -> tuple[str | None, tuple[str, ...]]:
    """For a linear history: the commit that holds all merged lanes, and the one parent of the snapshot commit."""
    base = inbox.published
    first, *others = _parents(inbox) or (None,)
    if not others:
        return base.seen, (first,) if first else ()
    parents = [*([base.seen] if base.seen else []), *(oid for oid in others if oid)]
    message = f"lanes that are merged with frame {base.state.frame}\n"
    commit = Commit(store.write("tree", b""), tuple(parents), AUTHOR, now // 1_000_000, message)
    return store.write_commit(commit), (first,) if first else ()


def subject_of(ledger: Ledger) -> str:
    """The subject of a snapshot commit."""
    if ledger.closed_by == IMPORT:
        return f"import frame {ledger.frame}"
    if ledger.closed_by == CONVERT:
        return f"{CONVERTED}{ledger.frame}"
    deltas, streams = ledger.counts.deltas, ledger.counts.streams
    return f"frame {ledger.frame}: {plural(deltas, 'delta')} from {plural(streams, 'stream')}"


def commit_message(ledger: Ledger, previous: str | None, seen: str | None = None) -> str:
    """The message of a snapshot commit: subject and trailers. `previous` is the snapshot commit before, if any, `seen`
    the commit that holds merged lanes, where `main` does not."""
    trailers = {"Frame": ledger.frame, "Digest": ledger.snapshot, "Deltas": ledger.counts.deltas}
    if previous is not None:
        trailers["Previous"] = previous
    if seen is not None:
        trailers["Seen"] = seen
    return subject_of(ledger) + "\n\n" + "".join(f"Dreamcatcher-{name}: {value}\n" for name, value in trailers.items())


def _parents(inbox: Inbox) -> tuple[str, ...]:
    """`main`'s head; the last published commit where `main` was rewound away from it; then the lane heads."""
    parents = [inbox.head] if inbox.head else []
    published = inbox.published.commit
    if published and published != inbox.head and not inbox.main_holds(published):
        parents.append(published)
    lanes = dict.fromkeys(oid for _, oid in inbox.lanes)
    return tuple(parents + [oid for oid in lanes if oid not in parents])
