"""The same fleet over a path, git daemon, http with a password and ssh with a key: all of it lands exactly once."""

from __future__ import annotations

from pathlib import Path

import pytest

from dreamcatcherd.demo.fleet import RunVerdict, Worker, compare_publishing, make_fleet
from tests.e2e.primaries import (
    assert_one_commit_a_frame,
    assert_only_fast_forwards,
    config_for,
    events,
    observations,
)
from tests.e2e.servers import Served
from tests.e2e.test_fleet import remerged
from tests.e2e.tools import Daemon, dc, environment, export_of, git, wait_for

ACKNOWLEDGED = 12


def play(served: Served, tmp_path: Path, transport: str) -> RunVerdict:
    """8 workers, half on lanes and half on `main`, two killed mid-push, until three frames are closed."""
    config = config_for(served, tmp_path / "primary", transport=transport)
    (tmp_path / "workers").mkdir()
    fleet = make_fleet(served.url, tmp_path / "workers", 8, 2, environment() | served.git_env)
    with Daemon(tmp_path / "primary", "--config", str(config)) as daemon:
        try:
            for worker in fleet:
                worker.start()
            wait_for(lambda: len(events(daemon, "frame closed")) > 2 and pushed_both_ways(fleet), 300)
        finally:
            for worker in fleet:
                worker.stop()
        for worker in fleet:
            worker.join(timeout=180)
        code, _ = daemon.stop()
    assert [worker.failure for worker in fleet if worker.failure] == []
    assert code == 0, daemon.text
    assert "Traceback" not in daemon.text
    dc("merge", "--config", str(config))
    sent = [one for worker in fleet for one in worker.sent]
    return compare_publishing(sent, observations(export_of(served.repository)))


def pushed_both_ways(fleet: list[Worker]) -> bool:
    """Whether git acknowledged pushes on lanes and on `main`, enough of them."""
    told = [[one.acknowledged for one in worker.sent] for worker in fleet]
    return any(map(any, told[0::2])) and any(map(any, told[1::2])) and sum(map(sum, told)) >= ACKNOWLEDGED


def assert_it_holds(served: Served, verdict: RunVerdict, tmp_path: Path) -> None:
    assert verdict.holds, verdict
    assert verdict.acknowledged >= ACKNOWLEDGED
    state = export_of(served.repository)["state"]
    assert state["counters"][0]["value"] == len(state["comments"]) == verdict.landed
    assert_one_commit_a_frame(served.repository)
    assert_only_fast_forwards(served.repository)
    git(served.repository, "fsck", "--full", "--strict", "--no-dangling")
    assert remerged(tmp_path, served.repository) == git(served.repository, "rev-parse", "main:state/snapshot")


def test_everything_acknowledged_lands_exactly_once(served: Served, tmp_path: Path) -> None:
    """Workers race and die; a daemon run by a configuration file merges each delta that git acknowledged, once."""
    assert_it_holds(served, play(served, tmp_path, "pygit2"), tmp_path)


@pytest.mark.parametrize("served", ["ssh"], indirect=True)
def test_git_as_the_transport_does_the_same(served: Served, tmp_path: Path) -> None:
    """With `transport = "git"` the primary fetches by git too, and the same holds."""
    assert_it_holds(served, play(served, tmp_path, "git"), tmp_path)
