"""Recomputes closed frames and compares them with what was published; the first frame that differs is named.

A frame is checked given the frame before it. The repository's own statements are not trusted: the deltas of a frame are
read from the commits that its snapshot commit makes reachable, merged again, and the ledger is built again from that.
Facts that only the primary could see at the time cannot be computed and are taken from the ledger: what closed the
frame, which streams it waited for, violations, and clock flags. Nothing is written."""

from __future__ import annotations

import contextlib
from collections import Counter
from collections.abc import Callable, Sequence
from functools import partial
from typing import NamedTuple

import msgspec
from msgspec import Struct

from dreamcatcherd.core import paths
from dreamcatcherd.core.errors import FatalError, FormatError, RefusedError
from dreamcatcherd.core.ledger import RECLASSIFY, Ledger, read_ledger, write_ledger
from dreamcatcherd.core.ledger_builder import Basis, make_ledger
from dreamcatcherd.core.merge import Merged, merge
from dreamcatcherd.core.model import Arrival, Delta, FrameState
from dreamcatcherd.core.plan import make_plan
from dreamcatcherd.core.projections import PROJECTIONS
from dreamcatcherd.core.settings import Settings
from dreamcatcherd.core.snapshot import already_merged, open_snapshot
from dreamcatcherd.core.tree import FILE, TREE, Entry, blob_at, edit, entries_at, lookup, object_id, subtree
from dreamcatcherd.core.waiting import already_waiting, id_of, next_ledgers
from dreamcatcherd.git.overlay import Overlay
from dreamcatcherd.git.protocols import Commit, RepositoryReader, Store
from dreamcatcherd.history.ledger_comparison import ledger_difference, with_seen_facts
from dreamcatcherd.history.reclassify import frame_base
from dreamcatcherd.history.replay import is_base, own_ledger
from dreamcatcherd.history.reread import arrivals_of, inbox_of
from dreamcatcherd.history.shown_branch import Difference, branch_difference
from dreamcatcherd.stages.delta_reader import versions_of, with_body
from dreamcatcherd.stages.early_deltas import count, ending
from dreamcatcherd.stages.inbox import Inbox
from dreamcatcherd.stages.published import PublishedState, load_published, read_published
from dreamcatcherd.stages.settings import settings_change
from dreamcatcherd.stages.snapshot_chain import Link, links, since_base, tips_of
from dreamcatcherd.stages.unreadable import followed
from dreamcatcherd.stages.views import view_files


class Verdict(Struct, frozen=True):
    """The JSON of `verify`: how many frames were recomputed, and the first difference if there is one."""

    frames: int
    ok: bool
    first_bad: int | None
    why: str | None


class History(NamedTuple):
    """The chain of closed frames, oldest first; the newest ledger folder; and how `main` differs, if it does.

    `cut` says that there are earlier frames, which nobody asked for."""

    links: list[Link]
    ledgers: str | None
    shown: Difference | None
    cut: bool = False


def read_history(store: Store, refs: dict[str, str], main: str, start: int | None = None) -> History:
    """Find the chain of snapshot commits in a repository with these refs; `main` is a full ref name. With `start` it
    begins with the frame before that one: a frame is checked given the one before, and no other.

    RefusedError if no frame is closed."""
    tip, head = _tip(store, refs, main), refs.get(main)
    chain, cut = _chain(store, tip, start)
    if not chain:
        raise RefusedError(f"{store.where} has no closed frame", "close a frame first: dreamcatcherd merge")
    if cut and (head is None or not store.descends(head, chain[-1].oid)):
        chain, cut = _chain(store, tip)  # of the frames that `main` lost the first is named
    ledgers = subtree(store, store.commit(chain[-1].oid).tree, paths.LEDGER)
    return History(chain, ledgers, branch_difference(store, chain, head), cut)


def _chain(store: RepositoryReader, tip: str | None, start: int | None = None) -> tuple[list[Link], bool]:
    """The chain up to a commit, oldest first, since the last conversion; and whether it is cut before frame `start`."""
    chain: list[Link] = []
    cut = False
    with contextlib.suppress(FatalError):  # a broken chain ends early, and the frame after the gap is reported
        for link in links(store, tip):
            chain.append(link)
            if cut := start is not None and link.frame < start:
                break
    chain.reverse()
    since = list(since_base(store, chain))
    return since, cut and len(since) == len(chain)


def _tip(store: Store, refs: dict[str, str], main: str) -> str | None:
    """The last published commit; if it is damaged, the commit that the refs name, so that the damage is found."""
    try:
        return load_published(store, refs, main, store.recall()).commit
    except FormatError:
        raise
    except FatalError:
        return refs.get(paths.PUBLISHED) or refs.get(main)


SpreadMerge = Callable[[Settings, Overlay, str | None, Sequence[Delta], int], Merged | None]
"""Who merges large frames: settings, objects, snapshot, deltas and frame to the merge, or to None if it is not
large."""


def verify_frame(
    store: RepositoryReader, history: History, at: int, spread: SpreadMerge | None = None
) -> Difference | None:
    """Recompute the frame at index `at` of the chain from the one before it; None if it is as published.

    A Difference may name another frame: the one before if that cannot be read, an earlier one if `main` differs there.
    Objects that are missing are differences too; no error is raised for them."""
    link = history.links[at]
    before = history.links[at - 1] if at else None
    try:
        base = read_published(store, before.oid) if before else PublishedState(None, FrameState(link.frame))
    except FatalError as error:
        return Difference(before.frame if before else link.frame, f"snapshot edited: {error.cause}")
    try:
        found = _check(store, history, link, base, spread)
    except FatalError as error:
        found = Difference(link.frame, f"delta missing: {error.cause}")
    # What `main` shows is known before any frame is recomputed, but reported in its turn: the first bad frame counts.
    if history.shown is not None and (found is None or history.shown < found) and history.shown.frame <= link.frame:
        return history.shown
    return found


def _check(
    store: RepositoryReader, history: History, link: Link, base: PublishedState, spread: SpreadMerge | None
) -> Difference | None:
    frame = link.frame
    # A dropped snapshot commit leaves the others consistent, except that the one before it opened another frame.
    if base.state.frame != frame:
        return Difference(base.state.frame, f"commit dropped: no snapshot commit closes it; {frame} follows")
    raw = own_ledger(store, link)
    try:
        ledger = read_ledger(raw) if raw is not None else None
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        return Difference(frame, f"ledger edited: it does not read: {error}")
    if ledger is None or raw is None:
        return Difference(frame, f"ledger edited: the snapshot commit {link.oid} does not hold it")
    # The frame is recomputed from its own commit's ledger. Readers use the newest folder, whose copy may be another.
    # The id is computed from the bytes: a damaged object would otherwise pass for the content that its id names.
    current = blob_at(store, history.ledgers, paths.ledger_path(frame))
    if current != object_id("blob", raw):
        return Difference(frame, "ledger edited: the one that stands now is not the one that the frame published")
    # A chain that ends early would otherwise begin with this frame as its first, on an empty state.
    if ledger.previous is not None and base.ledger is None:
        lost = f"commit dropped: {frame} follows on snapshot {ledger.previous}, whose snapshot commit is not there"
        return Difference(max(0, frame - 1), lost)
    if base.ledger is None and is_base(ledger):
        return _check_import(store, link, ledger)
    hidden = [*store.cut, *base.tips]
    tips = tips_of(store, link.oid)
    # In a linear history merged lanes are reachable through this commit alone. If a later one does not continue it,
    # their deltas are no longer part of the history, and no comparison below would miss them.
    if base.seen is not None and not any(store.descends(tip, base.seen) for tip in tips):
        return Difference(frame, f"commit dropped: {base.seen}, which holds merged lanes, is no part of its history")
    commits = followed(store, store.new_commits(tips, hidden), link.oid, hidden)
    # A trailer names the commit before, but git keeps only what parents reach.
    if base.commit is not None and not any(base.commit in commit.parents for commit in commits.values()):
        lost = f"commit dropped: {base.commit}, on which frame {frame} follows, is no part of its history"
        return Difference(max(0, frame - 1), lost)
    # The primary writes the tips itself; deltas in them are copies, which `_account` compares with the originals.
    for oid in tips:
        commits.pop(oid, None)
    inbox = inbox_of(store, link, base, ledger, commits)
    roots = (inbox or base).settings.intake.roots
    # In this order: recomputing relies on the ledger's rows being exactly the versions that came in.
    why = _account(store, link, base, ledger, commits, roots)
    why = why or _recompute(store, history, link, base, ledger, raw, inbox, spread)
    return Difference(frame, why) if why else None


def _check_import(store: RepositoryReader, link: Link, ledger: Ledger) -> Difference | None:
    """Compare an imported snapshot with its ledger: no deltas lead to it, so nothing can be recomputed."""
    tree = store.commit(link.oid).tree
    if subtree(store, tree, paths.SNAPSHOT) != ledger.snapshot:
        return Difference(link.frame, f"snapshot edited: it is not {ledger.snapshot}, which was imported")
    imported = read_published(store, link.oid).settings
    made = PublishedState(None, FrameState(link.frame))
    why = _edited_view(store, Overlay(store), made, imported, ledger, tree)
    return Difference(link.frame, why) if why else None


def _account(
    store: RepositoryReader,
    link: Link,
    base: PublishedState,
    ledger: Ledger,
    commits: dict[str, Commit],
    roots: paths.Roots,
) -> str | None:
    """Why the ledger's rows are not exactly the versions that the frame had to process; None if they are.

    Recomputing would find most of this too, but not whether a delta is missing or the ledger was edited; and deltas
    hidden in snapshot commits are found only here."""
    brought = Counter(  # counted, so that a version that is listed twice is found too
        (paths.printable(path), blob, oid)
        for oid, commit in commits.items()
        for path, blob, _ in versions_of(store, commit, roots)
    )
    brought.update((row.path, row.blob, row.commit) for row in ending(store, base))
    listed = Counter((row.path, row.blob, row.commit) for row in ledger.rows())
    # More rows than versions: a row was made up, or the commit that brought it was dropped from history.
    for path, blob, oid in sorted(listed - brought):
        if oid in commits or (path, blob, oid) in brought:
            return f"ledger edited: it lists {path} {blob}, which commit {oid} does not bring"
        return f"delta missing: the ledger lists {path} {blob}, and its commit {oid} is no longer part of the history"
    # More versions than rows: a worker's delta was left out.
    unlisted = ledger.unlisted()
    for path, blob, oid in sorted(brought - listed):
        if (blob, oid) in unlisted:
            continue  # counted in `more` of a row, and counted again when the ledger is rebuilt
        return f"ledger edited: {path} {blob} of commit {oid} stands in none of its lists"
    # A snapshot commit may add copies of merged lane deltas and put back deleted files. Any other delta in it would be
    # hidden for good, since no later frame reads snapshot commits for deltas.
    merged = {row.blob for row in ledger.deltas}
    own = {path: blob for path, blob, _ in versions_of(store, store.commit(link.oid), roots) if blob not in merged}
    previous = entries_at(store, base.tree, own)
    for path, blob in own.items():
        if (back := previous.get(path)) is None or back.mode == TREE or back.oid != blob:
            return f"snapshot commit edited: {link.oid} itself brings {path} {blob}, which no ledger lists"
    return None


def _recompute(
    store: RepositoryReader,
    history: History,
    link: Link,
    base: PublishedState,
    ledger: Ledger,
    raw: bytes,
    inbox: Inbox | None,
    spread: SpreadMerge | None,
) -> str | None:
    """Why the frame's deltas do not give its ledger and snapshot; None if they do."""
    if inbox is None:
        return f"ledger edited: it names settings {ledger.settings}, which did not count then"
    settings = inbox.settings
    arrivals = arrivals_of(store, inbox, ledger)
    if (damaged := _damaged(store, arrivals)) is not None:
        return damaged
    overlay = Overlay(store)
    tree = store.commit(link.oid).tree
    published = subtree(store, tree, paths.SNAPSHOT)
    before, entities = frame_base(overlay, store, _needed(store, history, link, ledger), base, ledger, settings)
    not_published = set(overlay.written)  # the empty snapshot to start from; the frame need not contain its objects
    folders = open_snapshot(overlay, before)
    deferred = {id_of(row) for row in ledger.held if row.frame <= ledger.frame}
    plan = make_plan(
        arrivals,
        link.frame,
        settings.limits,
        lambda ids: already_merged(overlay, folders, ids),
        lambda ids: already_waiting(overlay, base.ledgers, ids),
        deferred.__contains__,
    )
    deltas = [arrival.item for arrival in plan.deltas]
    merged = spread(settings, overlay, before, deltas, link.frame) if spread is not None else None
    if merged is None:
        load = partial(with_body, store, settings=settings)
        merged = merge(overlay, before, deltas, settings.table, PROJECTIONS, load, lambda _: link.frame)
    basis = Basis(
        previous=base.snapshot if base.ledger else None,
        entities=entities,
        settings=settings.blob,
        violations=ledger.violations,
        settings_change=settings_change(store, inbox.head, base, settings),
        waiting=count(store, base),
        ended=ending(store, base),
    )
    made = with_seen_facts(make_ledger(plan, merged, basis, ledger.closed_by), ledger)
    if published != made.snapshot:
        return f"snapshot edited: its deltas come to {made.snapshot}, published is {published}"
    if write_ledger(made) != raw:
        return f"ledger edited: {ledger_difference(ledger, made)}"
    # An equal tree id says nothing about the objects stored under it: a missing or damaged one is found only here.
    # A merge in parts also writes files that another part changes again; nothing names those.
    for oid, (_, data) in overlay.reached(made.snapshot).items():
        if oid not in not_published and store.read(oid) != data:
            return f"snapshot edited: its object {oid} holds other bytes"
    return _misplaced(store, overlay, link, base, ledger, tree, raw, settings)


def _damaged(store: RepositoryReader, arrivals: Sequence[Arrival]) -> str | None:
    """Why a delta is not the one that its id names. Not every store hashes what it reads, and a damaged delta would
    give another state: the snapshot would be blamed."""
    for arrival in arrivals:
        item = arrival.item
        if isinstance(item, Delta) and object_id("blob", store.read(item.version.blob)) != item.version.blob:
            return f"delta missing: {item.version.path} {item.version.blob} holds other bytes than its id says"
    return None


def _needed(store: RepositoryReader, history: History, link: Link, ledger: Ledger) -> list[Link]:
    """The chain that a frame is merged on: all of it if the frame merged the deltas of all frames before it again."""
    return _chain(store, link.oid)[0] if history.cut and ledger.closed_by == RECLASSIFY else history.links


def _edited_view(
    store: RepositoryReader, overlay: Overlay, base: PublishedState, settings: Settings, ledger: Ledger, tree: str
) -> str | None:
    """Why the views of a snapshot commit do not follow from its snapshot; None if they do."""
    for path, made in view_files(store, overlay, base, settings, ledger.snapshot, ledger.frame).items():
        found = lookup(store, tree, path)
        if found != made:
            return f"view edited: {path} is not what the snapshot {ledger.snapshot} gives"
        if made.oid in overlay.written and store.read(made.oid) != overlay.written[made.oid][1]:
            return f"view edited: {path} holds other bytes than its id says"
    return None


def _misplaced(
    store: RepositoryReader,
    overlay: Overlay,
    link: Link,
    base: PublishedState,
    ledger: Ledger,
    tree: str,
    raw: bytes,
    settings: Settings,
) -> str | None:
    """Why the snapshot commit's ledger folder, frame.json or views do not follow from the frame; None if they do.

    Its own ledger is verified by then. The folder also has those of all earlier frames, and an index of waiting deltas,
    which later frames build on."""
    oid = object_id("blob", raw)
    if ledger.counts.waiting is None:
        ledgers = edit(overlay, base.ledgers, {paths.ledger_path(link.frame): Entry(FILE, oid)})
    else:
        ledgers = next_ledgers(overlay, base.ledgers, ledger, oid)
    if subtree(store, tree, paths.LEDGER) != ledgers:
        return f"ledger edited: the snapshot commit {link.oid} changes the ledgers of other frames"
    try:
        read_published(store, link.oid)
    except FatalError as error:
        return f"frame.json edited: {error.cause}"
    return _edited_view(store, overlay, base, settings, ledger, tree)
