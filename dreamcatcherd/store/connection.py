"""One way to talk to a remote: git and libgit2 are run against it here, and what goes wrong is told as one failure.

Owns the time limit and the environment of each, and that git is asked once more where a redirect leads."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from subprocess import CompletedProcess
from typing import TypeVar

import pygit2

from dreamcatcherd.core.errors import RetryableError
from dreamcatcherd.store.access import Access, git_environment
from dreamcatcherd.store.failures import failure_of
from dreamcatcherd.store.gitcmd import GitTimeoutError, git, message_of
from dreamcatcherd.store.redirects import TRACE, RedirectedError, redirected

_T = TypeVar("_T")

_TRACE_S = 10.0
"""How long it may take at most to learn where a redirect leads."""


class Connection:
    """To the remote that `access` names, from a clone in `folder`. `waiting` is called about once a second."""

    def __init__(self, access: Access, folder: Path, waiting: Callable[[], None]) -> None:
        self._access = access
        self._folder = folder
        self._waiting = waiting

    def run(self, *words: str, limit_s: float | None = None, trace: bool = False) -> CompletedProcess[bytes]:
        """Run git; its exit code is the caller's to judge. GitTimeoutError at the time limit."""
        return git(
            self._folder,
            *words,
            timeout_s=limit_s or self._access.timeout_s,
            variables=git_environment(self._access) | (TRACE if trace else {}),
            waiting=self._waiting,
        )

    def git(self, *words: str, limit_s: float | None = None) -> bytes:
        """What git writes; a failure where it fails."""
        try:
            result = self.run(*words, limit_s=limit_s)
        except GitTimeoutError as error:
            raise failure_of(self._access, "timed out") from error
        if result.returncode:
            raise self.failure(message_of(result), words)
        return result.stdout

    def ask(self, do: Callable[[], _T], words: Sequence[str], again: bool = True) -> _T:
        """Ask by libgit2; `words` would have git ask the same."""
        try:
            return do()
        except RedirectedError as error:
            raise self._redirected(error, words) from error
        except (pygit2.GitError, OSError, ValueError, KeyError) as error:
            if again and "Interrupted system call" in str(error):  # by a signal to the daemon: nothing is wrong
                return self.ask(do, words, again=False)
            raise self.failure(str(error), words) from error

    def failure(self, said: str, words: Sequence[str]) -> RetryableError:
        """What git, run with `words`, or libgit2 said, as a failure."""
        failure = failure_of(self._access, said)
        return self._redirected(failure, words) if isinstance(failure, RedirectedError) else failure

    def _redirected(self, known: RedirectedError, words: Sequence[str]) -> RedirectedError:
        """A redirect with the URL that it leads to: git asks the same once more and notes what it is answered."""
        try:
            traced = self.run(*words, limit_s=min(_TRACE_S, self._access.timeout_s), trace=True)
        except GitTimeoutError:
            return known
        return redirected(self._access.url, traced.stderr.decode("utf-8", "replace")) or known
