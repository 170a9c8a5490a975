"""The API: the commands' JSON, strict parameters, bounds, and a reader that never touches the loop's store."""

from __future__ import annotations

import contextlib
import http.client
import json
import re
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any
from unittest.mock import Mock
from urllib.parse import quote

import pytest

from dreamcatcherd.core.codec import canonical
from dreamcatcherd.core.errors import FatalError
from dreamcatcherd.daemon.cycle import poll
from dreamcatcherd.history import queries
from dreamcatcherd.web import change_feed, history_api, live_api, query_executor, responses
from tests.e2e.tools import wait_for
from tests.web.served import Served, serve_history

READS = ("log", "explain?collection=posts&key=1", "diff?from=1&to=2", "quarantine", "conflicts", "books")


def held(until: threading.Event) -> None:
    assert until.wait(60)


def test_before_the_first_look_everything_says_so(served: Served) -> None:
    """503 with the cause and a remedy on every path that needs the repository; and it is not read for that."""
    for path in (*READS, "status", "streams"):
        found = served.get(f"/api/v1/{path}")
        assert (found.code, found.json["error"]) == (503, "no poll yet")
        assert found.json["remedy"]
    assert served.reader.reads == 0


def test_an_empty_repository_has_empty_answers(served: Served) -> None:
    """Before the first close lists are empty, and what asks for a frame is told that none is closed."""
    served.look()
    assert served.get("/api/v1/log").json == served.get("/api/v1/books").json == []
    assert served.get("/api/v1/conflicts").json == {"conflicts": [], "before": None, "truncated": False}
    found = served.get("/api/v1/diff?from=0&to=1")
    assert found.code == 404
    assert "none is closed yet" in found.json["error"]
    assert served.get("/api/v1/explain?collection=posts&key=1").code == 404


def test_what_a_history_holds_is_told(served: Served) -> None:
    """Log, explain, diff, streams, quarantine, conflicts and books of three frames."""
    serve_history(served)
    log = served.get("/api/v1/log").json
    assert [(row["frame"], row["deltas"], row["late"], row["conflicts"]) for row in log] == [
        (3, 1, 0, 0),
        (2, 2, 1, 0),
        (1, 2, 0, 1),
    ]
    told = served.get("/api/v1/explain?collection=posts&key=1&field=title").json
    assert told["fields"]["title"]["value"] == "again"
    assert told["fields"]["title"]["losers"][0]["value"] == "from a"
    diff = served.get("/api/v1/diff?from=1&to=2").json
    assert diff["changed"]["posts"] == [{"key": 1, "fields": {"title": ["from b", "again"]}}]
    assert "truncated" not in diff
    streams = served.get("/api/v1/streams").json
    assert [(row["stream_id"], row["frame"], row["pending"]) for row in streams] == [
        ("a", 3, 1),
        ("b", 1, 0),
        ("late", 2, 0),
    ]
    bad = served.get("/api/v1/quarantine").json["quarantined"]
    assert [(row["since"], row["reason"]) for row in bad] == [(1, "not-json")]
    lost = served.get("/api/v1/conflicts").json["conflicts"]
    assert [(row["frame"], row["winner"][2], row["loser"][2], row["value"]) for row in lost] == [
        (1, "b", "a", "from a")
    ]
    book = served.get("/api/v1/books").json[0]
    assert (book["title"], book["published"], book["word_count"]) == ("Tides", True, 2)


@pytest.mark.parametrize(
    ("path", "named"),
    [
        ("log?limit=0", "limit"),
        ("log?limit=1001", "limit"),
        ("log?limit=x", "limit"),
        ("log?limit=%D9%A3", "limit"),
        ("log?before=-1", "before"),
        ("log?before=" + "9" * 17, "before"),
        ("log?nothing=1", "nothing"),
        ("log?limit=1&limit=2", "twice"),
        ("status?x", "x"),
        ("diff?from=1", "to"),
        ("diff?from=1&to=two", "to"),
        ("diff?from=1&to=2&limit=10001", "limit"),
        ("explain?collection=posts", "key"),
        ("explain?collection=&key=1", "collection"),
        ("explain?collection=posts&key=" + "k" * 5000, "key"),
        ("events?x=1", "x"),
    ],
)
def test_a_wrong_parameter_is_named(served: Served, path: str, named: str) -> None:
    """Unknown, missing, doubled and out of bounds: 400, with the parameter and a remedy."""
    served.look()
    found = served.get(f"/api/v1/{path}")
    assert found.code == 400
    assert named in found.json["error"]
    assert found.json["remedy"]


@pytest.mark.parametrize(
    "path",
    [
        "nothing",
        "diff?from=1&to=9",
        "diff?from=9007199254740991&to=1",
        "explain?collection=posts&key=99",
        "explain?collection=posts&key=1/2",
        "explain?collection=nothing&key=1",
        "explain?collection=posts&key=1&field=nothing",
        "explain?collection=posts&key=1&frame=9",
        "explain?collection=observations&key=1",
        "explain?collection=extra/x&key=1",
        "explain?collection=" + quote("../\0<script>") + "&key=%FF%00",
    ],
)
def test_what_is_not_there_is_404_with_a_remedy(served: Served, path: str) -> None:
    """Frames that are not closed, entities, fields, collections and paths that nobody knows."""
    serve_history(served)
    found = served.get(f"/api/v1/{path}")
    assert found.code == 404
    assert found.json["error"]
    assert found.json["remedy"]


def test_rows_are_led_through_page_by_page(served: Served) -> None:
    """The header Link leads from each page of the log to the next, until all frames were told once."""
    for _ in range(5):
        served.push()
        served.close()
    path, told = "?limit=2", []
    while path:
        found = served.get(f"/api/v1/log{path}")
        told += [row["frame"] for row in found.json]
        link = found.headers["link"]
        path = link.partition(">")[0].removeprefix("<") if link else ""
    assert told == [5, 4, 3, 2, 1]
    assert [row["frame"] for row in served.get("/api/v1/log?before=3").json] == [2, 1]


def test_conflicts_are_led_through_by_frame(served: Served) -> None:
    """A page holds whole frames; one frame alone that has more than a page is cut, and the answer says so."""
    for frame in (1, 2, 3):
        for stream in ("a", "b", "c"):
            served.push(stream, frame=frame, posts_created=[{"number": 1, "title": f"{stream}{frame}"}])
        served.close()
    page = served.get("/api/v1/conflicts?limit=5").json
    assert [row["frame"] for row in page["conflicts"]] == [3, 3, 2, 2]
    assert (page["before"], page["truncated"]) == (2, False)
    rest = served.get(f"/api/v1/conflicts?limit=5&before={page['before']}").json
    assert [row["frame"] for row in rest["conflicts"]] == [1, 1]
    cut = served.get("/api/v1/conflicts?limit=1").json
    assert (len(cut["conflicts"]), cut["truncated"], cut["before"]) == (1, True, 3)


def test_a_diff_stops_at_its_bound_and_says_so(served: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    """So many entities and no more; and one that is too large for the bytes is left out while others are told."""
    served.close()
    served.push("s", 1, 2, posts_created=[{"number": number} for number in range(600)], observations=["x" * 5000, "y"])
    served.close()
    whole = served.get("/api/v1/diff?from=1&to=2&limit=10000").json
    assert len(whole["added"]["posts"]) == 600
    assert "truncated" not in whole
    cut = served.get("/api/v1/diff?from=1&to=2&limit=7").json
    assert sum(len(rows) for rows in cut["added"].values()) == 7
    assert cut["truncated"] is True
    back = served.get("/api/v1/diff?from=2&to=1&limit=7").json
    assert sum(len(rows) for rows in back["removed"].values()) == 7
    monkeypatch.setattr(history_api, "DIFF_BYTES", 4000)
    lean = served.get("/api/v1/diff?from=1&to=2&limit=10").json
    assert [row["value"] for row in lean["added"]["observations"]] == ["y"]
    assert lean["truncated"] is True


def test_an_answer_that_is_too_long_is_refused(served: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is never sent half: 400 tells its length and what to do instead."""
    serve_history(served)
    monkeypatch.setattr(responses, "ANSWER_BYTES", 100)
    found = served.get("/api/v1/log")
    assert found.code == 400
    assert "bytes" in found.json["error"]


def test_the_loops_store_is_never_read(served: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every answer comes from the reader's own store, in the reader's own thread."""
    serve_history(served)
    own: set[str] = set()
    store = served.primary.store
    original = store.read

    def read(oid: str) -> bytes:
        own.add(threading.current_thread().name)
        return original(oid)

    monkeypatch.setattr(store, "read", read)
    for path in READS:
        assert served.get(f"/api/v1/{path}").code == 200
    assert served.get("/").code == 200
    assert own == set()
    assert served.reader.threads <= {"reader_0"}
    assert served.reader.threads


def test_an_answer_is_computed_once_for_each_commit(served: Served) -> None:
    """Asked again nothing is read, however often; after the next close it is told anew."""
    serve_history(served)
    first = [served.get(f"/api/v1/{path}").text for path in READS]
    reads = served.reader.reads
    for _ in range(20):
        assert [served.get(f"/api/v1/{path}").text for path in READS] == first
    served.push("a", 7, 4)
    assert served.get("/api/v1/log").text == first[0]
    assert served.reader.reads == reads
    served.close()
    assert len(served.get("/api/v1/log").json) == 4


def test_answers_that_are_kept_are_bounded_in_bytes(served: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    """However many different rows of the log and of the books are asked for, and whatever header goes with them."""
    serve_history(served)
    first = served.get("/api/v1/log").text
    monkeypatch.setattr(query_executor, "ANSWERS_KEPT_BYTES", 3 * len(first))
    for limit in range(1, 20):
        assert served.get(f"/api/v1/log?limit={limit}").code == 200
        assert served.get(f"/api/v1/books?limit={limit}").code == 200
    reads = served.reader.reads
    served.get("/api/v1/log?limit=19")
    assert served.reader.reads == reads
    kept = served.server._app._executors[0]._answers.values()
    assert sum(len(one.raw) for one in kept) <= 3 * len(first)


def test_rows_of_streams_are_sorted_once_for_each_look(served: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    """A page of a large fleet's streams costs its own rows; what changed since is told."""
    served.push("a")
    rows = Mock(wraps=live_api.stream_rows)
    monkeypatch.setattr(live_api, "stream_rows", rows)
    for place in ("", "", "?after=02", "?after=ff"):
        served.get(f"/api/v1/streams{place}")
    assert rows.call_count == 1
    served.push("b", 1)
    assert [row["stream_id"] for row in served.get("/api/v1/streams").json] == ["a", "b"]


def test_who_asks_the_same_at_once_waits_for_one_answer(served: Served) -> None:
    """A dozen ask while the reader is held up: the work is done once, and all get it."""
    serve_history(served)
    open_ = threading.Event()
    served.reader.before_read = partial(held, open_)
    with ThreadPoolExecutor(12) as pool:
        asked = [pool.submit(served.get, "/api/v1/log") for _ in range(12)]
        wait_for(lambda: served.reader.reads)
        open_.set()
        answers = {one.result().text for one in asked}
    assert len(answers) == 1
    again = Served(served.primary)
    again.live_status.show(poll(served.primary)[0], served.live_status.current.published)
    again.get("/api/v1/log")
    assert served.reader.reads == again.reader.reads
    again.server.stop()


@pytest.mark.parametrize(
    "path", ["receipt?delta=state/stream_deltas/1/nothing.json", "explain?collection=posts&key=99", "frames/99"]
)
def test_an_answer_that_is_no_is_computed_once(served: Served, path: str) -> None:
    """Clients that ask again for what is not there cost nothing until something changes."""
    serve_history(served)
    first = served.get(f"/api/v1/{path}")
    assert first.code == 404
    reads = served.reader.reads
    assert reads
    for _ in range(3):
        assert served.get(f"/api/v1/{path}").text == first.text
    assert served.reader.reads == reads
    served.push("late-comer", 1)
    served.close()
    assert served.get(f"/api/v1/{path}").code == 404
    assert served.reader.reads > reads


def test_too_much_at_once_is_told_to_come_again(served: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    """Beyond the queue 503 with Retry-After, while metrics, health and status go on being answered."""
    serve_history(served)
    monkeypatch.setattr(query_executor, "QUEUE", 2)
    open_ = threading.Event()
    served.reader.before_read = partial(held, open_)
    with ThreadPoolExecutor(2) as pool:
        asked = [pool.submit(served.get, f"/api/v1/log?limit={limit}") for limit in (1, 2)]
        wait_for(lambda: len(served.server._app._executors[0]._under_way) == 2)
        refused = served.get("/api/v1/log?limit=4")
        assert refused.headers["retry-after"] == "1"
        assert "at once" in refused.json["error"]
        for path in ("/healthz", "/readyz", "/metrics", "/api/v1/status"):
            assert served.get(path).code == 200
        open_.set()
        assert [one.result().code for one in asked] == [200, 200]


def test_an_answer_that_takes_too_long_is_given_up(served: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    """The reader stops at its next read; what comes after is answered, and a walk goes on from where it was."""
    serve_history(served)
    monkeypatch.setattr(query_executor, "QUERY_LIMIT_S", -1.0)
    found = served.get("/api/v1/log")
    assert found.code == 503
    assert "longer than" in found.json["error"]
    monkeypatch.setattr(query_executor, "QUERY_LIMIT_S", 60.0)
    assert len(served.get("/api/v1/log").json) == 3


def test_a_walk_that_was_cut_short_tells_no_shorter_history(served: Served) -> None:
    """Wherever the reader is stopped, the next answer has every frame, in order and once."""
    serve_history(served)
    base = served.primary.load_published(served.primary.store.refs())
    whole = list(queries.Chain().log(served.primary.store, base))
    chain = queries.Chain()
    for stop in range(1, 40):
        left = [stop]

        def cut(left: list[int] = left) -> None:
            left[0] -= 1
            if left[0] == 0:
                raise FatalError("cut short", "go on")

        served.reader.before_read = cut
        with contextlib.suppress(FatalError):
            list(chain.log(served.reader, base))
        served.reader.before_read = lambda: None
        assert list(chain.log(served.primary.store, base)) == whole


def test_a_damaged_repository_is_told_and_recovers(served: Served) -> None:
    """An object that cannot be read is 503 with the store's remedy; once it can, the answer comes."""
    serve_history(served)

    def fail() -> None:
        raise FatalError("object 1234 cannot be read", "run git fsck")

    served.reader.before_read = fail
    found = served.get("/api/v1/log")
    assert (found.code, found.json["remedy"]) == (503, "run git fsck")
    assert served.get("/").code == 200
    served.reader.before_read = lambda: None
    assert served.get("/api/v1/log").code == 200


def test_a_mistake_of_ours_is_500_and_tells_nothing_of_the_inside(
    served: Served, capfd: pytest.CaptureFixture[str]
) -> None:
    """One line in the log with the path; the client learns that it was not its fault."""
    serve_history(served)

    def fail() -> None:
        raise ZeroDivisionError("secret")

    served.reader.before_read = fail
    found = served.get("/api/v1/log")
    assert (found.code, found.json["error"]) == (500, "internal error")
    assert "secret" not in found.text
    told = "".join(capfd.readouterr())
    assert "request failed" in told
    assert "Traceback" not in told


def test_a_request_that_waits_for_its_turn_when_the_daemon_stops_is_answered(served: Served) -> None:
    """503 with the cause: the answer before it took all the time that was left."""
    serve_history(served)
    served.server._server.config.timeout_graceful_shutdown = 60  # a busy machine answers later
    reading, go_on = threading.Event(), threading.Event()

    def hold_up() -> None:
        reading.set()
        go_on.wait(60)

    served.reader.before_read = hold_up
    with ThreadPoolExecutor(2) as pool:
        pool.submit(served.get, "/api/v1/log")
        assert reading.wait(60)
        second = pool.submit(served.get, "/api/v1/collections")
        wait_for(lambda: len(served.server._app._executors[0]._under_way) == 2)
        served.server.stop(0)
        assert (second.result().code, second.result().json["error"]) == (503, "the daemon is stopping")
        go_on.set()


def test_answers_wait_while_a_frame_closes_but_not_those_of_probes(
    served: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The API and scrapes are held until the close ends; health and readiness come at once."""
    monkeypatch.setattr(change_feed, "CLOSING_WAIT_S", 60.0)
    serve_history(served)
    with ThreadPoolExecutor(2) as pool:
        with served.live_status.merging():
            asked = [pool.submit(served.get, path) for path in ("/api/v1/status", "/metrics")]
            for path in ("/healthz", "/readyz"):
                assert served.get(path).code == 200
            assert not any(one.done() for one in asked)
        assert [one.result().code for one in asked] == [200, 200]


def test_a_close_of_minutes_lets_answers_through_now_and_then(served: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    """After its bound the wait is over, whether or not the frame is closed."""
    serve_history(served)
    monkeypatch.setattr(change_feed, "CLOSING_WAIT_S", 0.05)
    monkeypatch.setattr(query_executor, "CLOSING_WAIT_S", 0.05)
    with served.live_status.merging():
        assert served.get("/api/v1/status").code == 200
        assert len(served.get("/api/v1/log").json) == 3


def test_streams_far_in_time_break_no_answer(served: Served) -> None:
    """A utc that an offset carries out of the calendar has no date, and nothing else suffers."""
    head = {"frame": 1, "utc": "9999-12-31T23:59:59-23:00", "stream_id": "far", "observations": [1]}
    served.push_bytes("state/stream_deltas/1/far.json", json.dumps(head).encode())
    served.close()
    served.look()
    assert served.get("/api/v1/status").json["seen"]["far"] == {"frame": 1, "utc": None}
    assert served.get("/api/v1/streams").json[0]["utc"] is None
    assert served.get("/").code == 200


# Events -----------------------------------------------------------------------------------------------------------


class Following:
    """A client of the events."""

    def __init__(self, served: Served) -> None:
        self.connection = http.client.HTTPConnection(served.server.address, timeout=60)
        self.connection.request("GET", "/api/v1/events")
        self.answer = self.connection.getresponse()

    def next(self) -> Any:
        """The data of the next event."""
        while True:
            line = self.answer.readline()
            assert line, "the stream ended"
            if line.startswith(b"data: "):
                return json.loads(line.removeprefix(b"data: "))

    def close(self) -> None:
        self.answer.close()
        self.connection.close()


def test_events_report_each_change_of_the_live_status(served: Served) -> None:
    """The first event comes at once, the next with a push, a close, a failure; time going by alone is none."""
    served.look()
    client = Following(served)
    assert client.answer.getheader("content-type", "").startswith("text/event-stream")
    assert client.next()["total"] == 0
    served.push()
    assert (said := client.next())["total"] == 1
    assert said["ready"] is True
    served.look()
    served.close()
    assert (said := client.next())["last_closed"] == 1
    assert "streams" in said
    served.live_status.fail("the disk is full")
    assert (said := client.next())["why"] == "the disk is full"
    assert said["ready"] is False
    client.close()


def test_the_bytes_of_events_are_plain(served: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    """The time to reconnect, then an event in one form, each ended by an empty line; a comment now and then."""
    monkeypatch.setattr(live_api, "KEEP_ALIVE_S", 0.2)
    served.look()
    client = Following(served)
    version, data = served.live_status.current.version, rb"data: {.*}"
    lines = [client.answer.readline() for _ in range(8)]
    assert lines[:4] == [b"retry: 2000\n", b"\n", b"id: %d\n" % version, b"event: status\n"]
    assert re.fullmatch(data + b"\n", lines[4])
    assert lines[5:] == [b"\n", b": nothing new\n", b"\n"]
    client.close()


def test_events_are_small_however_many_streams_wait(served: Served) -> None:
    """An event has numbers, no names: a fleet of ten thousand costs its followers nothing."""
    served.push("x" * 128)
    assert b"xxx" not in canonical(live_api.status_event(served.live_status))


def test_followers_are_bounded_and_their_place_comes_free(served: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    """One too many is told so; when another leaves there is room again. HEAD takes no place."""
    monkeypatch.setattr(live_api, "EVENT_CLIENTS", 2)
    served.look()
    clients = [Following(served) for _ in range(2)]
    assert [client.next()["total"] for client in clients] == [0, 0]
    assert served.get("/api/v1/events").code == 503
    clients[0].close()
    for number in range(200):
        served.push(number=number % 60)
        if served.get("/api/v1/events", "HEAD").code == 200:
            break
        time.sleep(0.02)
    again = Following(served)
    assert again.answer.status == 200
    assert served.get("/api/v1/events", "HEAD").code == 503
    for client in (clients[1], again):
        client.close()


def test_stopping_ends_the_endless(served: Served) -> None:
    """Followers do not keep the daemon from stopping, and their connections end."""
    served.look()
    client = Following(served)
    client.next()
    served.server.stop(60)
    assert served.server._thread is not None
    assert not served.server._thread.is_alive()
    assert client.answer.read() is not None
    client.close()
