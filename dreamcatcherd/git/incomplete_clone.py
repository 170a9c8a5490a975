"""What a clone may lack: objects that a filter left out, or history beyond a depth. How to detect and complete each."""

from __future__ import annotations

import re
from pathlib import Path

import pygit2

SHALLOW = "a clone with --depth, which holds only a part of the history"
UNSHALLOW = "complete it: git fetch --unshallow there; or name a full clone"
_PROMISOR = re.compile(r"remote\..*\.promisor")


def is_partial(repository: pygit2.Repository) -> bool:
    """Whether objects were left out on purpose by the clone (`--filter`): libgit2 cannot fetch them later."""
    try:
        return any(_PROMISOR.fullmatch(entry.name) and entry.value == "true" for entry in repository.config)
    except (pygit2.GitError, ValueError):
        return False


def complete(folder: Path) -> str:
    """How to complete a partial clone."""
    unset = f"git -C {folder} config --unset-all remote.origin.partialclonefilter"
    return f"complete it: {unset}; git -C {folder} fetch --refetch origin; or name a full clone"


def unshallow(folder: Path) -> str:
    """How to complete a shallow repository."""
    return f"complete it: git -C {folder} fetch --unshallow; or name a full clone"


def shallow_commits(folder: Path) -> frozenset[str]:
    """The commits at which a repository's history is cut off (an archive's, or a shallow clone's)."""
    try:
        return frozenset((folder / "shallow").read_text("ascii").split())
    except (OSError, UnicodeDecodeError):
        return frozenset()
