"""What a trace of one frame says, made from cycle reports alone (docs/protocol.md#traces)."""

from __future__ import annotations

from msgspec import Struct

from dreamcatcherd.core.codec import plain
from dreamcatcherd.core.errors import DreamcatcherError, OvertakenError
from dreamcatcherd.core.report import CloseTimeline, CycleReport

Value = str | int | float | bool


class TraceTarget(Struct, frozen=True):
    """Where traces are sent: `url` is complete, `ca_file` a PEM file of certificates to trust, `repository` what the
    traces are about."""

    url: str
    repository: str
    headers: tuple[tuple[str, str], ...] = ()
    ca_file: str | None = None

    def __repr__(self) -> str:
        return f"TraceTarget({self.url})"  # headers hold tokens


class FrameTrace(Struct, frozen=True):
    """The trace of one close. `error` is (kind, cause) of one that failed."""

    timeline: CloseTimeline
    attributes: dict[str, Value]
    error: tuple[str, str] | None = None


def trace_id_of(timeline: CloseTimeline) -> int | None:
    """The id of a frame's trace: the first 32 hex digits of the snapshot commit that opened the frame.

    So everybody who has the repository knows it, and all closes of a frame by any primary are one trace. None if no
    snapshot commit opened it."""
    return int(timeline.opened[:32], 16) if timeline.opened else None


def trace_of(report: CycleReport) -> FrameTrace | None:
    """The trace of a close; None for the report of a poll."""
    timeline, ledger = report.timeline, report.ledger
    if timeline is None:
        return None
    attributes = _common(timeline, "published" if ledger is not None else "overtaken", report.races)
    if ledger is not None:
        counts = ledger.counts
        attributes |= {
            "digest": ledger.snapshot,
            "commit": report.commit or "",
            "deltas": counts.deltas,
            "streams": counts.streams,
            "conflicts": counts.conflicts,
            "late": counts.late,
            "duplicates": counts.duplicates,
            "quarantined": counts.quarantined,
        }
    return FrameTrace(timeline, attributes)


def trace_of_failure(timeline: CloseTimeline, error: DreamcatcherError) -> FrameTrace:
    """The trace of a close that failed."""
    races = error.races if isinstance(error, OvertakenError) else 0
    attributes = _common(timeline, "failed", races)
    return FrameTrace(timeline, attributes, (type(error).__name__, plain(error.cause)))


def _common(timeline: CloseTimeline, outcome: str, races: int) -> dict[str, Value]:
    return {
        "frame": timeline.frame,
        "closed_by": timeline.closed_by,
        "outcome": outcome,
        "races": races,
        "links_left_out": timeline.links_left_out,
    }
