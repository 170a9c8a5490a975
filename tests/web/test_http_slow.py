"""Clients that are slow, idle or many: each has its bounds, and probes and metrics are answered whatever others do."""

from __future__ import annotations

import contextlib
import json
import resource
import signal
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from functools import partial
from pathlib import Path
from typing import Any

import jinja2
import pytest

from dreamcatcherd.config_tables import HttpConfig
from dreamcatcherd.web import auth, connections, server
from dreamcatcherd.web.server import read_listening
from tests.e2e.primaries import await_ready
from tests.e2e.tools import Daemon, clone, dc, delta, primary_toml, push, wait_for
from tests.web.crowd import (
    HALF,
    alive,
    answer,
    asking,
    connect,
    connect_at_once,
    crowd,
    ended,
    files,
    fill_status,
    looking_away,
    opened,
)
from tests.web.served import Served, serve_history

CROWD = 600
PROBES = ("/healthz", "/readyz", "/metrics")
SECOND = "127.0.0.2"


@pytest.fixture(autouse=True)
def many_files() -> Iterator[None]:
    """Both ends of each connection are this process's."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard < 4096:
        pytest.skip("no 4,096 open files: raise the hard limit (ulimit -H -n 4096)")
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, 4096), hard))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


# What others do ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "sent",
    [
        pytest.param(HALF, id="half a request"),
        pytest.param(b"", id="nothing"),
        pytest.param(asking("/healthz"), id="kept and idle"),
        pytest.param(asking("/api/v1/events"), id="events"),
        pytest.param(asking("/healthz", "Content-Length: 100000000\r\n") + b"x", id="a body without end"),
        pytest.param(asking("/api/v1/status") * 20, id="answers that nobody takes"),
        pytest.param(asking("/metrics") * 20, id="metrics that nobody takes"),
    ],
)
def test_probes_and_metrics_are_answered_whatever_others_do(served: Served, sent: bytes) -> None:
    """600 connections of one kind: health, readiness and metrics are 200 all the time, and few files are open."""
    serve_history(served)
    fill_status(served, 1_000)
    before = files()
    with crowd(served, CROWD // 2, sent, window=4096) as first:
        for path in PROBES:
            assert served.get(path).code == 200
        with crowd(served, CROWD // 2, sent, window=4096):
            for path in PROBES * 3:
                assert served.get(path).code == 200
            assert len(first) == CROWD // 2
            assert len(opened(served)) <= connections.CONNECTIONS
            assert files() - before - CROWD <= connections.CONNECTIONS + server.ACCEPTED_AT_ONCE


def test_probes_are_answered_while_others_do_everything_at_once(served: Served) -> None:
    """1,800 connections: half-sent requests, idle ones, and followers that do not read."""
    serve_history(served)
    with ExitStack() as stack:
        for sent in (HALF, asking("/healthz"), asking("/api/v1/events")):
            stack.enter_context(crowd(served, CROWD, sent))
            for path in PROBES:
                assert served.get(path).code == 200


def test_git_has_files_left_in_a_daemon_that_is_crowded(tmp_path: Path) -> None:
    """With the usual 1,024 open files a frame is closed and probes are answered while 1,100 connections are held."""
    dc("init", str(tmp_path / "fleet.git"), "--no-hook")
    config = primary_toml(tmp_path)
    with (
        Daemon(tmp_path, "--repo", str(tmp_path / "fleet.git"), "--config", str(config)) as daemon,
        ExitStack() as held,
    ):
        await_ready(daemon)
        resource.prlimit(daemon.process.pid, resource.RLIMIT_NOFILE, (1024, 1024))
        port = int(daemon.url().rpartition(":")[2])
        for _ in range(1_100):
            one = held.enter_context(closing(socket.create_connection(("127.0.0.1", port), timeout=60)))
            with contextlib.suppress(ConnectionError):
                one.sendall(HALF)
        assert daemon.get("/healthz") == "alive\n"
        push(clone(tmp_path / "fleet.git", tmp_path / "worker"), {"state/stream_deltas/1/a.json": delta(1, "a")})
        daemon.process.send_signal(signal.SIGUSR1)
        wait_for(lambda: '"last_closed":1' in daemon.get("/api/v1/status"))
        assert "Too many open files" not in daemon.text


def test_frames_close_and_probes_are_answered_while_costly_answers_are_asked_for(served: Served) -> None:
    """Different answers of every kind, more than the queue takes, do not hold up a close or a probe."""
    serve_history(served)
    costly = [f"/api/v1/{path}" for path in ("log", "quarantine", "conflicts", "books")]
    costly += ["/api/v1/diff?from=1&to=3", "/api/v1/explain?collection=posts&key=1", "/?from=1"]
    with ExitStack() as stack:
        for number in range(1, 80):
            sent = b"".join(
                asking(path + ("&" if "?" in path else "?") + f"limit={number}").replace(b"key=1&limit", b"key=1&frame")
                for path in costly
            )
            stack.enter_context(closing(connect(served, sent * 5)))
        for path in PROBES:
            assert served.get(path).code == 200
        served.close()
        assert served.live_status.pending is not None
        assert served.live_status.pending.last_closed == 4
        assert served.get("/healthz").code == 200


def test_a_probe_waits_for_few_of_those_who_are_in_no_hurry(served: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    """90 pages are asked for at once, and health after them: it is answered before half of them are made."""
    serve_history(served)
    assert served.get("/?nothing").code == 400  # what every page needs of the repository is read by now
    made: list[str] = []
    answered = threading.Event()
    render = jinja2.Template.render

    def counted(template: jinja2.Template, *given: Any, **named: Any) -> str:
        made.append(render(template, *given, **named))
        if len(made) == 45:
            answered.wait(120)
        return made[-1]

    monkeypatch.setattr(jinja2.Template, "render", counted)
    with ExitStack() as stack:
        stack.callback(answered.set)
        with looking_away(served):
            for number in range(90):
                stack.enter_context(closing(connect(served, asking(f"/?nothing{number}"))))
            probe = stack.enter_context(closing(connect(served, asking("/healthz"))))
        assert b" 200 " in answer(probe)
        answered.set()
        wait_for(lambda: len(made) == 90)


# How long --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("first", [b"", asking("/healthz")], ids=["first", "second"])
def test_a_request_that_does_not_arrive_ends_its_connection(
    served: Served, monkeypatch: pytest.MonkeyPatch, first: bytes
) -> None:
    """The limit is for the whole head, on a new connection as on a kept one: a byte now and then does not extend it."""
    monkeypatch.setattr(connections, "HEAD_S", 0.5)
    with closing(connect_at_once(served, first)) as one:
        if first:
            assert b" 200 " in answer(one)
        with contextlib.suppress(ConnectionError):
            one.sendall(HALF)
            for _ in range(500):
                one.sendall(b"x")
                time.sleep(0.02)
            pytest.fail("it is still open")
    wait_for(lambda: not opened(served))


def test_a_connection_on_which_nothing_arrives_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    """Before the first request after one limit, and after an answer after another."""
    monkeypatch.setattr(connections, "HEAD_S", 0.3)
    monkeypatch.setattr(server, "IDLE_S", 0.1)
    served = Served()
    with closing(connect(served)) as silent, closing(connect(served, asking("/healthz"))) as idle:
        assert ended(silent)
        assert ended(idle)
    served.server.stop()


def test_an_answer_that_is_not_taken_ends_its_connection(served: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is given up after its limit, also where the client asked for the connection to be closed after it."""
    serve_history(served)
    fill_status(served)
    for name in ("HEAD_S", "UNREAD_S"):
        monkeypatch.setattr(connections, name, 0.3)
    asked = asking("/api/v1/status") * 10 + asking("/api/v1/status", "Connection: close\r\n")
    with (
        closing(connect_at_once(served, asked, window=4096)) as many,
        closing(connect_at_once(served, asked[-100:], window=4096)) as last,
    ):
        wait_for(lambda: not alive(many) and not alive(last))  # the answers have begun, or are given up already
        wait_for(lambda: not opened(served))


def test_an_answer_that_is_taken_late_is_whole(served: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    """Other limits than its own do not cut it short."""
    serve_history(served)
    fill_status(served)
    whole = served.get("/api/v1/status").text.encode()
    monkeypatch.setattr(connections, "HEAD_S", 0.5)
    with closing(connect_at_once(served, asking("/api/v1/status", "Connection: close\r\n"), window=4096)) as one:
        time.sleep(1.5)
        raw = b"".join(iter(partial(one.recv, 1 << 16), b""))
    assert raw.endswith(b"\r\n\r\n" + whole)


def test_untaken_answers_are_bounded_together(served: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    """Clients that ask for large answers and read nothing make the daemon hold so many bytes and no more."""
    serve_history(served)
    fill_status(served)
    bound = 4 * 2**20
    monkeypatch.setattr(connections, "UNREAD_BYTES", bound)
    with crowd(served, 40, asking("/api/v1/status") * 10, window=4096):
        assert served.get("/healthz").code == 200
        wait_for(lambda: sum(one.unread for one in opened(served)) > bound // 2)
        assert sum(one.unread for one in opened(served)) <= bound


def test_events_outlast_every_limit(served: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    """A follower that reads is told of the next change, however long nothing happened before."""
    for name in ("HEAD_S", "UNREAD_S"):
        monkeypatch.setattr(connections, name, 0.5)
    served.look()
    with closing(connect_at_once(served, asking("/api/v1/events"))) as one:
        stream = one.makefile("rb")
        told = (line for line in stream if line.startswith(b"data: "))
        assert json.loads(next(told)[6:])["total"] == 0
        time.sleep(1.5)
        served.push()
        assert json.loads(next(told)[6:])["total"] == 1


# How many --------------------------------------------------------------------------------------------------------


def test_room_is_made_by_the_oldest_of_the_address_that_has_most(
    served: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One client that opens many connections closes its own, not those of another."""
    monkeypatch.setattr(connections, "CONNECTIONS", 8)
    with ExitStack() as stack:
        other = stack.enter_context(closing(connect(served, source=SECOND)))
        wait_for(lambda: SECOND in {one.address for one in opened(served)})
        many = stack.enter_context(crowd(served, 30))
        assert served.get("/healthz").code == 200
        assert all(ended(one) for one in many[:20])
        assert alive(other)
        assert alive(many[-1])


def test_a_request_that_is_answered_gives_no_room(served: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    """Followers and answers in the making stay where there are others that only wait."""
    monkeypatch.setattr(connections, "CONNECTIONS", 4)
    served.look()
    with closing(connect(served, asking("/api/v1/events"))) as one:
        told = (line for line in one.makefile("rb") if line.startswith(b"data: "))
        next(told)
        with crowd(served, 20, HALF):
            assert served.get("/healthz").code == 200
            served.push()
            assert json.loads(next(told)[6:])["total"] == 1


@pytest.mark.parametrize("bound", ["REQUESTS_AT_ONCE", "REQUESTS_PER_CLIENT"])
def test_too_many_answers_at_once_are_told_to_come_again(
    served: Served, monkeypatch: pytest.MonkeyPatch, bound: str
) -> None:
    """503 with Retry-After beyond the bound of all and of one address; probes, metrics and other addresses go on."""
    serve_history(served)
    monkeypatch.setattr(auth, bound, 2)
    go_on = threading.Event()
    served.reader.before_read = partial(waited, go_on.wait)
    with crowd(served, 2, asking("/api/v1/log")) as asked:
        wait_for(lambda: sum(one.answering for one in opened(served)) == 2)
        refused = served.get("/api/v1/status")
        assert (refused.code, refused.headers["retry-after"]) == (503, "1")
        assert "at once" in refused.json["error"]
        for path in PROBES:
            assert served.get(path).code == 200
        with closing(connect(served, asking("/api/v1/status"), source=SECOND)) as other:
            assert (b" 200 " in answer(other)) == (bound == "REQUESTS_PER_CLIENT")
        go_on.set()
        assert all(b" 200 " in answer(one) for one in asked)
    assert served.get("/api/v1/status").code == 200


def waited(wait: Callable[[float], bool]) -> None:
    assert wait(60)


# TLS -------------------------------------------------------------------------------------------------------------


@pytest.mark.usefixtures("patient")
def test_handshakes_that_are_not_ended_are_bounded_as_well(
    pair: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Over TLS, connections that never say hello are counted, make room, and end after the limit of a request."""
    served = Served(listening=read_listening(HttpConfig("127.0.0.1:0", tls_cert=str(pair[0]), tls_key=str(pair[1]))))
    context = ssl.create_default_context(cafile=str(pair[0]))
    before = files()
    with crowd(served, CROWD):
        assert served.get("/healthz", context=context).text == "alive\n"
        assert len(opened(served)) <= connections.CONNECTIONS
        assert files() - before - CROWD <= connections.CONNECTIONS + server.ACCEPTED_AT_ONCE
    monkeypatch.setattr(connections, "HEAD_S", 0.5)
    with closing(connect(served)) as silent:
        assert ended(silent)
    wait_for(lambda: not opened(served))
    served.server.stop()
