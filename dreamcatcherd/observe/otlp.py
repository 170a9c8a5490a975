"""Traces over OTLP, with OpenTelemetry's SDK (extra `otel`).

Owns the pipeline: spans wait in a bounded queue, and a thread of the SDK sends them. Every failure there is one log
line when it begins and one when it is over."""

from __future__ import annotations

import logging
import os
import socket
import ssl
import threading
from collections.abc import Sequence
from typing import Any

import requests
from opentelemetry.context import Context
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import OTELResourceDetector, Resource
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter, SpanExportResult
from opentelemetry.sdk.trace.id_generator import RandomIdGenerator
from opentelemetry.trace import Link, Span, SpanContext, Status, StatusCode, TraceFlags, set_span_in_context

from dreamcatcherd import __version__
from dreamcatcherd.core.codec import plain
from dreamcatcherd.core.errors import UsageError
from dreamcatcherd.core.report import PhaseRun
from dreamcatcherd.observe.frame_trace import FrameTrace, TraceTarget
from dreamcatcherd.observe.logs import EventLogger

SPANS_WAITING = 2_048
"""Spans that wait at most, about 290 frames; then the oldest are dropped."""

SEND_AFTER_S = 1.0
"""How long a span waits for others at most."""

SHOWN_CAUSE = 300

_SDK_LOGS = logging.getLogger("opentelemetry")


def check(target: TraceTarget) -> None:
    """UsageError if what OpenTelemetry reads from the environment is wrong. Starts no thread."""
    try:
        if target.ca_file is not None:
            ssl.create_default_context(cafile=target.ca_file)
        _exporter(target, _Session()).shutdown()  # type: ignore[no-untyped-call]
        _provider(target, _Ids())
    except (ValueError, RuntimeError, OSError) as error:
        cause = f"OpenTelemetry cannot be set up: {plain(str(error))}"
        raise UsageError(cause, "check [otel], and the variables OTEL_… of the environment") from error


class Pipeline:
    """From a close to the network. Made and used by one thread."""

    def __init__(self, target: TraceTarget, logger: EventLogger) -> None:
        # The SDK logs each failure, and Python writes the warnings of loggers that nobody handles to stderr.
        _SDK_LOGS.addHandler(logging.NullHandler())
        _SDK_LOGS.propagate = False
        self._target = target
        self._ids = _Ids()
        self._provider = _provider(target, self._ids)
        self._sender = _Sender(target, logger)
        processor = BatchSpanProcessor(
            self._sender, max_queue_size=SPANS_WAITING, schedule_delay_millis=SEND_AFTER_S * 1e3
        )
        self._provider.add_span_processor(processor)
        self._tracer = self._provider.get_tracer("dreamcatcherd", __version__)

    @property
    def log(self) -> EventLogger:
        """Where failures and recoveries are logged."""
        return self._sender.log

    @log.setter
    def log(self, logger: EventLogger) -> None:
        self._sender.log = logger

    def send(self, trace: FrameTrace, trace_id: int | None) -> None:
        """Put the spans of one close into the queue: the frame, and below it each run of a phase."""
        runs = trace.timeline.runs
        if not runs:
            return
        self._ids.trace_id = trace_id
        root = self._tracer.start_span(
            "frame",
            Context(),
            attributes={f"dreamcatcher.{name}": value for name, value in trace.attributes.items()}
            | {"dreamcatcher.repository": self._target.repository},
            links=[_link(*link) for link in trace.timeline.links],
            start_time=min(run.began for run in runs) * 1_000,
        )
        for before, run in zip([None, *runs], runs, strict=False):
            if before is not None and run.attempt > before.attempt:
                root.add_event("another attempt", {"dreamcatcher.attempt": run.attempt}, run.began * 1_000)
            self._send_phase(root, run)
        if trace.error is not None:
            root.set_attribute("error.type", trace.error[0])
            root.set_status(Status(StatusCode.ERROR, trace.error[1]))
        root.end(max(map(_ended, runs)))

    def _send_phase(self, root: Span, run: PhaseRun) -> None:
        span = self._tracer.start_span(
            run.phase,
            set_span_in_context(root, Context()),
            attributes={"dreamcatcher.phase": run.phase, "dreamcatcher.attempt": run.attempt},
            start_time=run.began * 1_000,
        )
        if run.failed:
            span.set_status(Status(StatusCode.ERROR))
        span.end(_ended(run))

    def stop(self, wait_s: float) -> None:
        """Send what waits, for `wait_s` seconds at most; then a thread goes on with it."""
        # The SDK waits for a request that hangs, longer than a daemon may take to end.
        thread = threading.Thread(target=self._provider.shutdown, name="traces", daemon=True)
        thread.start()
        thread.join(wait_s)


class _Ids(RandomIdGenerator):
    """Ids of spans by chance, and of traces as given."""

    trace_id: int | None = None

    def generate_trace_id(self) -> int:
        return super().generate_trace_id() if self.trace_id is None else self.trace_id


def _provider(target: TraceTarget, ids: _Ids) -> TracerProvider:
    """What makes spans; the variables OTEL_SERVICE_NAME and OTEL_RESOURCE_ATTRIBUTES go before what is said here."""
    resource = Resource.create(
        {
            "service.name": "dreamcatcherd",
            "service.version": __version__,
            "service.instance.id": f"{socket.gethostname()}-{os.getpid()}",
        }
    )
    resource = resource.merge(OTELResourceDetector().detect())
    # Its own hook at exit would wait for a collector that hangs.
    return TracerProvider(resource=resource, id_generator=ids, shutdown_on_exit=False)


def _exporter(target: TraceTarget, session: requests.Session) -> OTLPSpanExporter:
    return OTLPSpanExporter(target.url, target.ca_file, headers=dict(target.headers), session=session)


class _Session(requests.Session):
    """The connection to the collector. `said` is what the last request came to, None if the collector took it."""

    def __init__(self) -> None:
        super().__init__()
        self.said: str | None = None
        # Without an own rule requests looks into ~/.netrc, and what it finds there goes before the configured headers.
        self.auth = _as_it_is

    def request(self, *words: Any, **named: Any) -> requests.Response:
        try:
            answer = super().request(*words, **named)
        except requests.exceptions.SSLError:
            self.said = "cannot be trusted: its certificate is unknown or another one"
            raise
        except requests.exceptions.Timeout:
            self.said = "did not answer in time"
            raise
        except requests.exceptions.ConnectionError:
            self.said = "cannot be reached"
            raise
        except requests.exceptions.RequestException as error:
            self.said = f"cannot be asked: {_shown(str(error))}"
            raise
        self.said = None if answer.status_code < 300 else f"answers {answer.status_code} {_shown(answer.reason or '')}"
        # The exporter follows no redirect, and would take one for an answer: the spans would be lost unseen.
        if 300 <= answer.status_code < 400:
            raise requests.exceptions.TooManyRedirects(f"redirected ({answer.status_code})")
        return answer


def _as_it_is(request: requests.PreparedRequest) -> requests.PreparedRequest:
    return request


def _shown(text: str) -> str:
    return plain(text[:SHOWN_CAUSE]).strip()


class _Sender(SpanExporter):
    """The exporter, and one log line for each time that it begins to fail or works again. In the SDK's thread."""

    def __init__(self, target: TraceTarget, logger: EventLogger) -> None:
        self.log = logger
        self._url = target.url
        self._session = _Session()
        self._exporter = _exporter(target, self._session)
        self._lost = 0

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        self._session.said = None
        result = self._exporter.export(spans)
        if result is not SpanExportResult.SUCCESS:
            if not self._lost:
                cause = f"{self._url} {self._session.said or 'does not take them'}"
                self.log.warning("traces not sent", cause=cause, remedy="check [otel], and the collector")
            self._lost += len(spans)
        elif self._lost:
            self.log.info("traces sent again", lost_spans=self._lost)
            self._lost = 0
        return result

    def shutdown(self) -> None:
        self._exporter.shutdown()  # type: ignore[no-untyped-call]


def _link(context: str, stream: str) -> Link:
    """A delta's trace context as a link."""
    _, trace_id, span_id, flags = context.split("-")
    remote = SpanContext(int(trace_id, 16), int(span_id, 16), True, TraceFlags(int(flags, 16)))
    return Link(remote, {"dreamcatcher.stream_id": stream})


def _ended(run: PhaseRun) -> int:
    """When a run ended, in nanoseconds since 1970."""
    return run.began * 1_000 + round(run.seconds * 1e9)
