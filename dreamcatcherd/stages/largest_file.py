"""The largest file that frames have written: servers refuse files above their limit."""

from __future__ import annotations

from collections.abc import Iterator

from dreamcatcherd.core.paths import ROOTS, Roots, root_above
from dreamcatcherd.core.tree import TREE, Entry, differences, read_tree, subtree
from dreamcatcherd.git.protocols import ObjectReader

File = tuple[str, int]
"""A path and its bytes; empty and 0 for none."""


class Largest:
    """The largest file below `state`, deltas left out: what servers refuse first. It is brought up to each commit by
    what that changed; only where the largest became smaller, all files are looked at again."""

    def __init__(self) -> None:
        self._commit: str | None = None
        self._roots = ROOTS
        self._found: File = ("", 0)

    def of(self, store: ObjectReader, commit: str, roots: Roots = ROOTS) -> File:
        """Path and bytes in a commit's tree, of one store each time. UnreadableError if it cannot be walked."""
        if roots != self._roots:
            self._commit, self._roots, self._found = None, roots, ("", 0)
        if commit == self._commit:
            return self._found
        new = _written(store, commit, roots)
        old = _written(store, self._commit, roots) if self._commit else {}
        brought = list(_brought(store, old, new, roots))
        known = self._found
        found = max([*brought, *([] if known[0] in dict(brought) else [known])], key=_size, default=known)
        # The largest file shrank or was deleted, so any other file may be the largest now.
        if found[1] < known[1]:
            found = max(_brought(store, {}, new, roots), key=_size, default=("", 0))
        self._commit, self._found = commit, found
        return found


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
            if root_above(inner, roots) is None:
                yield inner, store.size(entry.oid) if entry else 0
