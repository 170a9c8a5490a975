"""Traces of a daemon as a process: sent to a collector, and found by what docs/tracing.md says."""

from __future__ import annotations

import json
import platform
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

from dreamcatcherd.daemon import companions, service
from tests.e2e.primaries import close_by_hand, events
from tests.e2e.proxy import hold_port, port_of
from tests.e2e.test_docs import ROOT, blocks, shell
from tests.e2e.tools import Daemon, clone, dc, delta, do_without, environment, primary_toml, push, rewrite, wait_for
from tests.observe.collector import OK, Collector, collecting

PAGE = "docs/tracing.md"
PHASES = {"fetch", "ingest", "plan", "merge", "snapshot", "publish"}


@pytest.fixture
def collector() -> Iterator[Collector]:
    with collecting() as found:
        yield found


def configured(folder: Path, endpoint: str, more: str = "", close: str = "manual") -> Path:
    """A primary's configuration that sends traces."""
    text = f'[log]\nformat = "json"\n[otel]\nendpoint = "{endpoint}"\n{more}'
    return primary_toml(folder, close, 1.0, text)


def send_to(daemon: Daemon, config: Path, text: str, endpoint: str | None) -> None:
    """Put a configuration in place, and wait until the daemon sends traces to another endpoint, or nowhere."""
    rewrite(config, text)
    daemon.process.send_signal(signal.SIGHUP)
    changes = partial(applied, daemon)
    wait_for(lambda: (found := changes()) and found[-1] == endpoint)


def applied(daemon: Daemon) -> list[Any]:
    """The endpoints that reloads brought. One that finds nothing new, for the signal after the file, brings none."""
    changed = [line["changed"] for line in events(daemon, "configuration applied")]
    return [keys["[otel] endpoint"][1] for keys in changed if "[otel] endpoint" in keys]


def patient(**limits: float) -> list[str]:
    """How a command begins whose daemon has other time limits, so that a slow machine changes no outcome: STOP_S, how
    long it may take to end, and FLUSH_S, how long the last traces may take."""
    lines = ["import sys", "sys.argv[1:] = sys.argv[4:]", "from dreamcatcherd.daemon import companions, service"]
    lines += [f"{'service' if name == 'STOP_S' else 'companions'}.{name} = {value}" for name, value in limits.items()]
    return [sys.executable, "-c", "\n".join([*lines, "from dreamcatcherd.cli import main", "main()"])]


def test_a_frame_is_found_by_the_commands_of_the_page(tmp_path: Path, collector: Collector) -> None:
    """The delta of the page becomes a link of the trace that both commands name, the one before and the one after the
    close; a daemon that is stopped right after the close has sent it."""
    dc("init", "fleet.git", cwd=tmp_path)
    run = {name: text.replace("/srv/", f"{tmp_path}/") for name, text in blocks(PAGE).items()}
    assert set(run) == {"open", "closed"}
    (example,) = re.findall(r"^```json\n(.*?)^```", (ROOT / PAGE).read_text(), re.MULTILINE | re.DOTALL)
    worker = clone(tmp_path / "fleet.git", tmp_path / "worker")
    words = ("--config", str(configured(tmp_path, collector.url)))
    with Daemon(tmp_path, *words, within=patient(STOP_S=60, FLUSH_S=30)) as daemon:
        daemon.url()
        close_by_hand(daemon, 1)
        named = shell(run["open"], tmp_path).strip()
        push(worker, {"state/stream_deltas/2/w.json": example}, "refs/heads/dc/worker-1")
        close_by_hand(daemon, 2)
        assert daemon.stop()[0] == 0
    assert shell(run["closed"], tmp_path).strip() == named
    (root,) = [one for one in collector.named("frame") if one.trace_id == named]
    assert root.attributes["dreamcatcher.frame"] == 2
    assert [link.trace_id.hex() for link in root.span.links] == [json.loads(example)["traceparent"].split("-")[1]]
    assert {one.name for one in collector.below(root)} == PHASES
    assert root.resource["service.name"] == "dreamcatcherd"
    assert "unknown section" not in dc("validate", "-", stdin=example.encode())


def test_another_endpoint_takes_effect_with_a_reload_and_none_ends_it(tmp_path: Path, collector: Collector) -> None:
    """Each frame's trace goes where the configuration in force sends it; a token goes there only."""
    dc("init", "fleet.git", cwd=tmp_path)
    (tmp_path / "headers").write_text("\nAuthorization: Bearer hunter2\n")
    headers = f'headers_file = "{tmp_path / "headers"}"\n'
    config = configured(tmp_path, collector.url)
    (tmp_path / "new").mkdir()
    words = ("--config", str(config))
    with collecting() as second, Daemon(tmp_path, *words, within=patient(STOP_S=60, FLUSH_S=30)) as daemon:
        daemon.url()
        close_by_hand(daemon, 1)
        other = second.url + "/v1/traces"
        send_to(daemon, config, configured(tmp_path / "new", other, headers).read_text(), other)
        close_by_hand(daemon, 2)
        none = primary_toml(tmp_path / "new", more='[log]\nformat = "json"\n')
        send_to(daemon, config, none.read_text(), None)
        close_by_hand(daemon, 3)
        wait_for(lambda: collector.named("frame") and second.named("frame"))
        assert daemon.stop()[0] == 0
        assert "hunter2" not in daemon.text
        for one, frames, token in ((collector, [1], None), (second, [2], "Bearer hunter2")):
            assert [root.attributes["dreamcatcher.frame"] for root in one.named("frame")] == frames
            assert {span.headers.get("authorization") for span in one.received} == {token}


def test_frames_close_though_the_collector_is_gone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A closed port is one line in the log, however many frames close; once it answers, the next frame is there."""
    dc("init", "fleet.git", cwd=tmp_path)
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_TIMEOUT", "2")  # until it is given up, in place of ten seconds
    held = hold_port()
    port = port_of(held)
    config = configured(tmp_path, f"http://127.0.0.1:{port}", close="interval")
    with held, Daemon(tmp_path, "--config", str(config)) as daemon:
        wait_for(lambda: events(daemon, "traces not sent"))
        begun = len(events(daemon, "frame closed"))
        wait_for(lambda: len(events(daemon, "frame closed")) >= begun + 2)
        (line,) = events(daemon, "traces not sent")
        assert line["cause"] == f"http://127.0.0.1:{port}/v1/traces cannot be reached"
        with collecting(port) as collector:
            wait_for(lambda: events(daemon, "traces sent again"))
            assert collector.named("frame")
        assert daemon.stop()[0] == 0
        assert "Traceback" not in daemon.text


def test_a_collector_that_hangs_does_not_hold_the_daemon_up(
    tmp_path: Path, collector: Collector, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A daemon whose last trace nobody takes ends by itself, in order, and is not broken off at its time limit."""
    dc("init", "fleet.git", cwd=tmp_path)
    go_on = threading.Event()

    def hang() -> tuple[int, dict[str, str]]:
        go_on.wait(300)
        return OK

    collector.answer = hang
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_TIMEOUT", "300")
    assert companions.FLUSH_S < service.STOP_S / 2
    try:
        words = ("--config", str(configured(tmp_path, collector.url)))
        with Daemon(tmp_path, *words, within=patient(STOP_S=60)) as daemon:
            daemon.url()
            close_by_hand(daemon, 1)
            wait_for(lambda: collector.requests)
            close_by_hand(daemon, 2)
            code, _ = daemon.stop()
            said = {line["event"] for line in map(json.loads, re.findall(r"^{.*}$", daemon.text, re.MULTILINE))}
    finally:
        go_on.set()
    assert (code, said & {"stopped", "traces not sent"}) == (0, {"stopped"})
    assert not any("in the middle" in event for event in said)


def test_without_the_extra_the_daemon_says_how_to_install_it(tmp_path: Path) -> None:
    """A configured endpoint without OpenTelemetry ends the start with exit code 2 and the command to run."""
    dc("init", "fleet.git", cwd=tmp_path)
    config = configured(tmp_path, "http://127.0.0.1:4318")
    script = f"import sys; sys.modules['opentelemetry'] = None; sys.argv[1:] = ['run', '--config', {str(config)!r}]\n"
    done = subprocess.run(
        [sys.executable, "-c", script + "from dreamcatcherd.cli import main; main()"],
        cwd=tmp_path, env=environment(), capture_output=True, text=True, check=False, timeout=120,
    )  # fmt: skip
    assert done.returncode == 2
    (line,) = done.stderr.splitlines()
    assert "pip install 'dreamcatcherd[otel]'" in line
    assert "EXTRAS=otel" in line


@pytest.mark.parametrize(
    ("endpoint", "why"),
    [
        ("127.0.0.1:4318", "is not a URL"),
        ("ftp://127.0.0.1", "is not a URL"),
        ("http://", "is not a URL"),
        ("http://127.0.0.1:port", "is not a URL"),
        ("http://user:hunter2@127.0.0.1:4318", "has more than host, port and path"),
        ("http://127.0.0.1:4318?token=hunter2", "has more than host, port and path"),
    ],
)
def test_an_endpoint_that_is_none_is_refused(tmp_path: Path, endpoint: str, why: str) -> None:
    """The daemon does not start with it, and the error shows no part that may be a secret."""
    said = dc("config", "check", str(configured(tmp_path, endpoint)), code=2)
    assert f"[otel] endpoint {why}" in said
    assert "hunter2" not in said


def test_a_line_that_is_no_header_is_refused_unseen(tmp_path: Path) -> None:
    """A file that holds a token alone is refused, and the token is not shown."""
    dc("init", "fleet.git", cwd=tmp_path)
    (tmp_path / "headers").write_text("hunter2\n")
    config = configured(tmp_path, "http://127.0.0.1:4318", f'headers_file = "{tmp_path / "headers"}"\n')
    said = dc("run", "--config", str(config), cwd=tmp_path, code=2)
    assert "holds a line that is no header" in said
    assert "hunter2" not in said


def test_a_receiver_of_another_make_reads_the_spans(tmp_path: Path) -> None:
    """oteltap, a receiver in Rust, decodes what is sent, as a process of its own."""
    if platform.machine() != "x86_64":
        pytest.skip("no oteltap for this processor: run on x86_64")
    if find_spec("oteltap") is None:
        do_without("no oteltap: pip install oteltap")
    dc("init", "fleet.git", cwd=tmp_path)
    worker = clone(tmp_path / "fleet.git", tmp_path / "worker")
    context = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
    text = delta(1, "a", traceparent=context, observations=[1])
    push(worker, {"state/stream_deltas/1/a.json": text}, "refs/heads/dc/a")
    log = tmp_path / "received.ndjson"
    with tapping(log) as port:
        config = configured(tmp_path, f"http://127.0.0.1:{port}")
        with Daemon(tmp_path, "--config", str(config)) as daemon:
            daemon.url()
            close_by_hand(daemon, 1)
            wait_for(lambda: all(f'"{name}"' in log.read_text() for name in ("frame", *PHASES)))
        assert context.split("-")[1] in log.read_text()


@contextmanager
def tapping(log: Path) -> Iterator[int]:
    """oteltap, writing down what it receives on a port."""
    with hold_port() as held:
        with log.open("wb") as file:
            command = [sys.executable, "-u", "-m", "oteltap", "--port", str(port_of(held))]
            receiver = subprocess.Popen(command, stdout=file, env=environment())
        try:
            wait_for(lambda: b"Listening" in log.read_bytes())
            yield port_of(held)
        finally:
            receiver.terminate()
            receiver.wait()
