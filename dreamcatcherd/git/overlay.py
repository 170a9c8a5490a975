"""Objects in memory over a repository that is only read: a computation can write without changing anything."""

from __future__ import annotations

from collections.abc import Iterator

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

    def objects(self, tree: str) -> Iterator[tuple[Kind, bytes]]:
        """The written objects that a tree reaches."""
        yield from self.reached(tree).values()

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
