"""The commit of a closed frame, and the one move that makes it count (Protocol §7).

Owns the tree that is published: snapshot, ledger and frame.json are ours, delta files are put in or back, all else is
as `main` has it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import msgspec

from dreamcatcherd.core import paths
from dreamcatcherd.core.ledger import Ledger, write_ledger
from dreamcatcherd.core.model import Arrival, Delta, FrameState
from dreamcatcherd.core.report import plural
from dreamcatcherd.core.tree import FILE, TREE, Entry, Objects, Path, edit, edit_at, lookup, read_tree, subtree
from dreamcatcherd.core.waiting import next_ledgers
from dreamcatcherd.store.gitcmd import AUTHOR
from dreamcatcherd.store.ingest import Survey
from dreamcatcherd.store.ports import Commit, Move, Store
from dreamcatcherd.store.retention import outdated

IMPORT = "import"
"""What closed the frame that an imported snapshot stands for."""


def frame_file(state: FrameState) -> bytes:
    """The bytes of `state/frame.json`."""
    return msgspec.json.format(msgspec.json.encode(state), indent=1) + b"\n"


def build_commit(
    store: Store,
    survey: Survey,
    ledger: Ledger,
    state: FrameState,
    merged: list[Arrival],
    now: int,
    files: Mapping[str, Entry] | None = None,
    keep: int | None = None,
    unsafe: Iterable[Path] = (),
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
    shelf = Shelf(store, head_tree)
    for path, entry in deleted_deltas(store, base.deltas, standing):
        if path.partition("/")[0] not in gone and path.count("/") <= paths.LEVELS + 1:
            shelf.put_back(path, entry)
    for arrival in merged:
        if arrival.source != "main" and isinstance(arrival.item, Delta):
            shelf.put(arrival.item)
    changes |= shelf.added
    root = edit(store, head_tree, changes)
    if root is None:
        raise AssertionError("a published tree is never empty")
    message = message_of(ledger, base.commit if base.ledger else None)
    return store.write_commit(Commit(root, _parents(survey), AUTHOR, now // 1_000_000, message))


def publish(store: Store, survey: Survey, commit: str, subject: str) -> bool:
    """Make the commit durable, then move `main` and the published ref to it; False where another was first."""
    store.flush()
    moves = [
        Move(survey.main, commit, survey.refs.get(survey.main)),
        Move(paths.PUBLISHED, commit, survey.refs.get(paths.PUBLISHED)),
    ]
    return store.move_refs(moves, subject)


def subject_of(ledger: Ledger) -> str:
    """The subject of a snapshot commit."""
    if ledger.closed_by == IMPORT:
        return f"import frame {ledger.frame}"
    deltas, streams = ledger.counts.deltas, ledger.counts.streams
    return f"frame {ledger.frame}: {plural(deltas, 'delta')} from {plural(streams, 'stream')}"


def message_of(ledger: Ledger, previous: str | None) -> str:
    """The message of a snapshot commit: subject and trailers. `previous` is the snapshot commit before, if any."""
    trailers = {"Frame": ledger.frame, "Digest": ledger.snapshot, "Deltas": ledger.counts.deltas}
    if previous is not None:
        trailers["Previous"] = previous
    return subject_of(ledger) + "\n\n" + "".join(f"Dreamcatcher-{name}: {value}\n" for name, value in trailers.items())


def _parents(survey: Survey) -> tuple[str, ...]:
    """`main`'s head; the last published commit where `main` was rewound away from it; then the lane heads."""
    parents = [survey.head] if survey.head else []
    published = survey.base.commit
    if published and published != survey.head and not descends(survey, published):
        parents.append(published)
    lanes = dict.fromkeys(oid for _, oid in survey.lanes)
    return tuple(parents + [oid for oid in lanes if oid not in parents])


def descends(survey: Survey, published: str) -> bool:
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


class Shelf:
    """Where lane deltas are put below `state/stream_deltas/`: folders of `main` are read once, and nothing that stands
    there is replaced."""

    def __init__(self, objects: Objects, head_tree: str | None) -> None:
        self._objects = objects
        self._tree = head_tree
        self._folders: dict[str, dict[str, Entry]] = {}
        self.added: dict[str, Entry | None] = {}

    def put_back(self, path: str, entry: Entry) -> None:
        """Restore a file that was deleted."""
        self._add(f"{paths.DELTAS}/{path}", entry)

    def put(self, delta: Delta) -> None:
        """Keep a delta under its own path, or beside it where other bytes stand there; its attachments move along."""
        wanted = Entry(FILE, delta.version.blob)
        path = delta.version.path
        if not delta.attachments and self._takes(path, wanted):
            self._add(path, wanted)
            return
        files = dict(delta.attachments)
        if not self._takes(path, wanted) or not all(self._takes(at, Entry(FILE, oid)) for at, oid in files.items()):
            path = paths.beside(path, delta.version.blob)
            folder = path.removesuffix(".json")
            own = delta.version.path.removesuffix(".json") + "/"
            shared = paths.frame_folder(delta.version.path, delta.frame) + "/"
            files = {f"{folder}/{at.removeprefix(own).removeprefix(shared)}": oid for at, oid in files.items()}
        for at, entry in {path: wanted, **{at: Entry(FILE, oid) for at, oid in files.items()}}.items():
            if self._takes(at, entry):
                self._add(at, entry)

    def _takes(self, path: str, entry: Entry) -> bool:
        """Whether the path is free, or holds these very bytes."""
        folder, _, name = path.rpartition("/")
        standing = self._listing(folder)
        if standing is None:
            return False
        return name not in standing or standing[name].oid == entry.oid

    def _listing(self, folder: str) -> dict[str, Entry] | None:
        """What stands in a folder; None where a delta file stands in the folder's place."""
        if folder not in self._folders:
            parent, _, name = folder.rpartition("/")
            if parent:
                above = self._listing(parent)
                at = above.get(name) if above is not None else None
                if above is None or (at is not None and at.mode != TREE and name.endswith(".json")):
                    return None
            entry = lookup(self._objects, self._tree, folder)
            self._folders[folder] = dict(read_tree(self._objects, entry.oid)) if entry and entry.mode == TREE else {}
        return self._folders[folder]

    def _add(self, path: str, entry: Entry) -> None:
        folder, _, name = path.rpartition("/")
        listing = self._listing(folder)
        if listing is not None and listing.get(name) != entry:
            listing[name] = entry
            self.added[path] = entry
            self._mark_folders(folder)

    def _mark_folders(self, folder: str) -> None:
        """Note a new folder in the one above, so that no file takes its place."""
        parent, _, name = folder.rpartition("/")
        above = self._listing(parent) if parent else None
        if above is not None and (name not in above or above[name].mode != TREE):
            above[name] = Entry(TREE, "")
            self._mark_folders(parent)
