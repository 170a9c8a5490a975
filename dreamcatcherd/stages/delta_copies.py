"""Copying lane deltas into the tree of `main`, each under its own path or next to what is there already.

The rules are the contract's (docs/protocol.md#publishing): no existing file is replaced, and no copy gets a name that a
file system without letter case or Unicode forms would take for an existing one."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable

from dreamcatcherd.core import paths
from dreamcatcherd.core.model import Delta
from dreamcatcherd.core.tree import FILE, TREE, Entry, Objects, lookup, read_tree
from dreamcatcherd.git.protocols import ObjectReader


def as_compared(name: str) -> str:
    """A name or path as a file system compares it that knows no letter case and no forms of Unicode."""
    if name.isascii():
        return name.lower()
    return unicodedata.normalize("NFC", unicodedata.normalize("NFD", name).casefold())


class Copies:
    """Where lane deltas are copied to below the delta roots. Each folder of `main` is read once."""

    def __init__(
        self,
        objects: Objects,
        head_tree: str | None,
        roots: paths.Roots = paths.ROOTS,
        published: str | None = None,
    ) -> None:
        """`published` is the tree of the last publication: what was a folder in it is ours."""
        self._objects = objects
        self._tree = head_tree
        self._published = published
        self._roots = roots
        # Outside `state/` a file may stand where a root, or a folder above it, would be: it is somebody else's.
        outside = (root.split("/") for root in roots if not root.startswith("state/"))
        self._foreign = {"/".join(names[:end]) for names in outside for end in range(1, len(names) + 1)}
        self._folders: dict[str, dict[str, Entry]] = {}
        self._alike: dict[str, dict[str, str]] = {}  # by folder and name as they are compared: the path that is there
        self.added: dict[str, Entry | None] = {}

    def put_back(self, path: str, entry: Entry) -> None:
        """Restore a file that was deleted."""
        self._add(path, entry)

    def put(self, delta: Delta) -> None:
        """Copy a delta to its own path, or next to it if other bytes have the path; its attachments move along."""
        wanted = Entry(FILE, delta.version.blob)
        if not delta.attachments and self._put_plain(delta.version.path, wanted):
            return
        path = self._clear(delta.version.path, delta.version.blob)
        moved = path != delta.version.path
        if not moved and not delta.attachments and self._takes(path, wanted):
            self._add(path, wanted)
            return
        files = dict(delta.attachments)
        fits = self._takes(path, wanted) and all(self._takes(at, Entry(FILE, oid)) for at, oid in files.items())
        if moved or not fits:
            path = path if moved and self._takes(path, wanted) else paths.beside(path, delta.version.blob)
            folder = path.removesuffix(".json")
            own = delta.version.path.removesuffix(".json") + "/"
            shared = paths.frame_folder(delta.version.path, delta.frame, self._roots) + "/"
            files = {f"{folder}/{at.removeprefix(own).removeprefix(shared)}": oid for at, oid in files.items()}
        for at, entry in {path: wanted, **{at: Entry(FILE, oid) for at, oid in files.items()}}.items():
            if self._takes(at, entry):
                self._add(at, entry)

    def _put_plain(self, path: str, wanted: Entry) -> bool:
        """Copy a file directly into its frame's folder, if that folder is known and nothing there is alike: nearly
        every delta is such a file. False if the rules must be asked."""
        folder, _, name = path.rpartition("/")
        listing, alike = self._folders.get(folder), self._alike.get(as_compared(folder))
        if listing is None or alike is None or folder.rpartition("/")[0] not in self._roots:
            return False
        compared = as_compared(name)
        if compared in alike:
            return False
        listing[name] = self.added[path] = wanted
        alike[compared] = path
        return True

    def _clear(self, path: str, blob: str) -> str:
        """The path, with a folder below the frame's renamed if a delta's file is in its place."""
        parts = path.split("/")
        root = paths.root_above(path, self._roots) or ""
        for at in range(root.count("/") + 2, len(parts) - 1):
            existing = self._names_like("/".join(parts[:at])).get(as_compared(parts[at]))
            if existing is not None and existing.endswith(".json") and self._is_file(existing):
                parts[at] = paths.beside(parts[at], blob)
        return "/".join(parts)

    def _is_file(self, path: str) -> bool:
        folder, _, name = path.rpartition("/")
        return (self._listing(folder) or {})[name].mode != TREE

    def _takes(self, path: str, entry: Entry) -> bool:
        """Whether the path is free, or holds these very bytes. It is not free where a name is there that some file
        systems hold to be the same."""
        folder, _, name = path.rpartition("/")
        existing = self._listing(folder)
        if existing is None:
            return False
        if name in existing:
            return existing[name].oid == entry.oid
        return as_compared(name) not in self._names_like(folder)

    def _names_like(self, folder: str) -> dict[str, str]:
        """What is in a folder and in all whose paths compare alike: paths by their name as it is compared."""
        key = as_compared(folder)
        if key not in self._alike:
            found = [(f"{one}/{name}", name) for one in self._folders_like(folder) for name in self._listing(one) or ()]
            self._alike[key] = {as_compared(name): path for path, name in found}
        return self._alike[key]

    def _folders_like(self, folder: str) -> list[str]:
        """The folders that are there whose paths compare alike."""
        parent, _, last = folder.rpartition("/")
        if not parent:
            return [folder]
        wanted = as_compared(last)
        return [
            f"{above}/{name}"
            for above in self._folders_like(parent)
            for name, entry in (self._listing(above) or {}).items()
            if entry.mode == TREE and as_compared(name) == wanted
        ]

    def _listing(self, folder: str) -> dict[str, Entry] | None:
        """The entries of a folder; None if a delta file, or outside `state/` any other file, is in its place."""
        if folder not in self._folders:
            parent, _, name = folder.rpartition("/")
            if parent:
                above = self._listing(parent)
                at = above.get(name) if above is not None else None
                if above is None or (at is not None and at.mode != TREE and name.endswith(".json")):
                    return None
            if self._is_taken(folder):
                return None
            entry = lookup(self._objects, self._tree, folder)
            self._folders[folder] = dict(read_tree(self._objects, entry.oid)) if entry and entry.mode == TREE else {}
        return self._folders[folder]

    def _is_taken(self, folder: str) -> bool:
        """Whether somebody else's file is where a delta root outside `state/`, or a folder above it, would be."""
        if folder not in self._foreign:
            return False
        before, now = (lookup(self._objects, tree, folder) for tree in (self._published, self._tree))
        return now is not None and now.mode != TREE and (before is None or before.mode != TREE)

    def _add(self, path: str, entry: Entry) -> None:
        folder, _, name = path.rpartition("/")
        listing = self._listing(folder)
        if listing is not None and listing.get(name) != entry:
            listing[name] = entry
            self.added[path] = entry
            self._note(folder, name)
            self._mark_folders(folder)

    def _note(self, folder: str, name: str) -> None:
        if (alike := self._alike.get(as_compared(folder))) is not None:
            alike[as_compared(name)] = f"{folder}/{name}"

    def _mark_folders(self, folder: str) -> None:
        """Note a new folder in the one above, so that no file takes its place."""
        parent, _, name = folder.rpartition("/")
        above = self._listing(parent) if parent else None
        if above is not None and (name not in above or above[name].mode != TREE):
            above[name] = Entry(TREE, "")
            self._note(parent, name)
            self._mark_folders(parent)


def deleted_deltas(store: ObjectReader, published: str | None, existing: str | None) -> Iterable[tuple[str, Entry]]:
    """Files of one delta root's tree that the last publication had and `main` no longer has."""
    todo: list[tuple[str | None, str | None, str]] = [(published, existing, "")]
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
