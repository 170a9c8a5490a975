"""The in-memory twin of the git store: real object ids, no disk. For tests, simulation and dry runs."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from dreamcatcherd.core.errors import FatalError
from dreamcatcherd.core.tree import Kind
from dreamcatcherd.git.commits import format_commit, read_commit
from dreamcatcherd.git.protocols import Commit, Move
from dreamcatcherd.git.reachability import Reached, reach
from dreamcatcherd.git.unflushed import Unflushed

if TYPE_CHECKING:
    from dreamcatcherd.core.troubles import Trouble  # it knows ledgers, and the hook is to load no merge


class MemoryStore:
    """A repository in two dicts. Two of them over the same dicts are two primaries on one repository."""

    def __init__(self, shared: MemoryStore | None = None) -> None:
        self.where = self.identity = "memory"
        self.cut: frozenset[str] = frozenset()
        self.spills = False
        self.objects: dict[str, tuple[Kind, bytes]] = shared.objects if shared else {}
        self.heads: dict[str, str] = shared.heads if shared else {}
        self._commits: dict[str, Commit] = shared._commits if shared else {}
        self._reached = Reached(self.commit)
        self._known: str | None = None
        self.signatures: dict[str, str] = shared.signatures if shared else {}
        self._pending = Unflushed()
        self.write = self._pending.write
        self.discard = self._pending.discard

    def reader(self) -> MemoryStore:
        return MemoryStore(self)

    def write_commit(self, commit: Commit) -> str:
        return self.write("commit", format_commit(commit))

    def read(self, oid: str) -> bytes:
        found = self._pending.objects.get(oid) or self.objects.get(oid)
        if found is None:
            raise FatalError(f"object {oid} is missing", "fetch it again or restore the repository")
        return found[1]

    def size(self, oid: str) -> int:
        return len(self.read(oid))

    def resolve(self, prefix: str) -> str | None:
        found = [oid for oid in self.objects if oid.startswith(prefix)] if len(prefix) >= 4 else []
        return found[0] if len(found) == 1 else None

    def refresh(self) -> None:
        pass

    def lost_history(self) -> str | None:
        return None

    def troubles(self) -> list[Trouble]:
        return []

    def refs(self) -> dict[str, str]:
        return dict(self.heads)

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
        return oid == ancestor or ancestor in reach(self.commit, [oid], set())

    def good_signatures(self, commits: Iterable[str], signers: Iterable[str]) -> dict[str, str]:
        return {oid: self.signatures[oid] for oid in commits if oid in self.signatures}

    def follow(self, prefix: str) -> bool:
        return False

    def recall(self) -> str | None:
        return self._known

    def remember(self, oid: str) -> None:
        self._known = oid

    def flush(self) -> None:
        self.objects.update(self._pending.objects)
        self._pending.discard()

    def move_refs(self, moves: list[Move], reason: str) -> bool:
        if any(self.heads.get(move.ref) != move.old for move in moves):
            return False
        for move in moves:
            if move.new is None:
                self.heads.pop(move.ref, None)
            else:
                self.heads[move.ref] = move.new
        return True
