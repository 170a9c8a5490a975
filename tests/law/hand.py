"""Deltas and settings by hand, for examples of what the simple model must say."""

from __future__ import annotations

from typing import Any

from tests.law.deltas import written_out
from tests.law.model import Sent, content_id, model

START = 1_767_225_600_000_000
"""2026-01-01T00:00:00Z in microseconds."""


def sent(second: int, stream: str = "a", frame: int = 1, more: dict[str, Any] | None = None, **sections: Any) -> Sent:
    """A delta of that second of frame 1, or of another frame; `more` are sections whose names are no identifiers."""
    head = {"frame": frame, "utc": f"2026-01-01T00:00:{second:02}Z", "stream_id": stream}
    return Sent(written_out({**head, **sections, **(more or {})}))


def stamp(one: Sent, second: int, stream: str = "a", frame: int = 1) -> list[Any]:
    """The stamp of such a delta, as an export shows it."""
    return [frame, START + second * 1_000_000, stream, content_id(one)]


def state(*deltas: Sent, settings: bytes | None = None) -> dict[str, Any]:
    """The state of these deltas without stamps and tombstones."""
    found = model(list(deltas))["state"] if settings is None else model(list(deltas), settings=settings)["state"]
    shown: dict[str, Any] = {}
    for name, records in found.items():
        shown[name] = [{k: v for k, v in one.items() if k not in ("_stamp", "_stamps")} for one in records]
    return shown
