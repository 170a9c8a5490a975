"""Every request to a remote: listing, fetching and pushing, by git or libgit2, with one kind of failure for both.

Owns the time limit and the environment of each, and which of the two lists and fetches. If an error does not show the
answer of a web server, git makes the same request again, with a trace."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from subprocess import CompletedProcess
from typing import TypeVar

import pygit2
from pygit2.enums import FetchPrune

from dreamcatcherd.core.errors import RetryableError
from dreamcatcherd.git.access import Access, Callbacks, git_environment
from dreamcatcherd.git.certificates import CERTIFICATES
from dreamcatcherd.git.command import GitTimeoutError, git
from dreamcatcherd.git.failures import OVERTAKEN, UnclearError, failure_of
from dreamcatcherd.git.http_answers import BODIES, HEADERS, HttpAnswer, parted, words_of
from dreamcatcherd.git.protocols import Move
from dreamcatcherd.git.redirects import SIGNS, RedirectedError

_T = TypeVar("_T")

_AGAIN_S = 10.0
"""The time limit of a request that is made again only to see the server's answer."""

_STATUS = re.compile(r"status code: \d{3}|error: \d{3}|HTTP \d{3}")
"""How libgit2 and git mention the status of a web server's answer."""


class Transport:
    """Requests to the remote of `access`, from the clone in `folder`. `waiting` is called about once a second."""

    def __init__(self, access: Access, folder: Path, waiting: Callable[[], None]) -> None:
        self._access = access
        self._folder = folder
        self._waiting = waiting
        self._list_by_git = self._fetch_by_git = access.read_by_git

    def heads(self, repository: pygit2.Repository, spaces: Sequence[str]) -> dict[str, str]:
        """The refs that the remote lists. git asks only for those below the prefixes; libgit2 asks for all."""
        words = ("ls-remote", "--refs", "--", self._access.url, *(f"{space}*" for space in spaces))
        if self._list_by_git:
            listed = self.git(*words).decode("utf-8", "surrogateescape")
            return {name: oid for oid, name in (line.split("\t") for line in listed.splitlines())}
        CERTIFICATES.renew(self._access)
        remote = repository.remotes.create_anonymous(self._access.url)
        try:
            heads = self.ask(lambda: remote.list_heads(callbacks=Callbacks(self._access, self._waiting)), words)
        except UnclearError as error:
            if "invalid packet line" not in error.cause:  # libgit2 cannot parse a shallow repository's answer
                raise
            self._list_by_git = self._fetch_by_git = True
            return self.heads(repository, spaces)
        return {head.name: str(head.oid) for head in heads if head.name}

    def fetch(self, repository: pygit2.Repository, specs: list[str], limit_s: float) -> bool:
        """Fetch by refspecs; False if git finds that one of them names a ref that the remote does not have."""
        words = ("fetch", "--quiet", "--no-tags", "--no-write-fetch-head", "--", self._access.url, *specs)
        if not self._fetch_by_git:
            CERTIFICATES.renew(self._access)
            remote = repository.remotes.create_anonymous(self._access.url)
            callbacks = Callbacks(self._access, self._waiting, limit_s)
            try:
                self.ask(lambda: remote.fetch(specs, callbacks=callbacks, prune=FetchPrune.NO_PRUNE), words)
            except RetryableError as error:
                if "failed to parse" not in error.cause:
                    raise
                # libgit2 cannot walk a history with a malformed commit. git can, and it must not stop all others
                self._fetch_by_git = True
            else:
                return True
        try:
            self.git(*words, limit_s=limit_s)
        except RetryableError as error:
            if "couldn't find remote ref" not in error.cause:
                raise
            return False
        return True

    def push(self, moves: Sequence[Move]) -> RetryableError | None:
        """Ask for all moves together, each from its expected value. Returns why the remote refused, and None if it
        accepted or somebody else moved one of the refs first."""
        leases = [f"--force-with-lease={move.ref}:{move.old or ''}" for move in moves]
        specs = [f"{move.new or ''}:{move.ref}" for move in moves]
        words = ("push", "--atomic", "--porcelain", *leases, "--", self._access.url, *specs)
        try:
            result = self.run(*words)
            if result.returncode and b"does not support --atomic" in result.stderr:
                words = tuple(word for word in words if word != "--atomic")
                result = self.run(*words)
        except GitTimeoutError:
            return failure_of(self._access, "timed out")
        verdicts = result.stdout.decode("utf-8", "replace")  # not stderr: a hook's own output there may say anything
        if result.returncode == 0 or any(sign in verdicts for sign in OVERTAKEN):
            return None
        return self.failed(result, words)

    def run(
        self, *words: str, limit_s: float | None = None, trace: Mapping[str, str] = HEADERS
    ) -> CompletedProcess[bytes]:
        """Run git; the caller checks its exit code. GitTimeoutError at the time limit. Over http its stderr has a trace
        as well, which `failed` reads."""
        return git(
            self._folder,
            *words,
            timeout_s=limit_s or self._access.timeout_s,
            variables=git_environment(self._access) | (dict(trace) if self._access.is_http else {}),
            waiting=self._waiting,
        )

    def git(self, *words: str, limit_s: float | None = None) -> bytes:
        """The output of git; RetryableError if it fails."""
        try:
            result = self.run(*words, limit_s=limit_s)
        except GitTimeoutError as error:
            raise failure_of(self._access, "timed out") from error
        if result.returncode:
            raise self.failed(result, words)
        return result.stdout

    def ask(self, do: Callable[[], _T], words: Sequence[str], again: bool = True) -> _T:
        """Make a request through libgit2; git would make the same request with `words`."""
        try:
            return do()
        except RedirectedError as error:
            raise self._more(error, str(error), words) from error
        except (pygit2.GitError, OSError, ValueError, KeyError) as error:
            if again and "Interrupted system call" in str(error):  # by a signal to the daemon: nothing failed
                return self.ask(do, words, again=False)
            said = str(error)
            raise self._more(failure_of(self._access, said), said, words) from error

    def failed(self, result: CompletedProcess[bytes], words: Sequence[str]) -> RetryableError:
        """The failure of git, run with `words`, with the server's own explanation if there is one."""
        said, answers = parted(result.stderr.decode("utf-8", "replace"))
        if words[0] == "push":
            said = f"{said}\n{result.stdout.decode('utf-8', 'replace')}"
        if answers and answers[-1].status >= 400 and not words_of(said):
            answers = self._again(words) or answers
        return failure_of(self._access, said.strip() or f"git ended with {result.returncode}", answers)

    def _more(self, known: RetryableError, said: str, words: Sequence[str]) -> RetryableError:
        """A failure of libgit2, completed with the web server's answer: libgit2 reports nothing but its status."""
        plain = said.lower()
        if not self._access.is_http or not (_STATUS.search(said) or SIGNS.search(plain) or _is_redirect(known)):
            return known
        answers = self._again(words)
        if _is_redirect(known) and not any("location" in one.fields for one in answers):
            return known
        return failure_of(self._access, said, answers) if answers else known

    def _again(self, words: Sequence[str]) -> list[HttpAnswer]:
        """The web server's answers when git makes the same request again."""
        if not self._access.is_http:
            return []
        try:
            traced = self.run(*words, limit_s=min(_AGAIN_S, self._access.timeout_s), trace=BODIES)
        except GitTimeoutError:
            return []
        return parted(traced.stderr.decode("utf-8", "replace"))[1]


def _is_redirect(known: RetryableError) -> bool:
    return isinstance(known, RedirectedError)
