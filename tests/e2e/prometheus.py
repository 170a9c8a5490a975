"""A real Prometheus on a free port of 127.0.0.1, and promtool; for tests of what is watched."""

from __future__ import annotations

import contextlib
import json
import math
import signal
import subprocess
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tests.e2e.proxy import HOST, hold_port, port_of
from tests.e2e.tools import environment, need, program, wait_for

Labels = dict[str, str]


def tool(name: str) -> str:
    """Where `prometheus` or `promtool` is."""
    need(name)
    return str(program(name))


def promtool(*words: str, cwd: Path, stdin: str = "") -> str:
    """Run promtool; returns all that it said, or fails with it."""
    done = subprocess.run(
        [tool("promtool"), *words], cwd=cwd, input=stdin, capture_output=True, text=True, check=False, timeout=120
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


class Prometheus:
    """A running one, asked through its HTTP API."""

    def __init__(self, address: str) -> None:
        self.address = address

    def ask(self, path: str, **words: str) -> Any:
        """What it answers; None while it does not."""
        asked = f"http://{self.address}{path}?{urllib.parse.urlencode(words)}"
        try:
            with urllib.request.urlopen(asked, timeout=60) as answer:
                return json.loads(answer.read())["data"]
        except urllib.error.HTTPError as refusal:
            with refusal:
                if refusal.code == 503:  # it is starting
                    return None
                raise AssertionError((words, refusal.read().decode())) from refusal
        except (urllib.error.URLError, ConnectionError, TimeoutError):
            return None

    def query(self, expr: str) -> list[tuple[Labels, float]]:
        """The series of an expression now, without those that are no number."""
        rows = (self.ask("/api/v1/query", query=expr) or {"result": []})["result"]
        found = [(row["metric"], float(row["value"][1])) for row in rows]
        return [(labels, value) for labels, value in found if math.isfinite(value)]

    def firing(self) -> set[tuple[str, str]]:
        """The alerts that fire: name and instance, where the alert has one."""
        alerts = (self.ask("/api/v1/alerts") or {"alerts": []})["alerts"]
        return {
            (alert["labels"]["alertname"], alert["labels"].get("instance", ""))
            for alert in alerts
            if alert["state"] == "firing"
        }


@contextlib.contextmanager
def run_prometheus(folder: Path, config: Path) -> Iterator[Prometheus]:
    """Start it on a configuration, wait until it answers, and stop it in the end."""
    command = tool("prometheus")  # first, so that a skip leaves no port held: the next test would fail for it
    held = hold_port()
    port = port_of(held)
    words = [
        command,
        f"--config.file={config}",
        f"--storage.tsdb.path={folder / 'data'}",
        f"--web.listen-address={HOST}:{port}",
        "--log.level=warn",
    ]
    log = folder / "prometheus.log"
    with log.open("ab") as out:
        process = subprocess.Popen(words, cwd=folder, env=environment(), stdout=out, stderr=subprocess.STDOUT)
    try:
        found = Prometheus(f"{HOST}:{port}")
        wait_for(lambda: process.poll() is not None or found.ask("/api/v1/status/runtimeinfo"))
        assert process.poll() is None, log.read_text()
        yield found
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(timeout=10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        held.close()
