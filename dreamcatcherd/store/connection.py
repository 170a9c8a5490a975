"""One way to talk to a remote: git and libgit2 are run against it here, and what goes wrong is told as one failure.

Owns the time limit and the environment of each, and that git is asked once more for what a web server answered where
that does not show."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from subprocess import CompletedProcess
from typing import TypeVar

import pygit2

from dreamcatcherd.core.errors import RetryableError
from dreamcatcherd.store.access import Access, git_environment
from dreamcatcherd.store.answers import HEADERS, WHOLE, Answer, parted, words_of
from dreamcatcherd.store.failures import failure_of
from dreamcatcherd.store.gitcmd import GitTimeoutError, git
from dreamcatcherd.store.redirects import SIGNS, RedirectedError

_T = TypeVar("_T")

_AGAIN_S = 10.0
"""How long it may take at most to learn what a server answers."""

_STATUS = re.compile(r"status code: \d{3}|error: \d{3}|HTTP \d{3}")
"""What libgit2 and git say of a web server's answer."""


class Connection:
    """To the remote that `access` names, from a clone in `folder`. `waiting` is called about once a second."""

    def __init__(self, access: Access, folder: Path, waiting: Callable[[], None]) -> None:
        self._access = access
        self._folder = folder
        self._waiting = waiting

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

    def _again(self, words: Sequence[str]) -> list[Answer]:
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
