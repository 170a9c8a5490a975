"""Git objects as pure data: parse, format, compare and edit trees through a reader and a writer that are passed in.

Owns git's tree format; knows nothing of repositories. The digest of a snapshot is a tree id, so the core must be able
to compute one; the same code then serves the git store and its in-memory twin."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from typing import Literal, NamedTuple, Protocol

Kind = Literal["blob", "tree", "commit"]

TREE = 0o040000
FILE = 0o100644


class Entry(NamedTuple):
    """One line of a tree: git's mode and the object id in hex."""

    mode: int
    oid: str


class Reader(Protocol):
    def read(self, oid: str) -> bytes:
        """The content of an object; a missing one raises FatalError."""


class Objects(Reader, Protocol):
    """A content-addressed store: all that the merge needs of a repository."""

    def write(self, kind: Kind, data: bytes) -> str:
        """Keep an object and return its id. Durable only once the store is flushed."""


def object_id(kind: Kind, data: bytes) -> str:
    """The id that git gives to this content."""
    digest = hashlib.sha1(b"%s %d\x00" % (kind.encode(), len(data)), usedforsecurity=False)
    digest.update(data)
    return digest.hexdigest()


def parse(raw: bytes) -> dict[str, Entry]:
    """A tree's entries by name, in git's order. Names that are not UTF-8 carry their bytes as lone surrogates."""
    entries: dict[str, Entry] = {}
    at = 0
    while at < len(raw):
        space = raw.index(b" ", at)
        end = raw.index(b"\0", space)
        name = raw[space + 1 : end].decode("utf-8", "surrogateescape")
        entries[name] = Entry(int(raw[at:space], 8), raw[end + 1 : end + 21].hex())
        at = end + 21
    return entries


def format_tree(entries: Mapping[str, Entry]) -> bytes:
    """A tree's bytes from its entries, in git's order (folders sort as if their name ended in a slash)."""
    lines = []
    for name, (mode, oid) in entries.items():
        raw_name = name.encode("utf-8", "surrogateescape")
        lines.append(
            (raw_name + b"/" if mode == TREE else raw_name, b"%o %s\0" % (mode, raw_name) + bytes.fromhex(oid))
        )
    lines.sort()
    return b"".join(line for _, line in lines)


def read_tree(objects: Reader, oid: str | None) -> dict[str, Entry]:
    """The entries of a tree; none for no tree."""
    return parse(objects.read(oid)) if oid else {}


def lookup(objects: Reader, tree: str | None, path: str) -> Entry | None:
    """What stands at a path below a tree, or None."""
    entry: Entry | None = Entry(TREE, tree) if tree else None
    for part in path.split("/"):
        if entry is None or entry.mode != TREE:
            return None
        entry = read_tree(objects, entry.oid).get(part)
    return entry


def subtree(objects: Reader, tree: str | None, path: str) -> str | None:
    """The id of the folder at a path, or None where there is none."""
    entry = lookup(objects, tree, path)
    return entry.oid if entry and entry.mode == TREE else None


def blob_at(objects: Reader, tree: str | None, path: str) -> str | None:
    """The id of the plain file at a path, or None where there is none."""
    entry = lookup(objects, tree, path)
    return entry.oid if entry and entry.mode & 0o170000 == 0o100000 else None


def edit(objects: Objects, tree: str | None, changes: Mapping[str, Entry | None]) -> str | None:
    """A tree with the given paths set or (None) removed; only touched folders are read and written.

    A folder that a path needs replaces a file of that name. An emptied folder vanishes (returns None at the root)."""
    entries = read_tree(objects, tree)
    deeper: dict[str, dict[str, Entry | None]] = {}
    for path, entry in changes.items():
        head, _, rest = path.partition("/")
        if rest:
            deeper.setdefault(head, {})[rest] = entry
        elif entry is None:
            entries.pop(head, None)
        else:
            entries[head] = entry
    for head, inner in deeper.items():
        old = entries.get(head)
        new = edit(objects, old.oid if old and old.mode == TREE else None, inner)
        if new is not None:
            entries[head] = Entry(TREE, new)
        elif old is not None and old.mode == TREE:
            del entries[head]
    return objects.write("tree", format_tree(entries)) if entries else None


def walk(objects: Reader, tree: str | None, below: str = "") -> Iterator[tuple[str, Entry]]:
    """Every file below a tree as (path, entry), folders opened one at a time."""
    for name, entry in read_tree(objects, tree).items():
        if entry.mode == TREE:
            yield from walk(objects, entry.oid, f"{below}{name}/")
        else:
            yield below + name, entry


def changed(
    objects: Reader, new: str | None, olds: Sequence[str | None], below: str = ""
) -> Iterator[tuple[str, Entry]]:
    """Files of tree `new` that differ from *every* one of `olds`: what a commit changes against all its parents.

    Equal folders are pruned by their id, so the cost follows the difference."""
    if new is None or new in olds:
        return
    known = [read_tree(objects, old) for old in olds]
    for name, entry in read_tree(objects, new).items():
        stands = [old.get(name) for old in known]
        if entry in stands:
            continue
        if entry.mode == TREE:
            folders = [old.oid if old and old.mode == TREE else None for old in stands]
            yield from changed(objects, entry.oid, folders, f"{below}{name}/")
        else:
            yield below + name, entry


def differences(
    objects: Reader, old: str | None, new: str | None, below: str = ""
) -> Iterator[tuple[str, Entry | None, Entry | None]]:
    """Files that are not the same in two trees, as (path, before, after); None where there is no file.

    Equal folders are pruned by their id, so the cost follows the difference."""
    if old == new:
        return
    before, after = read_tree(objects, old), read_tree(objects, new)
    for name in {**before, **after}:
        was, now = before.get(name), after.get(name)
        if was == now:
            continue
        folders = [entry.oid if entry and entry.mode == TREE else None for entry in (was, now)]
        yield from differences(objects, folders[0], folders[1], f"{below}{name}/")
        files = [entry if entry and entry.mode != TREE else None for entry in (was, now)]
        if files != [None, None]:
            yield below + name, files[0], files[1]
