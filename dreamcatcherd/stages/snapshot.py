"""The commit of a closed frame, and the one move that makes it count (Protocol §7).

Owns the tree that is published: snapshot, ledger and frame.json are ours, delta files are put in or back, all else is
as `main` has it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from dreamcatcherd.core import paths
from dreamcatcherd.core.ledger import Ledger, write_ledger
from dreamcatcherd.core.model import Arrival, Delta, FrameState
from dreamcatcherd.core.report import plural
from dreamcatcherd.core.tree import FILE, TREE, Entry, NamePath, edit, edit_at, read_tree, subtree
from dreamcatcherd.core.waiting import next_ledgers
from dreamcatcherd.git.command import AUTHOR
from dreamcatcherd.git.protocols import Commit, Store
from dreamcatcherd.stages.delta_copies import Copies
from dreamcatcherd.stages.first_frame import frame_file
from dreamcatcherd.stages.ingest import Inbox
from dreamcatcherd.stages.retention import outdated

IMPORT = "import"
"""What closed the frame that an imported snapshot stands for."""


def build_commit(
    store: Store,
    survey: Inbox,
    ledger: Ledger,
    state: FrameState,
    merged: list[Arrival],
    now: int,
    files: Mapping[str, Entry] | None = None,
    keep: int | None = None,
    unsafe: Iterable[NamePath] = (),
) -> str:
    """Write the snapshot commit of a closed frame and return its id; nothing refers to it yet.

    `files` are further files to set, by path. Delta files leave the tree `keep` closed frames after their own. `unsafe`
    are paths of `main` that no clone can hold: they are left out."""
    base = survey.base
    stands = survey.head or base.commit
    head_tree = store.commit(stands).tree if stands else None
    if removed := dict.fromkeys(unsafe):
        head_tree = edit_at(store, head_tree, removed)
    ledgers = next_ledgers(store, base.ledgers, ledger, store.write("blob", write_ledger(ledger)))
    changes: dict[str, Entry | None] = {
        **(files or {}),
        paths.SNAPSHOT: Entry(TREE, ledger.snapshot),
        paths.LEDGER: Entry(TREE, ledgers),
        paths.FRAME: Entry(FILE, store.write("blob", frame_file(state))),
    }
    standing = subtree(store, head_tree, paths.DELTAS)
    gone = outdated(store, (standing, base.deltas), ledger, keep) if keep is not None else set()
    changes |= {f"{paths.DELTAS}/{name}": None for name in gone}
    copies = Copies(store, head_tree)
    for path, entry in deleted_deltas(store, base.deltas, standing):
        if path.partition("/")[0] not in gone and path.count("/") <= paths.DELTA_LEVELS + 1:
            copies.put_back(path, entry)
    for arrival in merged:
        if arrival.source != "main" and isinstance(arrival.item, Delta):
            copies.put(arrival.item)
    changes |= copies.added
    root = edit(store, head_tree, changes)
    if root is None:
        raise AssertionError("a published tree is never empty")
    seen, parents = _seen(store, survey, now) if survey.settings.linear else (base.seen, _parents(survey))
    message = commit_message(ledger, base.commit if base.ledger else None, seen)
    return store.write_commit(Commit(root, parents, AUTHOR, now // 1_000_000, message))


def _seen(store: Store, survey: Inbox, now: int) -> tuple[str | None, tuple[str, ...]]:
    """For a linear history: the commit that holds all merged lanes, and the one parent of the snapshot commit."""
    base = survey.base
    first, *others = _parents(survey) or (None,)
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


def _parents(survey: Inbox) -> tuple[str, ...]:
    """`main`'s head; the last published commit where `main` was rewound away from it; then the lane heads."""
    parents = [survey.head] if survey.head else []
    published = survey.base.commit
    if published and published != survey.head and not descends(survey, published):
        parents.append(published)
    lanes = dict.fromkeys(oid for _, oid in survey.lanes)
    return tuple(parents + [oid for oid in lanes if oid not in parents])


def descends(survey: Inbox, published: str) -> bool:
    """Whether `main` holds the published commit: then the new commits on `main` lead back to it."""
    todo, seen = [survey.head], set()
    while todo:
        oid = todo.pop()
        if oid == published:
            return True
        if oid in survey.commits and oid not in seen:
            seen.add(oid)
            todo.extend(survey.commits[oid].parents)
    return False


def deleted_deltas(store: Store, published: str | None, standing: str | None) -> Iterable[tuple[str, Entry]]:
    """Files below `state/stream_deltas/` that the last publication had and `main` no longer has."""
    todo: list[tuple[str | None, str | None, str]] = [(published, standing, "")]
    while todo:
        before, after, prefix = todo.pop()
        if before is None or before == after:
            continue
        now = read_tree(store, after)
        for name, entry in read_tree(store, before).items():
            other = now.get(name)
            if entry.mode == TREE:
                todo.append((entry.oid, other.oid if other and other.mode == TREE else None, f"{prefix}{name}/"))
            elif other is None:
                yield prefix + name, entry
