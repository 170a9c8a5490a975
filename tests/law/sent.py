"""A delta as the simple model sees it: its bytes and attachments, its header, and what is left as sections."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable
from datetime import datetime
from typing import Any, NamedTuple

from tests.law.values import read

Stamp = tuple[int, int, str, str]


class Sent(NamedTuple):
    """A delta as a worker sends it: its bytes, and the attachments beside it by name."""

    raw: bytes
    files: tuple[tuple[str, bytes], ...] = ()


def blob_id(raw: bytes) -> str:
    """The id that git gives to these bytes."""
    return hashlib.sha1(b"blob %d\0" % len(raw) + raw).hexdigest()


def content_id(sent: Sent) -> str:
    """The id of a delta together with the attachments that it names."""
    named = [name for name in _refs(read(sent.raw)) if name in dict(sent.files)]
    if not named:
        return blob_id(sent.raw)
    ids = [blob_id(sent.raw)] + [blob_id(dict(sent.files)[name]) for name in dict.fromkeys(named)]
    return hashlib.sha1("".join(one + "\n" for one in ids).encode()).hexdigest()


def stamped(sent: Sent) -> tuple[Stamp, dict[str, Any]]:
    """A delta's stamp, and the rest of its document with attachments filled in: its sections."""
    document = read(sent.raw)
    _fill(document, dict(sent.files))
    used = [_header(document, *one) for one in HEADER]
    frame, utc, stream = (look(document, path) for path in used)
    moment = datetime.fromisoformat(utc)
    seconds = (moment.replace(microsecond=0, tzinfo=None) - datetime(1970, 1, 1)).total_seconds()
    offset = moment.utcoffset()
    assert offset is not None
    micros = int(seconds - offset.total_seconds()) * 1_000_000 + moment.microsecond
    stamp = (int(frame), micros, stream, content_id(sent))
    for path in used:
        document = without(document, path)
    return stamp, document


def is_frame(value: Any) -> bool:
    """Whether a value is a frame number: an integer or a string of digits."""
    return type(value) is int or (isinstance(value, str) and re.fullmatch("[0-9]+", value) is not None)


def is_text(value: Any) -> bool:
    """Whether a value is a string."""
    return isinstance(value, str)


HEADER: list[tuple[list[str], Callable[[Any], bool]]] = [
    (["frame", "_meta.frame"], is_frame),
    (["utc", "completed_at", "timestamp", "_meta.timestamp"], is_text),
    (["stream_id", "_meta.node_id"], is_text),
]
"""Frame, UTC and stream: where each may stand, and what it must be."""


def _header(document: dict[str, Any], places: list[str], is_right: Callable[[Any], bool]) -> list[str]:
    return next(path for path in (place.split(".") for place in places) if is_right(look(document, path)))


def look(value: Any, path: list[str]) -> Any:
    """What stands at a path into objects; None if nothing does."""
    for name in path:
        value = value.get(name) if isinstance(value, dict) else None
    return value


def without(document: dict[str, Any], path: list[str]) -> dict[str, Any]:
    """A copy of an object without what stands at a path, and without a parent that is empty by that."""
    name, *rest = path
    left = without(document[name], rest) if rest else None
    out = {key: left if key == name else value for key, value in document.items()}
    if not left:
        del out[name]
    return out


def _refs(value: Any) -> list[str]:
    if isinstance(value, dict):
        out: list[str] = []
        for name, inner in value.items():
            out += [inner] if name.endswith("_ref") and isinstance(inner, str) else _refs(inner)
        return out
    if isinstance(value, list):
        return [ref for inner in value for ref in _refs(inner)]
    return []


def _fill(value: Any, files: dict[str, bytes]) -> None:
    if isinstance(value, dict):
        for name, inner in list(value.items()):
            if name.endswith("_ref") and isinstance(inner, str):
                if inner in files and value.get(name[:-4]) is None:
                    value[name[:-4]] = files[inner].decode()
            else:
                _fill(inner, files)
    elif isinstance(value, list):
        for inner in value:
            _fill(inner, files)
