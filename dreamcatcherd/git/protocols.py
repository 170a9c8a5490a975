"""What a cycle needs of a repository, as a Protocol. The git store and its in-memory twin both keep it, and one
contract suite runs over both."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Protocol

from msgspec import Struct

from dreamcatcherd.core.tree import Objects

if TYPE_CHECKING:
    from dreamcatcherd.core.troubles import Trouble  # it knows ledgers, and the hook is to load no merge


class Commit(Struct, frozen=True):
    """A commit's header and message. `author` is `Name <mail>`, times are seconds since 1970.

    `fault` says why the commit is passed by, where it is: nothing of it is merged. Its tree and parents are there all
    the same where git itself can follow it, else there are none."""

    tree: str
    parents: tuple[str, ...]
    author: str
    time: int
    message: str
    fault: str | None = None


class Move(Struct, frozen=True):
    """One ref's compare-and-swap: `old` None says that it must not exist, `new` None deletes it."""

    ref: str
    new: str | None
    old: str | None


class Store(Objects, Protocol):
    """A repository. Object ids are hex. What is written is durable after `flush`, which `move_refs` relies on."""

    where: str
    cut: frozenset[str]
    """The commits at which history is cut off here, as in an archive; none where it is whole."""
    spills: bool
    """Whether much that is written may go to disk before the flush. Without, a dry run leaves nothing behind."""

    def refs(self) -> dict[str, str]:
        """All refs with the commits that they name, read anew."""

    def commit(self, oid: str) -> Commit:
        """A commit by id; FatalError where it is missing. One that cannot be read says so in its `fault`."""

    def through(self, oid: str) -> Commit:
        """A commit that is too large to be read, with its tree and parents where git can follow it; `commit` gives it
        so from then on. Costs git the reading of it."""

    def size(self, oid: str) -> int:
        """An object's size in bytes, from its header alone."""

    def refresh(self) -> None:
        """See the repository as it is now, without asking anybody at a distance; FatalError where it is gone."""

    def lost_history(self) -> str | None:
        """The commit that was published here, or `unknown`, as far as anything but the refs shows; else None."""

    def troubles(self) -> list[Trouble]:
        """What the last look found wrong with the repository itself, although it could be read."""

    def resolve(self, prefix: str) -> str | None:
        """The full id of the one object that an id or its first digits (4 at least) name, or None."""

    def new_commits(self, tips: Iterable[str], hidden: Iterable[str]) -> dict[str, Commit]:
        """The commits that are reachable from the tips and not from the hidden ones."""

    def descends(self, oid: str, ancestor: str) -> bool:
        """Whether a commit is another one or has it in its history."""

    def good_signatures(self, commits: Iterable[str], signers: Iterable[str]) -> dict[str, str]:
        """Which of the commits have a good ssh signature by a key of the allowed-signers lines: its fingerprint."""

    def follow(self, prefix: str) -> bool:
        """See to it that `refs` has the refs below a prefix too; True where the refs must be read again for that."""

    def recall(self) -> str | None:
        """The last published commit that this primary has seen, as far as it knows."""

    def remember(self, oid: str) -> None:
        """Keep that for `recall`: it outlives the process where the primary has a clone of its own."""

    def reader(self) -> Store:
        """Another store on the same objects, for reading in another thread: it asks nobody at a distance."""

    def write_commit(self, commit: Commit) -> str:
        """Keep a commit, its author also its committer; return its id."""

    def flush(self) -> None:
        """Make all that was written durable. RetryableError where the disk refuses; nothing is published then."""

    def discard(self) -> None:
        """Forget what was written and not flushed."""

    def move_refs(self, moves: list[Move], reason: str) -> bool:
        """Move all refs or none, each from its expected value; False where one of them is elsewhere by now."""
