"""The order in which objects are stored in the packs of a repository.

A pack stores many objects as differences to their neighbours. libgit2 keeps the objects that it has just inflated, so
reading in the order of the pack inflates each once; any other order inflates the same bases again and again. Owns the
reading of pack indexes (gitformat-pack, version 2)."""

from __future__ import annotations

import mmap
import struct
from collections.abc import Collection, Iterable, Iterator
from pathlib import Path

AS_ASKED = 64
"""Up to so many objects are read in the order in which they are asked for: finding their places would take as long."""

_HEAD = 8
_FAN_OUT = struct.Struct(">256I")
_IDS = _HEAD + _FAN_OUT.size
_FAR = 1 << 31
_MOST_OF = 8
"""A search for one id takes as long as reading so many."""


def in_pack_order(repository: Path, oids: Iterable[str]) -> list[str]:
    """The objects, each once, in the order in which their packs store them; first those that are in no pack.

    Packs that cannot be read are passed over: the order only saves time."""
    wanted = list(dict.fromkeys(oids))
    if len(wanted) <= AS_ASKED:
        return wanted
    left = {bytes.fromhex(oid): oid for oid in wanted}
    ordered: list[str] = []
    for index in _newest_first(repository):
        if not left:
            break
        try:
            found = _places(index, left)
        except (OSError, ValueError, struct.error):
            continue
        ordered += [left.pop(raw) for _, raw in sorted(found)]
    return [*left.values(), *ordered]


def _newest_first(repository: Path) -> list[Path]:
    """The indexes of all packs. What is asked for was mostly pushed lately."""
    found = []
    for index in (repository / "objects" / "pack").glob("*.idx"):
        try:
            found.append((index.stat().st_mtime_ns, index))
        except OSError:  # a repack has just removed it
            continue
    return [index for _, index in sorted(found, reverse=True)]


def _places(index: Path, wanted: Collection[bytes]) -> list[tuple[int, bytes]]:
    """The offsets in one pack of those objects that it has, with their ids."""
    with index.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as raw:
        if raw[:_HEAD] != b"\xfftOc\0\0\0\2":
            return []
        fan_out = (0, *_FAN_OUT.unpack_from(raw, _HEAD))
        return list(_offsets(raw, fan_out, wanted))


def _offsets(raw: mmap.mmap, fan_out: tuple[int, ...], wanted: Collection[bytes]) -> Iterator[tuple[int, bytes]]:
    total = fan_out[-1]
    short = _IDS + total * 24  # behind the ids and a checksum for each
    for at, oid in _positions(raw, fan_out, wanted):
        (offset,) = struct.unpack_from(">I", raw, short + at * 4)
        if offset >= _FAR:
            (offset,) = struct.unpack_from(">Q", raw, short + total * 4 + (offset - _FAR) * 8)
        yield offset, oid


def _positions(raw: mmap.mmap, fan_out: tuple[int, ...], wanted: Collection[bytes]) -> Iterator[tuple[int, bytes]]:
    """The positions of the ids that a pack has. If most of a pack is wanted, its ids are read one after the other,
    which takes less time than to search for each."""
    total = fan_out[-1]
    if total <= _MOST_OF * len(wanted):
        ids = struct.iter_unpack("20s", raw[_IDS : _IDS + total * 20])
        yield from ((at, oid) for at, (oid,) in enumerate(ids) if oid in wanted)
        return
    for oid in wanted:
        at = _position(raw, fan_out[oid[0]], fan_out[oid[0] + 1], oid)
        if at is not None:
            yield at, oid


def _position(raw: mmap.mmap, low: int, high: int, oid: bytes) -> int | None:
    """The position of an id among those that begin with the same byte; they are sorted."""
    while low < high:
        middle = (low + high) // 2
        start = _IDS + middle * 20
        found = raw[start : start + 20]
        if found == oid:
            return middle
        if found < oid:
            low = middle + 1
        else:
            high = middle
    return None
