"""git's own answers about a repository during a push: settings, signatures and history, with the push's objects.

Owns which of git's variables are passed on: those of the push, since git finds its quarantined objects by them."""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

from dreamcatcherd.core.errors import FatalError
from dreamcatcherd.git.command import error_message, git
from dreamcatcherd.git.protocols import Commit
from dreamcatcherd.git.reachability import Reached, has_graph, reach
from dreamcatcherd.git.rev_list import list_commits


class PushGit:
    """git on the repository that git's variables name. `commit` reads a commit, of the push as well."""

    def __init__(self, variables: Mapping[str, str], commit: Callable[[str], Commit]) -> None:
        self.folder = Path(variables.get("GIT_DIR") or ".").resolve()
        known = variables.items()
        self._variables = {name: value for name, value in known if name.startswith("GIT_") and name != "GIT_DIR"}
        self._commit = commit
        self._reached = Reached(commit)

    def run(self, *words: str, stdin: bytes = b"", may_fail: bool = False) -> subprocess.CompletedProcess[bytes]:
        """Run git on the repository and its quarantine; FatalError if it fails, unless it `may_fail`."""
        done = git(self.folder, *words, stdin=stdin, variables=self._variables)
        if done.returncode and not may_fail:
            raise FatalError(f"git {words[0]} failed on {self.folder}: {error_message(done)}", "run git fsck there")
        return done

    def settings(self, section: str) -> dict[str, list[str]]:
        """The git settings of a section, by name in lower case; all values of each."""
        found: dict[str, list[str]] = {}
        done = self.run("config", "-z", "--get-regexp", rf"^{section}\.", may_fail=True)
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
                return {oid: self._commit(oid) for oid in listed}
        known = list_commits(self.folder, hidden, [], self._variables)
        if known is None:
            return self._reached.new_commits(tips, hidden)
        return reach(self._commit, tips, set(known))

    def good_signatures(self, commits: Iterable[str], signers: Iterable[str]) -> dict[str, str]:
        """The commits with a good ssh signature by a key of the allowed-signers lines, with its fingerprint."""
        from dreamcatcherd.git.signatures import good_signatures  # few pushes need it, and each pays for its start

        return good_signatures(self.folder, commits, signers, self._variables)
