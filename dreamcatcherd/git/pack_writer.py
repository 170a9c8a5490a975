"""Objects that were written and not flushed yet, and the packs that a flush makes of them.

Owns the `.keep` files of those packs. An object is compressed on another core while the merge goes on."""

from __future__ import annotations

import zlib
from pathlib import Path
from typing import TYPE_CHECKING

from dreamcatcherd.core.tree import Kind, object_id
from dreamcatcherd.git.commits import format_commit
from dreamcatcherd.git.packs import Packed, release, write_pack
from dreamcatcherd.git.protocols import Commit
from dreamcatcherd.git.signatures import sign

if TYPE_CHECKING:
    from concurrent.futures import Future, ThreadPoolExecutor

_LEVEL = 1
_ALONE_BYTES = 2**20
"""Up to so much is compressed by the flush: it takes less time than loading what runs threads."""
_SPILL_BYTES = 32 * 2**20
"""If more than this is written, it goes to disk before the flush: as nothing refers to it, it has no effect there."""


class PackWriter:
    """What a cycle writes to the repository in `folder`. `objects` are those not flushed yet: a store reads them first,
    and a dry run discards them."""

    def __init__(self, folder: Path) -> None:
        self.objects: dict[str, tuple[Kind, bytes]] = {}
        self._folder = folder
        self._deflater: ThreadPoolExecutor | None = None
        self._deflated: dict[str, Future[Packed]] = {}
        self._bytes = 0
        self._spills = True
        self._keeps: list[Path] = []

    def write(self, kind: Kind, data: bytes) -> str:
        """Keep an object and return its id."""
        oid = object_id(kind, data)
        if oid not in self.objects:
            self.objects[oid] = (kind, data)
            self._bytes += len(data)
            if self._bytes > _ALONE_BYTES:
                self._deflated[oid] = self._other_core().submit(_deflate, kind, data)
            if self._bytes > _SPILL_BYTES and self._spills:
                self.flush()
        return oid

    def _other_core(self) -> ThreadPoolExecutor:
        if self._deflater is None:
            from concurrent.futures import ThreadPoolExecutor

            self._deflater = ThreadPoolExecutor(1, "deflate")
        return self._deflater

    def write_commit(self, commit: Commit, signing_key: Path | None) -> str:
        """Keep a commit, signed if there is a key, and return its id."""
        raw = format_commit(commit)
        return self.write("commit", sign(raw, signing_key) if signing_key else raw)

    def keep_in_memory(self) -> None:
        """Write nothing to disk before a flush."""
        self._spills = False

    def discard(self) -> None:
        """Forget what was written and not flushed."""
        self.objects.clear()
        self._deflated.clear()
        self._bytes = 0

    def flush(self) -> None:
        """Make all that was written durable, as one pack. Its `.keep` protects it from `git gc` until a ref reaches the
        objects: before that, git would delete them as unreachable."""
        if self.objects:
            self._keeps.append(write_pack(self._folder, self._packed()))
            self.discard()

    def release(self) -> None:
        """Let the packs be repacked again, once refs reach what was written."""
        release(self._keeps)
        self._keeps.clear()

    def _packed(self) -> dict[str, Packed]:
        """All objects compressed. Those that the other core has not begun are compressed here, from the last one on."""
        packed: dict[str, Packed] = {}
        for oid, (kind, data) in reversed(self.objects.items()):
            deflated = self._deflated.get(oid)
            packed[oid] = deflated.result() if deflated and not deflated.cancel() else _deflate(kind, data)
        return packed


def _deflate(kind: Kind, data: bytes) -> Packed:
    return Packed(kind, len(data), zlib.compress(data, _LEVEL))
