"""The simulated shared repository, and what workers and strangers do to it directly.

Owns which versions were pushed by whom, which of them the primaries owe an account of, and who moves refs."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import NamedTuple

from dreamcatcherd.core.paths import PUBLISHED, SEEN
from dreamcatcherd.core.tree import FILE, Entry, edit, lookup, parse
from dreamcatcherd.git.protocols import Commit, Move
from dreamcatcherd.testing import MemoryStore
from tests.law.fleet import MAIN
from tests.law.sent import Sent

WORKER = "worker <worker@localhost>"
ROOT = "state/stream_deltas"


class Pushed(NamedTuple):
    """One version of a delta file: where a commit put which blob."""

    path: str
    blob: str
    commit: str


class Brought(NamedTuple):
    """What a version is: the delta, and why it is to be quarantined, if it is."""

    sent: Sent
    malformed: str


class Accounts:
    """What workers pushed, to whichever repository: `pushed` is every version that a commit brought. Of these, `owed`
    must be in a ledger, and `taken_back` need not be: a force-push took them away. `regional` came through a relay.
    `places` are the repositories, and `disks` have clones of them."""

    def __init__(self) -> None:
        self.pushed: dict[Pushed, Brought] = {}
        self.owed: set[Pushed] = set()
        self.taken_back: set[Pushed] = set()
        self.regional: set[Pushed] = set()
        self.by_commit: dict[str, list[Pushed]] = {}
        self.places: list[MemoryStore] = []
        self.disks: list[MemoryStore] = []

    def lose(self, candidates: set[Pushed], kept: set[str]) -> None:
        """Of some versions, those whose commits are not kept are owed no longer."""
        gone = {one for one in self.owed & candidates if one.commit not in kept}
        self.owed -= gone
        self.taken_back |= gone

    def kept(self) -> set[str]:
        """The commits that count whatever becomes of others: what servers show, and what clones keep of mirrors."""
        found: set[str] = set()
        for place in self.places:
            found |= reach(place, place.heads.values())
        for disk in self.disks:
            found |= reach(disk, (oid for ref, oid in disk.heads.items() if ref.startswith("refs/primary/mirrors/")))
        return found

    def lose_unreachable(self) -> None:
        """After a disk was lost or a repository restored: what no ref anywhere reaches is owed no longer."""
        self.lose(self.owed, self.kept())


class Server:
    """A repository that workers push to: the shared one, or a relay's. `store` has its objects and refs."""

    def __init__(self, accounts: Accounts, note: Callable[[str], None], is_region: bool = False) -> None:
        """`note` is told of everything that moves a ref."""
        self.store = MemoryStore()
        self.accounts = accounts
        accounts.places.append(self.store)
        self.is_region = is_region
        self.refused: set[str] = set()
        self.seen_published: list[str] = []
        self.first: str | None = None  # the commit with the settings: every state of `main` has them
        self._note = note

    @property
    def heads(self) -> dict[str, str]:
        """The refs."""
        return self.store.heads

    # What primaries do --------------------------------------------------------------------------------------------

    def move(self, moves: list[Move]) -> bool:
        """Move refs by compare-and-swap, as git does."""
        if any(self.heads.get(one.ref) != one.old for one in moves):
            return False
        for one in moves:
            self.set_ref(one.ref, one.new)
        return True

    def set_ref(self, ref: str, oid: str | None) -> None:
        """Let a ref name a commit, or delete it; every move of the published ref is remembered."""
        if oid is None:
            self.heads.pop(ref, None)
        else:
            self.heads[ref] = oid
        if ref == PUBLISHED and oid is not None:
            self.seen_published.append(oid)
        self._note(f"{ref} {oid[:8] if oid else 'deleted'}")

    # What workers do ----------------------------------------------------------------------------------------------

    def commit_files(
        self, parents: tuple[str, ...], base: str | None, files: dict[str, bytes | None], time_s: int
    ) -> str:
        """Write a commit with some files set or removed in the tree of `base`; no ref names it yet."""
        store = self.store
        changes = {
            path: Entry(FILE, store.write("blob", raw)) if raw is not None else None for path, raw in files.items()
        }
        tree = edit(store, store.commit(base).tree if base else None, changes) or store.write("tree", b"")
        commit = store.write_commit(Commit(tree, parents, WORKER, time_s, "work\n"))
        store.flush()
        return commit

    def register(self, commit: str, found: dict[str, Brought]) -> None:
        """Note the versions that a worker's commit brings, as git sees it: what differs from all of its parents."""
        store = self.store
        mine = store.commit(commit)
        before = [store.commit(parent).tree for parent in mine.parents]
        versions = []
        for path, brought in found.items():
            entry = lookup(store, mine.tree, path)
            if entry is not None and all(lookup(store, tree, path) != entry for tree in before):
                versions.append(Pushed(path, entry.oid, commit))
                self.accounts.pushed.setdefault(versions[-1], brought)
        self.accounts.by_commit.setdefault(commit, versions)
        if self.is_region:
            self.accounts.regional.update(versions)

    def push(self, ref: str, commit: str) -> None:
        """A worker's push arrived: what the commit brings is owed an account from now on."""
        self.set_ref(ref, commit)
        self.accounts.owed.update(self.accounts.by_commit.get(commit, ()))

    def take_back(self, ref: str, old: str) -> None:
        """After a ref was rewound or deleted: what it alone showed, before a publication held it, is not owed.

        Of `main` all counts that `main` does not show any more: a lane that somebody made on it may still hold it, and
        is not entitled to bring it."""
        brought = self._brought_by(old)
        if ref == MAIN:
            left = [oid for oid in (self.heads.get(ref), *self.published_tips()) if oid]
            self.accounts.lose(brought, self.reach(left))
        else:
            self.accounts.lose(brought, self.accounts.kept())

    def _brought_by(self, head: str) -> set[Pushed]:
        return {one for commit in self.reach([head]) for one in self.accounts.by_commit.get(commit, ())}

    def reach(self, tips: Iterable[str]) -> set[str]:
        """All commits that some tips reach."""
        return reach(self.store, tips)

    def restore(self, backup: dict[str, str]) -> None:
        """Put the refs back to what they were in a backup."""
        self.heads.clear()
        self.heads.update(backup)
        self._note("restored from a backup")
        self.accounts.lose_unreachable()

    def published_tips(self) -> list[str]:
        """What reaches all that was published."""
        return [self.heads[ref] for ref in (PUBLISHED, SEEN) if ref in self.heads]

    def snapshot_commits(self) -> list[str]:
        """Every commit that the published ref named, oldest first."""
        return list(dict.fromkeys(self.seen_published))

    def main(self) -> str | None:
        """The head of the shared branch."""
        return self.heads.get(MAIN)


def reach(store: MemoryStore, tips: Iterable[str]) -> set[str]:
    """All commits that some tips reach in a store."""
    found: set[str] = set()
    todo = [*tips]
    while todo:
        oid = todo.pop()
        if oid not in found:
            found.add(oid)
            todo.extend(store.commit(oid).parents)
    return found


def transfer(source: MemoryStore, target: MemoryStore, tips: Iterable[str]) -> None:
    """Copy objects as a fetch or push does: all that some commits reach and the target lacks.

    An object that the target has is taken to be there with all that it names."""
    todo = list(tips)
    while todo:
        oid = todo.pop()
        if oid in target.objects:
            continue
        kind, data = target.objects[oid] = source.objects[oid]
        if kind == "commit":
            commit = source.commit(oid)
            todo += [commit.tree, *commit.parents]
        elif kind == "tree":
            todo += [entry.oid for entry in parse(data).values()]
