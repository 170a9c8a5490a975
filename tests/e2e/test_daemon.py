"""The daemon as a process: start, serve, report, stop."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import socket
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path

import pytest

from tests.e2e.primaries import await_ready, metric
from tests.e2e.tools import Daemon, clone, dc, dc_json, delta, git, primary_toml, push, wait_for


def test_with_no_configuration_it_serves_fleet_git_on_the_documented_port(tmp_path: Path) -> None:
    """`run` makes ./fleet.git, opens frame 1 for 10 s, and answers on 127.0.0.1:9464."""
    with socket.socket() as probe:
        probe.settimeout(1)
        if probe.connect_ex(("127.0.0.1", 9464)) == 0:
            pytest.skip("no free port 9464: stop what listens on 127.0.0.1:9464")
    with Daemon(tmp_path) as daemon:
        assert daemon.url() == "http://127.0.0.1:9464"
        first = git(tmp_path / "fleet.git", "rev-list", "--max-parents=0", "main")
        state = json.loads(git(tmp_path / "fleet.git", "show", f"{first}:state/frame.json"))
        assert state["frame"] == 1
        opened, closes = (datetime.fromisoformat(state[name]) for name in ("opened_at", "closes_at"))
        assert (closes - opened).total_seconds() == 10
        assert (tmp_path / "fleet.git/hooks/pre-receive").exists()
        assert daemon.get("/healthz") == "alive\n"
        wait_for(lambda: metric(daemon, "frame") >= 1)
        assert daemon.stop()[0] == 0
    settings = git(tmp_path / "fleet.git", "config", "--list")
    assert {"receive.denynonfastforwards=true", "receive.denydeletes=false"} <= set(settings.splitlines())


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_it_stops_within_two_seconds(tmp_path: Path, number: signal.Signals) -> None:
    """SIGTERM and SIGINT end it with 0 within 2 s, and the last line of its log says so."""
    dc("init", "fleet.git", cwd=tmp_path)
    with Daemon(tmp_path, "--config", str(primary_toml(tmp_path))) as daemon:
        wait_for(lambda: '"event": "started"' in daemon.text)
        code, seconds = daemon.stop(number)
    assert code == 0
    assert seconds < 2
    assert json.loads(daemon.text.splitlines()[-1])["event"] == "stopped"


def test_it_stops_in_the_middle_of_a_large_frame_and_loses_nothing(tmp_path: Path) -> None:
    """A signal during a long cycle ends the daemon within 2 s as well; the next start merges everything once."""
    repository = tmp_path / "fleet.git"
    dc("init", str(repository))
    worker = clone(repository, tmp_path / "worker")
    rows = [{"note": "x" * 40, "n": number} for number in range(2_000)]
    folder = "state/stream_deltas/1"
    push(
        worker,
        {f"{folder}/{i}.json": delta(1, "s", f"2026-01-01T00:00:{i}Z", observations=rows) for i in range(10, 60)},
    )
    config = primary_toml(tmp_path, "interval", 0.1)
    for start in range(1, 5):
        with Daemon(tmp_path, "--repo", str(repository), "--config", str(config)) as daemon:
            wait_for(lambda start=start: len(daemon.logged("started")) == start)  # type: ignore[misc]
            time.sleep(0.1 * start)
            code, seconds = daemon.stop()
            assert (code, seconds < 2) == (0, True)
    dc("merge", "--repo", str(repository))
    counted = {row["frame"]: row["deltas"] for row in dc_json("log", "--repo", str(repository))}
    assert sum(counted.values()) == 50
    git(repository, "fsck", "--full", "--strict", "--no-dangling")


def test_frames_close_by_the_clock_and_pushes_show_up_at_once(tmp_path: Path) -> None:
    """Interval frames close one after the other; a push for one to come is pending until then, and merged in it."""
    repository = tmp_path / "fleet.git"
    dc("init", str(repository))
    config = primary_toml(tmp_path, "interval", 2.0, "[repository]\npoll = 60\n")
    worker = clone(repository, tmp_path / "worker")
    with Daemon(tmp_path, "--repo", str(repository), "--config", str(config)) as daemon:
        await_ready(daemon)
        # Far enough for the push to be there before it, also on a busy machine.
        last = int(json.loads(daemon.get("/api/v1/status"))["frame"]) + 5
        files = {f"state/stream_deltas/{last}/a.json": delta(last, "a", observations=[1])}
        push(worker, files, "refs/heads/dc/a")
        status = wait_for(lambda: (s := json.loads(daemon.get("/api/v1/status")))["pending"]["total"] and s)
        assert status["pending"]["streams"] == {"a": 1}
        wait_for(lambda: metric(daemon, "frame_last_closed") >= last)
        text = daemon.get("/metrics")
        assert 'dreamcatcher_deltas_total{outcome="merged"} 1.0' in text
        assert 'dreamcatcher_entities{collection="observations"} 1.0' in text
        assert "dreamcatcher_pending_deltas 0.0" in text
    closed = [json.loads(line) for line in daemon.text.splitlines() if '"frame closed"' in line]
    assert [line["frame"] for line in closed][:2] == [1, 2]
    log = dc_json("log", "--repo", str(repository))
    assert sorted(row["frame"] for row in log) == list(range(1, len(log) + 1))


@pytest.mark.parametrize("ref", ["refs/heads/main", "refs/dreamcatcher/published", "HEAD"])
def test_a_stale_lock_of_a_killed_primary_does_not_stop_it(tmp_path: Path, ref: str) -> None:
    """A ref lock that nobody holds any more is removed by rule, and publishing goes on."""
    repository = tmp_path / "fleet.git"
    dc("init", str(repository))
    lock = repository / f"{ref}.lock"
    lock.write_text("")
    os.utime(lock, (time.time() - 60, time.time() - 60))
    dc("merge", "--repo", str(repository))
    assert not lock.exists()
    assert dc_json("status", "--repo", str(repository))["last_closed"] == 1


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 2 MiB."""
    folder = tmp_path / "small"
    folder.mkdir()
    words = ["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", str(folder)]
    if shutil.which("mount") is None or subprocess.run(words, capture_output=True, check=False).returncode:
        pytest.skip("no right to mount: run as root, or with CAP_SYS_ADMIN")
    yield folder
    # What a daemon started there may take a moment to end.
    wait_for(lambda: subprocess.run(["umount", str(folder)], capture_output=True, check=False).returncode == 0)


def test_a_full_disk_stops_publishing_but_not_the_daemon(tmp_path: Path, small_disk: Path) -> None:
    """On a full disk the daemon is not ready and says why once; with room again it goes on, and nothing is lost."""
    repository = small_disk / "fleet.git"
    dc("init", str(repository))
    worker = clone(repository, tmp_path / "worker")
    push(worker, {"state/stream_deltas/1/a.json": delta(1, "a", observations=[1])})
    ballast = small_disk / "ballast"
    with contextlib.suppress(OSError), ballast.open("wb", buffering=0) as file:
        while file.write(b"x" * 512):
            pass
    config = primary_toml(tmp_path, "interval", 0.3)
    with Daemon(tmp_path, "--repo", str(repository), "--config", str(config)) as daemon:
        wait_for(lambda: "cycle failed" in daemon.text)
        with pytest.raises(urllib.error.HTTPError) as refused:
            urllib.request.urlopen(daemon.url() + "/readyz", timeout=90)
        assert refused.value.code == 503
        refused.value.close()
        assert daemon.get("/healthz") == "alive\n"
        time.sleep(3)
        assert daemon.text.count("cycle failed") == 1
        assert dc_json("status", "--repo", str(repository))["pending"]["total"] == 1
        ballast.unlink()
        wait_for(lambda: "recovered" in daemon.text and "frame closed" in daemon.text)
        await_ready(daemon)
    assert dc_json("log", "--repo", str(repository))[-1]["deltas"] == 1
    git(repository, "fsck", "--full", "--strict", "--no-dangling")


def test_what_cannot_start_says_why_on_one_line(tmp_path: Path) -> None:
    """A taken port, a missing repository and a bad file end with 2 and one line; a broken one with 3."""
    dc("init", "fleet.git", cwd=tmp_path)
    with socket.create_server(("127.0.0.1", 0)) as taken:
        config = tmp_path / "taken.toml"
        config.write_text(f'[http]\nlisten = "127.0.0.1:{taken.getsockname()[1]}"\n')
        assert "cannot be listened on" in dc("run", "--config", str(config), cwd=tmp_path, code=2)
    assert "dreamcatcherd init" in dc("run", "--repo", "nowhere.git", cwd=tmp_path, code=2)
    (tmp_path / "bad.toml").write_text("[frames]\nintervall = 3\n")
    assert "intervall" in dc("run", "--config", "bad.toml", cwd=tmp_path, code=2)
    repository = tmp_path / "fleet.git"
    worker = clone(repository, tmp_path / "worker")
    push(worker, {"state/stream_deltas/1/a.json": delta(1, "a", observations=[1])})
    dc("merge", cwd=tmp_path)
    snapshot = git(repository, "rev-parse", "main:state/snapshot/state")
    for pack in (repository / "objects/pack").glob("*.pack"):
        if snapshot in git(repository, "verify-pack", "-v", str(pack.with_suffix(".idx"))):
            pack.chmod(0o644)
            pack.write_bytes(pack.read_bytes()[:60])
    assert "git fsck" in dc("merge", cwd=tmp_path, code=3)
