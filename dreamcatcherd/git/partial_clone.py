"""A temporary repository that has only those objects of another one that were asked for. Needs no libgit2.

Owns what is fetched: the newest commits without their history, and of their trees the upper levels; everything else
when it is read. A repository on this disk is read in place. New objects are written here and pushed from here."""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from subprocess import CompletedProcess
from types import MappingProxyType

from dreamcatcherd.core.errors import FatalError, MissingRepositoryError, RetryableError
from dreamcatcherd.core.tree import Kind
from dreamcatcherd.git.access import Access, git_environment
from dreamcatcherd.git.certificates import trusting
from dreamcatcherd.git.command import GitTimeoutError, error_message, git, git_variables
from dreamcatcherd.git.failures import failure_of
from dreamcatcherd.git.pack_writer import PackWriter
from dreamcatcherd.git.protocols import Commit
from dreamcatcherd.git.push_reader import PushReader
from dreamcatcherd.git.requests import GitRequests

_UPPER = "combine:tree:3+blob:limit=64k"
"""The trees down to the folders below `state/`, and the small files beside them: the open frame and the settings."""
_FILTERS = (_UPPER, "blob:none", None)
"""In this order: some servers allow only the simplest filters, and some none."""

_FETCH = ("fetch", "--quiet", "--no-tags", "--no-write-fetch-head")
_NO_LAZY = MappingProxyType(
    {"GIT_CONFIG_COUNT": "1", "GIT_CONFIG_KEY_0": "remote.origin.promisor", "GIT_CONFIG_VALUE_0": "false"}
)
"""Reading never makes git fetch by itself, since that would have no time limit."""

_REMEDY = "name the shared repository with --repo, by its path or URL"

_MISSING_MOST = 1_000
"""How many objects one request asks for."""


class PartialClone:
    """What was read of the repository of `access`, and what is to be pushed there. It keeps the `QueryReader` Protocol.

    `local` is the repository if it is on this disk. Use `partial_clone`, which removes the folder afterwards."""

    cut: frozenset[str] = frozenset()

    def __init__(self, access: Access, folder: Path, local: Path | None = None) -> None:
        self.where = access.url
        self.folder = folder
        self._access = trusting(access, folder)
        self._local = local is not None
        # What one request showed about the server holds for the next ones.
        self._filters = list(_FILTERS)
        self._commits: list[str] = []
        self._requests = GitRequests(self._access, folder)
        self._writer = PackWriter(folder)
        if local is not None:
            (folder / "objects" / "info" / "alternates").write_text(f"{_objects_of(local, access)}\n")
        self._reader = PushReader({**git_variables(_NO_LAZY), "GIT_DIR": str(folder)})

    def close(self) -> None:
        """End the git process that reads."""
        self._reader.close()

    # Reading ------------------------------------------------------------------------------------------------------

    def heads(self, patterns: Sequence[str]) -> dict[str, str]:
        """The refs of the repository that match one of the patterns; RetryableError if it cannot be asked."""
        return self._requests.heads(patterns)

    def fetch_commits(self, oids: Iterable[str]) -> None:
        """Fetch some commits, each without its history; RetryableError if that fails."""
        wanted = [oid for oid in dict.fromkeys(oids) if self._reader.resolve(oid) is None]
        if wanted:
            self._missing_locally(wanted)
            self._commits += wanted
            self._filtered(["--depth=1", "origin", *wanted])

    def fetch_missing(self, oids: Iterable[str]) -> None:
        """Fetch those of the objects that are not here yet, in few requests."""
        wanted = [oid for oid in dict.fromkeys(oids) if self._reader.resolve(oid) is None]
        if not wanted:
            return
        self._missing_locally(wanted)
        for start in range(0, len(wanted), _MISSING_MOST):
            asked = "".join(f"{oid}\n" for oid in wanted[start : start + _MISSING_MOST]).encode()
            words = ("-c", "fetch.negotiationAlgorithm=noop", *_FETCH, "--filter=blob:none", "--stdin", "origin")
            try:
                self._requests.git(*words, stdin=asked)
            except RetryableError:
                if not self._commits:
                    raise
                # A server that speaks only the old protocol gives nothing but refs: then everything is fetched.
                # Without --no-filter git would use the filter of the fetch before.
                self._filters = [None]
                self._requests.git(*_FETCH, "--no-filter", "--refetch", "--depth=1", "origin", *self._commits)

    def _missing_locally(self, wanted: list[str]) -> None:
        if self._local:
            raise FatalError(f"object {wanted[0]} is missing in {self.where}", "run git fsck there")

    def _filtered(self, words: list[str]) -> None:
        """Fetch with the first filter that the server allows."""
        while True:
            used = self._filters[0]
            try:
                self._requests.git(*_FETCH, f"--filter={used}" if used else "--no-filter", *words)
            except RetryableError:
                # A server that refuses a filter often just hangs up, as one that is down does.
                if used is None:
                    raise
                del self._filters[0]
            else:
                return

    def read(self, oid: str) -> bytes:
        found = self._writer.objects.get(oid)
        if found is not None:
            return found[1]
        self.fetch_missing([oid])
        return self._reader.read(oid)

    def size(self, oid: str) -> int:
        found = self._writer.objects.get(oid)
        if found is not None:
            return len(found[1])
        self.fetch_missing([oid])
        return self._reader.size(oid)

    def resolve(self, prefix: str) -> str | None:
        return self._reader.resolve(prefix)

    def refresh(self) -> None:
        self._reader.refresh()

    def commit(self, oid: str) -> Commit:
        return self._reader.commit(oid)

    def through(self, oid: str) -> Commit:
        return self._reader.through(oid)

    def new_commits(self, tips: Iterable[str], hidden: Iterable[str]) -> dict[str, Commit]:
        return self._reader.new_commits(tips, hidden)

    def descends(self, oid: str, ancestor: str) -> bool:
        return self._reader.descends(oid, ancestor)

    def is_ref_name(self, ref: str) -> bool:
        """Whether git takes a text for the name of a ref."""
        return git(self.folder, "check-ref-format", ref).returncode == 0

    # Writing ------------------------------------------------------------------------------------------------------

    def write(self, kind: Kind, data: bytes) -> str:
        """Keep an object, for the next push."""
        return self._writer.write(kind, data)

    def write_commit(self, commit: Commit, signing_key: Path | None) -> str:
        """Keep a commit, signed if there is a key; return its id."""
        return self._writer.write_commit(commit, signing_key)

    def good_signatures(self, commits: Iterable[str], signers: Iterable[str]) -> dict[str, str]:
        """Those of the commits that have a good ssh signature by a key of the allowed-signers lines, each with the
        key's fingerprint; commits that were written and not pushed yet included."""
        self._writer.flush()
        return self._reader.good_signatures(commits, signers)

    def push(self, commit: str, ref: str) -> CompletedProcess[bytes]:
        """Ask the repository to move a ref forward to a commit; RetryableError at the time limit."""
        self._writer.flush()
        try:
            return self._requests.run(*self._push_words(commit, ref))
        except GitTimeoutError as error:
            raise failure_of(self._access, "timed out") from error

    def push_failure(self, result: CompletedProcess[bytes], commit: str, ref: str) -> RetryableError:
        """Why a push failed, as a failure with a cause and a remedy."""
        return self._requests.failed(result, self._push_words(commit, ref))

    def _push_words(self, commit: str, ref: str) -> tuple[str, ...]:
        return ("push", "--porcelain", "--", self._access.url, f"{commit}:{ref}")


@contextlib.contextmanager
def partial_clone(access: Access, local: Path | None = None) -> Iterator[PartialClone]:
    """A partial clone in a temporary folder, for as long as this lasts.

    MissingRepositoryError if `local` is not there."""
    with tempfile.TemporaryDirectory(prefix="dreamcatcherd-", ignore_cleanup_errors=True) as name:
        folder = Path(name) / "git"
        init = ("init", "--quiet", "--bare", "--object-format=sha1", "--template=")
        for words in (init, ("config", "remote.origin.url", access.url)):
            done = git(folder, *words, variables=git_environment(access))
            if done.returncode:
                raise FatalError(f"{folder} cannot be made: {error_message(done)}", "check the temporary folder")
        (folder / "objects" / "info").mkdir(exist_ok=True)
        clone = PartialClone(access, folder, local)
        try:
            yield clone
        finally:
            clone.close()


def _objects_of(repository: Path, access: Access) -> Path:
    """The folder of a local repository's objects; MissingRepositoryError if the path is not there, RetryableError if
    it is no repository: its disk may come back."""
    if not repository.exists():
        raise MissingRepositoryError(f"there is no repository at {repository}", _REMEDY)
    for folder in (repository / ".git", repository):
        asked = git(folder, "rev-parse", "--git-path", "objects")
        if asked.returncode == 0:
            return Path(asked.stdout.decode("utf-8", "surrogateescape").rstrip("\n")).absolute()
    raise failure_of(access, f"{repository} does not appear to be a git repository")
