"""Questions about history that git answers faster than a walk in this process."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path

from dreamcatcherd.git.command import GitTimeoutError, git
from dreamcatcherd.git.reachability import EXACT

LISTING_S = 20.0
"""The time limit for listing commits: git lists millions in this time. Without its answer they are read one by one."""


def list_commits(
    repository: Path, tips: Iterable[str], hidden: Iterable[str], variables: Mapping[str, str] | None = None
) -> list[str] | None:
    """The ids of all commits that the tips reach and the hidden ones do not; None if git is not sure.

    With hidden commits the answer is exact only if the repository has a commit-graph (`reachability.has_graph`). Any
    complaint of git makes it unsure: git ignores a damaged graph, for example."""
    asked = "".join([*(f"{oid}\n" for oid in tips), *(f"^{oid}\n" for oid in hidden)])
    words = (*EXACT, "rev-list", "--topo-order", "--stdin")
    try:
        listed = git(repository, *words, stdin=asked.encode(), timeout_s=LISTING_S, variables=variables)
    except GitTimeoutError:
        return None  # it inflates every commit, and anybody may push commits that inflate to gigabytes
    return listed.stdout.decode().split() if listed.returncode == 0 and not listed.stderr else None


def header_of(repository: Path, oid: str) -> tuple[str, tuple[str, ...]] | None:
    """The tree and the parents of a commit too large to be read here; None if git cannot follow it either."""
    asked = git(repository, "rev-list", "--no-walk", "--parents", "--format=tformat:%T", oid)
    lines = asked.stdout.decode("ascii", "replace").split("\n")
    return (lines[1], tuple(lines[0].split()[2:])) if asked.returncode == 0 and len(lines) > 1 else None
