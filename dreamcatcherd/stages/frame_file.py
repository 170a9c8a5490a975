"""`state/frame.json`: the open frame, as a tree has it (docs/protocol.md#the-repository).

A module of its own with few imports, since the server-side check loads it at every push."""

from __future__ import annotations

import msgspec

from dreamcatcherd.core import paths
from dreamcatcherd.core.codec import read_as
from dreamcatcherd.core.model import FrameState
from dreamcatcherd.core.tree import blob_at
from dreamcatcherd.git.protocols import ObjectReader


def format_frame_file(state: FrameState) -> bytes:
    """The bytes of the file."""
    return msgspec.json.format(msgspec.json.encode(state), indent=1) + b"\n"


def read_frame_file(store: ObjectReader, tree: str | None) -> FrameState | None:
    """The open frame that a commit's tree names; None if there is no such file, or it was edited to something else."""
    raw = blob_at(store, tree, paths.FRAME)
    try:
        return read_as(store.read(raw), FrameState) if raw else None
    except msgspec.DecodeError:
        return None
