"""A daemon writes nothing but its log: JSON lines on stderr, whatever libraries, Python and git have to say."""

from __future__ import annotations

import json
import signal
import socket
import subprocess
from pathlib import Path

from tests.e2e.tools import DREAMCATCHERD, clone, dc, delta, environment, primary_toml, program, push, wait_for

NOISE = """
import os, threading, time, warnings

class Broken:
    def __del__(self):
        raise ValueError("noise of a destructor")

def fail():
    raise ValueError("noise of a thread")

def noise():
    while not os.path.exists(os.environ["NOISE_FROM"]):
        time.sleep(0.05)
    warnings.warn("noise of Python")
    Broken()
    threading.Thread(target=fail).start()

if "NOISE_FROM" in os.environ:
    threading.Thread(target=noise, daemon=True).start()
"""
"""What Python runs before the daemon; its noise comes when the daemon serves."""


def test_only_json_is_written_whatever_makes_a_noise(tmp_path: Path) -> None:
    """Warnings, errors in threads and destructors, requests that are no HTTP, and a git that complains on stderr: each
    is a line of the log or none. Nothing is on stdout."""
    fleet = tmp_path / "fleet.git"
    dc("init", str(fleet))
    (tmp_path / "python").mkdir()
    (tmp_path / "python" / "sitecustomize.py").write_text(NOISE)
    noisy = tmp_path / "bin" / "git"
    noisy.parent.mkdir()
    noisy.write_text(f'#!/bin/sh\necho "noise of git" >&2\nexec {program("git")} "$@"\n')
    noisy.chmod(0o755)
    env = environment()
    begin = tmp_path / "begin"
    env |= {"PYTHONPATH": str(tmp_path / "python"), "NOISE_FROM": str(begin), "PYTHONWARNINGS": "always"}
    env["PATH"] = f"{noisy.parent}:{env['PATH']}"
    file = primary_toml(tmp_path, "interval", 0.5, f'[repository]\nurl = "{fleet}"\n')
    out, log = tmp_path / "out", tmp_path / "log"
    with out.open("wb") as to_out, log.open("wb") as to_log:
        command = [*DREAMCATCHERD, "run", "--config", str(file)]
        daemon = subprocess.Popen(command, cwd=tmp_path, env=env, stdout=to_out, stderr=to_log)
    try:
        wait_for(lambda: "\n" in log.read_text())
        started = json.loads(log.read_text().partition("\n")[0])
        begin.touch()
        host, _, port = started["http"].rpartition(":")
        with socket.create_connection((host, int(port))) as client:
            client.sendall(b"\x16\x03\x01 no HTTP\r\n\r\n")
            client.recv(1000)
        worker = clone(fleet, tmp_path / "worker")
        push(worker, {"state/stream_deltas/1/a.json": delta(1, "a", observations=[1])}, "refs/heads/dc/a")
        wait_for(lambda: '"deltas": 1' in log.read_text() and "noise of a thread" in log.read_text())
        daemon.send_signal(signal.SIGTERM)
        assert daemon.wait(60) == 0
    finally:
        if daemon.poll() is None:
            daemon.kill()
            daemon.wait()
    assert out.read_bytes() == b""
    lines = [json.loads(line) for line in log.read_text().splitlines()]
    causes = " ".join(line["cause"] for line in lines if line["event"] == "library message")
    for noise in ("noise of Python", "noise of a destructor", "noise of a thread"):
        assert noise in causes
