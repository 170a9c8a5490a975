"""The shared repository on this disk: reads through libgit2, packs written here, refs moved by git's own plumbing.

Both refs of a publication move in one `git update-ref --stdin`: one transaction, by compare-and-swap, fsynced. Owns
that transaction, and what is checked of the refs before they count. One thread owns a store."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterable
from pathlib import Path, PurePosixPath

from dreamcatcherd.core.errors import RetryableError
from dreamcatcherd.core.paths import PUBLISHED
from dreamcatcherd.core.tree import Kind
from dreamcatcherd.core.troubles import Trouble
from dreamcatcherd.git.atomic_write import sync_folder, write_atomically
from dreamcatcherd.git.command import SYNCS_REFS, error_message, git
from dreamcatcherd.git.commit_history import CommitHistory
from dreamcatcherd.git.disk_errors import disk_failure, remedy_in
from dreamcatcherd.git.integrity import MARKER, check_critical, lost_history, ref_troubles
from dreamcatcherd.git.locks import LOCK_POLL_S, LOCK_WAIT_S, locks_of, remove_stale
from dreamcatcherd.git.pack_order import in_pack_order
from dreamcatcherd.git.pack_writer import PackWriter
from dreamcatcherd.git.protocols import Commit, Move
from dreamcatcherd.git.repository import Repository
from dreamcatcherd.git.signatures import good_signatures

_NONE = "0" * 40


class LocalStore:
    """The repository at a path, opened in place; UsageError if there is none. It keeps the `GitStore` Protocol."""

    def __init__(self, path: Path) -> None:
        self._repository = Repository(path)
        self._history = CommitHistory(self, self._repository)
        self._writer = PackWriter(self._repository.folder)
        self.folder = self._repository.folder
        self.where = self._repository.where
        self.cut = self._repository.cut
        self.identity = str(path.resolve())
        self.signing_key: Path | None = None
        self.server_notes: Path | None = None  # refs are moved here, so no server's policy counts
        self.progress: Callable[[], None] = lambda: None  # no step here takes long enough to call it
        self._known: str | None = None

    # Objects ------------------------------------------------------------------------------------------------------

    def read(self, oid: str) -> bytes:
        found = self._writer.objects.get(oid)
        return found[1] if found is not None else self._repository.read(oid)

    def size(self, oid: str) -> int:
        found = self._writer.objects.get(oid)
        return len(found[1]) if found is not None else self._repository.size(oid)

    def in_pack_order(self, oids: Iterable[str]) -> list[str]:
        return in_pack_order(self.folder, oids)

    def resolve(self, prefix: str) -> str | None:
        return self._repository.resolve(prefix)

    def commit(self, oid: str) -> Commit:
        return self._history.commit(oid)

    def through(self, oid: str) -> Commit:
        return self._history.through(oid)

    def new_commits(self, tips: Iterable[str], hidden: Iterable[str]) -> dict[str, Commit]:
        return self._history.new_commits(tips, hidden)

    def descends(self, oid: str, ancestor: str) -> bool:
        return self._history.descends(oid, ancestor)

    def good_signatures(self, commits: Iterable[str], signers: Iterable[str]) -> dict[str, str]:
        return good_signatures(self.folder, commits, signers)

    def write(self, kind: Kind, data: bytes) -> str:
        return self._writer.write(kind, data)

    def write_commit(self, commit: Commit) -> str:
        return self._writer.write_commit(commit, self.signing_key)

    def keep_in_memory(self) -> None:
        self._writer.keep_in_memory()

    def flush(self) -> None:
        self._writer.flush()

    def discard(self) -> None:
        self._writer.discard()
        self._history.forget()

    # Refs ---------------------------------------------------------------------------------------------------------

    def refresh(self) -> None:
        self._repository.refresh()

    def refs(self) -> dict[str, str]:
        """All refs; DamagedRefsError if one is damaged that nothing can be published without.

        A ref that was damaged since the last look was not deleted: the commit that it named still counts."""
        self.refresh()
        found = self._repository.refs()
        check_critical(self.folder, found, self._repository.ref_files.damaged)
        return found

    @property
    def loose_refs(self) -> int:
        return self._repository.ref_files.loose

    def lost_history(self) -> str | None:
        return lost_history(self.folder)

    def troubles(self) -> list[Trouble]:
        return [*ref_troubles(self.folder, self._repository.ref_files.damaged), *self._repository.gaps()]

    def move_refs(self, moves: list[Move], reason: str) -> bool:
        """Move refs in one transaction. A lock in the way is waited for; one that a killed process left is removed."""
        refs = [move.ref for move in moves]
        asked = "\n".join(["start", *map(_line, moves), "prepare", "commit", ""]).encode("utf-8", "surrogateescape")
        deadline = time.monotonic() + LOCK_WAIT_S
        while True:
            result = git(self.folder, "update-ref", "-m", reason, "--stdin", stdin=asked, variables={SYNCS_REFS: "1"})
            if result.returncode == 0:
                self._writer.release()  # refs reach what was written, so its packs may be repacked again
                try:
                    self._sync_folders(refs)
                finally:
                    self._note(moves)
                return True
            now = self.refs()  # git's exit code does not say why: a ref that moved is an answer, all else a failure
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
            time.sleep(LOCK_POLL_S)

    def _sync_folders(self, refs: list[str]) -> None:
        """Sync the names of refs. git syncs their files and not the folders that have their names, any of which may be
        new. RetryableError if the disk refuses: the refs have moved, which the next look finds."""
        folders = {folder for ref in refs for folder in PurePosixPath(ref).parents}
        try:
            for name in sorted(folders, reverse=True):  # from the bottom up, and in the same order each time
                if (folder := self.folder / name).is_dir():
                    sync_folder(folder)
        except OSError as error:
            raise disk_failure(f"the refs of {self.where} moved and could not be synced", error, self.folder) from error

    def _note(self, moves: list[Move]) -> None:
        """Note the published commit in a file beside the refs, for when they are lost.

        It is written once their names are on the disk: a note that is there without them says after a power failure
        that they are lost, and nothing is closed."""
        for move in moves:
            if move.ref == PUBLISHED:
                with contextlib.suppress(OSError):
                    if move.new is None:
                        (self.folder / MARKER).unlink(missing_ok=True)
                    else:
                        write_atomically(self.folder / MARKER, f"{move.new}\n".encode())

    # Between two polls --------------------------------------------------------------------------------------------

    def follow(self, prefix: str) -> bool:
        return False  # `refs` lists all

    def recall(self) -> str | None:
        return self._known

    def remember(self, oid: str) -> None:
        self._known = oid

    def reader(self) -> LocalStore:
        return LocalStore(self.folder)


def _line(move: Move) -> str:
    if move.new is None:
        return f"delete {move.ref} {move.old or _NONE}"
    return f"update {move.ref} {move.new} {move.old or _NONE}"
