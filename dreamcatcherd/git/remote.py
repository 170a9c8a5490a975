"""A repository on another machine, through an own bare clone: polled and fetched here, pushed to by git.

The clone is a cache. Its branches stand under the names that they have at the remote, and it is made anew when it
cannot be read. Owns when that is done, and what a push has done."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Set
from functools import partial
from pathlib import Path
from typing import TypeVar

import pygit2

from dreamcatcherd.core.errors import FatalError, RetryableError, UnreadableError
from dreamcatcherd.core.paths import PUBLISHED, TRIAL, short_ref
from dreamcatcherd.core.report import plural
from dreamcatcherd.git.access import Access, set_up_libgit2
from dreamcatcherd.git.certificates import Trust, trusting
from dreamcatcherd.git.command import GitTimeoutError, git
from dreamcatcherd.git.disk_errors import remedy_for
from dreamcatcherd.git.failures import OVERTAKEN, PushRefusedError, UnclearError, failure_of
from dreamcatcherd.git.incomplete_clone import SHALLOW
from dreamcatcherd.git.integrity import DamagedRefsError
from dreamcatcherd.git.local import LocalStore
from dreamcatcherd.git.locks import STALE_S, all_locks, alone, remove_locks, remove_stale
from dreamcatcherd.git.own_clone import hold, make_clone, prepare_clone, set_refs
from dreamcatcherd.git.packs import release
from dreamcatcherd.git.protocols import Commit, Move
from dreamcatcherd.git.transport import Transport

_T = TypeVar("_T")

KNOWN = "refs/primary/known"
"""In the own clone alone: the last published commit that this primary has seen."""

_LOCK_POLL_S = 0.05

FEW = 100
"""Up to how many refs that changed are fetched by name."""

AT_A_TIME = 8
"""Up to how many refs of the clone are moved one by one."""

FIRST_FETCH = 20
"""How many times the time limit the first fetch may take: it brings the whole history."""


class RemoteStore(LocalStore):
    """The shared repository at a distance. One thread owns it; commands may share its clone with a running daemon."""

    def __init__(self, access: Access, clone: Path) -> None:
        self._spaces = ["refs/heads/", "refs/dreamcatcher/"]
        self._lock = clone.with_name(clone.name + ".lock")
        self._held = False
        self._shown: dict[str, str] | None = None  # what the clone's refs name, as they were last read or moved here
        self._looked_at = False  # the clone was checked or made anew since it last answered
        self._access = access
        with self._hold():
            prepare_clone(clone, access.url)
        super().__init__(clone)
        self._access = access = trusting(access, self.folder)
        self.where = self.identity = access.url
        self.trust = Trust(access.ca_file, access.ca_folder, access.trust)
        self._wire = Transport(access, self.folder, lambda: self.progress())
        set_up_libgit2(access, self.folder)

    # Polling ------------------------------------------------------------------------------------------------------

    def refs(self) -> dict[str, str]:
        """The remote's refs, with all that they reach fetched."""
        with self._hold():
            heads = self._heads()
            try:
                found = self._brought(heads)
            except (UnclearError, FatalError) as error:
                if not self._mended(sure=isinstance(error, DamagedRefsError)):
                    raise
                found = self._brought(heads)
        self._looked_at = False
        return found

    def _brought(self, heads: dict[str, str]) -> dict[str, str]:
        self.refresh()
        if heads != self._shown:
            self._fetch(heads)
        if self._shown is None:
            self._shown = self._mirrored()
        return dict(self._shown)

    def follow(self, prefix: str) -> bool:
        """Fetch the refs below a prefix too; tells whether that is new."""
        if any(prefix.startswith(space) for space in self._spaces):
            return False
        self._spaces.append(prefix)
        return True

    def _mirrored(self) -> dict[str, str]:
        self.refresh()
        return {name: oid for name, oid in self._local_refs().items() if self._followed(name)}

    def _followed(self, name: str) -> bool:
        return any(name.startswith(space) for space in self._spaces)

    def _heads(self) -> dict[str, str]:
        return {name: oid for name, oid in self._wire.heads(self._repo, self._spaces).items() if self._followed(name)}

    def _fetch(self, heads: dict[str, str]) -> None:
        """Bring what the remote has, whatever a killed process left in the way."""
        self._unlocked(partial(self._bring, heads))

    def _bring(self, heads: dict[str, str]) -> None:
        """Move the clone's refs to where the remote's are, with what they reach. Refs that went there go here first, as
        one may stand in a new one's way. Where few changed, those alone are asked for: the cost follows them."""
        mine, self._shown = self._shown if self._shown is not None else self._mirrored(), None
        self._set_refs(dict.fromkeys(mine.keys() - heads.keys()))
        kept = {name: oid for name, oid in mine.items() if name in heads}
        changed = {name: oid for name, oid in heads.items() if mine.get(name) != oid}
        few = mine and len(changed) <= FEW
        if changed:
            limit_s = self._access.timeout_s * (1 if mine else FIRST_FETCH)
            if not (few and self._wire.fetch(self._repo, [f"+{name}:{name}" for name in changed], limit_s)):
                few = False
                self._wire.fetch(self._repo, [f"+{space}*:{space}*" for space in self._spaces], limit_s)
        now = {name: oid for name in changed if (oid := self._ref(name))} if few else self._mirrored()
        if missing := changed.keys() - now.keys():
            self._check_whole(missing)
        self._shown = {**kept, **now} if few else now

    def _check_whole(self, missing: Set[str]) -> None:
        """RetryableError where the remote lists refs and did not give them, so that it would look emptier than it is:
        git fetches what it can of a shallow repository, and calls that a success."""
        left = missing & self._heads().keys()
        if left:
            which = f"{plural(len(left), 'ref')} that it does not give, such as {short_ref(min(left))}"
            remedy = f"if it is a shallow repository ({SHALLOW}), complete it there: git fetch --unshallow"
            raise RetryableError(f"{self.where} lists {which}", remedy)

    # Publishing ---------------------------------------------------------------------------------------------------

    def move_refs(self, moves: list[Move], reason: str) -> bool:
        """Push, then read back: only what stands at the remote afterwards counts, whatever the push said."""
        with self._hold():
            trouble = self._push(moves)
            heads = self._heads()
            if heads.get(moves[0].ref) not in (moves[0].old, moves[0].new):
                self._fetch(heads)
            if self._stands(moves[0], heads.get(moves[0].ref)):
                self._note(moves)
                release(self._keeps)
                self._keeps.clear()
                return True
            if trouble is None or any(heads.get(move.ref) != move.old for move in moves):
                return False
            if not isinstance(trouble, PushRefusedError) and self._mended():
                return False
        raise trouble

    def _push(self, moves: list[Move]) -> RetryableError | None:
        """Ask for all moves at once, each from its expected value; None where all went well or somebody was faster."""
        leases = [f"--force-with-lease={move.ref}:{move.old or ''}" for move in moves]
        specs = [f"{move.new or ''}:{move.ref}" for move in moves]
        words = ("push", "--atomic", "--porcelain", *leases, "--", self._access.url, *specs)
        try:
            result = self._wire.run(*words)
            if result.returncode and b"does not support --atomic" in result.stderr:
                words = tuple(word for word in words if word != "--atomic")
                result = self._wire.run(*words)
        except GitTimeoutError:
            return failure_of(self._access, "timed out")
        verdicts = result.stdout.decode("utf-8", "replace")  # a hook's own words, on stderr, may say anything
        if result.returncode == 0 or any(sign in verdicts for sign in OVERTAKEN):
            return None
        return self._wire.failed(result, words)

    def try_push(self) -> RetryableError | None:
        """Push a ref of our own to what stands there already, and delete it again; what is in the way is returned."""
        found = self._mirrored().get(PUBLISHED) or next(iter(self._mirrored().values()), None)
        if found is None:
            return RetryableError(f"{self.where} has no commit that a push could be tried with", "push a first commit")
        try:
            for spec in (f"+{found}:{TRIAL}", f":{TRIAL}"):
                self._wire.git("push", "--porcelain", "--", self._access.url, spec)
        except RetryableError as failure:
            return failure
        return None

    def _stands(self, move: Move, found: str | None) -> bool:
        """Whether a move stands at the remote, or another commit stands upon it by now.

        The first move decides for all: a server that cannot move several refs at once may have stopped after it."""
        if found == move.new:
            return True
        if move.new is None or found is None or not self._has(found):
            return False
        return self.descends(found, move.new)

    def _note(self, moves: list[Move]) -> None:
        """Let the clone show what was published, so that the next poll fetches nothing; else that one mends it."""
        with contextlib.suppress(FatalError, UnclearError):
            shown, self._shown = self._shown, None
            self._set_refs({move.ref: move.new for move in moves})
            if shown is not None:
                moved = {move.ref: move.new for move in moves}
                shown = {name: oid for name, oid in shown.items() if name not in moved}
                self._shown = shown | {name: oid for name, oid in moved.items() if oid and self._followed(name)}

    # The clone ----------------------------------------------------------------------------------------------------

    def refresh(self) -> None:
        """The own clone is rebuilt where it is damaged or gone; only its packs may have been replaced."""
        if (self.folder / "HEAD").exists():
            super().refresh()

    def lost_history(self) -> str | None:
        return None  # what was seen published is in the clone, or `recall` has it

    def recall(self) -> str | None:
        oid = self._or_anew(partial(self._ref, KNOWN))
        return oid if oid and self._has(oid) else None

    def remember(self, oid: str) -> None:
        if self._or_anew(partial(self._ref, KNOWN)) != oid and self._has(oid):
            self._or_anew(partial(self._unlocked, partial(self._set_ref, KNOWN, oid)))

    def _ref(self, name: str) -> str | None:
        """What a ref of the clone names; FatalError where it is damaged."""
        try:
            found = self._repo.references.get(name)
        except (ValueError, pygit2.GitError) as error:
            raise self._missing(f"of {name}", error) from error
        return str(found.target) if found is not None and isinstance(found.target, pygit2.Oid) else None

    def _set_refs(self, wanted: Mapping[str, str | None]) -> None:
        """Let refs of the clone name commits, or be gone."""
        if len(wanted) > AT_A_TIME:
            set_refs(self.folder, wanted)
            return
        for name, oid in wanted.items():
            self._set_ref(name, oid)

    def _set_ref(self, name: str, oid: str | None) -> None:
        """Let a ref of the clone name a commit, or be gone; FatalError where damaged, UnclearError where locked."""
        try:
            if oid is not None:
                self._repo.references.create(name, pygit2.Oid(hex=oid), force=True)
            elif name in self._repo.references:
                self._repo.references.delete(name)
        except (KeyError, ValueError, pygit2.GitError) as error:
            raise self._missing(f"of {name}", error) from error
        except OSError as error:
            cause = f"the refs of {self.folder} could not be moved: {error}"
            raise UnclearError(cause, remedy_for(error, self.folder)) from error

    def _unlocked(self, do: Callable[[], _T]) -> _T:
        """Do what moves refs of the clone; locks of a killed process that are in its way are removed.

        Only dreamcatcherd moves refs of this clone, and it holds it meanwhile, so a lock that is there now belongs to a
        dead process, unless maintenance runs: then a young one is waited for."""
        deadline = time.monotonic() + STALE_S + 2
        hopeless = False
        while True:
            try:
                return do()
            except (UnclearError, FatalError):
                locks = all_locks(self.folder)
                if not locks and hopeless:
                    raise
            if not locks:  # it may have been released just now
                hopeless = True
                continue
            hopeless = False
            with alone(self.folder) as nobody:
                removed = remove_locks(locks) if nobody else remove_stale(locks)
            if not removed and time.monotonic() > deadline:
                cause = f"{locks[0]} stands in the way"
                raise RetryableError(cause, f"see which process holds it (fuser {locks[0]}); if none does, remove it")
            if not removed:
                time.sleep(_LOCK_POLL_S)

    def _has(self, oid: str) -> bool:
        return oid in self._repo.odb

    @contextlib.contextmanager
    def _hold(self) -> Iterator[None]:
        """Hold the clone against other processes; within a hold this is none of its own."""
        if self._held:
            yield
            return
        with hold(self._lock, self._access.timeout_s):
            self._held = True
            try:
                yield
            finally:
                self._held = False

    def read(self, oid: str) -> bytes:
        return self._or_anew(partial(super().read, oid))

    def size(self, oid: str) -> int:
        return self._or_anew(partial(super().size, oid))

    def new_commits(self, tips: Iterable[str], hidden: Iterable[str]) -> dict[str, Commit]:
        return self._or_anew(partial(super().new_commits, list(tips), list(hidden)))

    def descends(self, oid: str, ancestor: str) -> bool:
        return self._or_anew(partial(super().descends, oid, ancestor))

    def _or_anew(self, ask: Callable[[], _T]) -> _T:
        """Ask the clone; where it cannot answer, make it anew, once, and ask again."""
        try:
            return ask()
        except UnreadableError:
            raise
        except FatalError:
            if self._looked_at:
                raise
        self._make_anew()
        answer = ask()
        self._looked_at = False
        return answer

    def _mended(self, sure: bool = False) -> bool:
        """Make the clone anew if git finds it damaged, or that is sure; tells whether it was. Asked once, until it
        answers again."""
        if self._looked_at:
            return False
        self._looked_at = True
        words = ("fsck", "--connectivity-only", "--no-dangling", "--no-progress")
        if not sure and git(self.folder, *words, timeout_s=self._access.timeout_s * FIRST_FETCH).returncode == 0:
            return False
        self._make_anew()
        return True

    def _make_anew(self) -> None:
        self._looked_at = True
        seen: str | None = None
        with self._hold():
            with contextlib.suppress(FatalError):
                seen = self._ref(KNOWN)
            self._shown = None
            self._repo.free()
            make_clone(self.folder, self._access.url)
            set_up_libgit2(self._access, self.folder)
            self._repo = pygit2.Repository(str(self.folder))
            self._fetch(self._heads())
            if seen and self._has(seen):
                self._set_ref(KNOWN, seen)
