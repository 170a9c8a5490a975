"""Relays whose upstream is behind a real server with credentials, and relays that a reload adds, changes or removes."""

from __future__ import annotations

import json
import signal
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.primaries import await_ready, metric, observations
from tests.e2e.relays import credentials, health, list_relays, relay_toml, waiting
from tests.e2e.servers import Server, serve
from tests.e2e.tools import Daemon, clone, dc, dc_json, delta, export_of, git, push, rewrite, wait_for


def send(region: Path, folder: Path, stream: str, ref: str = "") -> None:
    """Push one delta to a stream's lane, or to another branch, of a region, as a worker does."""
    files = {f"state/stream_deltas/1/{stream}.json": delta(1, stream, observations=[stream])}
    push(clone(region, folder), files, ref or f"dc/{stream}")


def heads(repository: Path) -> dict[str, str]:
    """The relays' lanes of a repository, with their commits."""
    form = "--format=%(refname:lstrip=2) %(objectname)"
    lines = git(repository, "for-each-ref", form, "refs/heads/dc-relay").splitlines()
    return dict(line.split() for line in lines)


def arrived(upstream: Path, *streams: str) -> bool:
    """Whether upstream has the deltas of all these streams, on whatever branch."""
    names = git(upstream, "log", "--all", "--format=", "--name-only").split()
    return {f"state/stream_deltas/1/{one}.json" for one in streams} <= set(names)


@pytest.mark.parametrize("kind", ["http", "ssh"])
def test_a_region_is_forwarded_through_a_server_that_asks_for_credentials(kind: str, tmp_path: Path) -> None:
    """Over http with a password and over ssh with a key, which are `[relay]`'s own, and with the check on both sides:
    lanes and the shared branch arrive, receipts come back, and without credentials only forwarding stops."""
    upstream, region = tmp_path / "served" / "fleet.git", tmp_path / "north.git"
    dc("init", str(upstream))
    list_relays(upstream, tmp_path / "operator", "north")
    with serve(kind, upstream, tmp_path / "server") as server:
        assert isinstance(server, Server)
        config = relay_toml(tmp_path / "relay", region, server.url, more=credentials(server))
        with Daemon(tmp_path / "relay", "--config", str(config)) as daemon:
            wait_for(lambda: waiting(daemon) == 0)
            found = {one["check"]: one for one in dc_json("doctor", "--config", str(config))}
            assert (found["upstream"]["ok"], found["relay"]["ok"]) == (True, True)
            send(region, tmp_path / "alice", "alice")
            wait_for(lambda: daemon.logged("deltas forwarded"))
            server.lock_out()
            wait_for(lambda: health(daemon) == 503 and remedies(daemon, "refused the credentials"))
            (remedy,) = remedies(daemon, "refused the credentials")
            assert "[relay]" in remedy
            assert "[repository]" not in remedy
            send(region, tmp_path / "bob", "bob")
            send(region, tmp_path / "carol", "carol", "main")
            wait_for(lambda: metric(daemon, "relay_pending_deltas") == 2)
            server.let_in()
            wait_for(lambda: arrived(upstream, "bob", "carol"))
            dc("close", "--repo", str(upstream))
            wait_for(lambda: git(region, "rev-parse", "main") == git(upstream, "rev-parse", "main"))
            (receipt,) = dc_json("receipt", "state/stream_deltas/1/bob.json", "--repo", str(region))
            assert (receipt["outcome"], receipt["frame"]) == ("merged", 1)
            assert daemon.stop()[0] == 0
            assert "Traceback" not in daemon.text
    assert sorted(observations(export_of(upstream))) == ["alice", "bob", "carol"]
    assert dc_json("verify", "--repo", str(upstream))["ok"]


def remedies(daemon: Daemon, what: str) -> list[str]:
    """The remedies of the troubles that a daemon has with something."""
    return [one["remedy"] for one in json.loads(daemon.get("/api/v1/status"))["troubles"] if what in one["what"]]


def apply(daemon: Daemon, config: Path, text: str) -> Any:
    """Let a daemon read another configuration, wait until it is in force, and return what changed. A daemon that has
    noticed the file by itself reads it again for the signal, and then nothing changes."""
    before = len(daemon.logged("configuration applied"))
    rewrite(config, text)
    daemon.process.send_signal(signal.SIGHUP)

    def changes() -> list[Any]:
        return [found for line in daemon.logged("configuration applied")[before:] if (found := line["changed"])]

    return wait_for(changes)[0]


def test_a_reload_changes_removes_and_adds_a_relay(tmp_path: Path) -> None:
    """Another URL and name take effect without a restart, a wrong one is refused and leaves the relay at work; without
    `[relay]` the copy closes no frame, and with it again what was pushed meanwhile is forwarded."""
    upstream, region = tmp_path / "fleet.git", tmp_path / "region.git"
    dc("init", str(upstream))
    list_relays(upstream, tmp_path / "operator", "north", "south")
    config = relay_toml(tmp_path / "relay", region, str(upstream))
    with Daemon(tmp_path / "relay", "--config", str(config)) as daemon:
        wait_for(lambda: waiting(daemon) == 0)
        send(region, tmp_path / "alice", "alice")
        wait_for(lambda: daemon.logged("deltas forwarded"))
        assert list(heads(upstream)) == ["dc-relay/north"]
        moved = upstream.rename(tmp_path / "moved.git")
        wait_for(lambda: health(daemon) == 503)

        rewrite(config, config.read_text().replace('name = "north"', 'name = "no/name"'))
        daemon.process.send_signal(signal.SIGHUP)
        wait_for(lambda: daemon.logged("configuration refused, the old one stays"))
        assert metric(daemon, "config_refused") == 1

        changed = apply(daemon, config, relay_toml(tmp_path / "new", region, str(moved), "south").read_text())
        assert changed["[relay] name"] == ["north", "south"]
        wait_for(lambda: waiting(daemon) == 0)
        send(region, tmp_path / "bob", "bob")
        wait_for(lambda: arrived(moved, "bob"))
        assert list(heads(moved)) == ["dc-relay/north", "dc-relay/south"]

        relayed = config.read_text()
        start, _, rest = relayed.partition("[relay]")
        rest = rest.partition("[retention]")[2]
        apply(daemon, config, f'{start}[frames]\nclose = "manual"\n[retention]{rest}')
        await_ready(daemon)
        send(region, tmp_path / "carol", "carol")
        wait_for(lambda: json.loads(daemon.get("/api/v1/status"))["pending"]["total"] == 3)
        daemon.process.send_signal(signal.SIGUSR1)
        wait_for(lambda: any("closed upstream" in one["cause"] for one in daemon.logged("cycle failed")))
        assert metric(daemon, "relay_pending_deltas") == 0

        apply(daemon, config, relayed)
        wait_for(lambda: arrived(moved, "carol"))
        dc("close", "--repo", str(moved))
        wait_for(lambda: git(region, "rev-parse", "main") == git(moved, "rev-parse", "main"))
        assert daemon.stop()[0] == 0
        assert "Traceback" not in daemon.text
    assert sorted(observations(export_of(moved))) == ["alice", "bob", "carol"]
