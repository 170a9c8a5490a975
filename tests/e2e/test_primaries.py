"""Two primaries on one repository, workers that never pause, a clone that is gone: each frame closes once, whole."""

from __future__ import annotations

import itertools
import json
import shutil
import subprocess
from contextlib import ExitStack
from pathlib import Path

import pytest

from dreamcatcherd.demo.fleet import compare_publishing, make_fleet
from tests.e2e.primaries import (
    assert_one_commit_a_frame,
    assert_only_fast_forwards,
    await_ready,
    config_for,
    events,
    observations,
)
from tests.e2e.servers import Server, serve
from tests.e2e.test_fleet import remerged
from tests.e2e.tools import Daemon, clone, dc, delta, environment, export_of, git, push, wait_for

FRAMES = 20


def open_frame(repository: Path) -> int:
    found: int = json.loads(git(repository, "show", "main:state/frame.json"))["frame"]
    return found


@pytest.mark.parametrize("mix", [("path", "path"), ("path", "ssh"), ("git", "http")], ids="+".join)
def test_two_primaries_killed_in_turn_close_each_frame_once(mix: tuple[str, str], tmp_path: Path) -> None:
    """Embedded, remote or one of each: 20 short frames, one commit and one ledger each, and the digests are true."""
    repository = tmp_path / "served" / "fleet.git"
    dc("init", str(repository))
    (tmp_path / "workers").mkdir()
    fleet = make_fleet(repository, tmp_path / "workers", 4, 0, environment())
    with ExitStack() as stack:
        starts = []
        for number, kind in enumerate(mix):
            served = stack.enter_context(serve(kind, repository, tmp_path / f"server-{number}"))
            folder = tmp_path / f"primary-{number}"
            starts.append((folder, "--config", str(config_for(served, folder, interval=0.4))))
        daemons = [stack.enter_context(Daemon(*words)) for words in starts]
        for worker in fleet:
            stack.callback(worker.stop)
            worker.start()
        for turn in itertools.cycle((0, 1)):
            reached = open_frame(repository) + 1
            wait_for(lambda reached=reached: open_frame(repository) > reached, 180)  # type: ignore[misc]
            if reached >= FRAMES:
                break
            daemons[turn].process.kill()
            daemons[turn].process.wait()
            daemons[turn] = stack.enter_context(Daemon(*starts[turn]))
        for worker in fleet:
            worker.stop()
        for worker in fleet:
            worker.join(timeout=180)
        for daemon in daemons:
            await_ready(daemon)
            assert daemon.stop()[0] == 0
            assert "Traceback" not in daemon.text
    assert [worker.failure for worker in fleet if worker.failure] == []
    dc("merge", "--repo", str(repository))
    sent = [one for worker in fleet for one in worker.sent]
    verdict = compare_publishing(sent, observations(export_of(repository)))
    assert verdict.holds, verdict
    assert_one_commit_a_frame(repository)
    assert_only_fast_forwards(repository)
    assert open_frame(repository) > FRAMES
    assert remerged(tmp_path, repository) == git(repository, "rev-parse", "main:state/snapshot")


HAMMER = """
n=0
while true; do
  n=$((n + 1))
  blob=$(printf '{"frame": 1, "utc": "2026-01-01T00:00:00Z", "stream_id": "%s", "observations": ["%s:%s"]}' $0 $0 $n |
      git hash-object -w --stdin)
  pushed=
  until test $pushed; do
    if test -e ../stop; then exit 0; fi
    git fetch -q origin main || continue
    git read-tree FETCH_HEAD
    git update-index --add --cacheinfo 100644,$blob,state/stream_deltas/1/$0-$n.json
    commit=$(git commit-tree -p FETCH_HEAD -m $n $(git write-tree))
    if git push -q origin $commit:main; then pushed=yes; fi
  done
  echo $0:$n >&3
done
"""
"""A worker that rebases the quickest way there is, so that `main` moves as often as the machine lets it. A git daemon
drops connections beyond its limit, so a fetch may have to be repeated."""


@pytest.mark.parametrize(
    ("kind", "without", "count"),
    [("path", ["--no-hook"], 24), ("git", ["--no-hook"], 24), ("git", [], 12)],
    ids=["path", "git", "git with the check"],
)
def test_frames_close_while_workers_push_to_main_without_pause(
    kind: str, without: list[str], count: int, tmp_path: Path
) -> None:
    """Nobody backs off, and the primary's commits find their place: nothing is lost or doubled.

    The workers are nice, as if they had machines of their own."""
    repository = tmp_path / "served" / "fleet.git"
    dc("init", str(repository), *without)
    workers = tmp_path / "workers"
    first = clone(repository, tmp_path / "first")
    git(first, "config", "user.name", "worker")
    git(first, "config", "user.email", "worker@localhost")
    with ExitStack() as stack:
        served = stack.enter_context(serve(kind, repository, tmp_path / "server"))
        git(first, "remote", "set-url", "origin", served.url)
        config = config_for(served, tmp_path / "primary", interval=2.0)
        daemon = stack.enter_context(Daemon(tmp_path / "primary", "--config", str(config)))
        await_ready(daemon)
        running = []
        for number in range(count):
            shutil.copytree(first, workers / f"w{number}")
            command = f"exec 3>../w{number}.told 2>../w{number}.log; {HAMMER}"
            words = ["nice", "sh", "-ec", command, f"w{number}"]
            running.append(subprocess.Popen(words, cwd=workers / f"w{number}", env=environment()))
        try:
            wait_for(lambda: sum(line["deltas"] > 0 for line in events(daemon, "frame closed")) >= 3, 400)
        finally:
            (workers / "stop").touch()
            codes = [process.wait(timeout=240) for process in running]
        assert codes == [0] * count
        assert daemon.stop()[0] == 0
    dc("merge", "--repo", str(repository))
    acknowledged = [mark for told in workers.glob("*.told") for mark in told.read_text().split()]
    landed = observations(export_of(repository))
    assert len(landed) == len(set(landed))
    assert set(acknowledged) <= set(landed)
    assert len(acknowledged) > 2
    assert_one_commit_a_frame(repository)
    assert_only_fast_forwards(repository)


def test_a_rewind_is_healed_by_a_primary_that_lost_its_clone(server: Server, tmp_path: Path) -> None:
    """`main` is rewound while the daemon is down, and its clone is gone: the published ref leads back to everything."""
    repository = server.repository
    config = str(config_for(server, tmp_path / "primary", "manual"))
    worker = clone(server.url, tmp_path / "worker", env=server.git_env)

    def deliver(name: str) -> str:
        return push(
            worker, {f"state/stream_deltas/1/{name}.json": delta(1, name, observations=[name])}, env=server.git_env
        )

    first = deliver("one")
    dc("merge", "--config", config)
    git(worker, "pull", "-q", "--rebase", "origin", "main", env=server.git_env)
    deliver("two")
    dc("merge", "--config", config)
    published = git(repository, "rev-parse", "main")
    git(repository, "update-ref", "refs/heads/main", first)
    git(worker, "reset", "-q", "--hard", first)
    rewound = deliver("three")
    shutil.rmtree(tmp_path / "primary" / "clone.git")
    dc("merge", "--config", config)
    assert git(repository, "rev-parse", "main^@").split() == [rewound, published]
    assert sorted(observations(export_of(repository))) == ["one", "three", "two"]
    ledger = json.loads(git(repository, "show", "main:state/ledger/0/3.json"))
    assert [(row["kind"], row["commit"]) for row in ledger["violations"]] == [("main-rewound", rewound)]
    assert_one_commit_a_frame(repository)
