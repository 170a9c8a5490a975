"""Converting a repository whose snapshots have the former format, in place.

The records, stamps and merged ids stay as they are; the digest is new. The conversion closes the open frame without
deltas and is a base: replay and verify begin with it."""

from __future__ import annotations

from dreamcatcherd.core import paths
from dreamcatcherd.core.errors import RefusedError
from dreamcatcherd.core.export import Restored, export, read_portable, restore
from dreamcatcherd.core.frames import Closing, opened
from dreamcatcherd.core.ledger import CONVERT, Counts, HeldRow, Ledger, LedgerHead, QuarantinedRow, write_ledger
from dreamcatcherd.core.model import FrameState
from dreamcatcherd.core.settings import DEFAULT, Settings, SettingsError, read_settings
from dreamcatcherd.core.snapshot import FORMER, format_of, open_snapshot
from dreamcatcherd.core.tree import FILE, TREE, Entry, edit, subtree
from dreamcatcherd.core.waiting import all_rows, next_ledgers
from dreamcatcherd.git.command import AUTHOR
from dreamcatcherd.git.protocols import Commit, Move, Store
from dreamcatcherd.stages.delta_reader import versions_of
from dreamcatcherd.stages.frame_file import format_frame_file, read_frame_file
from dreamcatcherd.stages.published import load_head
from dreamcatcherd.stages.snapshot import commit_message
from dreamcatcherd.stages.snapshot_chain import claimed_seen


def convert(store: Store, main: str, now: int, closing: Closing) -> Ledger:
    """Publish the last snapshot of the former format in the present one, as the open frame; returns its ledger.

    `main` is a full ref name, `now` microseconds UTC. RefusedError if there is nothing to convert, if deltas on `main`
    wait to be merged, or if `main` moves meanwhile."""
    refs = store.refs()
    head, published = refs.get(main), refs.get(paths.PUBLISHED)
    if head is None or published is None:
        raise RefusedError(f"{store.where} has no published snapshot", "there is nothing to convert")
    tree = store.commit(published).tree
    state, snapshot = read_frame_file(store, tree), subtree(store, tree, paths.SNAPSHOT)
    ledgers = subtree(store, tree, paths.LEDGER)
    if snapshot is None or format_of(store, open_snapshot(store, snapshot)) != FORMER:
        raise RefusedError(f"{store.where} has no snapshot of the format {FORMER}", "there is nothing to convert")
    if state is None or state.last_closed is None:
        raise RefusedError(f"{store.where} has closed no frame", "start anew: dreamcatcherd init")
    last = load_head(store, ledgers, state.last_closed)
    if last is None:
        raise RefusedError(f"the ledger of frame {state.last_closed} is missing", "run git fsck")
    text = store.read(last.settings).decode() if last.settings is not None else None
    settings = _settings(text, last.settings)
    _check_nothing_waits(store, head, published, settings)
    raw = b"".join(export(store, snapshot, last.frame, settings.table, text))
    restored = restore(store, read_portable(raw), last.settings)
    ledger = _ledger(state.frame, restored, last, [*_listed(last)], sum(1 for _ in all_rows(store, ledgers)))
    commit = _commit(store, (head, published), ledger, state, now, closing)
    store.flush()
    moves = [Move(main, commit, head), Move(paths.PUBLISHED, commit, published)]
    if not store.move_refs(moves, f"convert frame {ledger.frame}"):
        raise RefusedError(
            f"{store.where} moved during the conversion", "stop the workers that push to main, try again"
        )
    return ledger


def _check_nothing_waits(store: Store, head: str, published: str, settings: Settings) -> None:
    for commit in store.new_commits([head], [published]).values():
        if versions_of(store, commit, settings.intake.roots):
            remedy = "close the frame with the version that wrote it (dreamcatcherd merge), then convert"
            raise RefusedError(f"deltas wait on main of {store.where}", remedy)


def _settings(text: str | None, blob: str | None) -> Settings:
    try:
        return read_settings(text.encode(), blob) if text is not None else DEFAULT
    except SettingsError as error:
        remedy = f"correct {paths.SETTINGS} with the version that wrote it, and close a frame"
        raise RefusedError(f"the settings in force cannot be read any more: {error}", remedy) from error


def _listed(last: LedgerHead) -> list[HeldRow]:
    """The early deltas that the last ledger lists, where it lists all that wait, as early versions did."""
    if last.counts.waiting is not None:
        return []
    return [row for row in last.held if not isinstance(row, QuarantinedRow)]


def _ledger(frame: int, restored: Restored, last: LedgerHead, held: list[HeldRow], waiting: int) -> Ledger:
    counts = Counts(0, 0, 0, 0, len(held), 0, 0, 0, 0, restored.entities, waiting=waiting + len(held))
    return Ledger(frame, restored.tree, None, CONVERT, last.settings, held=held, counts=counts)


def _commit(
    store: Store, parents: tuple[str, str], ledger: Ledger, state: FrameState, now: int, closing: Closing
) -> str:
    """Write the commit on `main`'s head; the second parent is the last snapshot commit."""
    head, published = parents
    base = store.commit(published)
    ledgers = next_ledgers(
        store, subtree(store, base.tree, paths.LEDGER), ledger, store.write("blob", write_ledger(ledger))
    )
    after = opened(ledger.frame + 1, now, ledger.frame, ledger.snapshot, closing)
    changes = {
        paths.SNAPSHOT: Entry(TREE, ledger.snapshot),
        paths.LEDGER: Entry(TREE, ledgers),
        paths.FRAME: Entry(FILE, store.write("blob", format_frame_file(after))),
    }
    tree = edit(store, store.commit(head).tree, changes)
    if tree is None:
        raise AssertionError("a published tree is never empty")
    known = dict.fromkeys(parents) if not store.descends(head, published) else {head: None}
    message = commit_message(ledger, published, claimed_seen(base))
    return store.write_commit(Commit(tree, tuple(known), AUTHOR, now // 1_000_000, message))
