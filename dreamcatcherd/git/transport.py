"""Every request to a remote: listing, fetching and pushing, by git or libgit2, with one kind of failure for both.

Owns which of the two lists and fetches. What git does is in `requests`; if libgit2's error does not show the answer of
a web server, git makes the same request again."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from pathlib import Path
from subprocess import CompletedProcess
from typing import TypeVar

import pygit2
from pygit2.enums import FetchPrune

from dreamcatcherd.core.errors import RetryableError
from dreamcatcherd.git.access import Access
from dreamcatcherd.git.command import GitTimeoutError
from dreamcatcherd.git.failures import OVERTAKEN, UnclearError, failure_of
from dreamcatcherd.git.libgit2 import CERTIFICATES, Callbacks, read_by_git
from dreamcatcherd.git.protocols import Move
from dreamcatcherd.git.redirects import SIGNS, RedirectedError
from dreamcatcherd.git.requests import GitRequests

_T = TypeVar("_T")

_STATUS = re.compile(r"status code: \d{3}|error: \d{3}|HTTP \d{3}")
"""How libgit2 and git mention the status of a web server's answer."""


class Transport:
    """Requests to the remote of `access`, from the clone in `folder`. `waiting` is called about once a second."""

    def __init__(self, access: Access, folder: Path, waiting: Callable[[], None]) -> None:
        self._access = access
        self._waiting = waiting
        self._requests = GitRequests(access, folder, waiting)
        self._list_by_git = self._fetch_by_git = read_by_git(access)

    def heads(self, repository: pygit2.Repository, spaces: Sequence[str]) -> dict[str, str]:
        """The refs that the remote lists. git asks only for those below the prefixes; libgit2 asks for all."""
        patterns = [f"{space}*" for space in spaces]
        if self._list_by_git:
            return self._requests.heads(patterns)
        words = ("ls-remote", "--refs", "--", self._access.url, *patterns)
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
            self._requests.git(*words, limit_s=limit_s)
        except RetryableError as error:
            if "couldn't find remote ref" not in error.cause:
                raise
            return False
        return True

    def push(self, moves: Sequence[Move]) -> RetryableError | None:
        """Ask for all moves together, each from its expected value. Returns why the remote refused, and None if it
        accepted or somebody else moved one of the refs first.

        A server that cannot move refs together gets one move after the other, and none after one that it did not make:
        a published ref that moves although `main` does not would begin a second chain of snapshot commits."""
        try:
            result, words = self._pushed(moves, "--atomic")
            if result.returncode and b"does not support --atomic" in result.stderr:
                for move in moves:
                    result, words = self._pushed([move])
                    if result.returncode:
                        break
        except GitTimeoutError:
            return failure_of(self._access, "timed out")
        verdicts = result.stdout.decode("utf-8", "replace")  # not stderr: a hook's own output there may say anything
        if result.returncode == 0 or any(sign in verdicts for sign in OVERTAKEN):
            return None
        return self._requests.failed(result, words)

    def _pushed(self, moves: Sequence[Move], *options: str) -> tuple[CompletedProcess[bytes], tuple[str, ...]]:
        """git's answer to a push of some moves, and the words that it was started with."""
        leases = [f"--force-with-lease={move.ref}:{move.old or ''}" for move in moves]
        specs = [f"{move.new or ''}:{move.ref}" for move in moves]
        words = ("push", *options, "--porcelain", *leases, "--", self._access.url, *specs)
        return self._requests.run(*words), words

    def git(self, *words: str) -> bytes:
        """The output of git; RetryableError if it fails."""
        return self._requests.git(*words)

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

    def _more(self, known: RetryableError, said: str, words: Sequence[str]) -> RetryableError:
        """A failure of libgit2, completed with the web server's answer: libgit2 reports nothing but its status."""
        plain = said.lower()
        if not self._access.is_http or not (_STATUS.search(said) or SIGNS.search(plain) or _is_redirect(known)):
            return known
        answers = self._requests.answers(words)
        if _is_redirect(known) and not any("location" in one.fields for one in answers):
            return known
        return failure_of(self._access, said, answers) if answers else known


def _is_redirect(known: RetryableError) -> bool:
    return isinstance(known, RedirectedError)
