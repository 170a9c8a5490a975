"""Objects in a temporary file over a repository that is only read, for a computation that writes more than memory
holds."""

from __future__ import annotations

from collections.abc import Iterator

from dreamcatcherd.core.tree import Kind, Reader, object_id, parse
from dreamcatcherd.git.scratch_file import ScratchFile


class DiskOverlay:
    """An overlay whose objects are in a file without a name below `$TMPDIR`. Of each object its place in the file stays
    in memory."""

    def __init__(self, store: Reader) -> None:
        """RetryableError if there is no folder for the file."""
        self._store = store
        self._file = ScratchFile("a computed object")
        self._places: dict[str, tuple[tuple[int, int], Kind]] = {}

    def read(self, oid: str) -> bytes:
        """An object; RetryableError if the disk does not give it back."""
        found = self._places.get(oid)
        return self._store.read(oid) if found is None else self._file.read(found[0])

    def write(self, kind: Kind, data: bytes) -> str:
        """Keep an object; RetryableError if the disk refuses."""
        oid = object_id(kind, data)
        if oid not in self._places:
            self._places[oid] = (self._file.add(data), kind)
        return oid

    def keep(self, tree: str) -> None:
        """Nothing: what a tree does not reach costs disk alone."""

    def objects(self, tree: str) -> Iterator[tuple[Kind, bytes]]:
        """The written objects that a tree reaches, one at a time."""
        todo, seen = [tree], set[str]()
        while todo:
            oid = todo.pop()
            if oid in self._places and oid not in seen:
                seen.add(oid)
                kind, data = self._places[oid][1], self.read(oid)
                yield kind, data
                if kind == "tree":
                    todo += [entry.oid for entry in parse(data).values()]
