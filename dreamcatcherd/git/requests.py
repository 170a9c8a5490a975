"""Requests to a remote that git makes, each with a time limit, and their failures.

Owns the environment of each, and how a web server's own explanation is found: if an error does not show its answer, git
makes the same request again, with a trace."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from subprocess import CompletedProcess

from dreamcatcherd.core.errors import RetryableError
from dreamcatcherd.git.access import Access, git_environment
from dreamcatcherd.git.command import GitTimeoutError, git, lines_of
from dreamcatcherd.git.failures import failure_of
from dreamcatcherd.git.http_answers import BODIES, HEADERS, HttpAnswer, parted, words_of

_AGAIN_S = 10.0
"""The time limit of a request that is made again only to see the server's answer."""


class GitRequests:
    """git's requests to the remote of `access`, from the repository in `folder`. `waiting` is called about once a
    second."""

    def __init__(self, access: Access, folder: Path, waiting: Callable[[], None] = lambda: None) -> None:
        self._access = access
        self._folder = folder
        self._waiting = waiting

    def heads(self, patterns: Sequence[str]) -> dict[str, str]:
        """The refs that the remote lists and that match one of the patterns."""
        listed = lines_of(self.git("ls-remote", "--refs", "--", self._access.url, *patterns))
        return {name: oid for oid, name in (line.split("\t") for line in listed)}

    def run(
        self, *words: str, limit_s: float | None = None, trace: Mapping[str, str] = HEADERS, stdin: bytes = b""
    ) -> CompletedProcess[bytes]:
        """Run git; the caller checks its exit code. GitTimeoutError at the time limit. Over http its stderr has a trace
        as well, which `failed` reads."""
        return git(
            self._folder,
            *words,
            stdin=stdin,
            timeout_s=limit_s or self._access.timeout_s,
            variables=git_environment(self._access) | (dict(trace) if self._access.is_http else {}),
            waiting=self._waiting,
        )

    def git(self, *words: str, limit_s: float | None = None, stdin: bytes = b"") -> bytes:
        """The output of git; RetryableError if it fails."""
        try:
            result = self.run(*words, limit_s=limit_s, stdin=stdin)
        except GitTimeoutError as error:
            raise failure_of(self._access, "timed out") from error
        if result.returncode:
            raise self.failed(result, words)
        return result.stdout

    def failed(self, result: CompletedProcess[bytes], words: Sequence[str]) -> RetryableError:
        """The failure of git, run with `words`, with the server's own explanation if there is one."""
        said, answers = parted(result.stderr.decode("utf-8", "replace"))
        if words[0] == "push":
            said = f"{said}\n{result.stdout.decode('utf-8', 'replace')}"
        if answers and answers[-1].status >= 400 and not words_of(said):
            answers = self.answers(words) or answers
        return failure_of(self._access, said.strip() or f"git ended with {result.returncode}", answers)

    def answers(self, words: Sequence[str]) -> list[HttpAnswer]:
        """The web server's answers when git makes the same request again."""
        if not self._access.is_http:
            return []
        try:
            traced = self.run(*words, limit_s=min(_AGAIN_S, self._access.timeout_s), trace=BODIES)
        except GitTimeoutError:
            return []
        return parted(traced.stderr.decode("utf-8", "replace"))[1]
