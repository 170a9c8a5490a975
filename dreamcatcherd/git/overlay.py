"""Objects in memory over a repository that is only read: a computation can write without changing anything."""

from __future__ import annotations

import tempfile
import weakref
from collections.abc import Iterator

from dreamcatcherd.core.errors import RetryableError
from dreamcatcherd.core.tree import Kind, Reader, object_id, parse

_PRUNE_BYTES = 256 * 2**20


class Overlay:
    """Objects kept in memory over a repository that is only read."""

    def __init__(self, store: Reader) -> None:
        self._store = store
        self.written: dict[str, tuple[Kind, bytes]] = {}
        self._size = 0
        self._prune_at = _PRUNE_BYTES

    def read(self, oid: str) -> bytes:
        found = self.written.get(oid)
        return found[1] if found is not None else self._store.read(oid)

    def write(self, kind: Kind, data: bytes) -> str:
        oid = object_id(kind, data)
        # Replays write the same trees many times, and each counts once against the limit.
        if oid not in self.written:
            self.written[oid] = (kind, data)
            self._size += len(data)
        return oid

    def keep(self, tree: str) -> None:
        """Forget the objects that a tree does not reach, once there are enough of them to be worth the walk."""
        if self._size < self._prune_at:
            return
        self.written = self.reached(tree)
        self._size = sum(len(data) for _, data in self.written.values())
        self._prune_at = max(_PRUNE_BYTES, 2 * self._size)

    def reached(self, tree: str) -> dict[str, tuple[Kind, bytes]]:
        """The written objects that a tree reaches, by id."""
        kept: dict[str, tuple[Kind, bytes]] = {}
        todo = [tree]
        while todo:
            oid = todo.pop()
            if oid in self.written and oid not in kept:
                kept[oid] = kind, data = self.written[oid]
                if kind == "tree":
                    todo += [entry.oid for entry in parse(data).values()]
        return kept


class DiskOverlay:
    """The same with the objects in a file without a name below `$TMPDIR`, for a computation that writes more than
    memory holds. Of each object its place in the file stays in memory."""

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

    def reached(self, tree: str) -> Iterator[tuple[Kind, bytes]]:
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
