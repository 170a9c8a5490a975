"""All objects of a frame as one pack with its index, made durable by two fsyncs per frame instead of two per object.

The formats are git's (gitformat-pack, version 2 of both). `git index-pack` would write the same index, but only after
inflating and hashing everything again: for a frame of 10,000 deltas that alone took as long as the fastest possible
merge. Every object's id, checksum and offset is known here already. The index gets its name last, so a pack that is cut
short is never seen. Tests check both files with `git verify-pack` and `git fsck`."""

from __future__ import annotations

import contextlib
import hashlib
import os
import stat
import struct
import time
import zlib
from collections.abc import Iterable, Mapping
from itertools import accumulate
from pathlib import Path
from typing import NamedTuple

from dreamcatcherd.core.tree import Kind
from dreamcatcherd.git.atomic_write import sync_folder
from dreamcatcherd.git.disk_errors import disk_failure

_TYPES: dict[Kind, int] = {"commit": 1, "tree": 2, "blob": 3}
_FAR = 1 << 31

KEEP_MARK = "dreamcatcherd: not published yet, process"
_KEEP_MODE = 0o444
"""Nobody may write to a `.keep` of ours. A power cut may take the content of a file whose name it leaves, and the mode
still shows that it was ours: git's own, and one that somebody made by `touch`, can be written to."""

KEEP_S = 3600.0
"""A `.keep` of ours that is older belongs to a process that was killed: a publication takes seconds."""


class Packed(NamedTuple):
    """One object as a pack contains it: its size before compression, and the compressed bytes."""

    kind: Kind
    size: int
    deflated: bytes


class IndexEntry(NamedTuple):
    """One object's line in the index."""

    oid: bytes
    crc: int
    offset: int


def pack_bytes(objects: Mapping[str, Packed]) -> tuple[bytes, list[IndexEntry]]:
    """The bytes of a pack in which no object is stored as a difference, and its index lines sorted by id."""
    parts = [b"PACK" + struct.pack(">II", 2, len(objects))]
    offset = len(parts[0])
    entries: list[IndexEntry] = []
    for oid, packed in objects.items():
        stored = _head(packed) + packed.deflated
        entries.append(IndexEntry(bytes.fromhex(oid), zlib.crc32(stored), offset))
        offset += len(stored)
        parts.append(stored)
    body = b"".join(parts)
    return body + hashlib.sha1(body, usedforsecurity=False).digest(), sorted(entries)


def _head(packed: Packed) -> bytes:
    """Type and size: four bits of the size in the first byte, then seven in each byte, the lowest first."""
    size = packed.size
    byte = _TYPES[packed.kind] << 4 | size & 15
    size >>= 4
    head = bytearray()
    while size:
        head.append(byte | 128)
        byte = size & 127
        size >>= 7
    head.append(byte)
    return bytes(head)


def index_bytes(entries: list[IndexEntry], pack_checksum: bytes) -> bytes:
    """The index of a pack: fan-out, ids, checksums, offsets (those of 2 GiB and more in a separate table)."""
    counts = [0] * 256
    for entry in entries:
        counts[entry.oid[0]] += 1
    far = [entry.offset for entry in entries if entry.offset >= _FAR]
    places = iter(range(len(far)))
    offsets = [entry.offset if entry.offset < _FAR else _FAR | next(places) for entry in entries]
    number = len(entries)
    body = b"".join(
        [
            b"\xfftOc" + struct.pack(">I", 2),
            struct.pack(">256I", *accumulate(counts)),
            *(entry.oid for entry in entries),
            struct.pack(f">{number}I", *(entry.crc for entry in entries)),
            struct.pack(f">{number}I", *offsets),
            struct.pack(f">{len(far)}Q", *far),
            pack_checksum,
        ]
    )
    return body + hashlib.sha1(body, usedforsecurity=False).digest()


def write_pack(repository: Path, objects: Mapping[str, Packed]) -> Path:
    """Add objects to a repository, durably; returns the pack's `.keep`, which `git repack` and `git gc` respect.

    Until a ref reaches the objects these would delete the pack; the caller removes the file once one does.
    RetryableError if the disk refuses, and then nothing is left behind."""
    pack, entries = pack_bytes(objects)
    checksum = pack[-20:]
    folder = repository / "objects" / "pack"
    name = f"pack-{checksum.hex()}"
    keep = folder / f"{name}.keep"
    try:
        folder.mkdir(exist_ok=True)
        # Not durable: after a power cut nobody repacks.
        with contextlib.suppress(FileExistsError), open(keep, "x", encoding="ascii", opener=_ours) as file:
            file.write(f"{KEEP_MARK} {os.getpid()}\n")
        if (folder / f"{name}.idx").exists():
            return keep
        _place(folder / f"{name}.pack", pack)
        _place(folder / f"{name}.idx", index_bytes(entries, checksum))
        sync_folder(folder)
    except OSError as error:
        release([keep])
        raise disk_failure(f"the objects could not be written to {repository}", error, repository) from error
    return keep


def release(keeps: Iterable[Path]) -> None:
    """Let packs be repacked again. A `.keep` that somebody else made stays."""
    for keep in keeps:
        with contextlib.suppress(OSError):
            content = keep.read_text("ascii", "replace").rstrip("\0")
            if content.startswith(KEEP_MARK) or (KEEP_MARK.startswith(content) and _is_read_only(keep)):
                keep.unlink()


def _ours(path: str, flags: int) -> int:
    return os.open(path, flags, _KEEP_MODE)


def _is_read_only(path: Path) -> bool:
    return not path.stat().st_mode & (stat.S_IWUSR | stat.S_IWGRP | stat.S_IWOTH)


def forget_keeps(repository: Path, age_s: float = KEEP_S) -> None:
    """Remove the `.keep` files of primaries that were killed before they moved their refs: old ones with our mark."""
    for keep in (repository / "objects" / "pack").glob("pack-*.keep"):
        with contextlib.suppress(OSError):
            if time.time() - keep.stat().st_mtime > age_s:
                release([keep])


def _place(path: Path, data: bytes) -> None:
    """Write a file completely and durably before it has its name. git removes files with such a temporary name."""
    unfinished = path.with_name(f"tmp_{path.suffix[1:]}_{os.getpid()}")
    try:
        with unfinished.open("xb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        unfinished.chmod(0o444)
        unfinished.rename(path)
    finally:
        with contextlib.suppress(FileNotFoundError):
            unfinished.unlink()
