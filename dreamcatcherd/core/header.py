"""The header of a delta: frame, UTC and stream, wherever the settings say that they are (docs/protocol.md#a-delta)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from dreamcatcherd.core.codec import frame_number, is_stream_id, kind_of, utc_micros
from dreamcatcherd.core.delta_sections import Sections, named_value, sections_in
from dreamcatcherd.core.intake import Intake
from dreamcatcherd.core.model import Fault, Json, Record


class Header(NamedTuple):
    """The place of a delta in time: frame, UTC in microseconds, stream, and the dotted paths at which they were."""

    frame: int
    utc: int
    stream_id: str
    paths: tuple[str, ...]


def read_header(document: Record, path_frame: int | None, intake: Intake) -> Header | Fault:
    """Frame, UTC and stream of a decoded delta: reasons `missing-frame` to `missing-stream`.

    `path_frame` is the frame that its path names; None if the file is outside a repository."""
    where, value = _first(document, intake.frame, (str, int))
    frame = frame_number(value)
    if frame is None:
        want = "frame must be an integer from 0 to 2^53 - 1"
        return Fault("missing-frame", _as_missing(document, intake.frame, (str, int)) or want, f"$.{where}")
    if path_frame is not None and frame != path_frame:
        return Fault("frame-mismatch", f"frame is {frame}, the path says {path_frame}", f"$.{where}")
    utc_path, text = _first(document, intake.utc, (str,))
    if text is None:
        found = _as_missing(document, intake.utc, (str,)) or "utc is missing"
        return Fault("bad-utc", f"{found}: RFC 3339 with an offset, such as 2026-01-31T12:00:00Z", f"$.{utc_path}")
    utc = utc_micros(text)
    if utc is None:
        return Fault("bad-utc", f"{text[:64]!r} is not an RFC 3339 time with an offset", f"$.{utc_path}")
    stream_path, stream_id = _first(document, intake.stream_id, (str,))
    if not is_stream_id(stream_id):
        want = "stream_id must be 1 to 128 characters without slash or control character"
        return Fault("missing-stream", _as_missing(document, intake.stream_id, (str,)) or want, f"$.{stream_path}")
    return Header(frame, utc, stream_id, (where, utc_path, stream_path))


def _first(document: Record, paths: Sequence[str], right: tuple[type, ...]) -> tuple[str, Json]:
    """The first path that holds a value of the right type, and the value; else the first path, and None."""
    for path in paths:
        value = document[path] if path in document else named_value(document, path)
        if type(value) in right:
            return path, value
    return paths[0], None


def _as_missing(document: Record, paths: Sequence[str], right: tuple[type, ...]) -> str | None:
    """Why a header field counts as missing although it is there: it has the wrong type. None if all are absent or of
    the right type."""
    for path in paths:
        value = named_value(document, path)
        if value is not None:
            want = "an integer" if int in right else "a string"
            return None if type(value) in right else f"{path} is {kind_of(value)}, not {want}, and counts as missing"
    return None


def count_records(document: Record, header: Sequence[str], sections: Sections) -> int:
    """How many records a delta brings: list items, members of the sections that may be objects of entities, and one for
    each section that is neither."""
    count = 0
    for name, value in sections_in(document, header, sections.dotted):
        if type(value) is list:
            count += len(value)
            continue
        row = sections.known[name][0] if name in sections.known else None
        spread = row is not None and row.form != "records" and name != row.delete
        count += len(value) if type(value) is dict and spread else 1
    return count
