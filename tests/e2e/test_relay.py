"""Relays as processes: killed in turn, with an upstream that goes away, while workers of the region push."""

from __future__ import annotations

import re
import signal
import subprocess
import tomllib
from contextlib import ExitStack
from pathlib import Path

from dreamcatcherd.demo.fleet import compare_publishing, make_fleet
from tests.e2e.primaries import assert_only_fast_forwards, observations
from tests.e2e.relays import health, list_relays, relay_toml, waiting
from tests.e2e.servers import serve
from tests.e2e.test_docs import ROOT, blocks, shell
from tests.e2e.tools import (
    Daemon,
    clone,
    dc,
    dc_json,
    delta,
    environment,
    export_of,
    git,
    try_git,
    wait_for,
)


def is_merged(region: Path, upstream: Path) -> bool:
    """Close a frame upstream, and see whether all of the region is in its history and no lane is left in the region."""
    dc("close", "--repo", str(upstream))
    main = git(region, "rev-parse", "main")
    merged = try_git(upstream, "merge-base", "--is-ancestor", main, "main").returncode == 0
    return merged and not git(region, "for-each-ref", "refs/heads/dc/")


def test_two_relays_killed_in_turn_with_an_upstream_that_goes_away_lose_nothing(tmp_path: Path) -> None:
    """Workers push to a region, to lanes and to its shared branch. Each acknowledged delta is merged upstream once, the
    region's branch only ever moves forward and ends as upstream's, and merged lanes leave the region."""
    upstream, region = tmp_path / "served" / "fleet.git", tmp_path / "region.git"
    dc("init", str(upstream))
    list_relays(upstream, tmp_path / "operator", "north")
    (tmp_path / "workers").mkdir()
    with ExitStack() as stack:
        server = stack.enter_context(serve("git", upstream, tmp_path / "server"))
        starts = [
            (folder, "--config", str(relay_toml(folder, region, server.url)))
            for folder in (tmp_path / "relay-0", tmp_path / "relay-1")
        ]
        daemons = [stack.enter_context(Daemon(*starts[0]))]
        wait_for(lambda: waiting(daemons[0]) == 0)
        daemons.append(stack.enter_context(Daemon(*starts[1])))
        (region / "hooks" / "pre-receive").unlink()  # the check of a region is tested below
        fleet = make_fleet(region, tmp_path / "workers", 2, 0, environment())
        for worker in fleet:
            stack.callback(worker.stop)
            worker.start()
        for turn in range(2):
            sent = sum(len(worker.sent) for worker in fleet)
            wait_for(lambda sent=sent: sum(len(worker.sent) for worker in fleet) > sent + 1, 120)  # type: ignore[misc]
            if turn == 1:
                server.stop()
                wait_for(lambda: health(daemons[0]) == 503)
            daemons[turn % 2].process.kill()
            daemons[turn % 2].process.wait()
            daemons[turn % 2] = stack.enter_context(Daemon(*starts[turn % 2]))
            if turn == 1:
                server.start()
            dc("close", "--repo", str(upstream))
        for worker in fleet:
            worker.stop()
        for worker in fleet:
            worker.join(timeout=180)
        assert [worker.failure for worker in fleet if worker.failure] == []
        wait_for(lambda: is_merged(region, upstream), 240)
        wait_for(lambda: git(region, "rev-parse", "main") == git(upstream, "rev-parse", "main"))
        for daemon in daemons:
            assert daemon.stop()[0] == 0
            assert "Traceback" not in daemon.text
    sent_deltas = [one for worker in fleet for one in worker.sent]
    verdict = compare_publishing(sent_deltas, observations(export_of(upstream)))
    assert verdict.holds, verdict
    assert dc_json("verify", "--repo", str(upstream))["ok"]
    assert_only_fast_forwards(region)


def refused(worker: Path, files: dict[str, str]) -> str:
    """Commit files, push them to the shared branch, and take the commit back; returns what git said."""
    for name, text in files.items():
        (worker / name).write_text(text)
    git(worker, "add", "-A")
    git(worker, "commit", "-q", "-m", "try")
    said = try_git(worker, "push", "origin", "HEAD:main").stderr
    git(worker, "reset", "-q", "--hard", "HEAD^")
    return said


def test_the_commands_of_the_page_make_a_relay(tmp_path: Path) -> None:
    """docs/relay.md: an operator lists the relay, it starts, and a worker waits for its receipt in the region. The
    region closes no frame and takes deltas alone, until it is parted from its upstream."""
    run = blocks("docs/relay.md")
    assert list(run) == ["list", "start", "push", "part"]
    upstream, region = tmp_path / "fleet.git", tmp_path / "north.git"
    dc("init", str(upstream))
    operator = clone(upstream, tmp_path / "operator")
    for key in ("name", "email"):
        git(operator, "config", f"user.{key}", "ops@localhost")
    shell(run["list"], operator)
    config = relay_toml(tmp_path / "relay", region, str(upstream))
    check, start = run["start"].replace("/etc/dreamcatcherd/north.toml", str(config)).splitlines()
    shell(check, tmp_path)
    (tmp_path / "alice.json").write_text(delta(1, "alice", observations=["hello"]))
    with Daemon(tmp_path / "relay", *start.split()[2:]) as daemon:
        wait_for(lambda: waiting(daemon) == 0)
        for command in ("close", "merge"):
            assert "frames are closed upstream" in dc(command, "--repo", str(region), code=1)
        daemon.process.send_signal(signal.SIGUSR1)
        assert wait_for(lambda: daemon.logged("no frame closed"), 60)[0]["cause"].endswith("closed upstream")
        found = {one["check"]: one for one in dc_json("doctor", "--config", str(config))}
        assert (found["upstream"]["ok"], found["relay"]["ok"]) == (True, True)
        assert "relay-copy" in refused(clone(region, tmp_path / "worker"), {"README": "mine"})
        env = environment()
        env["PATH"] = f"{tmp_path / 'bin'}:{env['PATH']}"  # where `shell` has put the command
        script = run["push"].replace("/srv/git", str(tmp_path))
        with subprocess.Popen(["sh", "-c", script], cwd=tmp_path, env=env) as worker:
            wait_for(lambda: git(upstream, "for-each-ref", "refs/heads/dc-relay/north"))
            dc("close", "--repo", str(upstream))
            assert worker.wait(timeout=180) == 0
        daemon.stop()
    shell(run["part"].replace("/srv/git", str(tmp_path)), tmp_path)
    assert "frame 2" in dc("close", "--repo", str(region))


def test_the_drop_in_lets_the_unit_make_the_region() -> None:
    """docs/relay.md: the folder that the unit may write to is that of the region which its configuration names, and the
    account is the one that docs/operations.md makes, with that folder as its own."""
    page = (ROOT / "docs/relay.md").read_text()
    (drop_in,) = re.findall(r"```ini\n(.*?)```", page, re.DOTALL)
    keys = dict(line.split("=") for line in drop_in.splitlines() if "=" in line)
    (table,) = re.findall(r"```toml\n(\[repository\].*?)```", page, re.DOTALL)
    region = Path(tomllib.loads(table)["repository"]["url"])
    assert region.parent == Path(keys["ReadWritePaths"])
    account = f"useradd --system --create-home --home-dir {region.parent} --shell /usr/bin/git-shell {keys['User']}\n"
    assert account in blocks("docs/operations.md")["outside"]
