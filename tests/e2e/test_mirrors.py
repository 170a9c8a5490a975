"""Mirrors: a second forge that workers push to and publications are copied to (docs/protocol.md#mirrors)."""

from __future__ import annotations

import json
import signal
import threading
from pathlib import Path

import pytest

from tests.e2e.mirror_fleet import (
    PUBLISHED,
    is_current,
    mirror_repository,
    mirror_table,
    ref,
    troubles_of_mirrors,
    two_forges,
)
from tests.e2e.primaries import await_frames, await_ready, config_for, merged, metric, observations, readiness
from tests.e2e.servers import Server, serve
from tests.e2e.test_docs import blocks, shell
from tests.e2e.test_hook_signers import key, signing, stage
from tests.e2e.tools import (
    Daemon,
    clone,
    dc,
    dc_json,
    delta,
    export_of,
    git,
    primary_toml,
    push,
    rewrite,
    try_git,
    wait_for,
)


def file_of(stream: str, mark: str) -> dict[str, str]:
    """One delta of frame 1."""
    return {f"state/stream_deltas/1/{mark}.json": delta(1, stream, observations=[mark])}


def close(daemon: Daemon) -> None:
    """Let a daemon close its frame, and wait for it."""
    before = metric(daemon, "frame")
    daemon.process.send_signal(signal.SIGUSR1)
    wait_for(lambda: metric(daemon, "frame") > before)


def pending(daemon: Daemon) -> int:
    found: int = json.loads(daemon.get("/api/v1/status"))["pending"]["total"]
    return found


@pytest.mark.parametrize(("kind", "other"), [("path", "http"), ("git", "path")])
def test_what_arrives_at_a_mirror_counts_once_and_is_copied_back(kind: str, other: str, tmp_path: Path) -> None:
    """Lanes and the shared branch of a mirror are read, by path and through servers with credentials of its own. What
    is on both forges counts once; receipts name the mirror; afterwards both have the same publication, `verify` agrees,
    and merged lanes are deleted on both."""
    main = tmp_path / "main" / "fleet.git"
    dc("init", str(main))
    north = mirror_repository(main, tmp_path / "north" / "fleet.git")
    with serve(kind, main, tmp_path / "a") as deciding, serve(other, north, tmp_path / "b") as mirror:
        config = config_for(deciding, tmp_path / "primary", "manual")
        config.write_text(f"{config.read_text()}{mirror_table(mirror, 'north')}[retention]\nlanes_keep = 0\n")
        with Daemon(tmp_path / "primary", "--config", str(config)) as daemon:
            await_ready(daemon)
            worker = clone(north, tmp_path / "worker")
            push(worker, file_of("alice", "lane"), "dc/alice")
            git(worker, "push", "-q", str(main), "HEAD:refs/heads/dc/alice")
            git(worker, "reset", "-q", "--hard", "origin/main")
            push(worker, file_of("bob", "shared"), "main")
            wait_for(lambda: pending(daemon) == 2)
            close(daemon)
            assert observations(export_of(main)) == ["lane", "shared"]
            rows = {row["stream_id"]: row for row in ledger(main, 1)["deltas"]}
            assert (rows["alice"]["source"], rows["bob"]["source"]) == ("dc/alice", "mirror/north:main")
            wait_for(lambda: is_current(main, north))
            wait_for(lambda: metric(daemon, 'mirror_up{mirror="north"}') == 1)
            wait_for(lambda: metric(daemon, 'mirror_lag_seconds{mirror="north"}') == 0)
            # Silent for no time at all, but what the last frame merged stays until another one has closed.
            close(daemon)
            wait_for(lambda: not ref(north, "refs/heads/dc/alice") and not ref(main, "refs/heads/dc/alice"))
            wait_for(lambda: git(main, "for-each-ref", "refs/dreamcatcher/mirrors") == "")
            wait_for(lambda: is_current(main, north))
            assert daemon.stop()[0] == 0
    assert "all as published" in dc("verify", "--repo", str(main))
    assert export_of(north) == export_of(main)
    assert git(north, "fsck", "--connectivity-only") == ""


def ledger(repository: Path, frame: int) -> dict[str, list[dict[str, object]]]:
    found: dict[str, list[dict[str, object]]] = json.loads(
        git(repository, "show", f"main:state/ledger/{frame // 1000}/{frame}.json")
    )
    return found


@pytest.mark.needs("ssh-keygen")
def test_with_signers_a_mirror_takes_and_copies_what_was_signed(tmp_path: Path) -> None:
    """Both checks let in what the stream's key signed and refuse the rest. What entered a mirror without the check is
    quarantined. The mirror's check accepts the copies, which the primary signed."""
    main, north = tmp_path / "main" / "fleet.git", tmp_path / "north" / "fleet.git"
    dc("init", str(main))
    (alice, alice_line), (ops, ops_line) = key(tmp_path, "alice"), key(tmp_path, "ops")
    primary, primary_line = key(tmp_path, "primary")
    lines = [alice_line, ops_line, primary_line]
    push(clone(main, tmp_path / "operator"),
         {"state/dreamcatcher.toml": f"[security]\nallowed_signers = {lines!r}\noperators = ['ops']\n"})  # fmt: skip
    mirror_repository(main, north)
    for repository in (main, north):
        (repository / "primaries").write_text(primary_line + "\n")
        git(repository, "config", "dreamcatcher.primaryKey", "primaries")
    worker = clone(north, tmp_path / "worker")

    def attempt(mark: str, by: Path | None) -> str:
        signing(worker, by)
        stage(worker, file_of("alice", mark))
        git(worker, "commit", "-q", "-m", mark)
        return try_git(worker, "push", "-q", "origin", f"HEAD:refs/heads/dc/alice/{mark}").stderr

    with serve("git", main, tmp_path / "a") as deciding, serve("path", north, tmp_path / "b") as mirror:
        config = config_for(deciding, tmp_path / "own", "manual", keys={"signing_key": str(primary)})
        config.write_text(config.read_text() + mirror_table(mirror, "north"))
        with Daemon(tmp_path / "own", "--config", str(config)) as daemon:
            await_ready(daemon)
            assert attempt("signed", alice) == ""
            for by in (None, ops):
                assert "wrong-stream at $.stream_id" in attempt("forged", by)
            (north / "hooks" / "pre-receive").rename(north / "away")
            assert attempt("forged", ops) == ""
            (north / "away").rename(north / "hooks" / "pre-receive")
            refused = 'quarantined_total{reason="wrong-stream"}'
            while merged(daemon) + metric(daemon, refused) < 2:
                close(daemon)
            wait_for(lambda: is_current(main, north))
            wait_for(lambda: troubles_of_mirrors(daemon) == [])
            assert daemon.stop()[0] == 0
    frames = [ledger(main, row["frame"]) for row in dc_json("log", "--repo", str(main))]
    assert [row["source"] for one in frames for row in one["deltas"]] == ["mirror/north:dc/alice/signed"]
    assert [row["reason"] for one in frames for row in one["quarantined"]] == ["wrong-stream"]
    assert observations(export_of(north)) == ["signed"]
    assert "all as published" in dc("verify", "--repo", str(north))


def test_a_mirror_that_hangs_delays_no_frame_and_is_taken_out_by_a_reload(tmp_path: Path) -> None:
    """Frames close while it hangs; readiness stays and names the trouble, as `doctor` does; lag rises. Without its
    table it is no longer looked at and has no series; with it again it is brought forward."""
    main = tmp_path / "main" / "fleet.git"
    dc("init", str(main))
    north = mirror_repository(main, tmp_path / "north" / "fleet.git")
    with serve("path", main, tmp_path / "a") as deciding, serve("git", north, tmp_path / "b") as mirror:
        assert isinstance(mirror, Server)
        config = config_for(deciding, tmp_path / "primary", interval=0.5)
        plain = config.read_text()
        config.write_text(plain + mirror_table(mirror, "north", "timeout = 1.0\n"))
        with Daemon(tmp_path / "primary", "--config", str(config)) as daemon:
            await_frames(daemon, 2)
            mirror.freeze()
            silent = "did not answer within the time limit"
            wait_for(lambda: silent in str(troubles_of_mirrors(daemon)))
            await_frames(daemon, len(daemon.logged("frame closed")) + 2)
            status, body = wait_for(lambda: found if silent in (found := readiness(daemon))[1] else None)
            assert status == 200
            assert "mirror north: " in body
            assert metric(daemon, 'mirror_lag_seconds{mirror="north"}') > 0
            assert metric(daemon, 'mirror_up{mirror="north"}') == 0
            (said, *_) = daemon.logged("mirror failed")
            assert said["mirror"] == "north"
            assert "[[mirrors]] north timeout" in said["remedy"]
            found = {row["check"]: row for row in dc_json("doctor", "--config", str(config), code=1)}
            assert not found["mirror north"]["ok"]
            rewrite(config, plain)
            daemon.process.send_signal(signal.SIGHUP)
            wait_for(lambda: "mirror_up{" not in daemon.get("/metrics"))
            wait_for(lambda: not troubles_of_mirrors(daemon))
            mirror.thaw()
            rewrite(config, plain + mirror_table(mirror, "north"))
            daemon.process.send_signal(signal.SIGHUP)
            wait_for(lambda: metric(daemon, 'mirror_up{mirror="north"}') == 1)
            wait_for(lambda: ref(north, PUBLISHED) and not troubles_of_mirrors(daemon))
            assert daemon.stop()[0] == 0


def test_a_mirror_of_another_history_is_neither_read_nor_written_to(tmp_path: Path) -> None:
    """A mirror that was made by `init` and has published by itself is reported, and nothing of either side mixes."""
    main, north = tmp_path / "main.git", tmp_path / "north.git"
    for repository in (main, north):
        dc("init", str(repository), "--frame", "1" if repository is main else "2")
    push(clone(north, tmp_path / "worker"), file_of("eve", "foreign"), "dc/eve")
    before = git(north, "for-each-ref")
    with serve("path", main, tmp_path / "a") as deciding, serve("path", north, tmp_path / "b") as mirror:
        config = config_for(deciding, tmp_path / "primary", "manual")
        config.write_text(config.read_text() + mirror_table(mirror, "north"))
        with Daemon(tmp_path / "primary", "--config", str(config)) as daemon:
            await_ready(daemon)
            wait_for(lambda: "of another history" in str(troubles_of_mirrors(daemon)))
            close(daemon)
            assert observations(export_of(main)) == []
    assert git(north, "for-each-ref") == before


def test_outages_of_either_forge_lose_nothing(tmp_path: Path) -> None:
    """Under load the deciding repository goes down and comes back as an older copy of itself, then the mirror: what
    workers were told is pushed is merged exactly once, `verify` agrees, and the mirror has the publications."""
    never = threading.Event()
    with two_forges(tmp_path, workers=2, interval=1.0) as forges:
        forges.await_pushes(0, 2)
        forges.await_pushes(1, 2)
        forges.back_up(0, tmp_path / "main-copy")
        forges.back_up(1, tmp_path / "north-copy")
        forges.await_pushes(0, 1)
        forges.outage(0, tmp_path / "main-copy", 3, never, 0.0)
        await_ready(forges.daemon)
        forges.outage(1, tmp_path / "north-copy", 3, never, 0.0)
        forges.await_pushes(1, 1)
        forges.assert_whole()
        assert forges.daemon.stop()[0] == 0


def test_the_page_about_mirrors_can_be_followed(tmp_path: Path) -> None:
    """Every block of docs/mirrors.md, in its order: make a mirror, check it, push while the fleet's own repository is
    gone, and prove that both have everything."""
    run = blocks("docs/mirrors.md")
    assert list(run) == ["make", "check", "push", "prove"]
    dc("init", "fleet.git", cwd=tmp_path)
    table = '[repository]\nurl = "fleet.git"\n[[mirrors]]\nname = "north"\npoll = 0.2\nurl = "north.git"\n'
    config = primary_toml(tmp_path, more=table)
    names = f"fleet={tmp_path / 'fleet.git'}\nconfig={config}\n"
    shell(names + run["make"], tmp_path)
    with Daemon(tmp_path, "--config", str(config)) as daemon:
        await_ready(daemon)
        assert "ok   mirror north: 0 lanes, it has every publication" in shell(names + run["check"], tmp_path)
        worker = clone(tmp_path / "north.git", tmp_path / "worker")
        push(worker, file_of("alice", "away"), "refs/heads/unread")
        (tmp_path / "worker" / "north.git").symlink_to(tmp_path / "north.git")
        shell(f"fleet={tmp_path / 'gone.git'}\n{run['push']}", worker)
        wait_for(lambda: pending(daemon) == 1)
        close(daemon)
        wait_for(lambda: is_current(tmp_path / "fleet.git", tmp_path / "north.git"))
        said = shell(names + run["prove"], tmp_path)
        first, second = (line.split()[0] for line in said.splitlines()[:2])
        assert first == second
        assert "1 frame computed again: all as published" in said
