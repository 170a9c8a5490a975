"""What processes that were killed left in a repository: found by name and age, and removed by maintenance.

Nothing here is needed by anybody: a file that is being written gets its final name only once it is complete. git and
libgit2 do not remove all of these themselves, so without this a primary that is killed often would fill its disk."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator
from pathlib import Path

from dreamcatcherd.git.derived_files import DERIVED_FOLDER
from dreamcatcherd.git.locks import all_locks, remove_stale
from dreamcatcherd.git.packs import forget_keeps

REF_LOCK_S = 600.0
"""A ref's lock keeps its workers from pushing. A live git holds it for milliseconds, or for seconds in a push of
thousands of refs. Those in the primary's own way are removed sooner: see `locks`."""

OTHER_LOCK_S = 3600.0
"""Any other lock is older than the longest command of ours when it is removed."""

MAINTENANCE_LOCK_S = 12 * 3600.0
"""git treats a gc.pid older than 12 hours as stale, but never removes its maintenance lock, whatever its age."""

UNFINISHED_S = 86_400.0
"""A file that was not written to for a day is not being written: a push or a fetch is given up much sooner."""

_UNFINISHED = (
    "objects/pack/tmp_*",  # packs and indexes: ours, and git's
    "objects/pack/.tmp-*",  # those that git repack did not come to rename
    "objects/pack/pack_git2_*",  # libgit2's
    "objects/??/tmp_obj*",  # objects: git's and libgit2's
    "objects/info/commit-graphs/tmp_graph_*",
    "objects/info/packs_??????",  # git's lists for plain http, which a repack writes
    "info/refs_??????",
    ".dreamcatcherd-*",  # our own small files, as `write_atomically` names them
    f"{DERIVED_FOLDER}/.*",
)


def remove_leftovers(repository: Path) -> None:
    """Remove what killed processes left in a repository, once it is so old that nobody can be at work on it."""
    refs = repository / "refs"
    for lock in all_locks(repository):
        with contextlib.suppress(OSError):  # it may be somebody else's, and then it is for them to remove
            remove_stale([lock], _age_of(lock, refs))
    forget_keeps(repository)
    for path in _unfinished(repository):
        with contextlib.suppress(OSError):
            if time.time() - path.stat().st_mtime > UNFINISHED_S:
                path.unlink()


def _age_of(lock: Path, refs: Path) -> float:
    """From which age on a lock is nobody's."""
    if lock.is_relative_to(refs):
        return REF_LOCK_S
    return MAINTENANCE_LOCK_S if lock.name == "maintenance.lock" else OTHER_LOCK_S


def _unfinished(repository: Path) -> Iterator[Path]:
    for pattern in _UNFINISHED:
        yield from repository.glob(pattern)
