"""A git repository on this disk: reads through pygit2, writes through git's own plumbing.

pygit2 reads objects and walks history fast. Packs and refs are written by git (`index-pack`, `update-ref --stdin`):
both refs of a publication move in one transaction, by compare-and-swap, fsynced. One thread owns a store."""

from __future__ import annotations

import contextlib
import os
import re
import time
import zlib
from collections.abc import Callable, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import pygit2
from msgspec import structs

from dreamcatcherd.core.errors import FatalError, RetryableError, UsageError
from dreamcatcherd.core.paths import PUBLISHED
from dreamcatcherd.core.tree import Kind
from dreamcatcherd.core.troubles import Trouble
from dreamcatcherd.git.atomic_write import write_atomically
from dreamcatcherd.git.command import error_message, git
from dreamcatcherd.git.commits import check_ceiling, format_commit, read_commit
from dreamcatcherd.git.disk_errors import remedy_in
from dreamcatcherd.git.incomplete_clone import SHALLOW, complete, is_partial, shallow_commits, unshallow
from dreamcatcherd.git.integrity import (
    MARKER,
    DamagedRefsError,
    check_critical,
    check_packed,
    check_there,
    damaged_refs,
    lost_history,
    ref_troubles,
)
from dreamcatcherd.git.locks import STALE_S, locks_of, remove_stale
from dreamcatcherd.git.packs import Packed, release, sync_folder, write_pack
from dreamcatcherd.git.protocols import Commit, Move
from dreamcatcherd.git.reachability import Reached, has_graph, near_commits, reach, reaches_near
from dreamcatcherd.git.rev_list import header_of, list_commits
from dreamcatcherd.git.signatures import good_signatures, sign
from dreamcatcherd.git.unflushed import Unflushed

_UNKNOWN_KINDS = (
    ("object format", "has SHA-256 object ids", "use a SHA-1 repository: git init --object-format=sha1"),
    ("objectformat", "has SHA-256 object ids", "use a SHA-1 repository: git init --object-format=sha1"),
    ("refstorage", "keeps its refs as a reftable", "convert it: git refs migrate --ref-format=files (git 2.46)"),
    ("partialclone", "is a partial clone", "name a full clone: git clone --bare without --filter"),
)
"""What libgit2 says of extensions that it does not know, what they are, and what to do."""

_HEX = re.compile(r"[0-9a-f]{4,40}")
_LEVEL = 1
_NONE = "0" * 40
_LOCK_POLL_S = 0.05
_SPILL_BYTES = 32 * 2**20
"""What is written beyond this goes to disk at once: unreferenced, it counts as little as in memory."""
_OPEN_PACKS = 64
"""libgit2 keeps every pack open that it ever read from, also those that maintenance has deleted since."""


class LocalStore:
    """The shared repository, opened in place."""

    def __init__(self, path: Path) -> None:
        self.where = str(path)
        self.identity = str(path.resolve())
        pygit2.settings.mwindow_file_limit = _OPEN_PACKS
        self._repo = _open(path)
        self.folder = Path(self._repo.path)
        self._opened = _identity(self.folder)
        self._packs = _pack_names(self.folder)
        self._damaged: dict[str, str | None] | None = None
        self._listed: dict[str, str] = {}
        self._keeps: list[Path] = []
        self._partial = is_partial(self._repo)
        self._pending = Unflushed()
        self._deflater = ThreadPoolExecutor(1, "deflate")
        self._deflated: dict[str, Future[Packed]] = {}
        self._large: dict[str, Commit] = {}  # commits that git was asked about, being too large to read
        self._known: str | None = None
        self._reached = Reached(self.commit, self._everything)
        self.cut = shallow_commits(self.folder)
        self._unflushed = 0
        self.spills = True
        self.progress: Callable[[], None] = lambda: None
        self.signing_key: Path | None = None

    def reader(self) -> LocalStore:
        return LocalStore(self.folder)

    def write_commit(self, commit: Commit) -> str:
        raw = format_commit(commit)
        return self.write("commit", sign(raw, self.signing_key) if self.signing_key else raw)

    def write(self, kind: Kind, data: bytes) -> str:
        """Keep an object; it is compressed on another core while the merge goes on."""
        oid = self._pending.write(kind, data)
        if oid not in self._deflated:
            self._deflated[oid] = self._deflater.submit(_deflate, kind, data)
            self._unflushed += len(data)
            if self._unflushed > _SPILL_BYTES and self.spills:
                self.flush()
        return oid

    def discard(self) -> None:
        self._pending.discard()
        self._deflated.clear()
        self._unflushed = 0

    def read(self, oid: str) -> bytes:
        found = self._pending.objects.get(oid)
        if found is not None:
            return found[1]
        try:
            check_ceiling(oid, *self._repo.odb.read_header(oid))
            return self._repo.read(oid)[1]
        except (KeyError, ValueError, pygit2.GitError) as error:
            raise self._missing(oid, error) from error

    def size(self, oid: str) -> int:
        found = self._pending.objects.get(oid)
        if found is not None:
            return len(found[1])
        try:
            return int(self._repo.odb.read_header(oid)[1])
        except (KeyError, ValueError, pygit2.GitError) as error:
            raise self._missing(oid, error) from error

    def _missing(self, oid: str, error: Exception) -> FatalError:
        if self._partial:
            return FatalError(f"object {oid} is missing: {self.where} is a partial clone", complete(self.folder))
        remedy = "run git fsck there and restore the object from any clone; nothing is published until then"
        return FatalError(f"object {oid} cannot be read from {self.where}: {error}", remedy)

    def resolve(self, prefix: str) -> str | None:
        if not _HEX.fullmatch(prefix):
            return None
        try:
            return str(self._repo[prefix].id)
        except (KeyError, ValueError, pygit2.GitError):
            return None

    def troubles(self) -> list[Trouble]:
        found = ref_troubles(self.folder, self._damaged or {})
        if self._partial:
            found.append(Trouble(f"{self.where} is a partial clone", None, complete(self.folder)))
        if self.cut:
            found.append(Trouble(f"{self.where} is a shallow repository, {SHALLOW}", None, unshallow(self.folder)))
        return found

    def refresh(self) -> None:
        """See the repository as it is on the disk now. libgit2 keeps every pack open that it read from, also deleted
        ones, and what was mounted before; so after a repack or a remount it is opened again."""
        check_there(self.folder)
        identity, packs = _identity(self.folder), _pack_names(self.folder)
        if identity != self._opened or self._packs - packs:
            self._repo.free()
            try:
                self._repo = _open(self.folder)
            except UsageError as error:
                check_there(self.folder)
                raise FatalError(error.cause, error.remedy) from error
            self._opened = identity
        self._packs = packs

    def refs(self) -> dict[str, str]:
        self.refresh()
        found = self._local_refs()
        check_critical(self.folder, found)
        missing = self._listed.keys() - found.keys()
        if self._damaged is None or any((self.folder / name).is_file() for name in missing):
            self._damaged = damaged_refs(self.folder)
        self._damaged = {name: last for name, last in self._damaged.items() if name not in found}
        # A ref that was damaged since the last look was not deleted: what it named still counts.
        found |= {name: self._listed[name] for name in missing & self._damaged.keys()}
        self._listed = found
        return dict(found)

    def _local_refs(self) -> dict[str, str]:
        """The refs in this folder, as they are now."""
        check_packed(self.folder)
        try:
            refs = list(self._repo.references.iterator())
        except (ValueError, KeyError, pygit2.GitError) as error:
            check_there(self.folder)
            remedy = f"restore packed-refs from a backup; reflogs in {self.folder / 'logs'} have the last values"
            raise DamagedRefsError(f"the refs of {self.where} cannot be read: {error}", remedy) from error
        return {ref.name: str(ref.target) for ref in refs if isinstance(ref.target, pygit2.Oid)}

    def lost_history(self) -> str | None:
        return lost_history(self.folder)

    def commit(self, oid: str) -> Commit:
        commit = self._large.get(oid) or read_commit(self, oid)
        return structs.replace(commit, parents=()) if oid in self.cut else commit

    def through(self, oid: str) -> Commit:
        commit = self.commit(oid)
        if commit.fault is None or commit.tree or (header := header_of(self.folder, oid)) is None:
            return commit
        self._large[oid] = structs.replace(commit, tree=header[0], parents=header[1])
        return self.commit(oid)

    def new_commits(self, tips: Iterable[str], hidden: Iterable[str]) -> dict[str, Commit]:
        tips, hidden = list(dict.fromkeys(tips)), list(dict.fromkeys(hidden))
        near = near_commits(self.commit, tips, hidden[0]) if len(hidden) == 1 else None
        if near is not None:
            return near
        if has_graph(self.folder) and (listed := list_commits(self.folder, tips, hidden)) is not None:
            return {oid: self.commit(oid) for oid in listed}
        return self._reached.new_commits(tips, hidden)

    def _everything(self, tips: list[str]) -> Iterable[str]:
        """All that some commits reach, listed by git: several times faster than reading each. git stops at what is
        no commit to it, and then they are read."""
        listed = list_commits(self.folder, tips, []) if not self.cut else None
        return listed if listed is not None else reach(self.commit, tips, set())

    def descends(self, oid: str, ancestor: str) -> bool:
        if oid == ancestor or ancestor not in self._repo.odb:
            return oid == ancestor
        with contextlib.suppress(FatalError):
            if (near := reaches_near(self.commit, oid, ancestor)) is not None:
                return near
        try:
            return self._repo.descendant_of(pygit2.Oid(hex=oid), pygit2.Oid(hex=ancestor))
        except (KeyError, ValueError, pygit2.GitError):
            asked = git(self.folder, "merge-base", "--is-ancestor", ancestor, oid)
            if asked.returncode > 1:  # git ends at what is no commit to it
                return ancestor in reach(self.commit, [oid], set())
            return asked.returncode == 0

    def good_signatures(self, commits: Iterable[str], signers: Iterable[str]) -> dict[str, str]:
        return good_signatures(self.folder, commits, signers)

    def follow(self, prefix: str) -> bool:
        return False

    def recall(self) -> str | None:
        return self._known

    def remember(self, oid: str) -> None:
        self._known = oid

    def flush(self) -> None:
        if self._pending.objects:
            self._keeps.append(write_pack(self.folder, self._packed()))
            self.discard()

    def _packed(self) -> dict[str, Packed]:
        """All pending objects compressed. What the other core has not begun is done here, from the last one on."""
        packed: dict[str, Packed] = {}
        for oid, deflated in reversed(self._deflated.items()):
            packed[oid] = _deflate(*self._pending.objects[oid]) if deflated.cancel() else deflated.result()
        return packed

    def move_refs(self, moves: list[Move], reason: str) -> bool:
        refs = [move.ref for move in moves]
        asked = "\n".join(["start", *map(_line, moves), "prepare", "commit", ""]).encode("utf-8", "surrogateescape")
        deadline = time.monotonic() + STALE_S + 2
        while True:
            result = git(self.folder, "update-ref", "-m", reason, "--stdin", stdin=asked)
            if result.returncode == 0:
                for folder in {(self.folder / ref).parent for ref in refs}:
                    if folder.is_dir():
                        sync_folder(folder)
                self._published(moves)
                return True
            now = self.refs()
            if any(now.get(move.ref) != move.old for move in moves):
                return False
            locked = locks_of(self.folder, refs)
            if time.monotonic() > deadline or (not locked and "lock" not in error_message(result)):
                cause = f"the refs of {self.where} could not be moved: {error_message(result)}"
                remedy = remedy_in(
                    error_message(result), self.folder, f"run git -C {self.folder} fsck and see what it says"
                )
                raise RetryableError(cause, remedy)
            remove_stale(locked)
            time.sleep(_LOCK_POLL_S)

    def _published(self, moves: list[Move]) -> None:
        """Refs hold what was written: its packs may be repacked again. What was published is noted beside the refs."""
        release(self._keeps)
        self._keeps.clear()
        for move in moves:
            if move.ref == PUBLISHED:
                with contextlib.suppress(OSError):
                    if move.new is None:
                        (self.folder / MARKER).unlink(missing_ok=True)
                    else:
                        write_atomically(self.folder / MARKER, f"{move.new}\n".encode())


def _open(path: Path) -> pygit2.Repository:
    try:
        return pygit2.Repository(str(path))
    except (pygit2.GitError, KeyError, ValueError) as error:
        raise _cannot_open(path, error) from error


def _identity(folder: Path) -> tuple[int, int]:
    """What tells a folder from another one that is mounted or moved to its place."""
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


def _deflate(kind: Kind, data: bytes) -> Packed:
    return Packed(kind, len(data), zlib.compress(data, _LEVEL))


def _line(move: Move) -> str:
    if move.new is None:
        return f"delete {move.ref} {move.old or _NONE}"
    return f"update {move.ref} {move.new} {move.old or _NONE}"


def _cannot_open(path: Path, error: Exception) -> FatalError | UsageError:
    if not path.exists():
        return UsageError(f"there is no repository at {path}", f"make one: dreamcatcherd init {path}")
    if "owned by" in str(error):
        remedy = f"run as its owner, or allow it: git config --global --add safe.directory {path.resolve()}"
        return FatalError(f"{path} belongs to another user", remedy)
    for word, kind, remedy in _UNKNOWN_KINDS:
        if word in str(error).lower():
            return UsageError(f"{path} {kind}, which libgit2 does not read", remedy)
    return UsageError(f"{path} cannot be opened as a git repository: {error}", "name a bare SHA-1 repository")
