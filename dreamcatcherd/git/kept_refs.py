"""The refs that keep what mirrors brought, in the repository that a primary works on, until a publication reaches it.

In a shared repository on this disk they are in the primary's own namespace, where the server-side check lets nobody
else push. In the clone of a remote they are beside the refs that follow the remote's, which would delete them."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Mapping
from contextlib import AbstractContextManager
from pathlib import Path

from msgspec import Struct

from dreamcatcherd.core.errors import RetryableError
from dreamcatcherd.core.paths import MIRRORS
from dreamcatcherd.git.command import error_message, git, lines_of
from dreamcatcherd.git.disk_errors import remedy_in
from dreamcatcherd.git.own_clone import hold, lock_of

_IN_CLONE = "refs/primary/mirrors/"


class KeptRefs(Struct, frozen=True):
    """The refs of all mirrors, by their names in `paths.mirrored_ref`. Any thread may use it: git does the work.

    `is_clone`: the folder is the clone of a remote, which other processes of dreamcatcherd use too."""

    folder: Path
    is_clone: bool
    timeout_s: float = 30.0

    def read(self) -> dict[str, str]:
        """All of them, with their commits. RetryableError if git cannot list them."""
        root = _IN_CLONE if self.is_clone else MIRRORS
        words = ("for-each-ref", "--format=%(objectname) %(refname)", root)
        pairs = (line.partition(" ") for line in lines_of(self._git(*words)))
        return {f"{MIRRORS}{name.removeprefix(root)}": oid for oid, _, name in pairs}

    def change(self, add: Mapping[str, str], drop: Iterable[str] = ()) -> None:
        """Add and drop refs, all in one transaction. RetryableError if git cannot."""
        lines = [f"update {self._name(ref)} {oid}\n" for ref, oid in add.items()]
        lines += [f"delete {self._name(ref)}\n" for ref in drop]
        if not lines:
            return
        with self._held():
            self._git("update-ref", "--stdin", stdin="".join(lines).encode("utf-8", "surrogateescape"))

    def _name(self, ref: str) -> str:
        return f"{_IN_CLONE}{ref.removeprefix(MIRRORS)}" if self.is_clone else ref

    def _held(self) -> AbstractContextManager[None]:
        # In a clone, locks of refs that nobody holds it for are taken for those of a killed process.
        folder = self.folder
        return hold(lock_of(folder), self.timeout_s) if self.is_clone else contextlib.nullcontext()

    def _git(self, *words: str, stdin: bytes = b"") -> bytes:
        result = git(self.folder, *words, stdin=stdin)
        if result.returncode:
            said = error_message(result)
            remedy = remedy_in(said, self.folder, f"run git -C {self.folder} fsck and see what it says")
            raise RetryableError(f"the heads of mirrors in {self.folder} could not be kept: {said}", remedy)
        return result.stdout
