"""An in-memory implementation of the git stores, with real object ids and no disk, for tests and simulation."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from dreamcatcherd.core.errors import FatalError
from dreamcatcherd.core.tree import Kind, object_id
from dreamcatcherd.core.troubles import Trouble
from dreamcatcherd.git.commits import format_commit, read_commit
from dreamcatcherd.git.protocols import Commit, Move
from dreamcatcherd.git.reachability import Reached, reaches


class MemoryStore:
    """A repository in memory; it implements the `Store` Protocol of `dreamcatcherd.git.protocols`.

    `objects` are the flushed objects by id, `heads` the refs. `signatures` are the fingerprints of signing keys by
    commit, which a test sets. A store that is made from another one shares these three with it: the two are two
    primaries on one repository, each with its own unflushed objects."""

    def __init__(self, shared: MemoryStore | None = None) -> None:
        self.where = self.identity = "memory"
        self.cut: frozenset[str] = frozenset()
        self.server_notes: Path | None = None
        self.objects: dict[str, tuple[Kind, bytes]] = shared.objects if shared else {}
        self.heads: dict[str, str] = shared.heads if shared else {}
        self.signatures: dict[str, str] = shared.signatures if shared else {}
        self._commits: dict[str, Commit] = shared._commits if shared else {}
        self._unflushed: dict[str, tuple[Kind, bytes]] = {}
        self._reached = Reached(self.commit)
        self._known: str | None = None
        self._shown: dict[str, str] = {}

    def read(self, oid: str) -> bytes:
        return self._found(oid)

    def _found(self, oid: str) -> bytes:
        found = self._unflushed.get(oid) or self.objects.get(oid)
        if found is None:
            raise FatalError(f"object {oid} is missing", "fetch it again or restore the repository")
        return found[1]

    def in_pack_order(self, oids: Iterable[str]) -> list[str]:
        return list(dict.fromkeys(oids))

    def size(self, oid: str) -> int:
        return len(self._found(oid))  # a size is not a read: tests count reads

    def resolve(self, prefix: str) -> str | None:
        found = [oid for oid in self.objects if oid.startswith(prefix)] if len(prefix) >= 4 else []
        return found[0] if len(found) == 1 else None

    def commit(self, oid: str) -> Commit:
        found = self._commits.get(oid)
        if found is None:
            found = read_commit(self, oid)
            if oid in self.objects:
                self._commits[oid] = found
        return found

    def through(self, oid: str) -> Commit:
        return self.commit(oid)

    def new_commits(self, tips: Iterable[str], hidden: Iterable[str]) -> dict[str, Commit]:
        return self._reached.new_commits(tips, hidden)

    def descends(self, oid: str, ancestor: str) -> bool:
        return reaches(self.commit, oid, ancestor)

    def good_signatures(self, commits: Iterable[str], signers: Iterable[str]) -> dict[str, str]:
        return {oid: self.signatures[oid] for oid in commits if oid in self.signatures}

    def write(self, kind: Kind, data: bytes) -> str:
        oid = object_id(kind, data)
        self._unflushed[oid] = (kind, data)
        return oid

    def write_commit(self, commit: Commit) -> str:
        return self.write("commit", format_commit(commit))

    def keep_in_memory(self) -> None:
        pass

    def flush(self) -> None:
        self.objects.update(self._unflushed)
        self._unflushed.clear()

    def discard(self) -> None:
        self._unflushed.clear()

    def refs(self) -> dict[str, str]:
        if self._shown != self.heads:
            self._shown = dict(self.heads)
        return self._shown

    def lost_history(self) -> str | None:
        return None

    def move_refs(self, moves: list[Move], reason: str) -> bool:
        if any(self.heads.get(move.ref) != move.old for move in moves):
            return False
        for move in moves:
            if move.new is None:
                self.heads.pop(move.ref, None)
            else:
                self.heads[move.ref] = move.new
        return True

    def refresh(self) -> None:
        pass

    def follow(self, prefix: str) -> bool:
        return False

    def recall(self) -> str | None:
        return self._known

    def remember(self, oid: str) -> None:
        self._known = oid

    def troubles(self) -> list[Trouble]:
        return []

    def reader(self) -> MemoryStore:
        return MemoryStore(self)
