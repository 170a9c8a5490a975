"""Names that no clone can hold: what git refuses to check out on Linux, macOS or Windows (docs/protocol.md#names).

Owns git's rules of `core.protectNTFS` and `core.protectHFS`, both on, and the lengths that file systems allow. The
rules are those of `verify_path` in git's read-cache.c, with its helpers in path.c and utf8.c."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from types import MappingProxyType
from typing import NamedTuple

from dreamcatcherd.core.errors import UnreadableError
from dreamcatcherd.core.tree import TREE, TREE_LEVELS, Entry, NamePath, Reader, kind_of_mode, read_tree

NAME_BYTES = 255
PATH_BYTES = 4_000
FILES = 10_000_000
"""How many files one folder may hold in all. A tree can exceed this cheaply, with folders that appear under many
names."""

LINK = 0o120000

_IGNORED = dict.fromkeys([*range(0x200C, 0x2010), *range(0x202A, 0x202F), *range(0x206A, 0x2070), 0xFEFF])
"""Characters that HFS+ ignores in names."""
_SAFE = re.compile(rb"[!-\-0-FH-\[\]-fh-~][ -.0-\[\]-~]*")
"""Nearly every name: printable ASCII without slashes that does not begin like a spelling of .git."""
_ALL_SAFE = re.compile(rb"(?:%b+/)*+" % _SAFE.pattern)
"""Several such names, with a slash after each. The quantifier is possessive, so that nothing is tried twice."""
_NTFS_GIT = re.compile(rb"(?:\.git|git~1)[. ]*(?:[\\/:].*)?", re.IGNORECASE | re.DOTALL)
_NTFS_MODULES = re.compile(
    rb"(?:\.gitmodules|gitmod~[1-4]|g(?:i(?:7(?:e(?:ba?)?)?)?)?~[1-9][0-9]*)[. ]*(?::.*)?", re.IGNORECASE | re.DOTALL
)


def unsafe_name(name: bytes, mode: int = 0) -> str | None:
    """Why no clone can hold a file or folder of this name, or None. Fewer names are allowed for symbolic links."""
    if len(name) > NAME_BYTES:
        return f"a name of {len(name)} bytes, file systems hold {NAME_BYTES}"
    if _SAFE.fullmatch(name):
        return None
    if name in (b"", b".", b"..") or b"/" in name or b"\0" in name:
        return "a component that git cannot check out"
    plain = _without_ignored(name)
    if plain == b".git" or any(_NTFS_GIT.fullmatch(part) for part in name.split(b"\\")):
        return "a component that git takes for .git and refuses to check out"
    if kind_of_mode(mode) == LINK and (plain == b".gitmodules" or _NTFS_MODULES.fullmatch(name)):
        return "a symbolic link in place of .gitmodules, which git refuses to check out"
    return None


def _without_ignored(name: bytes) -> bytes:
    """The name as HFS+ compares it: without the characters that it ignores, ASCII letters in lower case."""
    if name.isascii():
        return name.lower()
    text = name.decode("utf-8", "surrogateescape").translate(_IGNORED)
    return text.encode("utf-8", "surrogateescape").lower()


def unsafe_path(path: str) -> str | None:
    """Why no clone can hold a file at this path, or None."""
    raw = path.encode("utf-8", "surrogateescape")
    if len(raw) > PATH_BYTES:
        return f"{len(raw)} bytes, and clones hold {PATH_BYTES}"
    return next((why for part in raw.split(b"/") if (why := unsafe_name(part))), None)


class FolderContents(NamedTuple):
    """The contents of a folder, sub-folders included: the longest path in bytes, the number of levels and files, and
    whether one of the names is unsafe. `broken` says why the folder itself cannot be read."""

    unsafe: bool
    longest: int
    levels: int
    files: int
    broken: str | None = None


KNOWN_FOLDERS = 200_000
"""How many folders' contents are kept between two questions."""


class Checkout:
    """Finds paths that no clone can hold. Each distinct folder is read once, however many paths lead to it."""

    def __init__(self, known: Mapping[str, FolderContents] = MappingProxyType({})) -> None:
        """`known` are contents of folders, by tree id, that were found out before."""
        self._known = dict(known)

    @property
    def known(self) -> Mapping[str, FolderContents]:
        """The contents of all folders that are known now."""
        return self._known

    def unsafe_paths(
        self, objects: Reader, new: str | None, olds: Sequence[str | None], besides: str | None = None
    ) -> Iterator[tuple[NamePath, str]]:
        """The paths of tree `new` that no clone can hold, with reasons, unless one of `olds` has the same entry at the
        path.

        A folder that cannot be read, or that holds too much, is named instead of its contents. The folder `besides` at
        the root is skipped."""
        # Emptied completely instead of by age: what is needed again is read again, and that is rare.
        if len(self._known) > KNOWN_FOLDERS:
            self._known.clear()
        todo: list[tuple[str | None, list[str | None], NamePath, int]] = [(new, list(olds), (), 0)]
        while todo:
            tree, known, folder, length = todo.pop()
            if tree is None or tree in known:
                continue
            try:
                entries = read_tree(objects, tree)
            except UnreadableError as error:
                yield folder, error.cause
                continue
            before = [_entries(objects, old) for old in known]
            for name, entry in entries.items():
                others = [old.get(name) for old in before]
                if entry in others or (not folder and name == besides):
                    continue
                raw = name.encode("utf-8", "surrogateescape")
                folders = [old.oid if old and old.mode == TREE else None for old in others]
                is_new = not any(folders)
                why = self._why_not(objects, raw, entry, length, len(folder), is_new)
                if why is not None:
                    yield (*folder, name), why
                elif entry.mode == TREE:
                    below = length + len(raw) + 1
                    if not is_new or not self._is_fine(objects, entry.oid, below, len(folder)):
                        todo.append((entry.oid, folders, (*folder, name), below))

    def _why_not(
        self, objects: Reader, name: bytes, entry: Entry, length: int, levels: int, is_new: bool
    ) -> str | None:
        """Why an entry itself cannot be in a clone; `length` and `levels` are the bytes and levels of the folder around
        it. The contents of a folder count only if the folder is new: else its entries are compared one by one."""
        if (why := unsafe_name(name, entry.mode)) is not None:
            return why
        if length + len(name) > PATH_BYTES:
            return f"a path of more than {PATH_BYTES} bytes"
        if entry.mode != TREE or not is_new:
            return None
        found = self.contents(objects, entry.oid)
        if found.files > FILES:
            return f"a folder of more than {FILES} files"
        return found.broken or (f"more than {TREE_LEVELS} folders one in another" if levels >= TREE_LEVELS else None)

    def _is_fine(self, objects: Reader, tree: str, length: int, levels: int) -> bool:
        found = self.contents(objects, tree)
        return not found.unsafe and length + found.longest <= PATH_BYTES and levels + found.levels < TREE_LEVELS

    def contents(self, objects: Reader, tree: str) -> FolderContents:
        """The contents of a folder. The cost follows its distinct folders, however many paths lead to them."""
        known = self._known
        todo = [tree]
        while todo:
            oid = todo[-1]
            if oid in known:
                todo.pop()
                continue
            try:
                entries = read_tree(objects, oid)
            except UnreadableError as error:
                known[oid] = FolderContents(True, 0, 0, 0, error.cause)
                continue
            below = [entry.oid for entry in entries.values() if entry.mode == TREE and entry.oid not in known]
            if below:
                todo += below
            else:
                known[oid] = self._summary(entries)
        return known[tree]

    def _summary(self, entries: dict[str, Entry]) -> FolderContents:
        raws = [name.encode("utf-8", "surrogateescape") for name in entries]
        longest = max(map(len, raws), default=0)
        unsafe = longest > NAME_BYTES or (
            not _ALL_SAFE.fullmatch(b"/".join([*raws, b""]))
            and any(unsafe_name(raw, entry.mode) for raw, entry in zip(raws, entries.values(), strict=True))
        )
        levels, files = min(1, len(raws)), len(raws)
        for raw, entry in zip(raws, entries.values(), strict=True):
            if entry.mode == TREE:
                below = self._known[entry.oid]
                unsafe = unsafe or below.unsafe
                longest = max(longest, len(raw) + 1 + below.longest)
                levels = max(levels, 1 + below.levels)
                files += below.files - 1
        return FolderContents(unsafe, longest, levels, min(files, FILES + 1))


def _entries(objects: Reader, tree: str | None) -> dict[str, Entry]:
    """The entries of a folder; none if it cannot be read."""
    try:
        return read_tree(objects, tree)
    except UnreadableError:
        return {}
