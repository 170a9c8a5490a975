"""Objects merged leaf by leaf: what all writes of one field come to, in order of their stamps and positions.

A write of an object writes each of its leaves at its path. An empty object is a leaf that hides nothing below it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

Path = tuple[str, ...]
_Write = tuple[int, Any, Any]
"""When a value was written, in order; its stamp; the value."""


def deep(values: list[tuple[Any, Any]], deleted: Any) -> tuple[Any, Any] | None:
    """The value of a field and its stamps, of all (stamp, value) in order; None if nothing is left of it."""
    plain: dict[Path, _Write] = {}
    empties: dict[Path, _Write] = {}
    for time, (stamp, value) in enumerate(values):
        for path, leaf in leaves(value):
            if deleted is None or stamp > deleted:
                (empties if leaf == {} else plain)[path] = (time, stamp, leaf)
    # A value that is no object hides what was written at its path and below it before.
    for found in (plain, empties):
        for path, write in list(found.items()):
            above = [plain[other] for other in [*_parents(path), path] if other in plain]
            if any(other[0] > write[0] for other in above):
                del found[path]
    return _shown(plain, empties, ())


def leaves(value: Any, path: Path = ()) -> Iterator[tuple[Path, Any]]:
    """Everything below a value that is not a non-empty object, each with its path."""
    if isinstance(value, dict) and value:
        for name, inner in value.items():
            yield from leaves(inner, (*path, name))
    else:
        yield path, value


def stamps_in(stamps: Any) -> Iterator[Any]:
    """All stamps of a field, those of hidden writes among them."""
    if isinstance(stamps, dict):
        for inner in stamps.values():
            yield from stamps_in(inner)
    elif _remembers(stamps):
        yield from (stamp for stamp in (stamps[0], *stamps[2:]) if stamp is not None)
        yield from stamps_in(stamps[1])
    else:
        yield stamps


def stamped_leaves(value: Any, stamps: Any, path: Path = ()) -> Iterator[tuple[Path, Any, Any]]:
    """The leaves that a stored field shows: path, value and stamp of each."""
    if _remembers(stamps):
        if not stamps[1]:
            yield path, value, stamps[2]
        stamps = stamps[1]
    if isinstance(stamps, dict):
        for name, inner in stamps.items():
            yield from stamped_leaves(value[name], inner, (*path, name))
    else:
        yield path, value, stamps


def _remembers(stamps: Any) -> bool:
    """Whether an object has a write of its own to be remembered, besides those of its members."""
    return isinstance(stamps, list) and len(stamps) in (2, 3) and isinstance(stamps[1], dict)


def _parents(path: Path) -> list[Path]:
    return [path[:length] for length in range(len(path))]


def _shown(plain: dict[Path, _Write], empties: dict[Path, _Write], path: Path) -> tuple[Any, Any] | None:
    """The value at a path and its stamps; None if nothing is left there."""
    depth = len(path)
    names = sorted({other[depth] for other in (*plain, *empties) if len(other) > depth and other[:depth] == path})
    members = {name: one for name in names if (one := _shown(plain, empties, (*path, name))) is not None}
    value = {name: inner for name, (inner, _) in members.items()}
    stamps = {name: inner for name, (_, inner) in members.items()}
    barrier = list(plain[path][1]) if path in plain else None
    empty = list(empties[path][1]) if path in empties else None
    if empty is not None and not all(empty > stamp for stamp in stamps_in(stamps)):
        empty = None
    if members:
        return value, stamps if barrier is None and empty is None else [barrier, stamps, *([empty] if empty else [])]
    if empty is not None:
        return {}, empty if barrier is None else [barrier, {}, empty]
    return (plain[path][2], barrier) if barrier is not None else None
