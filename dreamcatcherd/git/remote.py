"""The shared repository on another machine, through a bare clone of its own: polled and fetched here, pushed to by git.

The clone is a cache. Its branches have the names that they have at the remote, and it is recreated when it cannot be
read. Owns when the clone is recreated, what is fetched, and when a push counts as done."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Iterator, Set
from functools import partial
from pathlib import Path
from typing import ParamSpec, TypeVar

from dreamcatcherd.core.errors import FatalError, PushRefusedError, RetryableError, UnreadableError
from dreamcatcherd.core.paths import PUBLISHED, TRIAL, short_ref
from dreamcatcherd.core.report import plural
from dreamcatcherd.core.tree import Kind
from dreamcatcherd.core.troubles import Trouble
from dreamcatcherd.git.access import Access
from dreamcatcherd.git.certificates import Trust, trusting
from dreamcatcherd.git.clone_refs import CloneRefs
from dreamcatcherd.git.command import git
from dreamcatcherd.git.commit_history import CommitHistory
from dreamcatcherd.git.failures import UnclearError
from dreamcatcherd.git.incomplete_clone import SHALLOW
from dreamcatcherd.git.integrity import DamagedRefsError
from dreamcatcherd.git.libgit2 import set_up_libgit2
from dreamcatcherd.git.local import LocalStore
from dreamcatcherd.git.own_clone import hold, lock_of, make_clone, prepare_clone
from dreamcatcherd.git.pack_order import in_pack_order
from dreamcatcherd.git.pack_writer import PackWriter
from dreamcatcherd.git.protocols import Commit, Move
from dreamcatcherd.git.repository import Repository
from dreamcatcherd.git.signatures import good_signatures
from dreamcatcherd.git.transport import Transport

_P = ParamSpec("_P")
_T = TypeVar("_T")

KNOWN = "refs/primary/known"
"""In the clone only: the last published commit that this primary has seen."""

FEW = 100
"""Up to how many refs that changed are fetched by name."""

FIRST_FETCH = 20
"""How many times the time limit the first fetch may take: it brings all of the history."""


class RemoteStore:
    """The repository that `access` names, with its clone in the folder `clone`, which is made if it is not there.

    One thread owns the store; commands may share its clone with a running daemon. It keeps the `GitStore` Protocol."""

    def __init__(self, access: Access, clone: Path) -> None:
        self._lock = lock_of(clone)
        self._held = False
        self._access = access
        with self._hold():
            prepare_clone(clone, access.url)
        self._repository = Repository(clone, access.url)
        self.folder = self._repository.folder
        self._access = access = trusting(access, self.folder)
        self._history = CommitHistory(self, self._repository)
        self._writer = PackWriter(self.folder)
        self._refs = CloneRefs(self._repository)
        self._wire = Transport(access, self.folder, lambda: self.progress())
        self.where = self.identity = access.url
        self.cut = self._repository.cut
        self.trust = Trust(access.ca_file, access.ca_folder, access.trust)
        self.signing_key: Path | None = None
        self.server_notes: Path | None = self.folder
        self.progress: Callable[[], None] = lambda: None
        self.loose_refs = 0  # the clone's refs are read once, and then follow from what the remote lists
        self._spaces = ["refs/heads/", "refs/dreamcatcher/"]  # the prefixes of the refs that are followed
        self._shown: dict[str, str] | None = None  # the clone's refs as they were last read or moved here
        self._listed: dict[str, str] = {}  # what the remote listed last
        self._checked = False  # whether the clone was checked or recreated since it last answered
        set_up_libgit2(access, self.folder)

    # Objects ------------------------------------------------------------------------------------------------------

    def read(self, oid: str) -> bytes:
        found = self._writer.objects.get(oid)
        return found[1] if found is not None else self._answered(self._repository.read, oid)

    def size(self, oid: str) -> int:
        found = self._writer.objects.get(oid)
        return len(found[1]) if found is not None else self._answered(self._repository.size, oid)

    def in_pack_order(self, oids: Iterable[str]) -> list[str]:
        return in_pack_order(self.folder, oids)

    def resolve(self, prefix: str) -> str | None:
        return self._repository.resolve(prefix)

    def commit(self, oid: str) -> Commit:
        return self._history.commit(oid)  # through `read`, which recreates the clone

    def through(self, oid: str) -> Commit:
        return self._history.through(oid)

    def new_commits(self, tips: Iterable[str], hidden: Iterable[str]) -> dict[str, Commit]:
        return self._answered(self._history.new_commits, list(tips), list(hidden))

    def descends(self, oid: str, ancestor: str) -> bool:
        return self._answered(self._history.descends, oid, ancestor)

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

    # Polling ------------------------------------------------------------------------------------------------------

    def refs(self) -> dict[str, str]:
        """The remote's refs, with all that they reach fetched."""
        with self._hold():
            heads = self._heads()
            try:
                found = self._fetched(heads)
            except (UnclearError, FatalError) as error:
                if not self._repaired(sure=isinstance(error, DamagedRefsError)):
                    raise
                found = self._fetched(heads)
        self._checked = False
        return found

    def follow(self, prefix: str) -> bool:
        """Fetch the refs below a prefix too; returns whether they were not followed before."""
        if any(prefix.startswith(space) for space in self._spaces):
            return False
        self._spaces.append(prefix)
        return True

    def _heads(self) -> dict[str, str]:
        """The followed refs as the remote lists them."""
        heads = self._wire.heads(self._repository.handle, self._spaces)
        self._listed = {name: oid for name, oid in heads.items() if self._followed(name)}
        return self._listed

    def _followed(self, name: str) -> bool:
        return any(name.startswith(space) for space in self._spaces)

    def _mirrored(self) -> dict[str, str]:
        """The followed refs as the clone has them."""
        self.refresh()
        return {name: oid for name, oid in self._repository.refs().items() if self._followed(name)}

    def _fetched(self, heads: dict[str, str]) -> dict[str, str]:
        self.refresh()
        if heads != self._shown:
            self._fetch(heads)
        if self._shown is None:
            self._shown = self._mirrored()
        return self._shown

    def _fetch(self, heads: dict[str, str]) -> None:
        """Fetch what the remote has; locks that a killed process left in the clone are removed."""
        self._refs.unlocked(partial(self._follow_heads, heads))

    def _follow_heads(self, heads: dict[str, str]) -> None:
        """Move the clone's refs to where the remote's are, with all that they reach.

        Refs that are gone from the remote are deleted first: `refs/heads/a` would be in the way of a new
        `refs/heads/a/b`. If few refs changed, only those are fetched, by name, so that a poll costs what changed and
        not what there is. A ref may vanish between the listing and the fetch: git then refuses to fetch by name, and
        everything is fetched by prefix, which takes whatever is there."""
        mine, self._shown = self._shown if self._shown is not None else self._mirrored(), None
        self._refs.set_all(dict.fromkeys(mine.keys() - heads.keys()))
        kept = {name: oid for name, oid in mine.items() if name in heads}
        changed = {name: oid for name, oid in heads.items() if mine.get(name) != oid}
        by_name = mine and len(changed) <= FEW
        if changed:
            limit_s = self._access.timeout_s * (1 if mine else FIRST_FETCH)
            handle = self._repository.handle
            if not (by_name and self._wire.fetch(handle, [f"+{name}:{name}" for name in changed], limit_s)):
                by_name = False
                self._wire.fetch(handle, [f"+{space}*:{space}*" for space in self._spaces], limit_s)
        # What was fetched is read from the clone: a ref may have moved at the remote since it was listed.
        now = {name: oid for name in changed if (oid := self._refs.get(name))} if by_name else self._mirrored()
        if missing := changed.keys() - now.keys():
            self._check_complete(missing)
        self._shown = {**kept, **now} if by_name else now

    def _check_complete(self, missing: Set[str]) -> None:
        """RetryableError if the remote still lists refs that it did not give: without them it would look emptier than
        it is. git fetches what it can of a shallow repository, and reports success."""
        left = missing & self._heads().keys()
        if left:
            which = f"{plural(len(left), 'ref')} that it does not give, such as {short_ref(min(left))}"
            remedy = f"if it is a shallow repository ({SHALLOW}), complete it there: git fetch --unshallow"
            raise RetryableError(f"{self.where} lists {which}", remedy)

    # Publishing ---------------------------------------------------------------------------------------------------

    def move_refs(self, moves: list[Move], reason: str) -> bool:
        """Push, then read the refs back: only what the remote has afterwards counts.

        The push's own result proves nothing: its answer may be lost after the server moved the refs, and a server may
        report success and move nothing."""
        with self._hold():
            trouble = self._wire.push(moves)
            heads = self._heads()
            if any(heads.get(move.ref) not in (move.old, move.new) for move in moves):
                self._fetch(heads)  # another commit is there, and only its history says whether it is on top of ours
            if self._is_done(moves, heads):
                self._note([move for move in moves if heads.get(move.ref) == move.new])
                self._writer.release()
                return True
            if trouble is None or any(heads.get(move.ref) != move.old for move in moves):
                return False
            # Nothing moved and nobody was faster: the clone's own damage may have failed the push.
            if not isinstance(trouble, PushRefusedError) and self._repaired():
                return False
        raise trouble

    def _is_done(self, moves: list[Move], heads: dict[str, str]) -> bool:
        """Whether refs are deleted; or whether the first one has its value, or a commit that somebody put on top of it.
        A server that cannot move refs together may have stopped after it, and it counts: unless another publication
        came meanwhile, and `main` was moved back to where it was before both."""
        if moves[0].new is None:
            return all(move.ref not in heads for move in moves)
        moved = [moves[0], *(move for move in moves[1:] if heads.get(move.ref) != move.old)]
        found = [(heads.get(move.ref, ""), move.new or "") for move in moved]
        return all(at == new or (at and self._repository.holds(at) and self.descends(at, new)) for at, new in found)

    def _note(self, moves: list[Move]) -> None:
        """Move the clone's refs to what the remote has now. If that fails, the next poll does it."""
        with contextlib.suppress(FatalError, UnclearError):
            shown, self._shown = self._shown, None
            moved = {move.ref: move.new for move in moves}
            self._refs.set_all(moved)
            if shown is not None:
                shown = {name: oid for name, oid in shown.items() if name not in moved}
                self._shown = shown | {name: oid for name, oid in moved.items() if oid and self._followed(name)}

    def try_push(self) -> RetryableError | None:
        """Push a trial ref to a commit that the remote has, and delete it again; returns why that fails, if it does."""
        found = self._mirrored().get(PUBLISHED) or next(iter(self._mirrored().values()), None)
        if found is None:
            return RetryableError(f"{self.where} has no commit that a push could be tried with", "push a first commit")
        try:
            for spec in (f"+{found}:{TRIAL}", f":{TRIAL}"):
                self._wire.git("push", "--porcelain", "--", self._access.url, spec)
        except RetryableError as failure:
            return failure
        return None

    # The clone ----------------------------------------------------------------------------------------------------

    def refresh(self) -> None:
        """See packs that were replaced. A clone that is gone or damaged is recreated when it is asked for something."""
        if (self.folder / "HEAD").exists():
            self._repository.refresh()

    def lost_history(self) -> str | None:
        return None  # what was seen published is in the clone, or `recall` has it

    def troubles(self) -> list[Trouble]:
        return self._repository.gaps()

    def recall(self) -> str | None:
        oid = self._answered(self._refs.get, KNOWN)
        return oid if oid and self._repository.holds(oid) else None

    def remember(self, oid: str) -> None:
        published = self._listed.get(PUBLISHED)  # a server may have moved `main` alone
        if published in (None, oid) and self._answered(self._refs.get, KNOWN) != oid and self._repository.holds(oid):
            self._answered(self._refs.unlocked, partial(self._refs.set, KNOWN, oid))

    def reader(self) -> LocalStore:
        return LocalStore(self.folder)

    @contextlib.contextmanager
    def _hold(self) -> Iterator[None]:
        """Hold the clone against other processes, which fetch, push and recreate it too. Within a hold, another one
        does nothing: the lock would wait for itself."""
        if self._held:
            yield
            return
        with hold(self._lock, self._access.timeout_s):
            self._held = True
            try:
                yield
            finally:
                self._held = False

    def _answered(self, ask: Callable[_P, _T], *args: _P.args, **kwargs: _P.kwargs) -> _T:
        """Ask the clone. If it cannot answer, recreate it, once, and ask again.

        Only once, as an object that the remote lacks too would have the clone recreated at every question. An
        UnreadableError is the object's own fault, which another copy of it has as well."""
        try:
            return ask(*args, **kwargs)
        except UnreadableError:
            raise
        except FatalError:
            if self._checked:
                raise
        self._recreate()
        answer = ask(*args, **kwargs)
        self._checked = False
        return answer

    def _repaired(self, sure: bool = False) -> bool:
        """Recreate the clone if git finds it damaged, or if the caller is sure of that; returns whether it was. The
        clone is not checked again before it has answered once."""
        if self._checked:
            return False
        self._checked = True
        words = ("fsck", "--connectivity-only", "--no-dangling", "--no-progress")
        if not sure and git(self.folder, *words, timeout_s=self._access.timeout_s * FIRST_FETCH).returncode == 0:
            return False
        self._recreate()
        return True

    def _recreate(self) -> None:
        """Put an empty clone in the place of this one and fetch everything.

        `make_clone` renames it into place, within the hold, so no other process works on a half-made clone. The last
        published commit that was seen is carried over: else a remote whose refs were moved back would be believed."""
        self._checked = True
        seen: str | None = None
        with self._hold():
            with contextlib.suppress(FatalError):
                seen = self._refs.get(KNOWN)
            self._shown = None
            self._repository.close()
            make_clone(self.folder, self._access.url)
            set_up_libgit2(self._access, self.folder)
            self._repository.reopen()
            self._fetch(self._heads())
            if seen and self._repository.holds(seen):
                self._refs.set(KNOWN, seen)
