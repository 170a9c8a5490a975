"""The largest file that frames have written: servers refuse files above their limit."""

from __future__ import annotations

from collections.abc import Iterator

from dreamcatcherd.core.paths import ROOTS, Roots, root_above
from dreamcatcherd.core.tree import TREE, Entry, FolderVisits, differences, read_tree, subtree
from dreamcatcherd.git.derived_files import DerivedFiles
from dreamcatcherd.git.protocols import ObjectReader
from dreamcatcherd.stages.folder_facts import KEPT_FROM, FolderFacts

File = tuple[str, int]
"""A path and its bytes; empty and 0 for none."""

RENEW_AFTER = 4_096
"""After how many changed files a daemon goes through all folders again, so that the next process finds those kept."""

_NONE: File = ("", 0)


class Largest:
    """The largest file below `state`, deltas left out: what servers refuse first. It is brought up to each commit by
    what that changed. Where the largest became smaller, and in a new process, all files are looked at, apart from
    those in large folders that were looked into before."""

    def __init__(self, files: DerivedFiles | None = None) -> None:
        """`files` has what an earlier process found."""
        self._files = files
        self._facts: FolderFacts[File] | None = None
        self._commit: str | None = None
        self._roots = ROOTS
        self._found = _NONE
        self._changed = 0

    def of(self, store: ObjectReader, commit: str, roots: Roots = ROOTS) -> File:
        """Path and bytes in a commit's tree, of one store each time. UnreadableError if it cannot be walked."""
        if roots != self._roots:
            self._commit, self._roots = None, roots
        if commit == self._commit:
            return self._found
        found = self._followed(store, self._commit, commit) if self._commit is not None else None
        if found is None:
            found = self._among_all(store, subtree(store, store.commit(commit).tree, "state"))
        self._commit, self._found = commit, found
        return found

    def _followed(self, store: ObjectReader, old: str, new: str) -> File | None:
        """The largest file by what changed between two commits; None if all files have to be looked at."""
        was, now = (_written(store, one, self._roots) for one in (old, new))
        brought = dict(_brought(store, was, now, self._roots))
        self._changed += len(brought)
        known = self._found
        found = max([*brought.items(), *([] if known[0] in brought else [known])], key=_size, default=known)
        # The largest file shrank or was deleted, so any other file may be the largest now.
        return None if found[1] < known[1] or self._changed > RENEW_AFTER else found

    def _among_all(self, store: ObjectReader, state: str | None) -> File:
        if self._facts is None:
            self._facts = FolderFacts(self._files, "largest", File)  # type: ignore[arg-type]
        search = _Search(store, self._roots, self._facts.known)
        found = search.largest(state)
        self._facts.keep(search.kept)
        self._changed = 0
        return found


class _Folder:
    """A folder that is being looked into: the entries that are left, and what was found so far. The path of the largest
    file begins at the folder."""

    def __init__(self, name: str, path: str, tree: str, entries: dict[str, Entry]) -> None:
        self.name = name
        self.path = path
        self.tree = tree
        self.left = iter(entries.items())
        self.largest = _NONE
        self.files = 0

    def take(self, found: File, files: int) -> None:
        """Count what an entry holds: its largest file, and how many there are."""
        self.files += files
        if found[0]:
            self.largest = max(self.largest, found, key=_size) if self.largest[0] else found


class _Search:
    """One look at all files. `kept` are the large folders that it came upon, each with its largest file."""

    def __init__(self, store: ObjectReader, roots: Roots, known: dict[str, File]) -> None:
        self._store = store
        self._roots = roots
        self._known = known
        self._visits = FolderVisits()
        self.kept: dict[str, File] = {}

    def largest(self, state: str | None) -> File:
        """The largest file of the folder `state`, a tree. Folders are opened one in another without recursion: those of
        strangers may be deep."""
        if state is None:
            return _NONE
        todo = [self._opened("state", "state", state, 0)]
        while True:
            at = todo[-1]
            below = self._next_folder(at, len(todo))
            if below is not None:
                todo.append(below)
                continue
            todo.pop()
            if at.files >= KEPT_FROM and self._is_whole(at.path):
                self.kept[at.tree] = at.largest
            if not todo:
                return _below(at.name, at.largest)
            todo[-1].take(_below(at.name, at.largest), at.files)

    def _next_folder(self, at: _Folder, depth: int) -> _Folder | None:
        """Count the entries of a folder up to the next one that has to be opened; None at the end."""
        for name, entry in at.left:
            path = f"{at.path}/{name}"
            if path in self._roots:
                continue
            if entry.mode != TREE:
                at.take((name, self._store.size(entry.oid)), 1)
                continue
            known = self._known.get(entry.oid) if self._is_whole(path) else None
            if known is None:
                return self._opened(name, path, entry.oid, depth)
            self.kept[entry.oid] = known
            at.take(_below(name, known), KEPT_FROM)
        return None

    def _opened(self, name: str, path: str, tree: str, depth: int) -> _Folder:
        return _Folder(name, path, tree, self._visits.read(self._store, tree, depth))

    def _is_whole(self, path: str) -> bool:
        """Whether every file of a folder counts. Around a delta root that depends on the settings, not on the tree."""
        return not any(root.startswith(f"{path}/") for root in self._roots)


def _below(name: str, found: File) -> File:
    """A folder's largest file, with the folder's name before its path."""
    return (f"{name}/{found[0]}", found[1]) if found[0] else _NONE


def _size(file: File) -> int:
    return file[1]


def _written(store: ObjectReader, commit: str, roots: Roots) -> dict[str, Entry]:
    """What `state` holds, apart from delta roots directly below it."""
    entries = read_tree(store, subtree(store, store.commit(commit).tree, "state"))
    return {f"state/{name}": entry for name, entry in entries.items() if f"state/{name}" not in roots}


def _brought(store: ObjectReader, old: dict[str, Entry], new: dict[str, Entry], roots: Roots) -> Iterator[File]:
    """The files of some folders and files that are not the same in two states, without those below delta roots; those
    that went, with no bytes."""
    for path in {**old, **new}:
        then, now = old.get(path), new.get(path)
        if then == now:
            continue
        if now is not None and now.mode != TREE:
            yield path, store.size(now.oid)
        before, after = (one.oid if one is not None and one.mode == TREE else None for one in (then, now))
        for inner, _, entry in differences(store, before, after, f"{path}/"):
            if inner not in roots and root_above(inner, roots) is None:
                yield inner, store.size(entry.oid) if entry else 0
