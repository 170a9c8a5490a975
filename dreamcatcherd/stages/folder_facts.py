"""What was found out about large folders of the state, kept in a derived file by the id of the folder's tree.

An id never names other contents, so what is kept stays true, and a process looks only into folders that changed since.
Owns the file's form, its checksum, and how much of it is kept. The file can be deleted at any time."""

from __future__ import annotations

from typing import Generic, TypeVar
from zlib import crc32

import msgspec

from dreamcatcherd.git.derived_files import DerivedFiles

KEPT_FROM = 64
"""How many files a folder has, sub-folders included, from which on it is kept: others are looked into again."""

FACTS_MOST = 10_000
"""How many folders are kept; if there are more, those go that the process did not ask for. 700 kB."""

T = TypeVar("T")


class FolderFacts(Generic[T]):
    """One kind of fact about folders, by tree id. `known` has those of earlier processes and those of this one."""

    def __init__(self, files: DerivedFiles | None, name: str, kind: type[T]) -> None:
        """`name` is the derived file, and `kind` what msgspec reads a fact as. Without `files` nothing is kept."""
        self._files = files
        self._name = name
        raw = files.read(name) if files is not None else None
        self.known: dict[str, T] = {}
        # A checksum, because a fact is not looked up in git again.
        if raw is not None and raw[:8] == _sum_of(raw[8:]):
            try:
                self.known = msgspec.json.decode(raw[8:], type=dict[str, kind])  # type: ignore[valid-type]
            except (msgspec.DecodeError, UnicodeDecodeError):  # of another version
                self.known = {}

    def keep(self, found: dict[str, T]) -> None:
        """Keep facts for the next process, with what is known already as far as there is room."""
        if self._files is None or self.known.keys() >= found.keys():
            return
        self.known = {**self.known, **found}
        if len(self.known) > FACTS_MOST:
            self.known = dict(found)
        raw = msgspec.json.encode(self.known)
        self._files.write(self._name, _sum_of(raw) + raw)


def _sum_of(raw: bytes) -> bytes:
    return b"%08x" % crc32(raw)
