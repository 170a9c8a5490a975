"""The refs of a primary's own clone, moved one by one or all together.

Owns which locks are removed there: only dreamcatcherd moves refs of this clone, one process at a time."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import TypeVar

import pygit2

from dreamcatcherd.core.errors import FatalError, RetryableError
from dreamcatcherd.git.disk_errors import remedy_for
from dreamcatcherd.git.failures import UnclearError
from dreamcatcherd.git.locks import LOCK_POLL_S, LOCK_WAIT_S, all_locks, alone, remove_locks, remove_stale
from dreamcatcherd.git.own_clone import set_refs
from dreamcatcherd.git.repository import Repository

_T = TypeVar("_T")

AT_A_TIME = 8
"""Up to how many refs are moved one by one through libgit2; more are left to one git process."""


class CloneRefs:
    """The refs of a clone that the caller holds. FatalError: a ref is damaged; UnclearError: one may be locked."""

    def __init__(self, repository: Repository) -> None:
        self._repository = repository
        self._folder = repository.folder

    def get(self, name: str) -> str | None:
        """The commit that a ref names; None if there is no such ref."""
        try:
            found = self._repository.handle.references.get(name)
        except (ValueError, pygit2.GitError) as error:
            raise self._damaged(name, error) from error
        return str(found.target) if found is not None and isinstance(found.target, pygit2.Oid) else None

    def set(self, name: str, oid: str | None) -> None:
        """Let a ref name a commit; with None, delete it if it exists."""
        references = self._repository.handle.references
        try:
            if oid is not None:
                references.create(name, pygit2.Oid(hex=oid), force=True)
            elif name in references:
                references.delete(name)
        except (KeyError, ValueError, pygit2.GitError) as error:
            raise self._damaged(name, error) from error
        except OSError as error:
            cause = f"the refs of {self._folder} could not be moved: {error}"
            raise UnclearError(cause, remedy_for(error, self._folder)) from error

    def set_all(self, wanted: Mapping[str, str | None]) -> None:
        """Let refs name commits, or delete them."""
        if len(wanted) > AT_A_TIME:  # libgit2 writes all packed refs again for each that is deleted
            set_refs(self._folder, wanted)
            return
        for name, oid in wanted.items():
            self.set(name, oid)

    def unlocked(self, move: Callable[[], _T]) -> _T:
        """Do what moves refs; locks of a killed process that are in its way are removed.

        The caller holds the clone, so no other process of dreamcatcherd moves its refs. A lock that is there anyway
        belongs to a process that was killed, unless maintenance runs: then a young lock may be maintenance's, and it
        is waited for until it is gone or stale."""
        deadline = time.monotonic() + LOCK_WAIT_S
        tried_without_locks = False
        while True:
            try:
                return move()
            except (UnclearError, FatalError):
                locks = all_locks(self._folder)
                if not locks and tried_without_locks:
                    raise
            if not locks:  # one may have been released between the failure and the listing, so it is tried once more
                tried_without_locks = True
                continue
            tried_without_locks = False
            with alone(self._folder) as no_maintenance:
                removed = remove_locks(locks) if no_maintenance else remove_stale(locks)
            if not removed and time.monotonic() > deadline:
                cause = f"{locks[0]} is in the way"
                raise RetryableError(cause, f"see which process holds it (fuser {locks[0]}); if none does, remove it")
            if not removed:
                time.sleep(LOCK_POLL_S)

    def _damaged(self, name: str, error: Exception) -> FatalError:
        remedy = f"look at the disk of {self._folder}; the clone is recreated by itself"
        return FatalError(f"the ref {name} of the clone {self._folder} cannot be read: {error}", remedy)
