"""The place of everything in the repository (docs/protocol.md#the-repository). Owns names and paths; reads nothing."""

from __future__ import annotations

import re

from dreamcatcherd.core.checkout import unsafe_path
from dreamcatcherd.core.codec import frame_number, has_control, is_stream_id

DELTAS = "state/stream_deltas"
SNAPSHOT = "state/snapshot"
LEDGER = "state/ledger"
FRAME = "state/frame.json"
SETTINGS = "state/dreamcatcher.toml"
PUBLISHED = "refs/dreamcatcher/published"
SEEN = "refs/dreamcatcher/seen"
"""Holds the merged lanes if the history of `main` is linear."""
TRIAL = "refs/dreamcatcher/doctor"
"""At a remote while `doctor` tries whether it may push there."""

DELTA_LEVELS = 64
"""How many folders below its frame's a delta may be in."""

_PLAIN = re.compile(rf"{DELTAS}/[0-9]{{1,15}}/[A-Za-z0-9_~-][A-Za-z0-9_~.-]{{0,200}}\.json")
_SURROGATE = re.compile("[\ud800-\udfff]")
_FLAT = re.compile(r"frame-([0-9]+)(?:-.*)?\.json", re.DOTALL)


def ledger_path(frame: int) -> str:
    """The ledger of a frame, below `state/ledger`."""
    return f"{frame // 1000}/{frame}.json"


def frame_of(path: str) -> int | None:
    """The frame that a delta's path names, for a path below `state/stream_deltas/`; None if it names none."""
    head, _, rest = path.removeprefix(DELTAS + "/").partition("/")
    if rest:
        return frame_number(head)
    match = _FLAT.fullmatch(head)
    return frame_number(match.group(1)) if match else None


def of_one_frame(one: str, other: str) -> bool:
    """Whether the paths of two deltas name the same frame."""
    folder = one.rpartition("/")[0]
    return (folder != DELTAS and other.startswith(folder + "/")) or frame_of(one) == frame_of(other)


def loose_frame_of(path: str) -> int | None:
    """The frame that a file's path names anywhere, for files that are not in a repository yet."""
    return frame_of(in_repository(path))


def in_repository(path: str) -> str:
    """The path that a file would have in a repository: relative to the delta root, or to a folder of that name; else
    directly in the delta root."""
    parts = path.split("/")
    below = parts[parts.index("stream_deltas") + 1 :] if "stream_deltas" in parts[:-1] else parts[-1:]
    return "/".join([DELTAS, *below])


def bad_name(path: str) -> str | None:
    """Why no delta can have this path, or None. Undecodable bytes arrive as lone surrogates."""
    # Nearly every path: one match in place of six questions.
    if _PLAIN.fullmatch(path):
        return None
    if _SURROGATE.search(path):
        return "the file name is not UTF-8"
    if has_control(path):
        return "the file name holds a control character"
    if (why := unsafe_path(path)) is not None:
        return f"the path holds {why}"
    if path.count("/") - DELTAS.count("/") - 2 > DELTA_LEVELS:
        return f"the path has more than {DELTA_LEVELS} folders below the frame's"
    if frame_of(path) is None:
        return f"no frame in the path: use {DELTAS}/<frame>/<name>.json"
    return None


def printable(path: str) -> str:
    """The path with undecodable bytes written as escapes, fit for JSON and logs."""
    return path.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")


def attachment_paths(delta_path: str, frame: int, reference: str) -> list[str]:
    """The paths at which an attachment is looked up, in order; empty if the reference must not name a file
    (docs/protocol.md#a-delta)."""
    if reference.startswith("/") or reference.endswith(".json") or has_control(reference):
        return []
    if unsafe_path(reference) is not None:
        return []
    own = f"{delta_path.removesuffix('.json')}/{reference}"
    return [path for path in (own, f"{frame_folder(delta_path, frame)}/{reference}") if unsafe_path(path) is None]


def frame_folder(delta_path: str, frame: int) -> str:
    """The frame's folder as the delta's own path writes it, perhaps with leading zeros; by number for the flat form."""
    head, slash, _ = delta_path.removeprefix(DELTAS + "/").partition("/")
    return f"{DELTAS}/{head if slash else frame}"


def beside(path: str, blob: str) -> str:
    """The name under which a delta is kept if other bytes have its own path already (docs/protocol.md#publishing)."""
    return f"{path.removesuffix('.json')}~{blob[:8]}.json"


def lane_stream(ref: str, prefix: str) -> str | None:
    """The stream that owns a lane ref, or None if the ref is not a lane."""
    if not ref.startswith(prefix):
        return None
    stream = ref[len(prefix) :].partition("/")[0]
    return stream if is_stream_id(stream) else None


def short_ref(ref: str) -> str:
    """A branch without `refs/heads/`, for people and printable."""
    return printable(ref.removeprefix("refs/heads/"))
