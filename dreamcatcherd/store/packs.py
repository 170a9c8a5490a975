"""All objects of a frame as one pack: a stream that `git index-pack` checks, indexes and makes durable.

One pack means two fsyncs a frame instead of two an object. git names the pack after its content and puts the index in
place last, so a pack that is cut short is never seen."""

from __future__ import annotations

import hashlib
import os
import struct
import zlib
from collections.abc import Collection
from pathlib import Path

from dreamcatcherd.core.errors import RetryableError
from dreamcatcherd.core.tree import Kind
from dreamcatcherd.store.gitcmd import git, message_of

_TYPES: dict[Kind, int] = {"commit": 1, "tree": 2, "blob": 3}
_LEVEL = 1


def pack_stream(objects: Collection[tuple[Kind, bytes]]) -> bytes:
    """The bytes of a version-2 pack with these objects, none of them a difference against another."""
    parts = [b"PACK" + struct.pack(">II", 2, len(objects))]
    for kind, data in objects:
        size = len(data)
        byte = _TYPES[kind] << 4 | size & 15
        size >>= 4
        head = bytearray()
        while size:
            head.append(byte | 128)
            byte = size & 127
            size >>= 7
        head.append(byte)
        parts.append(bytes(head))
        parts.append(zlib.compress(data, _LEVEL))
    body = b"".join(parts)
    return body + hashlib.sha1(body, usedforsecurity=False).digest()


def write_pack(repository: Path, objects: Collection[tuple[Kind, bytes]]) -> None:
    """Add objects to a repository, durably; RetryableError where the disk refuses."""
    result = git(repository, "index-pack", "--stdin", stdin=pack_stream(objects))
    if result.returncode != 0:
        cause = f"the objects could not be written to {repository}: {message_of(result)}"
        raise RetryableError(cause, "make room or mend the disk; nothing was published and the next cycle tries again")
    sync_folder(repository / "objects" / "pack")


def sync_folder(folder: Path) -> None:
    """Make the names in a folder durable."""
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
