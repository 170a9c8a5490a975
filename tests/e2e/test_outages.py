"""A server that is down, hangs, or refuses: the daemon says so once, waits, and goes on by itself; nothing is lost.

What a kind of outage costs is mostly waiting, so all kinds of servers go through it at the same time."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path
from typing import NamedTuple

import pytest

from dreamcatcherd.core.errors import RetryableError
from dreamcatcherd.daemon.cycle import close_frame, poll
from tests.e2e.primaries import (
    assert_one_commit_a_frame,
    assert_only_fast_forwards,
    await_failures,
    await_frames,
    await_ready,
    config_for,
    events,
    merged,
    observations,
    primary_on,
    readiness,
    told_lately,
)
from tests.e2e.servers import SERVERS, Server, hooked, install_hook, remove_hook, serve
from tests.e2e.tools import Daemon, clone, dc, delta, export_of, git, push, wait_for


class Outpost(NamedTuple):
    """A server, a daemon that works through it, and a worker's clone."""

    server: Server
    daemon: Daemon
    worker: Path

    def push(self, mark: str, url: str | Path | None = None) -> None:
        """Push a delta of a frame that is closed by then or open, through the server unless told otherwise."""
        git(self.worker, "remote", "set-url", "origin", str(url or self.server.url))
        text = delta(1, "worker", observations=[mark])
        push(self.worker, {f"state/stream_deltas/1/{mark}.json": text}, "dc/worker", env=self.server.git_env)

    def do(self, what: str) -> None:
        """Call a method of the server, or let its hook refuse or accept."""
        if what == "refuse":
            install_hook(self.server.repository, "echo no pushes after midnight >&2; exit 1")
        elif what == "accept":
            remove_hook(self.server.repository)
        else:
            getattr(self.server, what)()

    def await_cause(self, cause: str) -> None:
        """Wait until readiness has it, and then the log, which is written after that."""
        wait_for(lambda: cause in readiness(self.daemon)[1], 120)
        wait_for(lambda: any(cause in line["cause"] for line in told_lately(self.daemon)))

    def await_landed(self, marks: list[str]) -> None:
        """Wait until the daemon has counted so many; then they are these."""
        wait_for(lambda: merged(self.daemon) >= len(marks), 120)
        assert sorted(observations(export_of(self.server.repository))) == marks


@contextmanager
def outposts(kinds: tuple[str, ...], tmp_path: Path, timeout: float, transport: str) -> Iterator[list[Outpost]]:
    with ExitStack() as stack:
        found = []
        for kind in kinds:
            repository = tmp_path / kind / "fleet.git"
            dc("init", str(repository))
            server = stack.enter_context(serve(kind, repository, tmp_path / f"{kind}-server"))
            assert isinstance(server, Server)
            folder = tmp_path / f"{kind}-primary"
            config = config_for(server, folder, interval=1.5, timeout=timeout, transport=transport)
            daemon = stack.enter_context(Daemon(folder, "--config", str(config)))
            found.append(Outpost(server, daemon, clone(repository, tmp_path / f"{kind}-worker")))
        for post in found:
            await_ready(post.daemon)
        yield found


class Outage(NamedTuple):
    """How it comes about and passes, what is said of it, how long it lasts at least, and on which servers.

    `blocked` says that workers cannot push meanwhile either."""

    begin: str
    end: str
    cause: str
    seconds: float = 0.0
    timeout: float = 30.0
    kinds: tuple[str, ...] = SERVERS
    transport: str = "pygit2"
    blocked: bool = False


SILENT = "did not answer within the time limit"
REFUSED = "refused the credentials"
OUTAGES = {
    "down": Outage("stop", "start", "cannot be reached", 10.0),
    "hanging": Outage("freeze", "thaw", SILENT, timeout=3.0),
    "hanging, git": Outage("freeze", "thaw", SILENT, timeout=3.0, kinds=("git", "https"), transport="git"),
    "locked out": Outage("lock_out", "let_in", REFUSED, kinds=("http", "https", "ssh")),
    "locked out, git": Outage("lock_out", "let_in", REFUSED, kinds=("http", "ssh"), transport="git"),
    "refusing": Outage("refuse", "accept", "refused the push: no pushes after midnight", blocked=True),
}


@pytest.mark.parametrize("name", OUTAGES)
def test_an_outage_is_told_once_and_passes(name: str, tmp_path: Path) -> None:
    """Readiness turns and says why, the daemon lives on, the log has one line; it recovers and has every delta."""
    outage = OUTAGES[name]
    with outposts(outage.kinds, tmp_path, outage.timeout, outage.transport) as posts:
        for post in posts:
            post.push("before")
            post.do(outage.begin)
        begun = time.monotonic()
        for post in posts:
            await_failures(post.daemon, 2)
            post.await_cause(outage.cause)
            if not outage.blocked:
                post.push("meanwhile", post.server.repository)
        time.sleep(max(0.0, outage.seconds - (time.monotonic() - begun)))
        for post in posts:
            assert_told_once(post, outage.cause)
            post.do(outage.end)
            post.push("after")
        expected = ["after", "before"] if outage.blocked else ["after", "before", "meanwhile"]
        for post in posts:
            await_ready(post.daemon)
            post.await_landed(expected)
            assert len(events(post.daemon, "recovered")) >= 1
            assert post.daemon.stop()[0] == 0
            assert "Traceback" not in post.daemon.text
            assert_one_commit_a_frame(post.server.repository)
            assert_only_fast_forwards(post.server.repository)


def assert_told_once(post: Outpost, cause: str) -> None:
    """Not ready, and alive; each cause is on one line with a remedy, however often it failed."""
    status, why = readiness(post.daemon)
    assert status == 503
    assert cause in why
    assert post.daemon.get("/healthz") == "alive\n"
    told = told_lately(post.daemon)
    causes = [line["cause"] for line in told]
    assert sum(cause in one for one in causes) == 1, causes
    assert len(set(causes)) == len(causes) <= 2, causes
    assert all(line["remedy"] for line in told)


def test_a_daemon_that_starts_before_its_server_comes_up_with_it(tmp_path: Path) -> None:
    """Started while nothing answers, it says so, lives, is not ready; when the server comes it serves by itself."""
    with ExitStack() as stack:
        posts = []
        for kind in SERVERS:
            repository = tmp_path / kind / "fleet.git"
            dc("init", str(repository))
            server = stack.enter_context(serve(kind, repository, tmp_path / f"{kind}-server"))
            assert isinstance(server, Server)
            server.stop()
            config = config_for(server, tmp_path / f"{kind}-primary", interval=1.0)
            daemon = stack.enter_context(Daemon(tmp_path / f"{kind}-primary", "--config", str(config)))
            posts.append((server, daemon))
        for _, daemon in posts:
            await_failures(daemon)
            wait_for(partial(is_told, daemon))
            assert "cannot be reached" in daemon.text
            assert daemon.get("/healthz") == "alive\n"
        for server, _ in posts:
            server.start()
        for server, daemon in posts:
            await_ready(daemon)
            await_frames(daemon, 1)
            assert daemon.stop()[0] == 0
            assert_one_commit_a_frame(server.repository)


def is_told(daemon: Daemon) -> bool:
    """Whether the log says why it is not ready; it is written after readiness has changed."""
    return readiness(daemon)[1].splitlines()[0] in daemon.text


WAIT = """
mkdir {folder}/waiting 2>/dev/null || exit 0
until test -e {folder}/go; do sleep 0.05; done
"""


def test_a_push_that_lands_after_its_time_limit_is_recognised(server: Server, tmp_path: Path) -> None:
    """The push times out and counts as failed; when it lands all the same, the frame is closed, and closed once."""
    worker = clone(server.repository, tmp_path / "worker")
    push(worker, {"state/stream_deltas/1/a.json": delta(1, "a", observations=["once"], counters={"n": 1})})
    primary = primary_on(server, tmp_path / "primary", timeout=8)
    before = git(server.repository, "rev-parse", "main")
    with hooked(server.repository, WAIT.format(folder=tmp_path)):
        with pytest.raises(RetryableError, match="did not answer within the time limit"):
            close_frame(primary, "test")
        assert poll(primary)[0].pending.frame == 1
        (tmp_path / "go").touch()
        wait_for(lambda: git(server.repository, "rev-parse", "main") != before)
        pending = poll(primary)[0].pending
        assert (pending.last_closed, pending.streams) == (1, {})
        report = close_frame(primary, "test")
    assert report.ledger is not None
    assert (report.ledger.frame, report.ledger.deltas) == (2, [])
    assert export_of(server.repository)["state"]["counters"][0]["value"] == 1
    assert_one_commit_a_frame(server.repository)


def test_a_daemon_stops_at_once_while_its_server_hangs(tmp_path: Path) -> None:
    """SIGTERM ends it with 0, long before the time limit, though it waits for an answer; that is no failed cycle."""
    with outposts(SERVERS, tmp_path, 600, "pygit2") as posts:
        for post in posts:
            post.server.freeze()
        for post in posts:
            await_ready(post.daemon)
            code, seconds = post.daemon.stop()
            assert code == 0
            assert seconds < 10
            assert events(post.daemon, "cycle failed") == []
