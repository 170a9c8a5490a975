"""Maintenance of a repository: packs are joined, unreachable objects pruned, the commit-graph written, refs packed."""

from __future__ import annotations

import os
from pathlib import Path

from dreamcatcherd.core.errors import RetryableError
from dreamcatcherd.core.paths import PUBLISHED
from dreamcatcherd.git.command import error_message, git
from dreamcatcherd.git.disk_errors import disk_failure
from dreamcatcherd.git.leftovers import remove_leftovers
from dreamcatcherd.git.locks import maintaining
from dreamcatcherd.git.reachability import EXACT

MAINTENANCE_S = 3600.0

LOOSE_MOST = 256
"""How many refs may have a file of their own. Each look at the refs, here or at a push, asks all of these files."""

PACKS_JOINED = 32
"""How many packs a repository has at most after a command that closed a frame: beyond it, they are joined."""


def has_many_packs(repository: Path) -> bool:
    """Whether a repository has so many packs that they should be joined."""
    return sum(1 for _ in (repository / "objects" / "pack").glob("pack-*.idx")) > PACKS_JOINED


def maintain(repository: Path) -> None:
    """Join small packs, at a cost that depends on what is new, prune if git finds that worthwhile, and remove what
    killed processes left.

    RetryableError if it fails, or if another git runs maintenance."""
    remove_leftovers(repository)
    try:
        with maintaining(repository):
            # First, so that git's own maintenance finds few refs to pack: it would run a hook for each.
            if sum(len(files) for _, _, files in os.walk(repository / "refs")) > LOOSE_MOST:
                _pack_refs(repository)
            _maintain(repository)
    except OSError as error:
        raise disk_failure(f"maintenance of {repository} failed", error, repository) from error


def pack_refs(repository: Path) -> None:
    """Move all refs into `packed-refs`; RetryableError if it fails. A ref that moves later has a file again."""
    try:
        with maintaining(repository):
            _pack_refs(repository)
    except OSError as error:
        raise disk_failure(f"the refs of {repository} could not be packed", error, repository) from error


def _pack_refs(repository: Path) -> None:
    # Without hooks: git runs reference-transaction twice for each file that it removes, and no ref moves.
    result = git(repository, "-c", f"core.hooksPath={os.devnull}", "pack-refs", "--all", timeout_s=MAINTENANCE_S)
    if result.returncode:
        remedy = f"run git -C {repository} pack-refs --all by hand and see what it says"
        raise RetryableError(f"the refs of {repository} could not be packed: {error_message(result)}", remedy)


def _maintain(repository: Path) -> None:
    for words in (("repack", "--geometric=2", "-d", "-q"), ("maintenance", "run", "--auto", "--quiet")):
        result = git(repository, *EXACT, *words, timeout_s=MAINTENANCE_S)
        if result.returncode:
            remedy = f"run git {' '.join(words)} there by hand and see what it says"
            raise RetryableError(f"maintenance of {repository} failed: {error_message(result)}", remedy)
    # Only of what was published: a graph over all refs would include commits that anybody pushed.
    published = git(repository, "rev-parse", "--verify", "--quiet", PUBLISHED).stdout.decode().strip()
    if published:
        write_graph(repository, published)


def write_graph(repository: Path, tip: str) -> None:
    """Write a commit-graph of all that a commit reaches; RetryableError if it fails. With it, the cost of a question
    about history depends on what is new."""
    words = (*EXACT, "commit-graph", "write", "--stdin-commits", "--split", "--no-progress")
    result = git(repository, *words, stdin=f"{tip}\n".encode(), timeout_s=MAINTENANCE_S)
    if result.returncode:
        remedy = f"run git -C {repository} commit-graph write --reachable and see what it says"
        raise RetryableError(f"the commit-graph of {repository} cannot be written: {error_message(result)}", remedy)
