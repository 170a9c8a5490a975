"""`state/frame.json`: the open frame, as a tree has it (docs/protocol.md#the-repository).

Owns the number of the format of everything below `state/` (docs/compatibility.md): a key `format` here, 1 where it is
absent. Snapshots have a format of their own, since that is part of the digest.

A module of its own with few imports, since the server-side check loads it at every push."""

from __future__ import annotations

import msgspec
from msgspec import Struct

from dreamcatcherd.core import paths
from dreamcatcherd.core.codec import read_as
from dreamcatcherd.core.errors import FormatError
from dreamcatcherd.core.format_number import newer_format
from dreamcatcherd.core.model import FrameState
from dreamcatcherd.core.tree import blob_at
from dreamcatcherd.git.protocols import ObjectReader


def format_frame_file(state: FrameState) -> bytes:
    """The bytes of the file."""
    return msgspec.json.format(msgspec.json.encode(state), indent=1) + b"\n"


class _Numbered(Struct, frozen=True):
    """The number alone: a newer format may have other fields."""

    format: int = 1


def read_frame_file(store: ObjectReader, tree: str | None) -> FrameState | None:
    """The open frame that a commit's tree names; None if there is no such file, or it was edited to something else.

    FormatError if a newer version wrote the state: whoever works on it must know all of its rules."""
    oid = blob_at(store, tree, paths.FRAME)
    if oid is None:
        return None
    raw = store.read(oid)
    try:
        why = newer_format(read_as(raw, _Numbered).format)
        found = read_as(raw, FrameState) if why is None else None
    except msgspec.DecodeError:
        return None
    if why is not None:
        raise FormatError(f"{paths.FRAME} in {store.where}: {why}", "upgrade dreamcatcherd here; nothing was written")
    return found
