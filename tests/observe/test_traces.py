"""Sending traces: what a collector gets, and what becomes of it if it fails (docs/protocol.md#traces)."""

from __future__ import annotations

import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from dreamcatcherd.core.errors import UsageError
from dreamcatcherd.core.report import CloseTimeline, CycleReport, PhaseRun
from dreamcatcherd.observe.frame_trace import TraceTarget, trace_of
from dreamcatcherd.observe.otlp import SPANS_WAITING, Pipeline
from dreamcatcherd.observe.traces import Traces, check_target
from tests.daemon.tools import Lines
from tests.e2e.proxy import hold_port, port_of
from tests.e2e.tools import wait_for
from tests.observe.collector import OK, Collector, collecting
from tests.observe.reports import closed, pending, published

AT = 1_767_225_600_000_000
TIMELINE = CloseTimeline(7, "interval", "a" * 40, [PhaseRun("merge", AT, 0.25)])


@pytest.fixture
def collector() -> Iterator[Collector]:
    with collecting() as found:
        yield found


def target(collector: Collector, **given: object) -> TraceTarget:
    return TraceTarget(collector.url + "/v1/traces", "fleet.git", **given)  # type: ignore[arg-type]


def report(timeline: CloseTimeline = TIMELINE) -> CycleReport:
    return published(closed(), timeline=timeline)


def test_times_are_those_of_the_report(collector: Collector) -> None:
    """A span begins and ends when its phase did, to the nanosecond."""
    traces = Traces(Lines())
    traces.use(target(collector))
    traces.cycle(report())
    traces.stop(60)
    (span,) = [one.span for one in collector.named("merge")]
    assert (span.start_time_unix_nano, span.end_time_unix_nano) == (AT * 1_000, AT * 1_000 + 250_000_000)


def test_headers_go_with_every_request_and_are_shown_nowhere(collector: Collector) -> None:
    """The token reaches the collector; the target's text, which a log could show, does not have it."""
    found = target(collector, headers=(("X-Team", "hunter2"),))
    traces = Traces(Lines())
    traces.use(found)
    traces.cycle(report())
    traces.stop(60)
    assert {one.headers["x-team"] for one in collector.received} == {"hunter2"}
    assert "hunter2" not in repr(found)


def test_a_netrc_does_not_replace_the_configured_header(
    collector: Collector, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A password for this host in ~/.netrc is sent to no collector, and the configured token is."""
    (tmp_path / "netrc").write_text("machine 127.0.0.1 login somebody password secret\n")
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    traces = Traces(Lines())
    traces.use(target(collector, headers=(("Authorization", "Bearer token"),)))
    traces.cycle(report())
    traces.stop(60)
    assert {one.headers["authorization"] for one in collector.received} == {"Bearer token"}


def test_the_standard_variables_name_the_service(collector: Collector, monkeypatch: pytest.MonkeyPatch) -> None:
    """OTEL_SERVICE_NAME and OTEL_RESOURCE_ATTRIBUTES go before the daemon's own name; the endpoint is the
    configuration's alone."""
    monkeypatch.setenv("OTEL_SERVICE_NAME", "north")
    monkeypatch.setenv("OTEL_RESOURCE_ATTRIBUTES", "deployment.environment.name=production")
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:9")
    traces = Traces(Lines())
    traces.use(target(collector))
    traces.cycle(report())
    traces.stop(60)
    (root,) = collector.named("frame")
    assert root.resource["service.name"] == "north"
    assert root.resource["deployment.environment.name"] == "production"
    traces = Traces(Lines())
    traces.cycle(report())
    assert traces._pipeline is None


@pytest.mark.parametrize(
    ("answer", "says"),
    [
        ((401, {}), "answers 401 Unauthorized"),
        ((400, {}), "answers 400 Bad Request"),
        ((302, {"Location": "/elsewhere"}), "answers 302 Found"),
    ],
)
def test_a_collector_that_refuses_is_reported_once(
    collector: Collector, answer: tuple[int, dict[str, str]], says: str, capfd: pytest.CaptureFixture[str]
) -> None:
    """However many batches it refuses there is one line with the cause, and one when it takes them again, which says
    how much was lost. A redirect is a refusal, and is not followed. Nothing else is written."""
    log = Lines()
    collector.answer = lambda: answer
    pipeline = Pipeline(target(collector), log)
    trace = trace_of(report())
    assert trace is not None
    for _ in range(3):
        pipeline.send(trace, 1)
        pipeline._provider.force_flush()
    assert log.told == [
        (
            "warning",
            "traces not sent",
            {"cause": f"{collector.url}/v1/traces {says}", "remedy": "check [otel], and the collector"},
        )
    ]
    assert set(collector.requests) == {"/v1/traces"}
    collector.answer = lambda: OK
    for _ in range(2):
        pipeline.send(trace, 1)
        pipeline._provider.force_flush()
    pipeline.stop(60)
    assert log.told[1:] == [("info", "traces sent again", {"lost_spans": 6})]
    assert len(collector.named("frame")) == 2
    assert capfd.readouterr() == ("", "")


def test_a_collector_that_cannot_be_reached_is_reported_once(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """A closed port is one line; the SDK's own lines and tracebacks are not shown."""
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_TIMEOUT", "0.2")
    log = Lines()
    traces = Traces(log)
    with hold_port() as held:
        traces.use(TraceTarget(f"http://127.0.0.1:{port_of(held)}/v1/traces", "fleet.git"))
        for _ in range(3):
            traces.cycle(report())
        traces.stop(60)
    assert [(level, event) for level, event, _ in log.told] == [("warning", "traces not sent")]
    assert str(log.told[0][2]["cause"]).endswith("/v1/traces cannot be reached")
    assert capfd.readouterr() == ("", "")


def test_a_collector_that_hangs_delays_nobody(collector: Collector) -> None:
    """While a request hangs, traces are put into the queue without waiting, its length is bounded, and stopping takes
    as long as it may and no longer."""
    waiting, go_on = threading.Event(), threading.Event()
    before = set(threading.enumerate())

    def hang() -> tuple[int, dict[str, str]]:
        waiting.set()
        go_on.wait(120)
        return OK

    collector.answer = hang
    traces = Traces(Lines())
    traces.use(target(collector))
    traces.cycle(report())
    assert traces._pipeline is not None
    pipeline = traces._pipeline
    assert waiting.wait(60)
    for _ in range(SPANS_WAITING):
        traces.cycle(report())
    processor = pipeline._provider._active_span_processor._span_processors[0]
    assert len(processor._batch_processor._queue) == SPANS_WAITING  # type: ignore[attr-defined]
    traces.stop(0.1)
    left = [one.name for one in set(threading.enumerate()) - before if one.name == "traces"]
    assert left == ["traces"]  # it goes on with it
    go_on.set()
    wait_for(lambda: len(collector.received) >= SPANS_WAITING, 60)


def test_another_target_takes_what_comes_after_it(collector: Collector) -> None:
    """What waits for the old collector is still sent there; what comes later goes to the new one, or nowhere."""
    with collecting() as second:
        traces = Traces(Lines())
        traces.use(target(collector))
        traces.cycle(report())
        traces.use(target(second))
        traces.cycle(report(CloseTimeline(8, "interval", "b" * 40, TIMELINE.runs)))
        traces.use(None)
        traces.cycle(report(CloseTimeline(9, "interval", "c" * 40, TIMELINE.runs)))
        wait_for(lambda: collector.named("frame") and second.named("frame"), 60)
        assert [one.trace_id for one in collector.named("frame")] == ["a" * 32]
        assert [one.trace_id for one in second.named("frame")] == ["b" * 32]


def test_a_frame_that_no_commit_opened_has_a_trace_id_by_chance(collector: Collector) -> None:
    """Without a snapshot commit there is nothing to take an id from; each trace has another one."""
    traces = Traces(Lines())
    traces.use(target(collector))
    for _ in range(2):
        traces.cycle(report(CloseTimeline(0, "manual", None, TIMELINE.runs)))
    traces.stop(60)
    assert len({one.trace_id for one in collector.named("frame")}) == 2


def test_a_poll_has_no_trace() -> None:
    """The report of a poll has no timeline, and comes to nothing."""
    assert trace_of(CycleReport(pending())) is None


def test_wrong_variables_of_the_sdk_are_refused(collector: Collector, monkeypatch: pytest.MonkeyPatch) -> None:
    """A variable that the SDK cannot read ends the start with its cause, and not the first frame."""
    monkeypatch.setenv("OTEL_SPAN_ATTRIBUTE_COUNT_LIMIT", "many")
    with pytest.raises(UsageError, match="OTEL_SPAN_ATTRIBUTE_COUNT_LIMIT"):
        check_target(target(collector))


def test_a_file_that_holds_no_certificate_is_refused(collector: Collector, tmp_path: Path) -> None:
    """A `ca_file` without a certificate is found at the start."""
    (tmp_path / "ca.pem").write_text("no certificate\n")
    with pytest.raises(UsageError, match="cannot be set up"):
        check_target(target(collector, ca_file=str(tmp_path / "ca.pem")))


def test_nothing_of_opentelemetry_is_loaded_without_an_endpoint() -> None:
    """A daemon without [otel] endpoint pays nothing for it."""
    script = (
        "import sys, dreamcatcherd.daemon.service, dreamcatcherd.cli as cli\n"
        "from dreamcatcherd.daemon.tracing import read_tracing\n"
        "from dreamcatcherd.config_tables import OtelConfig\n"
        "assert read_tracing(OtelConfig(), 'x') is None\n"
        "print(*[name for name in sys.modules if name.startswith(('opentelemetry', 'requests', 'google'))])"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == ""
