"""The servers that other tests rely on do what they are taken for: plain git against each of them, and each fault."""

from __future__ import annotations

import os
import socket
import subprocess
import threading
from collections.abc import Iterator
from contextlib import ExitStack, nullcontext
from pathlib import Path

import pytest

from tests.e2e.processes import Processes, living
from tests.e2e.proxy import Proxy, hold_port, port_of
from tests.e2e.servers import HttpServer, Served, Server, SshServer, refusing, serve
from tests.e2e.tools import clone, delta, environment, git, push, try_git, wait_for

FILES = {"state/stream_deltas/1/worker.json": delta(1, "worker", observations=["hello"])}
WITH_PASSWORD = ("http", "https")
WITH_CREDENTIALS = (*WITH_PASSWORD, "ssh")


def heads(served: Served, env: dict[str, str] | None = None) -> subprocess.CompletedProcess[str]:
    return try_git(served.folder, "ls-remote", "--heads", served.url, env=served.git_env if env is None else env)


def reachable(served: Served) -> bool:
    return heads(served).returncode == 0


def ssh_with(server: Server, key: str) -> str:
    return server.git_env.get("GIT_SSH_COMMAND", "").replace(str(server.ssh_key), key)


def hanging(server: Server) -> subprocess.Popen[bytes]:
    """A client that lists the heads; it ends when it is answered."""
    return subprocess.Popen(
        ["git", "ls-remote", server.url],
        env=environment() | server.git_env,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )


@pytest.fixture(params=["direct", "proxied"])
def either(request: pytest.FixtureRequest, server: Server) -> Iterator[Server]:
    """A server reached directly, and one reached through a proxy that does no harm."""
    with server.proxied() if request.param == "proxied" else nullcontext():
        yield server


def test_clone_push_and_fetch_go_through_every_way(served: Served, tmp_path: Path) -> None:
    """Two workers clone; what one pushes, to main and to a lane, is in the repository, and the other fetches it."""
    one, two = (clone(served.url, tmp_path / name, env=served.git_env) for name in ("one", "two"))
    pushed = push(one, FILES, env=served.git_env)
    assert git(served.repository, "rev-parse", "main") == pushed
    lane = push(one, {"more.txt": "more"}, "refs/heads/dc/worker", env=served.git_env)
    assert git(served.repository, "rev-parse", "dc/worker") == lane
    git(two, "fetch", "-q", "origin", env=served.git_env)
    assert git(two, "rev-parse", "origin/main", "origin/dc/worker").split() == [pushed, lane]


def test_large_packs_go_both_ways(either: Server, tmp_path: Path) -> None:
    """3 MB that do not compress, more than any buffer holds, are pushed and fetched, directly and through a proxy."""
    worker = clone(either.url, tmp_path / "worker", env=either.git_env)
    noise = os.urandom(3_000_000)
    (worker / "noise").write_bytes(noise)
    pushed = push(worker, {}, env=either.git_env)
    assert git(either.repository, "rev-parse", "main") == pushed
    again = clone(either.url, tmp_path / "again", env=either.git_env)
    assert (again / "noise").read_bytes() == noise


def test_a_hook_refuses_pushes_through_every_way(served: Served, tmp_path: Path) -> None:
    """A pre-receive hook's message reaches the worker and nothing lands; afterwards the same push goes through."""
    worker = clone(served.url, tmp_path / "worker", env=served.git_env)
    before = git(served.repository, "rev-parse", "main")
    with refusing(served.repository, "not today, it's late"):
        git(worker, "commit", "-q", "--allow-empty", "-m", "empty")
        refused = try_git(worker, "push", "origin", "HEAD:main", env=served.git_env)
        assert refused.returncode == 1
        assert "not today, it's late" in refused.stderr
        assert "pre-receive hook declined" in refused.stderr
    assert git(served.repository, "rev-parse", "main") == before
    git(worker, "push", "-q", "origin", "HEAD:main", env=served.git_env)
    assert git(served.repository, "rev-parse", "main") != before


@pytest.mark.parametrize("server", WITH_CREDENTIALS, indirect=True)
def test_without_credentials_nobody_is_let_in(server: Server) -> None:
    """A client that has the way to the server but neither password nor key gets nothing."""
    env = {"GIT_SSL_CAINFO": str(server.ca_file or ""), "GIT_SSH_COMMAND": ssh_with(server, "/dev/null")}
    refused = heads(server, env)
    assert refused.returncode == 128
    assert ("Permission denied" if server.kind == "ssh" else "could not read Username") in refused.stderr


@pytest.mark.parametrize("server", WITH_CREDENTIALS, indirect=True)
def test_credentials_can_be_refused_and_accepted_again(server: Server) -> None:
    """While the server locks its clients out they are told so at once, and let in again they need no restart."""
    assert reachable(server)
    server.lock_out()
    refused = heads(server)
    assert refused.returncode == 128
    assert ("Permission denied (publickey)" if server.kind == "ssh" else "Authentication failed") in refused.stderr
    server.let_in()
    assert reachable(server)


@pytest.mark.parametrize("server", WITH_PASSWORD, indirect=True)
def test_a_new_password_is_taken_from_the_token_file(server: HttpServer) -> None:
    """When the server's password changes, a client is let in as soon as its token file has the new one."""
    server.change_password("another one")
    assert not reachable(server)
    assert server.token_file
    server.token_file.write_text("another one\n")
    assert reachable(server)


@pytest.mark.parametrize("server", ["ssh"], indirect=True)
def test_a_server_with_another_key_is_not_trusted(server: SshServer) -> None:
    """An ssh client that knows another host key, or none, does not talk to the server."""
    assert server.known_hosts
    right = server.known_hosts.read_text()
    kind, key, _ = (server.folder / "user_key.pub").read_text().split()
    for wrong in ("", f"[127.0.0.1]:{server.port} {kind} {key}\n"):
        server.known_hosts.write_text(wrong)
        refused = heads(server)
        assert refused.returncode == 128
        assert "Host key verification failed" in refused.stderr
    server.known_hosts.write_text(right)
    assert reachable(server)


@pytest.mark.parametrize("server", ["https"], indirect=True)
def test_an_unknown_authority_is_not_trusted(server: HttpServer) -> None:
    """An https client that is not told the authority does not talk to the server."""
    refused = heads(server, {"GIT_CONFIG_COUNT": "0"})
    assert refused.returncode == 128
    assert "certificate" in refused.stderr


def test_it_stops_and_starts_again_on_its_port(server: Server) -> None:
    """Stopped, it leaves no process and refuses connections; started again, the same URL answers."""
    url = server.url
    assert reachable(server)
    server.stop()
    assert server.processes.alive() == set()
    assert "refused" in heads(server).stderr.lower() or "failed to connect" in heads(server).stderr.lower()
    server.start()
    assert server.url == url
    assert reachable(server)


def test_stopping_ends_a_push_under_way(server: Server, tmp_path: Path) -> None:
    """A push whose hook never ends dies with the server, hook included, and leaves no lock: the next one lands."""
    worker = clone(server.url, tmp_path / "worker", env=server.git_env)
    git(worker, "commit", "-q", "--allow-empty", "-m", "empty")
    hook = server.repository / "hooks" / "update"
    hook.write_text(f"#!/bin/sh\necho $$ >{tmp_path}/pid\nexec sleep 600\n")
    hook.chmod(0o755)
    push_it = ["git", "push", "-q", "origin", "HEAD:main"]
    pusher = subprocess.Popen(push_it, cwd=worker, env=environment() | server.git_env, stderr=subprocess.DEVNULL)
    pid = wait_for(lambda: (tmp_path / "pid").exists() and (tmp_path / "pid").read_text().strip())
    server.stop()
    assert pusher.wait(timeout=60) != 0
    assert int(pid) not in living()
    hook.unlink()
    server.start()
    git(worker, "push", "-q", "origin", "HEAD:main", env=server.git_env)


@pytest.mark.parametrize("way", ["frozen", "stalled"])
def test_it_hangs_until_it_is_thawed(server: Server, way: str) -> None:
    """A client of a frozen server, or behind a stalled proxy, waits; it is answered when that ends."""
    with server.proxied() as proxy:
        halt, resume = (server.freeze, server.thaw) if way == "frozen" else (proxy.stall, proxy.forward)
        halt()
        client = hanging(server)
        wait_for(lambda: proxy.connections == 1)
        with pytest.raises(subprocess.TimeoutExpired):
            client.wait(timeout=1)
        resume()
        assert client.wait(timeout=60) == 0


def test_a_frozen_server_can_be_stopped(server: Server) -> None:
    """Frozen processes are ended like others."""
    server.freeze()
    server.stop()
    assert server.processes.alive() == set()


def test_a_proxy_refuses_and_cuts(server: Server) -> None:
    """A refusing proxy is a server that is down; a cut ends what is open; all is well when it forwards again."""
    with server.proxied() as proxy:
        assert reachable(server)
        proxy.refuse()
        assert not reachable(server)
        proxy.stall()
        seen = proxy.connections
        client = hanging(server)
        wait_for(lambda: proxy.connections > seen)
        proxy.refuse()  # a client that tries again after the cut is not left waiting
        proxy.cut()
        assert client.wait(timeout=60) == 128
        proxy.forward()
        assert reachable(server)
    assert reachable(server)


def test_a_proxy_leaves_nothing_behind() -> None:
    """Closed with a connection that carries, one that is stalled and no target left, it ends threads and sockets."""
    before = set(threading.enumerate())
    with hold_port() as target, ExitStack() as clients:
        with Proxy(port_of(target)) as proxy:
            with socket.create_server(("127.0.0.1", proxy.target)) as server:
                one = clients.enter_context(socket.create_connection(("127.0.0.1", proxy.port)))
                one.sendall(b"carried")
                behind = clients.enter_context(server.accept()[0])
                assert behind.recv(10) == b"carried"
                proxy.stall()
                two = clients.enter_context(socket.create_connection(("127.0.0.1", proxy.port)))
                two.sendall(b"stalled")
                clients.enter_context(server.accept()[0])
            three = clients.enter_context(socket.create_connection(("127.0.0.1", proxy.port)))
            assert three.recv(10) == b""
            assert set(threading.enumerate()) - before
        assert [one.recv(10), two.recv(10), behind.recv(10)] == [b"", b"", b""]
    assert set(threading.enumerate()) - before == set()
    assert proxy.held.fileno() == -1


def test_processes_of_a_dead_parent_are_found(tmp_path: Path) -> None:
    """A process whose parent ended, in a session of its own, belongs to the server still and ends with it."""
    processes = Processes(tmp_path / "log")
    parent = processes.start(["setsid", "--fork", "sleep", "600"], tmp_path, environment())
    assert parent.wait(timeout=60) == 0
    (orphan,) = processes.alive()
    assert b"sleep" in Path(f"/proc/{orphan}/cmdline").read_bytes()
    processes.stop()
    assert processes.alive() == set()


@pytest.mark.needs("sshd")
@pytest.mark.parametrize(("ci", "outcome"), [("true", pytest.fail.Exception), (None, pytest.skip.Exception)])
def test_a_missing_program_fails_in_ci_and_skips_elsewhere(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, ci: str | None, outcome: type[BaseException]
) -> None:
    """Where CI is set a server that cannot be started is a failure; elsewhere a skip; both name the remedy."""
    monkeypatch.setattr(SshServer, "programs", ("sshd", "no-such-program"))
    monkeypatch.setenv("CI", ci) if ci else monkeypatch.delenv("CI", raising=False)
    reason = r"no no-such-program: run make packages as root"
    with pytest.raises(outcome, match=reason), serve("ssh", tmp_path, tmp_path / "server"):
        pass
