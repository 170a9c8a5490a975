"""The history of an opened repository: single commits, which commits are new, and what descends from what.

Owns which of the ways in `reachability.py` answers a question. Commits are read through the store, not from the
repository, so that commits that are written and not flushed count, and a remote store can recreate its clone."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable

from msgspec import structs

from dreamcatcherd.core.errors import FatalError
from dreamcatcherd.core.tree import Reader
from dreamcatcherd.git.command import git
from dreamcatcherd.git.commits import read_commit
from dreamcatcherd.git.protocols import Commit
from dreamcatcherd.git.reachability import Reached, has_graph, near_commits, reach, reaches, reaches_near
from dreamcatcherd.git.repository import Repository
from dreamcatcherd.git.rev_list import header_of, list_commits

WIDE = 32
"""A commit with more parents than this is kept when it was read: its size grows with the lanes that it merged."""

WIDE_KEPT = 8
"""How many of them."""


class CommitHistory:
    """Commits of a repository, as the store `objects` reads them."""

    def __init__(self, objects: Reader, repository: Repository) -> None:
        self._objects = objects
        self._repository = repository
        self._folder = repository.folder
        self._cut = repository.cut
        self._large: dict[str, Commit] = {}  # commits too large to be read, as git follows them
        self._wide: dict[str, Commit] = {}  # the last merges of many lanes, which every look at the refs asks for
        self._reached = Reached(self.commit, self._everything)

    def commit(self, oid: str) -> Commit:
        """A commit by id, without parents if history is cut off there."""
        commit = self._large.get(oid) or self._wide.get(oid) or read_commit(self._objects, oid)
        if len(commit.parents) > WIDE and oid not in self._wide:
            self._wide = {**dict(list(self._wide.items())[1 - WIDE_KEPT :]), oid: commit}
        return structs.replace(commit, parents=()) if oid in self._cut else commit

    def forget(self) -> None:
        """Forget commits that were read: they may not have been flushed."""
        self._wide.clear()

    def through(self, oid: str) -> Commit:
        """A commit that is too large to be read, with its tree and parents if git can follow it."""
        commit = self.commit(oid)
        if commit.fault is None or commit.tree or (header := header_of(self._folder, oid)) is None:
            return commit
        self._large[oid] = structs.replace(commit, tree=header[0], parents=header[1])
        return self.commit(oid)

    def new_commits(self, tips: Iterable[str], hidden: Iterable[str]) -> dict[str, Commit]:
        """The commits that are reachable from the tips and not from the hidden ones."""
        tips, hidden = list(dict.fromkeys(tips)), list(dict.fromkeys(hidden))
        near = near_commits(self.commit, tips, hidden[0]) if len(hidden) == 1 else None
        if near is not None:
            return near
        if has_graph(self._folder) and (listed := list_commits(self._folder, tips, hidden)) is not None:
            return {oid: self.commit(oid) for oid in listed}
        return self._reached.new_commits(tips, hidden)

    def descends(self, oid: str, ancestor: str) -> bool:
        """Whether a commit is another one or has it in its history."""
        if oid == ancestor or not self._repository.holds(ancestor):
            return oid == ancestor
        with contextlib.suppress(FatalError):
            if (near := reaches_near(self.commit, oid, ancestor)) is not None:
                return near
        if (walked := self._repository.descends(oid, ancestor)) is not None:
            return walked
        asked = git(self._folder, "merge-base", "--is-ancestor", ancestor, oid)
        if asked.returncode > 1:  # git stops at an object that it does not accept as a commit
            return reaches(self.commit, oid, ancestor)
        return asked.returncode == 0

    def _everything(self, tips: list[str]) -> Iterable[str]:
        """All that some commits reach, listed by git: several times faster than reading each of them. If git stops at
        an object that it does not accept as a commit, they are read."""
        listed = list_commits(self._folder, tips, []) if not self._cut else None
        return listed if listed is not None else reach(self.commit, tips, set())
