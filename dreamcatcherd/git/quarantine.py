"""A repository during a push, read through libgit2: for a process that has it loaded already.

Owns where git keeps the objects of a push until it is accepted, and what has to hold before they are read from there:
`quarantine_of` refuses whatever is not as git itself makes it, and the check is then made by git's own plumbing."""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Iterable, Mapping
from pathlib import Path

import pygit2

from dreamcatcherd.core.errors import DreamcatcherError
from dreamcatcherd.git.protocols import Commit
from dreamcatcherd.git.push_git import PushGit
from dreamcatcherd.git.repository import Repository

_INCOMING = re.compile(r"(tmp_objdir-)?incoming-[A-Za-z0-9]+")
"""The name of the folder of a push: git before 2.35 has no prefix."""

_CHANGES_READING = re.compile(r"GIT_(COMMON_DIR|NAMESPACE|SHALLOW_FILE|REF\w*|TEST_\w+)")
"""git's variables by which it reads other refs or another history, and which are not handled here."""


class UnclearPushError(DreamcatcherError):
    """A push that is not read here, although git may be able to: the remedy is to ask git."""


def quarantine_of(folder: Path, variables: Mapping[str, str]) -> Path | None:
    """The folder of a push's objects, below the `objects` of the repository in `folder`; None if the push has none.

    UnclearPushError if git's variables name another repository or other folders than git makes for a push."""
    if unknown := sorted(filter(_CHANGES_READING.fullmatch, variables)):
        raise _unclear(f"{unknown[0]} is set")
    if (folder / (variables.get("GIT_DIR") or ".")).resolve() != folder.resolve():
        raise _unclear("GIT_DIR names another repository")
    if (folder / "shallow").exists():
        raise _unclear("the repository is shallow")
    objects = (folder / "objects").resolve()
    named = variables.get("GIT_QUARANTINE_PATH")
    also = variables.get("GIT_OBJECT_DIRECTORY")
    others = [one for one in (variables.get("GIT_ALTERNATE_OBJECT_DIRECTORIES") or "").split(":") if one]
    if any((folder / one).resolve() != objects for one in others):
        raise _unclear("GIT_ALTERNATE_OBJECT_DIRECTORIES names other objects than the repository's")
    if not named:
        if also and (folder / also).resolve() != objects:
            raise _unclear("GIT_OBJECT_DIRECTORY is set without a quarantine")
        return None
    path = folder / named
    if also != named or not others:
        raise _unclear("GIT_OBJECT_DIRECTORY does not name the quarantine")
    if not _INCOMING.fullmatch(path.name) or path.parent.resolve() != objects:
        raise _unclear("the quarantine is not in the repository's objects")
    try:
        found = path.lstat()
    except OSError as error:
        raise _unclear(f"the quarantine cannot be read: {error.strerror}") from error
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.geteuid():
        raise _unclear("the quarantine is not a folder of this account's")
    return objects / path.name


def _unclear(what: str) -> UnclearPushError:
    return UnclearPushError(what, "ask git")


class QuarantinedReader(PushGit):
    """The repository in a folder as it is during a push; it keeps the Protocol `PushStore`.

    It reads the same as `push_reader.PushReader`, and starts no process for it."""

    def __init__(self, variables: Mapping[str, str]) -> None:
        """UnclearPushError if the push is not read here; FatalError or UsageError if the repository cannot be."""
        super().__init__(variables)
        quarantine = quarantine_of(self.folder, variables)
        self._repository = Repository(self.folder)
        self._stored = pygit2.Odb(str(self.folder / "objects"))
        if quarantine is not None:
            self._repository.handle.odb.add_disk_alternate(str(quarantine))
        self._refs = self._read_refs()

    def close(self) -> None:
        """Close all files of the repository."""
        self._repository.close()

    def read(self, oid: str) -> bytes:
        return self._repository.read(oid)

    def size(self, oid: str) -> int:
        return self._repository.size(oid)

    def new_commits(self, tips: Iterable[str], hidden: Iterable[str]) -> dict[str, Commit]:
        tips, hidden = list(dict.fromkeys(tips)), list(dict.fromkeys(hidden))
        chain = self._new_chain(tips[0], set(hidden)) if len(tips) == 1 else None
        return super().new_commits(tips, hidden) if chain is None else chain

    def _new_chain(self, tip: str, hidden: set[str]) -> dict[str, Commit] | None:
        """The new commits if they are one line that ends at a hidden commit or at its own root; None otherwise.

        A hidden commit reaches only what is stored already. So a commit that is in the quarantine alone is new,
        whatever the history is, and nothing of that has to be read."""
        found: dict[str, Commit] = {}
        oid: str | None = tip
        while oid is not None and oid not in hidden:
            if oid in self._stored:
                return None
            found[oid] = commit = self.commit(oid)
            # git's order of several lines is its own, and it may follow a commit that is not read here.
            if len(commit.parents) > 1 or commit.fault is not None:
                return None
            oid = commit.parents[0] if commit.parents else None
        return found

    def _read_refs(self) -> dict[str, str]:
        """All refs as git lists them: symbolic ones with what they lead to, tags with their own ids."""
        repo = self._repository.handle
        found = self._repository.refs()
        for name in repo.references:
            if name not in found:
                try:
                    found[name] = str(repo.references[name].resolve().target)
                except (KeyError, ValueError, pygit2.GitError):
                    continue  # it leads nowhere; git leaves it out
        head = repo.references.get("HEAD")
        if head is not None and isinstance(head.target, str) and head.target in found:
            self.head_branch = head.target
        return dict(sorted(found.items()))
