"""One trace for each frame, made from cycle reports alone (docs/protocol.md#traces).

Owns what a trace says. `otlp` sends it, and is imported only where an endpoint is configured."""

from __future__ import annotations

from typing import TYPE_CHECKING

from msgspec import Struct

from dreamcatcherd.core.codec import plain
from dreamcatcherd.core.errors import DreamcatcherError, OvertakenError, UsageError
from dreamcatcherd.core.report import CloseTimeline, CycleReport
from dreamcatcherd.observe.logs import EventLogger

if TYPE_CHECKING:
    from dreamcatcherd.observe.otlp import Pipeline

Value = str | int | float | bool

INSTALL_OTEL = "install it: pip install 'dreamcatcherd[otel]', or remove [otel] endpoint"


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


def check_target(target: TraceTarget) -> None:
    """UsageError if the extra is not installed, or if a variable that OpenTelemetry reads is wrong. Starts nothing."""
    try:
        from dreamcatcherd.observe import otlp  # takes a tenth of a second, and few daemons send traces
    except ModuleNotFoundError as error:
        raise UsageError("[otel] endpoint needs OpenTelemetry, which is not installed", INSTALL_OTEL) from error
    otlp.check(target)


class Traces:
    """Sends the traces of one daemon. Nothing here waits for the network, or fails because of it.

    What sends them is started by the first trace, so that a daemon that was not started has no thread."""

    def __init__(self, logger: EventLogger) -> None:
        self._log = logger
        self._target: TraceTarget | None = None
        self._pipeline: Pipeline | None = None

    def use(self, target: TraceTarget | None, logger: EventLogger | None = None) -> None:
        """Send to another target from now on, or to none. What waits for the old one is still sent, in its thread."""
        self._log = logger or self._log
        if self._pipeline is not None:
            self._pipeline.log = self._log
        if target != self._target:
            self.stop(0.0)
            self._target = target

    def cycle(self, report: CycleReport) -> None:
        """Send the trace of a close; does nothing for a poll."""
        if self._target is not None and (trace := trace_of(report)) is not None:
            self._send(self._target, trace)

    def failure(self, timeline: CloseTimeline | None, error: DreamcatcherError) -> None:
        """Send the trace of a close that failed."""
        if self._target is not None and timeline is not None:
            self._send(self._target, trace_of_failure(timeline, error))

    def stop(self, wait_s: float) -> None:
        """Send what waits, and wait for that up to so many seconds; then a thread goes on with it."""
        if self._pipeline is not None:
            self._pipeline.stop(wait_s)
        self._pipeline = None

    def _send(self, target: TraceTarget, trace: FrameTrace) -> None:
        if self._pipeline is None:
            from dreamcatcherd.observe.otlp import Pipeline

            self._pipeline = Pipeline(target, self._log)
        self._pipeline.send(trace, trace_id_of(trace.timeline))
