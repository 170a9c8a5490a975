"""One way to talk to a remote: git and libgit2 are run against it here, and what goes wrong is told as one failure.

Owns the time limit and the environment of each, which of the two lists and fetches, and that git is asked once more for
what a web server answered where that does not show."""

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
from dreamcatcherd.git.failures import UnclearError, failure_of
from dreamcatcherd.git.http_answers import HEADERS, WHOLE, HttpAnswer, parted, words_of
from dreamcatcherd.git.redirects import SIGNS, RedirectedError

_T = TypeVar("_T")

_AGAIN_S = 10.0
"""How long it may take at most to learn what a server answers."""

_STATUS = re.compile(r"status code: \d{3}|error: \d{3}|HTTP \d{3}")
"""What libgit2 and git say of a web server's answer."""


class Transport:
    """To the remote that `access` names, from a clone in `folder`. `waiting` is called about once a second."""

    def __init__(self, access: Access, folder: Path, waiting: Callable[[], None]) -> None:
        self._access = access
        self._folder = folder
        self._waiting = waiting
        self._list_by_git = self._fetch_by_git = access.read_by_git

    def heads(self, repository: pygit2.Repository, spaces: Sequence[str]) -> dict[str, str]:
        """The refs that the remote lists, those below some prefixes among them."""
        words = ("ls-remote", "--refs", "--", self._access.url, *(f"{space}*" for space in spaces))
        if self._list_by_git:
            listed = self.git(*words).decode("utf-8", "surrogateescape")
            return {name: oid for oid, name in (line.split("\t") for line in listed.splitlines())}
        CERTIFICATES.renew(self._access)
        remote = repository.remotes.create_anonymous(self._access.url)
        try:
            heads = self.ask(lambda: remote.list_heads(callbacks=Callbacks(self._access, self._waiting)), words)
        except UnclearError as error:
            if "invalid packet line" not in error.cause:  # what libgit2 makes of a shallow repository's answer
                raise
            self._list_by_git = self._fetch_by_git = True
            return self.heads(repository, spaces)
        return {head.name: str(head.oid) for head in heads if head.name}

    def fetch(self, repository: pygit2.Repository, specs: list[str], limit_s: float) -> bool:
        """Fetch by refspecs; False where one of them names a ref that is not there."""
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
                # libgit2 cannot walk a history with a malformed commit; git can, and everyone's pushes need it
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

    def run(
        self, *words: str, limit_s: float | None = None, trace: Mapping[str, str] = HEADERS
    ) -> CompletedProcess[bytes]:
        """Run git; its exit code is the caller's to judge. GitTimeoutError at the time limit. Over http its stderr
        holds a trace as well, which `failure` reads."""
        return git(
            self._folder,
            *words,
            timeout_s=limit_s or self._access.timeout_s,
            variables=git_environment(self._access) | (dict(trace) if self._access.is_http else {}),
            waiting=self._waiting,
        )

    def git(self, *words: str, limit_s: float | None = None) -> bytes:
        """What git writes; a failure where it fails."""
        try:
            result = self.run(*words, limit_s=limit_s)
        except GitTimeoutError as error:
            raise failure_of(self._access, "timed out") from error
        if result.returncode:
            raise self.failed(result, words)
        return result.stdout

    def ask(self, do: Callable[[], _T], words: Sequence[str], again: bool = True) -> _T:
        """Ask by libgit2; `words` would have git ask the same."""
        try:
            return do()
        except RedirectedError as error:
            raise self._more(error, str(error), words) from error
        except (pygit2.GitError, OSError, ValueError, KeyError) as error:
            if again and "Interrupted system call" in str(error):  # by a signal to the daemon: nothing is wrong
                return self.ask(do, words, again=False)
            said = str(error)
            raise self._more(failure_of(self._access, said), said, words) from error

    def failed(self, result: CompletedProcess[bytes], words: Sequence[str]) -> RetryableError:
        """What git, run with `words`, and the server said, as a failure."""
        said, answers = parted(result.stderr.decode("utf-8", "replace"))
        if words[0] == "push":
            said = f"{said}\n{result.stdout.decode('utf-8', 'replace')}"
        if answers and answers[-1].status >= 400 and not words_of(said):
            answers = self._again(words) or answers
        return failure_of(self._access, said.strip() or f"git ended with {result.returncode}", answers)

    def _more(self, known: RetryableError, said: str, words: Sequence[str]) -> RetryableError:
        """A failure of libgit2's with what the web server answered, of which that says nothing but the status."""
        plain = said.lower()
        if not self._access.is_http or not (_STATUS.search(said) or SIGNS.search(plain) or _is_redirect(known)):
            return known
        answers = self._again(words)
        if _is_redirect(known) and not any("location" in one.fields for one in answers):
            return known
        return failure_of(self._access, said, answers) if answers else known

    def _again(self, words: Sequence[str]) -> list[HttpAnswer]:
        """What a web server answers where git asks the same once more."""
        if not self._access.is_http:
            return []
        try:
            traced = self.run(*words, limit_s=min(_AGAIN_S, self._access.timeout_s), trace=WHOLE)
        except GitTimeoutError:
            return []
        return parted(traced.stderr.decode("utf-8", "replace"))[1]


def _is_redirect(known: RetryableError) -> bool:
    return isinstance(known, RedirectedError)
