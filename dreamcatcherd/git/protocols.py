"""What the rest of the package asks of a repository, as small Protocols. A function names the smallest that it needs.

    ObjectReader        objects, commits and history
    RefReader           refs, and what is known of lost ones
    SignatureChecker    who signed a commit
    RepositoryReader    these three: all that the hook has, so a check can change nothing
    PushStore           a RepositoryReader during a push, with the push's objects and the settings of git
    QueryReader         objects and abbreviated ids: a reader beside the primary, in another thread
    ObjectWriter        new objects, durable after a flush
    RefStore            refs that can be moved
    Mirror              what a primary keeps of a repository between two polls
    Store               all of them: what a primary works on
    GitStore            a Store whose objects are in a git repository on this disk

The classes that implement them do not inherit from each other; the two readers of a push share what git itself
answers (`push_git`). One contract suite runs over all of them."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Protocol, runtime_checkable

from msgspec import Struct

from dreamcatcherd.core.tree import Objects, Reader

if TYPE_CHECKING:
    from pathlib import Path
    from subprocess import CompletedProcess

    from dreamcatcherd.core.troubles import Trouble  # it imports ledgers and the merge, which the hook must not load


class Commit(Struct, frozen=True):
    """A commit's header and message. `author` is `Name <mail>`, times are seconds since 1970.

    `fault` says why the commit is passed by, if it is: nothing of it is merged. If git itself can follow such a commit,
    its tree and parents are set nevertheless; otherwise there are none."""

    tree: str
    parents: tuple[str, ...]
    author: str
    time: int
    message: str
    fault: str | None = None


class Move(Struct, frozen=True):
    """One ref's compare-and-swap: `old` None requires that it does not exist, `new` None deletes it."""

    ref: str
    new: str | None
    old: str | None


class ObjectReader(Reader, Protocol):
    """Objects, commits and history. Object ids are hex; `read` returns an object's content."""

    @property
    def where(self) -> str:
        """The repository's path or URL, for messages."""

    @property
    def cut(self) -> frozenset[str]:
        """The commits at which history is cut off here, as in an archive; none if the history is complete."""

    def size(self, oid: str) -> int:
        """An object's size in bytes, from its header alone."""

    def commit(self, oid: str) -> Commit:
        """A commit by id; FatalError if it is missing. A commit that cannot be read says so in its `fault`."""

    def through(self, oid: str) -> Commit:
        """A commit that is too large to be read, with its tree and parents if git can follow it; `commit` returns the
        same from then on. git has to read all of it, which is slow."""

    def new_commits(self, tips: Iterable[str], hidden: Iterable[str]) -> dict[str, Commit]:
        """The commits that are reachable from the tips and not from the hidden ones."""

    def descends(self, oid: str, ancestor: str) -> bool:
        """Whether a commit is another one or has it in its history."""


class RefReader(Protocol):
    """Refs, and what is known of a published ref that was lost."""

    def refs(self) -> dict[str, str]:
        """All refs with the commits that they name, looked at again at each call. The caller must not change what is
        returned: a store may return the same object again while nothing changes."""

    def lost_history(self) -> str | None:
        """The commit that was published here, or `unknown`, as far as anything but the refs shows; otherwise None."""


class SignatureChecker(Protocol):
    """Checks ssh signatures of commits."""

    def good_signatures(self, commits: Iterable[str], signers: Iterable[str]) -> dict[str, str]:
        """Those of the commits that have a good ssh signature by a key of the allowed-signers lines, each with the
        key's fingerprint."""


class RepositoryReader(ObjectReader, RefReader, SignatureChecker, Protocol):
    """A repository that can only be read: enough to check a push, and to find what was published."""


class PushStore(RepositoryReader, Protocol):
    """A repository during a push, which may still be refused: its objects can be read, and it has moved no ref.

    `head_branch` is the branch that HEAD names, as a full ref name; None if that branch does not exist."""

    folder: Path
    head_branch: str | None

    def settings(self, section: str) -> dict[str, list[str]]:
        """The git settings of a section, by name in lower case; all values of each."""

    def git(self, *words: str, stdin: bytes = b"", may_fail: bool = False) -> CompletedProcess[bytes]:
        """Run git on the repository with the push's objects; FatalError if it fails, unless it `may_fail`."""

    def close(self) -> None:
        """Let go of what was opened to read."""


class QueryReader(ObjectReader, Protocol):
    """What questions about history are answered from, in a thread beside the primary's."""

    def resolve(self, prefix: str) -> str | None:
        """The full id of the one object that an id or its first digits (at least 4) name, or None."""

    def refresh(self) -> None:
        """See the repository as it is now, without asking a remote; FatalError if it is gone."""


class ObjectWriter(Objects, Protocol):
    """New objects. They can be read immediately; they are durable after `flush`, which `move_refs` relies on."""

    def write_commit(self, commit: Commit) -> str:
        """Keep a commit, its author also its committer; return its id."""

    def keep_in_memory(self) -> None:
        """Write nothing to disk before a flush, however much is written: a dry run leaves nothing behind."""

    def flush(self) -> None:
        """Make all that was written durable. RetryableError if the disk refuses; nothing is published then."""

    def discard(self) -> None:
        """Forget what was written and not flushed."""


class RefStore(RefReader, Protocol):
    """Refs that can be moved."""

    def move_refs(self, moves: list[Move], reason: str) -> bool:
        """Move all refs or none, each from its expected value; False if one of them has another value meanwhile."""


class Mirror(Protocol):
    """What a primary keeps of a repository between two polls. It outlives the process if the repository is remote."""

    def follow(self, prefix: str) -> bool:
        """Let `refs` list the refs below a prefix too; True if the refs must be read again for that."""

    def recall(self) -> str | None:
        """The last published commit that this primary has seen, as far as it knows."""

    def remember(self, oid: str) -> None:
        """Keep a published commit for `recall`, unless only some of the refs moved to it."""

    @property
    def server_notes(self) -> Path | None:
        """The folder in which notes about a server outlive the process; None if pushes go through no server."""


class Store(RepositoryReader, QueryReader, ObjectWriter, RefStore, Mirror, Protocol):
    """A repository that a primary works on."""

    def in_pack_order(self, oids: Iterable[str]) -> list[str]:
        """Objects in the order in which they are read fastest, each once."""

    def troubles(self) -> list[Trouble]:
        """What the last poll found wrong with the repository itself, although it could be read."""

    def reader(self) -> QueryReader:
        """Another reader of the same objects, for another thread: it asks no remote."""


@runtime_checkable
class GitStore(Store, Protocol):
    """A store whose objects are in a git repository on this disk: the shared one, or the clone of a remote one.

    `folder` is that repository, `identity` what two stores on the same shared repository agree on. Snapshot commits are
    signed with `signing_key`, if there is one. `progress` is called while a step takes long."""

    @property
    def loose_refs(self) -> int:
        """How many refs have a file of their own, which every look at the refs asks; 0 if none is asked."""

    folder: Path
    identity: str
    signing_key: Path | None
    progress: Callable[[], None]
