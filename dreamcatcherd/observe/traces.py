"""Sending one trace for each frame, if an endpoint is configured (docs/protocol.md#traces).

`frame_trace` says what a trace holds. `otlp` sends it, and is imported only when it is needed."""

from __future__ import annotations

from typing import TYPE_CHECKING

from dreamcatcherd.core.errors import DreamcatcherError, UsageError
from dreamcatcherd.core.report import CloseTimeline, CycleReport
from dreamcatcherd.observe.frame_trace import FrameTrace, TraceTarget, trace_id_of, trace_of, trace_of_failure
from dreamcatcherd.observe.logs import EventLogger

if TYPE_CHECKING:
    from dreamcatcherd.observe.otlp import Pipeline

INSTALL_OTEL = (
    "install it: pip install 'dreamcatcherd[otel]', in a container build the image with EXTRAS=otel; "
    "or remove [otel] endpoint"
)


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
