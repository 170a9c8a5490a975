"""What the builders of vectors share: cases, groups of cases, and deltas as workers write them."""

from __future__ import annotations

import json
from typing import Any, NamedTuple

from tests.law.deltas import written_out

Given = dict[str, Any]


class Group(NamedTuple):
    """One file of vectors: `conformance/<section>/<stem>.json`. A case without `expect` gets what the program finds."""

    section: str
    stem: str
    kind: str
    about: str
    cases: list[Given]


def case(name: str, about: str, /, **given: Any) -> Given:
    """A case; `expect` is given by hand wherever the protocol's text alone says it."""
    return {"name": name, "about": about, **given}


def time_of(second: int) -> str:
    """A second of the first minutes of 2026."""
    return f"2026-01-01T00:{second // 60:02}:{second % 60:02}Z"


def delta(second: int, stream: str = "alice", frame: int = 1, /, **sections: Any) -> str:
    """A delta's text; `<<0.10>>` in a string is written as a number with just these digits."""
    head = {"frame": frame, "utc": time_of(second), "stream_id": stream}
    return written_out({**head, **sections}).decode()


def commit(name: str, files: dict[str, Any], ref: str = "main", **more: Any) -> Given:
    """A step that commits files; names without a folder are deltas of frame 1."""
    placed = {path if "/" in path else f"state/stream_deltas/1/{path}": raw for path, raw in files.items()}
    return {"commit": name, "ref": ref, **more, "files": placed}


def send(name: str, text: str, ref: str | None = None, /, **files: str) -> Given:
    """A step that commits one delta to its stream's lane, or another ref, under its own frame; `files` are attachments,
    `note_md` for `note.md`."""
    document = json.loads(text)
    frame, stream = document["frame"], document["stream_id"]
    below = f"state/stream_deltas/{frame}/{name}"
    beside = {f"{below}/{file.replace('_', '.')}": raw for file, raw in files.items()}
    return {"commit": name, "ref": ref or f"dc/{stream}", "files": {f"{below}.json": text, **beside}}


CLOSE = {"close": 1}
