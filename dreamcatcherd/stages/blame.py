"""Which new commit on `main` made a file what it is: whom a violation names."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence

from dreamcatcherd.core.tree import Entry, read_tree, subtree
from dreamcatcherd.git.protocols import Commit, ObjectReader


def culprits(store: ObjectReader, commits: Mapping[str, Commit], head: str, paths: Sequence[str]) -> dict[str, str]:
    """For each path the commit, among those given, that gave it its content at `head`: its parents have other content.

    If several did, the one with the smallest id; `head` if none did. A folder is read once for each commit that changed
    it, no matter how many of the paths are in it."""
    folders: dict[str, set[str]] = defaultdict(set)
    for path in paths:
        folder, _, name = path.rpartition("/")
        folders[folder].add(name)
    found: dict[str, str] = {}
    for folder, names in folders.items():
        wanted = _entries(store, _folder(store, store.commit(head), folder), names)
        left = set(names)
        for oid in sorted(commits):
            if not left:
                break
            tree = _folder(store, commits[oid], folder)
            before = [_folder(store, store.commit(parent), folder) for parent in commits[oid].parents]
            # A commit whose folder is a parent's folder changed nothing in it: most commits are skipped unread.
            if not before or tree in before:
                continue
            after = _entries(store, tree, left)
            given = {name for name in left if after.get(name) == wanted.get(name)}
            for parent in before:
                had = _entries(store, parent, given)
                given = {name for name in given if had.get(name) != wanted.get(name)}
            found |= {f"{folder}/{name}" if folder else name: oid for name in given}
            left -= given
    return {path: found.get(path, head) for path in paths}


def _folder(store: ObjectReader, commit: Commit, folder: str) -> str | None:
    return subtree(store, commit.tree, folder) if folder else commit.tree


def _entries(store: ObjectReader, tree: str | None, names: set[str]) -> dict[str, Entry]:
    """What a folder has under some names; no more of it is kept."""
    return {name: entry for name, entry in read_tree(store, tree).items() if name in names}
