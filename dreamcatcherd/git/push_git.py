"""A repository during a push, as far as git itself answers: settings, signatures and history, with the push's objects.

Owns which of git's variables are passed on: those of the push, since git finds its quarantined objects by them. The
two ways to read its objects add the rest: `push_reader` starts git once more, `quarantine` has libgit2 loaded."""

from __future__ import annotations

import subprocess
from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping
from pathlib import Path

from dreamcatcherd.core.errors import FatalError
from dreamcatcherd.git.command import error_message, git
from dreamcatcherd.git.commits import read_commit
from dreamcatcherd.git.protocols import Commit
from dreamcatcherd.git.reachability import Reached, has_graph, reach, reaches
from dreamcatcherd.git.rev_list import list_commits


class PushGit(ABC):
    """The repository that git's variables name, as it is during a push: what both readers of one share.

    Nothing can be written or moved through it. The refs are those of the start: a subclass reads them when it is
    made, with `head_branch`."""

    cut: frozenset[str] = frozenset()

    def __init__(self, variables: Mapping[str, str]) -> None:
        self.folder = Path(variables.get("GIT_DIR") or ".").resolve()
        self.where = str(self.folder)
        self.head_branch: str | None = None
        known = variables.items()
        self._variables = {name: value for name, value in known if name.startswith("GIT_") and name != "GIT_DIR"}
        self._refs: dict[str, str] = {}
        self._reached = Reached(self.commit)

    @abstractmethod
    def read(self, oid: str) -> bytes:
        """The content of an object, of the push as well."""

    @abstractmethod
    def size(self, oid: str) -> int:
        """The size of an object in bytes, from its header alone."""

    def refs(self) -> dict[str, str]:
        """The refs before the push."""
        return dict(self._refs)

    def lost_history(self) -> str | None:
        """None: a push into a repository whose refs were lost is checked like one into a new one."""
        return None

    def commit(self, oid: str) -> Commit:
        """A commit, of the push as well."""
        return read_commit(self, oid)

    def through(self, oid: str) -> Commit:
        """The same: a push that brings a commit too large to be read is refused, so none is followed."""
        return self.commit(oid)

    def descends(self, oid: str, ancestor: str) -> bool:
        """Whether a commit is another one or has it in its history."""
        return reaches(self.commit, oid, ancestor)

    def git(self, *words: str, stdin: bytes = b"", may_fail: bool = False) -> subprocess.CompletedProcess[bytes]:
        """Run git on the repository and its quarantine; FatalError if it fails, unless it `may_fail`."""
        done = git(self.folder, *words, stdin=stdin, variables=self._variables)
        if done.returncode and not may_fail:
            raise FatalError(f"git {words[0]} failed on {self.folder}: {error_message(done)}", "run git fsck there")
        return done

    def settings(self, section: str) -> dict[str, list[str]]:
        """The git settings of a section, by name in lower case; all values of each."""
        found: dict[str, list[str]] = {}
        done = self.git("config", "-z", "--get-regexp", rf"^{section}\.", may_fail=True)
        for line in done.stdout.decode("utf-8", "surrogateescape").split("\0"):
            name, _, value = line.partition("\n")
            if value:
                found.setdefault(name.lower(), []).append(value)
        return found

    def new_commits(self, tips: Iterable[str], hidden: Iterable[str]) -> dict[str, Commit]:
        """The commits that are reachable from the tips and not from the hidden ones."""
        tips, hidden = list(dict.fromkeys(tips)), list(dict.fromkeys(hidden))
        if not hidden or has_graph(self.folder):
            listed = list_commits(self.folder, tips, hidden, self._variables)
            if listed is not None:
                return {oid: self.commit(oid) for oid in listed}
        known = list_commits(self.folder, hidden, [], self._variables)
        if known is None:
            return self._reached.new_commits(tips, hidden)
        return reach(self.commit, tips, set(known))

    def good_signatures(self, commits: Iterable[str], signers: Iterable[str]) -> dict[str, str]:
        """The commits with a good ssh signature by a key of the allowed-signers lines, with its fingerprint."""
        from dreamcatcherd.git.signatures import good_signatures  # few pushes need it, and each pays for its start

        return good_signatures(self.folder, commits, signers, self._variables)
