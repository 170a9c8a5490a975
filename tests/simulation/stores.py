"""The stores that simulated primaries work on: the shared repository by its path, and a clone of it from a distance.

Each call that matters is a *point* with a name, at which the world may let something else happen: a crash, a push, a
step of another primary. The clone runs the real `RemoteStore`; its disk, its objects and the wire alone are
simulated."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, TypeVar

from dreamcatcherd.core.errors import PushRefusedError, RetryableError
from dreamcatcherd.core.tree import Kind
from dreamcatcherd.core.troubles import Trouble
from dreamcatcherd.git.access import Access
from dreamcatcherd.git.protocols import Commit, Move
from dreamcatcherd.git.remote import KNOWN, RemoteStore
from dreamcatcherd.testing import MemoryStore
from tests.simulation.server import Server, transfer

T = TypeVar("T")

NOWHERE = Path("/nonexistent/simulated")
"""The folder of a simulated repository: nothing may look for it on the disk."""


class Host:
    """What surrounds a primary's store: who hears of its points, and which faults its disk and network have left."""

    def __init__(self, hear: Callable[[str], None], count: Callable[[str], None]) -> None:
        """`hear` is called at each point, `count` for each fault that takes effect."""
        self.hear = hear
        self.count = count
        self.failing: dict[str, int] = {}

    def fails(self, what: str) -> bool:
        """Whether this time something fails; each fault is used up by that."""
        left = self.failing.get(what, 0)
        if left:
            self.failing[what] = left - 1
            self.count(what)
        return left > 0

    def write(self) -> None:
        """RetryableError while the disk is full."""
        if self.fails("disk"):
            raise RetryableError("the disk is full", "free some space")


class PathTwin(MemoryStore):
    """The shared repository on the primary's own disk."""

    folder: Path = NOWHERE
    signing_key: Path | None = None
    loose_refs: int = 0

    def __init__(self, server: Server, host: Host) -> None:
        super().__init__(server.store)
        self.progress: Callable[[], None] = lambda: None
        self._server = server
        self._host = host

    def refs(self) -> dict[str, str]:
        self._host.hear("refs")
        return super().refs()

    def new_commits(self, tips: Iterable[str], hidden: Iterable[str]) -> dict[str, Commit]:
        self._host.hear("walk")
        return super().new_commits(tips, hidden)

    def write(self, kind: Kind, data: bytes) -> str:
        self._host.hear("write")
        return super().write(kind, data)

    def flush(self) -> None:
        self._host.hear("flush")
        self._host.write()
        super().flush()

    def move_refs(self, moves: list[Move], reason: str) -> bool:
        self._host.hear("move")
        self._host.write()
        if any(self._server.heads.get(one.ref) != one.old for one in moves):
            self._host.count("race lost")
            return False
        for at, one in enumerate(moves):
            if at:
                self._host.hear("moving")  # git renames the files one after the other, with the locks of all
            self._server.set_ref(one.ref, one.new)
        self._host.hear("moved")
        return True

    def remember(self, oid: str) -> None:
        self._host.hear("remember")
        super().remember(oid)

    def reader(self) -> MemoryStore:
        return MemoryStore(self._server.store)


class CloneTwin(RemoteStore):
    """The shared repository on another machine, through a clone on the simulated disk `disk`, which outlives it."""

    def __init__(self, server: Server, host: Host, disk: MemoryStore, atomic: bool) -> None:
        # Everything that `RemoteStore` opens on a disk is put in its place by hand; its own code stays as it is.
        parts: dict[str, Any] = {
            "_held": True,  # the lock of the clone is never waited for: one process has it
            "_access": Access("git://simulated/fleet.git"),
            "_repository": _Clone(disk),
            "_history": MemoryStore(disk),
            "_refs": _CloneRefs(disk, host),
            "_wire": Wire(server, host, disk, atomic),
            "where": "git://simulated/fleet.git",
            "identity": "git://simulated/fleet.git",
            "folder": NOWHERE,
            "cut": frozenset(),
            "signing_key": None,
            "server_notes": None,
            "progress": lambda: None,
            "loose_refs": 0,
            "_spaces": ["refs/heads/", "refs/dreamcatcher/"],
            "_shown": None,
            "_listed": {},
            "_checked": True,  # a simulated clone is never damaged
            "_host": host,
        }
        vars(self).update(parts)
        self._writer = _Writer(parts["_history"], host)  # type: ignore[assignment]

    def in_pack_order(self, oids: Iterable[str]) -> list[str]:
        return list(dict.fromkeys(oids))

    def good_signatures(self, commits: Iterable[str], signers: Iterable[str]) -> dict[str, str]:
        return {}

    def discard(self) -> None:
        self._writer.discard()

    def refresh(self) -> None:
        pass

    def refs(self) -> dict[str, str]:
        self._point("refs")
        return super().refs()

    def new_commits(self, tips: Iterable[str], hidden: Iterable[str]) -> dict[str, Commit]:
        self._point("walk")
        return super().new_commits(tips, hidden)

    def move_refs(self, moves: list[Move], reason: str) -> bool:
        self._point("move")
        won = super().move_refs(moves, reason)
        self._point("moved")
        return won

    def remember(self, oid: str) -> None:
        self._point("remember")
        super().remember(oid)

    def reader(self) -> Any:
        return MemoryStore(self._repository.disk)  # type: ignore[attr-defined]

    def _repaired(self, sure: bool = False) -> bool:
        return False

    def _recreate(self) -> None:
        self._checked, self._shown = True, None
        heads = self._repository.disk.heads  # type: ignore[attr-defined]
        for ref in heads.keys() - {KNOWN}:
            del heads[ref]
        self._fetch(self._heads())

    def _point(self, name: str) -> None:
        host: Host = vars(self)["_host"]
        host.hear(name)


class _Clone:
    """The part of a `Repository` that a remote store asks, over a simulated disk."""

    handle = None
    cut: frozenset[str] = frozenset()

    def __init__(self, disk: MemoryStore) -> None:
        self.disk = disk

    def read(self, oid: str) -> bytes:
        return self.disk.read(oid)

    def size(self, oid: str) -> int:
        return self.disk.size(oid)

    def resolve(self, prefix: str) -> str | None:
        return self.disk.resolve(prefix)

    def holds(self, oid: str) -> bool:
        return oid in self.disk.objects

    def refs(self) -> dict[str, str]:
        return dict(self.disk.heads)

    def gaps(self) -> list[Trouble]:
        return []


class _CloneRefs:
    """The refs of a clone."""

    def __init__(self, disk: MemoryStore, host: Host) -> None:
        self._disk = disk
        self._host = host

    def get(self, name: str) -> str | None:
        return self._disk.heads.get(name)

    def set(self, name: str, oid: str | None) -> None:
        self._host.hear("ref")
        if oid is None:
            self._disk.heads.pop(name, None)
        else:
            self._disk.heads[name] = oid

    def set_all(self, wanted: Mapping[str, str | None]) -> None:
        for name, oid in wanted.items():
            self.set(name, oid)

    def unlocked(self, move: Callable[[], T]) -> T:
        return move()


class _Writer:
    """New objects of a primary: in memory until they are flushed to the clone."""

    def __init__(self, memory: MemoryStore, host: Host) -> None:
        self._memory = memory
        self._host = host

    @property
    def objects(self) -> dict[str, tuple[Kind, bytes]]:
        return self._memory._unflushed

    def write(self, kind: Kind, data: bytes) -> str:
        self._host.hear("write")
        return self._memory.write(kind, data)

    def write_commit(self, commit: Commit, key: Path | None) -> str:
        self._host.hear("write")
        return self._memory.write_commit(commit)

    def flush(self) -> None:
        self._host.hear("flush")
        self._host.write()
        self._memory.flush()

    def discard(self) -> None:
        self._memory.discard()

    def release(self) -> None:
        self._host.hear("release")


class Wire:
    """Requests to the server, and everything that the network does to them."""

    def __init__(self, server: Server, host: Host, disk: MemoryStore, atomic: bool) -> None:
        self._server = server
        self._host = host
        self._disk = disk
        self._atomic = atomic

    def ask(self, what: str) -> None:
        """Make a request that the network may fail: RetryableError."""
        self._host.hear(what)
        if self._host.fails(what):
            raise unreachable()

    def heads(self, handle: object, spaces: Iterable[str]) -> dict[str, str]:
        self.ask("list")
        found = dict(self._server.heads)
        self._host.hear("listed")
        return found

    def fetch(self, handle: object, specs: list[str], limit_s: float) -> bool:
        self.ask("fetch")
        self._host.write()
        wanted = [spec[1:].partition(":")[0] for spec in specs]
        if wanted[0].endswith("*"):
            refs = [ref for ref in self._server.heads if any(ref.startswith(one[:-1]) for one in wanted)]
        elif all(ref in self._server.heads for ref in wanted):
            refs = wanted
        else:
            return False
        found = {ref: self._server.heads[ref] for ref in refs}
        transfer(self._server.store, self._disk, found.values())
        self._disk.heads.update(found)
        return True

    def push(self, moves: list[Move]) -> RetryableError | None:
        self._host.hear("push")
        if self._host.fails("lost-push"):
            return unreachable()
        if self._host.fails("lie"):
            return None  # the server reports success and moves nothing
        if (refusal := self._refusal(moves)) is not None:
            return refusal
        if any(self._server.heads.get(one.ref) != one.old for one in moves):
            self._host.count("race lost")
            return None
        transfer(self._disk, self._server.store, [one.new for one in moves if one.new])
        if not self._atomic and len(moves) > 1 and self._host.fails("half"):
            self._server.move(moves[:1] if self._host.failing["half"] % 2 == 0 else moves[:-1])
            return unreachable()
        self._server.move(moves)
        self._host.hear("pushed")
        return unreachable() if self._host.fails("lost-answer") else None

    def _refusal(self, moves: list[Move]) -> PushRefusedError | None:
        """The server's policy: a publication must not bring what some lanes hold."""
        for ref in sorted(self._server.refused):
            head = self._server.heads.get(ref)
            known = self._server.reach(self._server.published_tips())
            news = [one.new for one in moves if one.new]
            if head is not None and head not in known and head in MemoryStore(self._disk).new_commits(news, []):
                self._host.count("refused")
                said = f"remote: policy: {ref.removeprefix('refs/heads/')} brings {head}"
                return PushRefusedError("the server refused the push", "see its policy", said)
        return None


def unreachable() -> RetryableError:
    """The failure of a request that got no answer."""
    return RetryableError("the server cannot be reached", "look at the network")
