"""Which commits are new: reachable from some commits and not from others, exactly, whatever their dates are.

Walks that stop by commit date (libgit2's `hide`, git's `rev-list A ^B` without generation numbers) call old commits new
if a clock was wrong. Three ways give the exact answer, and `CommitHistory` takes the cheapest that applies:

    near        every path from the tips ends at the one hidden commit: a few reads in this process
    by git      the repository has a commit-graph: git stops by generation number, which no clock can change
    by set      everything that the hidden commits reach is listed, and the walk from the tips stops there"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Container, Iterable, Mapping
from pathlib import Path

from dreamcatcherd.git.protocols import Commit

NEAR = 256
"""How many commits `near_commits` reads before it gives up."""

EXACT = ("-c", "core.commitGraph=true", "-c", "commitGraph.generationVersion=1")
"""Read and write topological levels. The newer corrected dates need dates of at most 34 bits and are wrong for a later
one; with a date near 2^64, git never ends writing them."""


def near_commits(commit: Callable[[str], Commit], tips: Iterable[str], hidden: str) -> dict[str, Commit] | None:
    """The new commits, if all of them descend from the one hidden commit and are few; otherwise None.

    A descendant of a commit is not in its history, so nothing else needs to be read."""
    found: dict[str, Commit] = {}
    todo = [oid for oid in tips if oid != hidden]
    while todo:
        oid = todo.pop()
        if oid in found:
            continue
        # Beyond this a walk in this process costs more than asking git.
        if len(found) >= NEAR:
            return None
        found[oid] = commit(oid)
        if not found[oid].parents:
            return None
        todo.extend(parent for parent in found[oid].parents if parent != hidden)
    return found


def reaches_near(commit: Callable[[str], Commit], tip: str, wanted: str) -> bool | None:
    """Whether a commit reaches another one, if the commits next to it decide that; None if more would have to be read.

    This finds a lane that was continued or merged recently, whatever the length of history."""
    seen = {tip}
    todo = deque(seen)
    for _ in range(NEAR):
        if not todo:
            return False
        found = commit(todo.popleft())
        if found.fault is not None:
            return None  # git may be able to follow it
        if wanted in found.parents:
            return True
        todo.extend(parent for parent in found.parents if parent not in seen)
        seen.update(found.parents)
    return None


def has_graph(repository: Path) -> bool:
    """Whether git can stop by generation number here: a commit-graph, and no shallow history, which disables it."""
    info = repository / "objects" / "info"
    if (repository / "shallow").exists():
        return False
    return (info / "commit-graph").exists() or (info / "commit-graphs" / "commit-graph-chain").exists()


def reach(commit: Callable[[str], Commit], tips: Iterable[str], known: set[str]) -> dict[str, Commit]:
    """All commits that the tips reach without passing through a known one."""
    found: dict[str, Commit] = {}
    todo = list(tips)
    while todo:
        oid = todo.pop()
        if oid not in found and oid not in known:
            found[oid] = commit(oid)
            todo.extend(found[oid].parents)
    return found


def reaches(commit: Callable[[str], Commit], oid: str, ancestor: str) -> bool:
    """Whether a commit is another one or has it in its history, by reading all of that history."""
    return oid == ancestor or ancestor in reach(commit, [oid], set())


def reach_within(commits: Mapping[str, Commit], tip: str | None, without: Container[str] = ()) -> list[str]:
    """Those of the given commits that a tip reaches through them, without passing through some others."""
    found: dict[str, None] = {}
    todo = [tip] if tip else []
    while todo:
        oid = todo.pop()
        if oid in commits and oid not in found and oid not in without:
            found[oid] = None
            todo.extend(commits[oid].parents)
    return list(found)


class Reached:
    """Set difference over the complete history. The last answer is kept, since the next question is mostly about its
    descendants. `everything` lists all that some commits reach; without it the commits are read one by one."""

    def __init__(
        self,
        commit: Callable[[str], Commit],
        everything: Callable[[list[str]], Iterable[str]] | None = None,
    ) -> None:
        self._commit = commit
        self._everything = everything or (lambda oids: reach(commit, oids, set()))
        self._tip: str | None = None
        self._reached: set[str] = set()

    def new_commits(self, tips: Iterable[str], hidden: Iterable[str]) -> dict[str, Commit]:
        """The commits that are reachable from the tips and not from the hidden ones."""
        first, *rest = [*dict.fromkeys(hidden)] or [""]
        known = self._history(first) if first else set()
        if rest:
            known = known.union(reach(self._commit, rest, known))
        return reach(self._commit, tips, known)

    def _history(self, oid: str) -> set[str]:
        """All that a commit reaches."""
        if self._tip != oid:
            fresh = reach(self._commit, [oid], self._reached) if self._tip is not None else {}
            if any(self._tip in commit.parents for commit in fresh.values()):
                self._reached.update(fresh)  # it descends from the commit before
            else:
                self._reached = set(self._everything([oid]))
            self._tip = oid
        return self._reached
