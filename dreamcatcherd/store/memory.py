"""The in-memory twin of the git store: real object ids, no disk. For tests, simulation and dry runs."""

from __future__ import annotations

from collections.abc import Iterable

from dreamcatcherd.core.errors import FatalError
from dreamcatcherd.core.tree import Kind
from dreamcatcherd.store.pending import Pending, format_commit, parse_commit
from dreamcatcherd.store.ports import Commit, Move


class MemoryStore:
    """A repository in two dicts. Two of them over the same dicts are two primaries on one repository."""

    def __init__(self, shared: MemoryStore | None = None) -> None:
        self.where = "memory"
        self.cut: frozenset[str] = frozenset()
        self.spills = False
        self.objects: dict[str, tuple[Kind, bytes]] = shared.objects if shared else {}
        self.heads: dict[str, str] = shared.heads if shared else {}
        self._commits: dict[str, Commit] = shared._commits if shared else {}
        self._reached: tuple[str, set[str]] = ("", set())
        self._known: str | None = None
        self.signatures: dict[str, str] = shared.signatures if shared else {}
        self._pending = Pending()
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

    def refs(self) -> dict[str, str]:
        return dict(self.heads)

    def commit(self, oid: str) -> Commit:
        found = self._commits.get(oid)
        if found is None:
            found = parse_commit(self.read(oid))
            if oid in self.objects:
                self._commits[oid] = found
        return found

    def new_commits(self, tips: Iterable[str], hidden: Iterable[str]) -> dict[str, Commit]:
        known: set[str] = set()
        for oid in hidden:
            known |= self._history(oid)
        return self._reach(tips, known)

    def _history(self, oid: str) -> set[str]:
        """All that a commit reaches. The last answer is kept, since what is asked next mostly stands upon it."""
        tip, reached = self._reached
        fresh = self._reach([oid], reached)
        if tip == oid or any(tip in commit.parents for commit in fresh.values()):
            reached.update(fresh)
        else:
            reached = set(self._reach([oid], set()))
        self._reached = (oid, reached)
        return reached

    def _reach(self, tips: Iterable[str], known: set[str]) -> dict[str, Commit]:
        found: dict[str, Commit] = {}
        todo = list(tips)
        while todo:
            oid = todo.pop()
            if oid not in found and oid not in known:
                found[oid] = self.commit(oid)
                todo.extend(found[oid].parents)
        return found

    def descends(self, oid: str, ancestor: str) -> bool:
        return oid == ancestor or ancestor in self._reach([oid], set())

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
