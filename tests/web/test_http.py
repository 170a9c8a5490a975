"""Metrics and health over HTTP, from what cycles report (docs/protocol.md#metrics)."""

from __future__ import annotations

import socket
from collections.abc import Callable
from contextlib import closing
from http.client import HTTPConnection

from dreamcatcherd.core.errors import RetryableError
from dreamcatcherd.daemon.cycle import close_frame, poll
from dreamcatcherd.observe.logs import CycleLog
from tests.e2e.tools import wait_for
from tests.law.fleet import MAIN, commit_files, new_primary
from tests.stages.tools import FOLDER, text
from tests.web.served import Served

NAMES = """frame frame_last_closed frame_closed_timestamp_seconds pending_deltas merge_duration_seconds_bucket
phase_duration_seconds_bucket deltas_total frame_deltas_bucket quarantined_total conflicts_total entities
violations_total polls_total publishes_total publish_retries_total delta_age_seconds_bucket streams_active
guard_tripped build_info"""


def series(served: Served) -> dict[str, float]:
    """Every series by its name and labels."""
    lines = [line for line in served.ask("/metrics")[1].splitlines() if not line.startswith("#")]
    return {line.rpartition(" ")[0]: float(line.rpartition(" ")[2]) for line in lines}


def test_every_metric_is_there_from_the_start(served: Served) -> None:
    """All names of the protocol are exposed before anything happened, and no `_created` series is."""
    found = series(served)
    for name in NAMES.split():
        assert any(one.partition("{")[0] == f"dreamcatcher_{name}" for one in found), name
    assert not [one for one in found if "_created" in one]
    assert found['dreamcatcher_quarantined_total{reason="too-deep"}'] == 0


def test_only_reading_is_allowed(served: Served) -> None:
    """GET and HEAD are answered; every other method is 405, known path or not."""
    assert served.ask("/healthz") == (200, "alive\n")
    assert served.ask("/healthz", "HEAD") == (200, "")
    for method in ("POST", "PUT", "DELETE", "PATCH", "OPTIONS"):
        assert served.ask("/metrics", method)[0] == 405
        assert served.ask("/nothing", method)[0] == 405
    assert served.ask("/nothing")[0] == 404


def test_an_answer_is_not_held_back_on_a_connection_that_is_kept(served: Served) -> None:
    """Nagle's algorithm is off: it would wait 40 ms for the client's acknowledgement, each time but the first."""
    client = HTTPConnection("127.0.0.1", served.server.port, timeout=60)
    with closing(client):
        client.request("GET", "/healthz")
        assert client.getresponse().read() == b"alive\n"
        (kept,) = served.server._server.server_state.connections
        accepted = kept.transport.get_extra_info("socket")
        assert accepted.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)


def test_the_date_of_an_answer_follows_the_clock_of_a_server_that_sleeps(served: Served) -> None:
    """Nothing but a tick each second wakes it, and the header has seconds."""
    first = served.get("/healthz").headers["date"]
    wait_for(lambda: served.get("/healthz").headers["date"] != first)


def test_readiness_follows_the_last_cycle_and_says_why(served: Served) -> None:
    """Not ready before the first good cycle and after a bad one, with the cause; status likewise."""
    assert served.ask("/readyz") == (503, "no poll yet\n")
    assert served.ask("/api/v1/status")[0] == 503
    served.live_status.show(poll(new_primary())[0], None)
    assert served.ask("/readyz") == (200, "ready\n")
    assert '"frame":1' in served.ask("/api/v1/status")[1]
    served.live_status.fail("the disk is full")
    assert served.ask("/readyz") == (503, "the disk is full\n")


def test_outcomes_are_exclusive_and_extras_are_one_label(served: Served) -> None:
    """merged, late, duplicate and quarantined each count what the others do not; a far delta counts once."""
    primary = new_primary(b"")
    push = {f"{FOLDER}/1/a.json": text(number=1, whatever=[1, 2]), f"{FOLDER}/1/bad.json": b"{"}
    commit_files(primary.store, MAIN, {**push, f"{FOLDER}/9000/far.json": text(9000)})
    served.metrics.cycle(close_frame(primary, "test"))
    commit_files(
        primary.store, MAIN, {f"{FOLDER}/1/b.json": text(number=2), f"{FOLDER}/1/a2.json": push[f"{FOLDER}/1/a.json"]}
    )
    served.metrics.cycle(close_frame(primary, "test"))
    served.metrics.cycle(poll(primary)[0])
    found = series(served)
    outcomes = {
        name: found[f'dreamcatcher_deltas_total{{outcome="{name}"}}']
        for name in ("merged", "late", "duplicate", "quarantined")
    }
    assert outcomes == {"merged": 1, "late": 1, "duplicate": 1, "quarantined": 2}
    assert found['dreamcatcher_quarantined_total{reason="too-far-ahead"}'] == 1
    assert found['dreamcatcher_entities{collection="extra"}'] == 2
    assert (found["dreamcatcher_frame"], found["dreamcatcher_frame_last_closed"]) == (3, 2)
    assert found["dreamcatcher_streams_active"] == 1
    assert found['dreamcatcher_publishes_total{result="ok"}'] == 2
    assert found["dreamcatcher_delta_age_seconds_count"] == 2


class Lines:
    """A logger that collects what it is told."""

    def __init__(self) -> None:
        self.told: list[str] = []

    def __getattr__(self, level: str) -> Callable[..., None]:
        return lambda event, **_: self.told.append(f"{level}: {event}")


def test_a_failure_is_told_once_and_its_end_once() -> None:
    """The log names a failing cause when it begins and when it is over, not at every attempt."""
    lines = Lines()
    log = CycleLog(lines)
    for _ in range(5):
        log.failure(RetryableError("the disk is full", "make room"))
    log.failure(RetryableError("main is locked", "wait"))
    log.cycle(poll(new_primary())[0])
    log.cycle(poll(new_primary())[0])
    assert lines.told == ["error: cycle failed", "error: cycle failed", "info: recovered"]
