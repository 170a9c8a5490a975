"""A git repository in a folder of this disk, read through libgit2: its objects and its refs.

Owns when it is opened again. Nothing is written here: see `pack_writer.py` for objects and `local.py` for refs."""

from __future__ import annotations

import os
import re
from pathlib import Path

import pygit2

from dreamcatcherd.core.errors import FatalError, MissingRepositoryError, UsageError
from dreamcatcherd.core.troubles import Trouble
from dreamcatcherd.git.commits import check_ceiling
from dreamcatcherd.git.incomplete_clone import SHALLOW, complete, is_partial, shallow_commits, unshallow
from dreamcatcherd.git.integrity import check_there
from dreamcatcherd.git.ref_files import RefFiles

_UNKNOWN_KINDS = (
    ("object format", "has SHA-256 object ids", "use a SHA-1 repository: git init --object-format=sha1"),
    ("objectformat", "has SHA-256 object ids", "use a SHA-1 repository: git init --object-format=sha1"),
    ("refstorage", "keeps its refs as a reftable", "convert it: git refs migrate --ref-format=files (git 2.46)"),
    ("partialclone", "is a partial clone", "name a full clone: git clone --bare without --filter"),
)
"""What libgit2 says of extensions that it does not know, what they are, and what to do."""

_HEX = re.compile(r"[0-9a-f]{4,40}")
_UNANSWERED = (KeyError, ValueError, pygit2.GitError)
"""What pygit2 raises for an object or ref that is missing, damaged or of another kind."""
_OPEN_PACKS = 64
"""libgit2 keeps every pack open that it ever read from, also those that maintenance has deleted since."""


class Repository:
    """An opened repository. `where` names it in messages: its path, or the URL that it is a clone of."""

    def __init__(self, path: Path, where: str | None = None) -> None:
        self.handle = _open(path)
        self._odb = self.handle.odb  # asked for once, since asking takes longer than it takes to find an object
        self.folder = Path(self.handle.path)
        self.where = where or str(path)
        self.cut = shallow_commits(self.folder)
        self._partial = is_partial(self.handle)
        self._opened = _identity(self.folder)
        self._packs = _pack_names(self.folder)
        self.ref_files = RefFiles(self.folder)
        self._header: tuple[str, int, int] = ("", 0, 0)  # of the object asked for last: its id, kind and size

    # Objects ------------------------------------------------------------------------------------------------------

    def read(self, oid: str) -> bytes:
        """The content of an object; UnreadableError if it is too large to be read."""
        try:
            check_ceiling(*self._header_of(oid))
            return self._odb.read(oid)[1]
        except _UNANSWERED as error:
            raise self._missing(oid, error) from error

    def size(self, oid: str) -> int:
        """An object's size in bytes, from its header alone."""
        try:
            return self._header_of(oid)[2]
        except _UNANSWERED as error:
            raise self._missing(oid, error) from error

    def _header_of(self, oid: str) -> tuple[str, int, int]:
        """Id, kind and size of an object. Whoever reads a stranger's object asks for its size first, and then for its
        content, so the last answer is kept."""
        if self._header[0] != oid:
            kind, size = self._odb.read_header(oid)
            self._header = (oid, int(kind), int(size))
        return self._header

    def holds(self, oid: str) -> bool:
        """Whether there is an object of this id; it may be damaged."""
        return oid in self._odb

    def resolve(self, prefix: str) -> str | None:
        """The full id of the one object that an id or its first digits (at least 4) name, or None."""
        if not _HEX.fullmatch(prefix):
            return None
        try:
            return str(self.handle[prefix].id)
        except _UNANSWERED:
            return None

    def descends(self, oid: str, ancestor: str) -> bool | None:
        """Whether a commit has another one in its history; None if libgit2 cannot walk that history."""
        try:
            return self.handle.descendant_of(pygit2.Oid(hex=oid), pygit2.Oid(hex=ancestor))
        except _UNANSWERED:
            return None

    def _missing(self, oid: str, error: Exception) -> FatalError:
        if self._partial:
            return FatalError(f"object {oid} is missing: {self.where} is a partial clone", complete(self.folder))
        remedy = "run git fsck there and restore the object from any clone; nothing is published until then"
        return FatalError(f"object {oid} cannot be read from {self.where}: {error}", remedy)

    # Refs ---------------------------------------------------------------------------------------------------------

    def refs(self) -> dict[str, str]:
        """The refs in this folder with the objects that they name, without symbolic ones; DamagedRefsError if they
        cannot be listed. The same object as before if nothing changed: the caller must not change it."""
        return self.ref_files.look()

    # The folder ---------------------------------------------------------------------------------------------------

    def gaps(self) -> list[Trouble]:
        """What the repository lacks: objects that a filter left out, or history beyond a depth."""
        found = []
        if self._partial:
            found.append(Trouble(f"{self.where} is a partial clone", None, complete(self.folder)))
        if self.cut:
            found.append(Trouble(f"{self.where} is a shallow repository, {SHALLOW}", None, unshallow(self.folder)))
        return found

    def refresh(self) -> None:
        """See the repository as it is on the disk now; FatalError if it is gone.

        libgit2 keeps every pack open that it read from, including deleted ones, and it keeps reading what was mounted
        before. So the repository is opened again after a repack, and when another folder is in its place."""
        check_there(self.folder)
        packs = _pack_names(self.folder)
        if _identity(self.folder) != self._opened or self._packs - packs:
            self.close()
            self.reopen()
        self._packs = packs

    def close(self) -> None:
        """Close all files of the repository; nothing can be asked before it is opened again."""
        self.handle.free()
        del self._odb  # it would keep them open

    def reopen(self) -> None:
        """Open what is in the folder now."""
        identity, packs = _identity(self.folder), _pack_names(self.folder)
        try:
            self.handle = _open(self.folder)
        except UsageError as error:
            check_there(self.folder)
            raise FatalError(error.cause, error.remedy) from error
        self._odb = self.handle.odb
        if identity != self._opened:  # nothing that is known of other files holds for these
            self.ref_files = RefFiles(self.folder)
        self._opened, self._packs = identity, packs


def _open(path: Path) -> pygit2.Repository:
    pygit2.settings.mwindow_file_limit = _OPEN_PACKS  # for all of the process: libgit2 has no such limit per repository
    try:
        return pygit2.Repository(str(path))
    except _UNANSWERED as error:
        raise _cannot_open(path, error) from error


def _identity(folder: Path) -> tuple[int, int]:
    """What differs between a folder and another one that is mounted or moved to its place."""
    try:
        found = folder.stat()
    except OSError:
        return (0, 0)
    return (found.st_dev, found.st_ino)


def _pack_names(folder: Path) -> frozenset[str]:
    try:
        with os.scandir(folder / "objects" / "pack") as entries:
            return frozenset(entry.name for entry in entries if entry.name.endswith(".pack"))
    except OSError:
        return frozenset()


def _cannot_open(path: Path, error: Exception) -> FatalError | UsageError:
    if not path.exists():
        return MissingRepositoryError(
            f"there is no repository at {path}", f"name another with --repo, or make one: dreamcatcherd init {path}"
        )
    if "owned by" in str(error):
        remedy = f"run as its owner, or allow it: git config --global --add safe.directory {path.resolve()}"
        return FatalError(f"{path} belongs to another user", remedy)
    if "repository not found" in str(error).lower():
        remedy = f"name another with --repo, or move it away and make one: dreamcatcherd init {path}"
        return MissingRepositoryError(f"{path} is not a git repository", remedy)
    for word, kind, remedy in _UNKNOWN_KINDS:
        if word in str(error).lower():
            return UsageError(f"{path} {kind}, which libgit2 does not read", remedy)
    return UsageError(f"{path} cannot be opened as a git repository: {error}", "name a bare SHA-1 repository")
