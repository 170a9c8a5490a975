"""Where deltas are, how their header is found, and which other files below `state/` workers may write
(docs/protocol.md#intake).

Owns the rules of `[intake]`; `paths` and `codec` apply them."""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import cache
from typing import Annotated

import msgspec
from msgspec import Meta, Struct

from dreamcatcherd.core import paths
from dreamcatcherd.core.checkout import unsafe_path
from dreamcatcherd.core.codec import has_control
from dreamcatcherd.core.mistakes import Mistake

UTC_NAMES = ("utc", "completed_at", "timestamp")
FRAME_PATHS = ("frame", "_meta.frame")
UTC_PATHS = (*UTC_NAMES, "_meta.timestamp")
STREAM_PATHS = ("stream_id", "_meta.node_id")


class Intake(Struct, frozen=True, forbid_unknown_fields=True):
    """What is read as a delta. Header paths are tried in order: the first one that holds a value of the right type
    counts."""

    roots: Annotated[
        tuple[str, ...], Meta(min_length=1, description="folders of deltas, each with a folder for each frame")
    ] = (paths.DELTAS,)
    frame: Annotated[tuple[str, ...], Meta(min_length=1, description="dotted paths of the frame in a delta")] = (
        FRAME_PATHS
    )
    utc: Annotated[tuple[str, ...], Meta(min_length=1, description="dotted paths of the UTC in a delta")] = UTC_PATHS
    stream_id: Annotated[tuple[str, ...], Meta(min_length=1, description="dotted paths of the stream in a delta")] = (
        STREAM_PATHS
    )
    passes: Annotated[
        tuple[str, ...], Meta(description="globs of files below `state/` that others may write; `**` is any folder")
    ] = msgspec.field(default=(), name="pass")

    @property
    def header(self) -> tuple[str, ...]:
        """All paths at which a header may be."""
        return (*self.frame, *self.utc, *self.stream_id)


def intake_mistakes(intake: Intake) -> Iterator[Mistake]:
    """Why the intake cannot count: every mistake that its types do not show."""
    taken = PathOwners()
    for root in intake.roots:
        if not is_plain_path(root):
            yield _mistake("roots", f"{root!r} is not a relative path without empty names, `.` and `..`")
        elif any(overlap(root, other) for other in (paths.SNAPSHOT, paths.LEDGER, paths.FRAME, paths.SETTINGS)):
            yield _mistake("roots", f"{root!r} holds canonical files, choose a folder of its own")
        elif taken.overlapping(root) is not None:
            yield _mistake("roots", f"{root!r} is given twice, or is inside another root")
        taken.add(root, root)
    for name in ("frame", "utc", "stream_id"):
        for path in getattr(intake, name):
            if not all(path.split(".")):
                yield _mistake(name, f"{path!r} is not a dotted path")
    for glob in intake.passes:
        if not glob.startswith("state/") or not is_plain_path(glob):
            yield _mistake("pass", f"{glob!r} is not a glob below state/")


def _mistake(key: str, what: str) -> Mistake:
    return Mistake(f"[intake] {key}:", what)


def is_plain_path(path: str) -> bool:
    """Whether a text is a relative path that every clone can hold."""
    return unsafe_path(path) is None and not has_control(path)


def overlap(one: str, other: str) -> bool:
    """Whether two paths are the same, or one is a folder of the other."""
    return one == other or one.startswith(other + "/") or other.startswith(one + "/")


class PathOwners:
    """Paths with the names of their owners: finds one that overlaps with another path without comparing all of them,
    since anybody may push settings with thousands."""

    def __init__(self) -> None:
        self._owners: dict[str, str] = {}
        self._above: dict[str, str] = {}  # by each folder that a path is in

    def add(self, path: str, owner: str) -> None:
        """Add a path."""
        self._owners[path] = owner
        self._above |= dict.fromkeys(_above(path), owner)

    def overlapping(self, path: str) -> str | None:
        """The owner of a path that is the same, one of its folders, or inside of it; None if there is none."""
        owners = (self._owners.get(one) for one in (path, *_above(path)))
        return next((owner for owner in owners if owner is not None), self._above.get(path))


def _above(path: str) -> list[str]:
    """The folders that a path is in."""
    names = path.split("/")
    return ["/".join(names[:number]) for number in range(1, len(names))]


def passes_through(intake: Intake, path: str) -> bool:
    """Whether others may write a file although it is below `state/`. Canonical files are never opened; the caller asks
    for them first."""
    return any(_expression(glob).fullmatch(path) for glob in intake.passes)


@cache
def _expression(glob: str) -> re.Pattern[str]:
    """A glob as an expression: `*` and `?` stay inside a name, `**` is any number of folders, or everything below."""
    *folders, last = glob.split("/")
    parts = ["(?:[^/]+/)*" if name == "**" else f"{_name(name)}/" for name in folders]
    return re.compile("".join(parts) + (".+" if last == "**" else _name(last)), re.DOTALL)


def _name(glob: str) -> str:
    return "".join("[^/]*" if char == "*" else "[^/]" if char == "?" else re.escape(char) for char in glob)
