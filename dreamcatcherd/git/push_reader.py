"""A repository read through git's own plumbing, for the hook: a process that starts again at every push.

git answers in 10 ms, while loading pygit2 takes 70; and git knows where the objects of a push are kept in quarantine,
from its variables, all of which are passed on to it. Nothing can be written or moved through this reader."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Mapping

from dreamcatcherd.core.errors import FatalError, UnreadableError, UsageError
from dreamcatcherd.git.command import AS_STORED, error_message, lines_of
from dreamcatcherd.git.commits import check_ceiling
from dreamcatcherd.git.push_git import PushGit

_KINDS = {b"commit": 1, b"tree": 2}
"""git's own numbers of the kinds that have a ceiling."""

_PREFIX = re.compile("[0-9a-f]{4,40}")


class PushReader(PushGit):
    """The repository that git's variables name, as it is during a push; it keeps the Protocols `PushStore` and
    `QueryReader`.

    A git process answers the reads from the constructor on, until `close`."""

    def __init__(self, variables: Mapping[str, str]) -> None:
        super().__init__(variables)
        known = variables.items()
        self._refs = self._read_refs()
        self._environment = {name: value for name, value in known if name != "GIT_DIR"} | {"LC_ALL": "C", **AS_STORED}
        self._reader = self._start()

    def _start(self) -> subprocess.Popen[bytes]:
        try:
            return subprocess.Popen(
                ["git", "--git-dir", str(self.folder), "cat-file", "--batch-command"],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                env=self._environment,
            )
        except FileNotFoundError as error:
            raise FatalError("git is not installed or not on the PATH", "install git 2.36 or newer") from error

    def close(self) -> None:
        """End the git process."""
        self._reader.communicate()

    def read(self, oid: str) -> bytes:
        kind, size = self._ask("contents", oid)
        try:
            check_ceiling(oid, kind, size)
        except UnreadableError:
            self._reader.kill()  # git has begun to write the object, and what is in the pipe must not answer later
            self._reader.communicate()
            self._reader = self._start()
            raise
        if self._reader.stdout is None:
            raise AssertionError("the process was made with pipes")
        return self._reader.stdout.read(size + 1)[:-1]

    def size(self, oid: str) -> int:
        return self._ask("info", oid)[1]

    def resolve(self, prefix: str) -> str | None:
        answer = self._answer("info", prefix) if _PREFIX.fullmatch(prefix) else []
        return answer[0].decode() if len(answer) == 3 else None

    def refresh(self) -> None:
        self._refs = self._read_refs()  # git itself finds packs that were added

    def _read_refs(self) -> dict[str, str]:
        done = self.git("for-each-ref", "--format=%(objectname)%(HEAD)%(refname)", may_fail=True)
        if done.returncode:
            remedy = "run it in a repository, as a hook of git's"
            raise UsageError(f"{self.where} cannot be opened as a git repository: {error_message(done)}", remedy)
        found: dict[str, str] = {}
        for line in lines_of(done.stdout):
            found[line[41:]] = line[:40]
            if line[40] == "*":
                self.head_branch = line[41:]
        return found

    def _ask(self, what: str, oid: str) -> tuple[int, int]:
        """The kind and size of an object; after `contents`, its bytes and a line feed are next in the pipe."""
        answer = self._answer(what, oid)
        if len(answer) != 3:
            why = answer[-1].decode() if answer else "git cat-file ended"
            raise FatalError(f"object {oid} cannot be read from {self.where}: {why}", "run git fsck there")
        return _KINDS.get(answer[1], 0), int(answer[2])

    def _answer(self, what: str, oid: str) -> list[bytes]:
        """The words of git's answer about an object: its id, kind and size, or why there is none."""
        if self._reader.stdin is None or self._reader.stdout is None:
            raise AssertionError("the process was made with pipes")
        try:
            self._reader.stdin.write(f"{what} {oid}\n".encode())
            self._reader.stdin.flush()
            return self._reader.stdout.readline().split()
        except BrokenPipeError:
            return []
