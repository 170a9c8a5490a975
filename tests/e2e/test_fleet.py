"""A fleet of real git processes against a real daemon: what was acknowledged lands exactly once, whatever dies."""

from __future__ import annotations

import random
import time
from pathlib import Path

import pytest

from dreamcatcherd.demo.fleet import RunVerdict, Worker, compare_publishing, make_fleet
from tests.e2e.primaries import await_frames, events
from tests.e2e.tools import Daemon, clone, dc, dc_json, export_of, git, primary_toml, push, wait_for

KILLS = 10


def play(tmp_path: Path, kill_daemon: bool) -> tuple[Path, RunVerdict]:
    """16 workers, half on lanes and half on `main`, four killed mid-push, over three frames of 2 s and more."""
    repository = tmp_path / "fleet.git"
    dc("init", str(repository))
    config = primary_toml(tmp_path, "interval", 2.0)
    words = ("--repo", str(repository), "--config", str(config))
    (tmp_path / "workers").mkdir()
    chance = random.Random(16)
    fleet: list[Worker] = make_fleet(repository, tmp_path / "workers", 16, 4)
    for worker in fleet:
        worker.git_s = 600.0
        worker.start()
    daemon = Daemon(tmp_path, *words)
    try:
        for life in range(KILLS if kill_daemon else 0):
            if life % 2:  # every other life may close a frame before it ends
                await_frames(daemon, len(events(daemon, "frame closed")) + 1)
            time.sleep(chance.uniform(0.0, 1.0))
            daemon.process.kill()
            daemon.process.wait()
            daemon = Daemon(tmp_path, *words)
        wait_for(lambda: int(dc_json("status", "--repo", str(repository))["frame"]) > 3, 600)
        wait_for(lambda: sum(sent.acknowledged for worker in fleet for sent in worker.sent) > 16, 600)
        for worker in fleet:
            worker.stop()
        for worker in fleet:
            worker.join(timeout=600)
        code, _ = daemon.stop()
    finally:
        daemon.process.kill()
        daemon.process.wait()
    assert [worker.failure for worker in fleet if worker.failure] == []
    assert code == 0, daemon.text
    assert "Traceback" not in daemon.text
    dc("merge", "--repo", str(repository))
    landed = [row["value"] for row in export_of(repository)["state"]["observations"]]
    return repository, compare_publishing([sent for worker in fleet for sent in worker.sent], landed)


@pytest.mark.parametrize("kill_daemon", [False, True], ids=["steady", "kill -9"])
def test_every_acknowledged_push_lands_exactly_once(tmp_path: Path, kill_daemon: bool) -> None:
    """Workers race and die, the daemon is killed at random moments: nothing acknowledged is missing or doubled."""
    repository, verdict = play(tmp_path, kill_daemon)
    assert verdict.holds, verdict
    assert verdict.acknowledged > 16
    state = export_of(repository)["state"]
    assert state["counters"][0]["value"] == verdict.landed
    assert len(state["comments"]) == verdict.landed
    frames = [row["frame"] for row in dc_json("log", "--repo", str(repository))]
    assert frames == sorted(set(frames), reverse=True)
    assert frames[-1] == 1
    git(repository, "fsck", "--full", "--strict", "--no-dangling")
    assert remerged(tmp_path, repository) == git(repository, "rev-parse", "main:state/snapshot")


def remerged(tmp_path: Path, repository: Path) -> str:
    """The digest that the same deltas give when they are pushed in one commit to a fresh repository."""
    again = tmp_path / "again.git"
    dc("init", str(again), "--frame", str(dc_json("status", "--repo", str(repository))["frame"]))
    worker = clone(again, tmp_path / "again")
    git(worker, "fetch", "-q", str(repository), "main")
    git(worker, "checkout", "-q", "FETCH_HEAD", "--", "state/stream_deltas")
    push(worker, {})
    dc("merge", "--repo", str(again))
    return git(again, "rev-parse", "main:state/snapshot")


def test_the_demo_shows_that_nothing_is_lost(tmp_path: Path) -> None:
    """`demo` runs a fleet with killed workers and ends with a count in which nothing is missing."""
    # Frames that are long enough for a first push of each, also on a busy machine.
    few = ("--workers", "4", "--killed", "1", "--authors", "3", "--frames", "2", "--interval", "4")
    verdict = dc_json("demo", *few, cwd=tmp_path)
    assert verdict["missing"] == verdict["doubled"] == verdict["invented"] == []
    assert verdict["landed"] >= verdict["acknowledged"] > 0
    assert [(book["published"], book["chapters"], book["astray"]) for book in verdict["books"]] == [(True, 3, [])] * 3


def test_silent_merged_lanes_are_removed_and_may_come_back(tmp_path: Path) -> None:
    """A lane that is merged whole and silent for `lanes_keep` goes; its stream pushes a new one and loses nothing."""
    repository = tmp_path / "fleet.git"
    dc("init", str(repository))
    config = primary_toml(tmp_path, "interval", 0.5, "[retention]\nlanes_keep = 1\n")
    (worker,) = make_fleet(repository, tmp_path, 1, 0)
    with Daemon(tmp_path, "--repo", str(repository), "--config", str(config)):
        worker.start()
        wait_for(lambda: len(worker.sent) > 2)
        worker.stop()
        worker.join()
        lanes = ("for-each-ref", "--format=%(refname)", "refs/heads/dc")
        assert wait_for(lambda: git(repository, *lanes) == "")
        folder = tmp_path / worker.stream_id
        git(folder, "commit", "-q", "--allow-empty", "-m", "nothing new")
        git(folder, "push", "-q", "origin", f"HEAD:refs/heads/dc/{worker.stream_id}")
    landed = [row["value"] for row in export_of(repository)["state"]["observations"]]
    assert compare_publishing(worker.sent, landed).holds
