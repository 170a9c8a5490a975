"""Git objects as pure data: parse, format, compare and edit trees through a reader and a writer that are passed in.

Owns git's tree format; knows nothing of repositories. The digest of a snapshot is a tree id, so the core must be able
to compute one; the same code then serves the git store and its in-memory twin."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Literal, NamedTuple, Protocol

from dreamcatcherd.core.errors import UnreadableError

Kind = Literal["blob", "tree", "commit"]

TREE = 0o040000
FILE = 0o100644
PLAIN_FILE = 0o100000
"""The kind of an entry that is a file with content, executable or not: no folder, link or submodule."""
_ENTRY = re.compile(rb"([0-7]{1,7}+) ([^\0]++)\0(.{20})", re.DOTALL)
_ENTRIES = re.compile(rb"(?:%b)*+" % _ENTRY.pattern, re.DOTALL)

TREE_LEVELS = 1_000
"""How many folders deep a tree is read. Trees of others may be deeper than any program's stack."""

REPEATED = 100_000
"""How many entries are read again in one walk because their folder has several names. A few hand-made folders, each
naming the next one many times, have more paths than can ever be listed."""


def kind_of_mode(mode: int) -> int:
    """The bits of a git mode that distinguish files, folders, links and submodules; the permission bits are cleared.

    Trees written by old or foreign tools have modes such as 0o100664, so a mode is never compared as a number."""
    return mode & 0o170000


class Entry(NamedTuple):
    """One line of a tree: git's mode and the object id in hex."""

    mode: int
    oid: str

    @property
    def is_file(self) -> bool:
        """Whether the entry is a plain file: no folder, symbolic link or submodule."""
        return kind_of_mode(self.mode) == PLAIN_FILE


class Reader(Protocol):
    def read(self, oid: str) -> bytes:
        """The content of an object; a missing one raises FatalError."""


class Objects(Reader, Protocol):
    """A content-addressed store: the only part of a repository that the merge needs."""

    def write(self, kind: Kind, data: bytes) -> str:
        """Keep an object and return its id. Durable only once the store is flushed."""


def object_id(kind: Kind, data: bytes) -> str:
    """The id that git gives to this content."""
    digest = hashlib.sha1(b"%s %d\x00" % (kind.encode(), len(data)), usedforsecurity=False)
    digest.update(data)
    return digest.hexdigest()


def parse(raw: bytes) -> dict[str, Entry]:
    """A tree's entries by name, in git's order; UnreadableError if the bytes are not a tree.

    Names that are not UTF-8 carry their bytes as lone surrogates. Of two entries of one name the last one counts."""
    if not _ENTRIES.fullmatch(raw):
        return _parse_slowly(raw)
    found = _ENTRY.findall(raw)
    modes = {mode: int(mode, 8) for mode in {mode for mode, _, _ in found}}
    modes = {raw_mode: TREE if kind_of_mode(mode) == TREE else mode for raw_mode, mode in modes.items()}
    return {name.decode("utf-8", "surrogateescape"): Entry(modes[mode], oid.hex()) for mode, name, oid in found}


def _parse_slowly(raw: bytes) -> dict[str, Entry]:
    """The same, entry by entry: for trees that git would not write."""
    entries: dict[str, Entry] = {}
    at = 0
    try:
        while at < len(raw):
            space = raw.index(b" ", at)
            end = raw.index(b"\0", space)
            name = raw[space + 1 : end].decode("utf-8", "surrogateescape")
            mode = int(raw[at:space], 8)
            if not name:
                raise ValueError("an entry has no name")
            entries[name] = Entry(TREE if kind_of_mode(mode) == TREE else mode, raw[end + 1 : end + 21].hex())
            at = end + 21
    except ValueError as error:
        raise UnreadableError(f"an object of {len(raw)} bytes is no tree") from error
    if at != len(raw):
        raise UnreadableError(f"an object of {len(raw)} bytes is a tree cut off in its last entry")
    return entries


def format_tree(entries: Mapping[str, Entry]) -> bytes:
    """A tree's bytes from its entries, in git's order (folders sort as if their name ended in a slash)."""
    lines = []
    for name, (mode, oid) in entries.items():
        raw_name = name.encode("utf-8", "surrogateescape")
        # git compares a folder's name with a slash at its end: `a.b` comes before the folder `a`.
        lines.append(
            (raw_name + b"/" if mode == TREE else raw_name, b"%o %s\0" % (mode, raw_name) + bytes.fromhex(oid))
        )
    lines.sort()
    return b"".join(line for _, line in lines)


def read_tree(objects: Reader, oid: str | None) -> dict[str, Entry]:
    """The entries of a tree; none for no tree."""
    return parse(objects.read(oid)) if oid else {}


def lookup(objects: Reader, tree: str | None, path: str) -> Entry | None:
    """The entry at a path below a tree, or None."""
    entry: Entry | None = Entry(TREE, tree) if tree else None
    for part in path.split("/"):
        if entry is None or entry.mode != TREE:
            return None
        entry = read_tree(objects, entry.oid).get(part)
    return entry


def subtree(objects: Reader, tree: str | None, path: str) -> str | None:
    """The id of the folder at a path, or None if there is none."""
    entry = lookup(objects, tree, path)
    return entry.oid if entry and entry.mode == TREE else None


def blob_at(objects: Reader, tree: str | None, path: str) -> str | None:
    """The id of the plain file at a path, or None if there is none."""
    entry = lookup(objects, tree, path)
    return entry.oid if entry and entry.is_file else None


def entries_at(objects: Reader, tree: str | None, wanted: Iterable[str]) -> dict[str, Entry]:
    """The entries at many paths below a tree, by path, for those that exist. A folder is read once, however many of the
    paths go through it."""
    folders: dict[str, dict[str, Entry]] = {}
    found: dict[str, Entry] = {}
    for path in wanted:
        *names, last = path.split("/")
        oid = tree
        for name in names:
            entry = _opened(objects, folders, oid).get(name)
            oid = entry.oid if entry and entry.mode == TREE else None
        if (entry := _opened(objects, folders, oid).get(last)) is not None:
            found[path] = entry
    return found


def _opened(objects: Reader, folders: dict[str, dict[str, Entry]], oid: str | None) -> dict[str, Entry]:
    """A folder's entries, read once."""
    if oid is None:
        return {}
    if oid not in folders:
        folders[oid] = read_tree(objects, oid)
    return folders[oid]


NamePath = tuple[str, ...]
"""A path as its names. A tree may hold names that contain a slash, which a joined path would hide."""


def edit(objects: Objects, tree: str | None, changes: Mapping[str, Entry | None]) -> str | None:
    """A tree with the given paths set or (None) removed; only touched folders are read and written.

    A folder that a path needs replaces a file of that name. An emptied folder vanishes (returns None at the root)."""
    return edit_at(objects, tree, {tuple(path.split("/")): entry for path, entry in changes.items()})


def edit_at(objects: Objects, tree: str | None, changes: Mapping[NamePath, Entry | None]) -> str | None:
    """The same by names: folders are read from the root down, and written from the deepest up."""
    wanted: dict[NamePath, dict[str, Entry | None]] = {(): {}}
    for path, entry in changes.items():
        folder = path[:-1]
        while folder not in wanted:
            wanted[folder] = {}
            folder = folder[:-1]
        wanted[path[:-1]][path[-1]] = entry
    by_depth = sorted(wanted, key=len)
    found: dict[NamePath, dict[str, Entry]] = {}
    for folder in by_depth:
        old = found[folder[:-1]].get(folder[-1]) if folder else Entry(TREE, tree or "")
        found[folder] = read_tree(objects, old.oid if old and old.mode == TREE else None)
    # A folder's id depends on what is in it, so the deepest ones are written first.
    for folder in reversed(by_depth):
        entries = found[folder]
        for name, entry in wanted[folder].items():
            if entry is None:
                entries.pop(name, None)
            else:
                entries[name] = entry
        oid = objects.write("tree", format_tree(entries)) if entries else None
        if not folder:
            return oid
        above, name = found[folder[:-1]], folder[-1]
        if oid is not None:
            above[name] = Entry(TREE, oid)
        elif name in above and above[name].mode == TREE:
            del above[name]
    raise AssertionError("the root is the last folder")


class FolderVisits:
    """The bounds of one walk: how deep it goes, and how much it reads again."""

    def __init__(self) -> None:
        self._seen: set[str] = set()
        self._repeated = 0

    def read(self, objects: Reader, tree: str, depth: int) -> dict[str, Entry]:
        """The entries of a folder; UnreadableError beyond the bounds."""
        if depth > TREE_LEVELS:
            raise UnreadableError(f"a tree has more than {TREE_LEVELS} folders one in another")
        entries = read_tree(objects, tree)
        if tree in self._seen:
            self._repeated += 1 + len(entries)
            if self._repeated > REPEATED:
                raise UnreadableError(f"a tree names folders again and again: more than {REPEATED} files of it repeat")
        self._seen.add(tree)
        return entries


def walk(objects: Reader, tree: str | None, below: str = "") -> Iterator[tuple[str, Entry]]:
    """Every file below a tree as (path, entry), folders opened one at a time; UnreadableError beyond the bounds."""
    yield from changed(objects, tree, (), below)


def changed(
    objects: Reader, new: str | None, olds: Sequence[str | None], below: str = ""
) -> Iterator[tuple[str, Entry]]:
    """Files of tree `new` that differ from *every* one of `olds`: the changes of a commit against all its parents.

    Equal folders are pruned by their id, so the cost follows the difference. UnreadableError beyond the bounds."""
    visits = FolderVisits()

    def opened(tree: str | None, known: Sequence[str | None], prefix: str) -> Iterator[_Opened]:
        if tree is None or tree in known:
            return
        before = [read_tree(objects, old) for old in known]
        for name, entry in visits.read(objects, tree, len(stack)).items():
            yield prefix + name, entry, [old.get(name) for old in before]

    stack: list[Iterator[_Opened]] = []
    stack.append(opened(new, olds, below))
    while stack:
        found = next(stack[-1], None)
        if found is None:
            stack.pop()
            continue
        path, entry, others = found
        if entry in others:
            continue
        if entry.mode == TREE:
            folders = [old.oid if old and old.mode == TREE else None for old in others]
            stack.append(opened(entry.oid, folders, f"{path}/"))
        else:
            yield path, entry


_Opened = tuple[str, Entry, list[Entry | None]]


def differences(
    objects: Reader, old: str | None, new: str | None, below: str = ""
) -> Iterator[tuple[str, Entry | None, Entry | None]]:
    """Files that are not the same in two trees, as (path, before, after); None if there is no file.

    Equal folders are pruned by their id, so the cost follows the difference. UnreadableError beyond the bounds."""
    visits = FolderVisits(), FolderVisits()

    def opened(trees: Sequence[str | None], prefix: str) -> Iterator[tuple[str, Entry | None, Entry | None]]:
        if trees[0] == trees[1]:
            return
        before, after = (
            visit.read(objects, tree, len(stack)) if tree else {} for visit, tree in zip(visits, trees, strict=True)
        )
        for name in {**before, **after}:
            if before.get(name) != after.get(name):
                yield prefix + name, before.get(name), after.get(name)

    stack: list[Iterator[tuple[str, Entry | None, Entry | None]]] = []
    stack.append(opened((old, new), below))
    while stack:
        found = next(stack[-1], None)
        if found is None:
            stack.pop()
            continue
        path, was, now = found
        folders = [entry.oid if entry and entry.mode == TREE else None for entry in (was, now)]
        files = [entry if entry and entry.mode != TREE else None for entry in (was, now)]
        if folders != [None, None]:
            stack.append(opened(folders, f"{path}/"))
        if files != [None, None]:
            yield path, files[0], files[1]
