"""Objects that were written and not flushed yet."""

from __future__ import annotations

from dreamcatcherd.core.tree import Kind, object_id


class Unflushed:
    """What a cycle has written so far. Reads see it before it is durable, and a dry run simply forgets it."""

    def __init__(self) -> None:
        self.objects: dict[str, tuple[Kind, bytes]] = {}

    def write(self, kind: Kind, data: bytes) -> str:
        oid = object_id(kind, data)
        self.objects[oid] = (kind, data)
        return oid

    def discard(self) -> None:
        self.objects.clear()
