"""Objects in a temporary file over a repository that is only read, for a computation that writes more than memory
holds."""

from __future__ import annotations

import tempfile
import weakref
from collections.abc import Iterator

from dreamcatcherd.core.errors import RetryableError
from dreamcatcherd.core.tree import Kind, Reader, object_id, parse


class DiskOverlay:
    """An overlay whose objects are in a file without a name below `$TMPDIR`. Of each object its place in the file stays
    in memory."""

    def __init__(self, store: Reader) -> None:
        self._store = store
        self._file = tempfile.TemporaryFile(prefix="dreamcatcherd-")  # noqa: SIM115 (closed with this object)
        weakref.finalize(self, self._file.close)
        self._places: dict[str, tuple[int, int, Kind]] = {}
        self._end = 0

    def read(self, oid: str) -> bytes:
        place = self._places.get(oid)
        if place is None:
            return self._store.read(oid)
        self._file.seek(place[0])
        return self._file.read(place[1])

    def write(self, kind: Kind, data: bytes) -> str:
        """Keep an object; RetryableError if the disk refuses."""
        oid = object_id(kind, data)
        if oid not in self._places:
            try:
                self._file.seek(self._end)
                self._file.write(data)
            except OSError as error:
                cause = f"a computed object could not be written to {tempfile.gettempdir()}: {error.strerror}"
                raise RetryableError(cause, "free some space there, or name another folder: TMPDIR=…") from error
            self._places[oid] = (self._end, len(data), kind)
            self._end += len(data)
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
                kind, data = self._places[oid][2], self.read(oid)
                yield kind, data
                if kind == "tree":
                    todo += [entry.oid for entry in parse(data).values()]
