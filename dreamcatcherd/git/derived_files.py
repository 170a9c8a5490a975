"""Small files in a repository's own folder that are made from its history alone, so that a command need not read all of
it again.

They are no part of the repository: they can be deleted at any time, a clone does not have them, and whoever reads one
checks it against git's object ids. Only the owner of the folder writes them, so that a command of another user leaves
nothing there that the primary cannot replace."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

from dreamcatcherd.git.atomic_write import write_atomically
from dreamcatcherd.git.protocols import GitStore, ObjectReader

DERIVED_FOLDER = "dreamcatcherd-derived"
"""The folder of these files, in the repository's folder."""


class DerivedFiles:
    """The derived files of the repository in a folder."""

    def __init__(self, folder: Path) -> None:
        self._repository = folder
        self._folder = folder / DERIVED_FOLDER

    def read(self, name: str, offset: int = 0, size: int = -1) -> bytes | None:
        """So many bytes of a file (all of the rest for -1); None if it cannot be read."""
        try:
            with (self._folder / name).open("rb", buffering=0) as file:
                file.seek(offset)
                return file.read(size)
        except OSError:
            return None

    def writable(self) -> bool:
        """Whether this user may leave files here: the owner of the repository's folder alone."""
        try:
            return self._repository.stat().st_uid == os.geteuid() and os.access(self._repository, os.W_OK)
        except OSError:
            return False

    def write(self, name: str, data: bytes) -> None:
        """Replace a file. A disk that refuses is no failure: the file is made again another time."""
        if not self.writable():
            return
        with contextlib.suppress(OSError):
            self._folder.mkdir(exist_ok=True)
            write_atomically(self._folder / name, data)


def derived_files(store: ObjectReader) -> DerivedFiles | None:
    """The derived files of the repository that a store reads; None if it is in no folder."""
    return DerivedFiles(store.folder) if isinstance(store, GitStore) else None
