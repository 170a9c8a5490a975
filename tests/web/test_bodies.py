"""POST: two paths take it, bodies have limits of size, time and memory, and pages of other sites cannot send any."""

from __future__ import annotations

import contextlib
import json
import socket
import time
from contextlib import ExitStack, closing
from typing import Any

import pytest

from dreamcatcherd.core.codec import canonical
from dreamcatcherd.core.validation import check_delta, validation_row
from dreamcatcherd.web import auth, bodies, connections
from dreamcatcherd.web.auth import AuthPolicy
from dreamcatcherd.web.server import Listening
from tests.e2e.tools import wait_for
from tests.stages.tools import FOLDER, text
from tests.web.crowd import answer, asking, connect, connect_at_once, crowd, ended
from tests.web.served import Served, serve_history

VALIDATE = "/api/v1/validate"
HOOK = "/hooks/push"


def posting(length: str, body: bytes = b"", path: str = VALIDATE) -> bytes:
    return f"POST {path} HTTP/1.1\r\nHost: localhost\r\n{length}\r\n\r\n".encode() + body


def held(served: Served) -> tuple[int, int]:
    """How many bodies the server holds, and how many bytes."""
    found = served.server._app.bodies
    return found.reading, found.bytes


def validate(served: Served, body: bytes, query: str = "", **headers: str) -> Any:
    return served.get(VALIDATE + query, "POST", None, body, **headers)


def test_a_client_that_closes_after_its_request_reads_the_refusal(served: Served) -> None:
    """`Connection: close`, as urllib sends it: the 413 arrives although megabytes beyond the limit were sent first."""
    served.look()
    limit = served.primary.last.settings.limits.delta_bytes  # type: ignore[union-attr]
    for beyond in (1, 2**20, bodies.DISCARDED_BYTES // 2):
        assert validate(served, b" " * (limit + beyond)).code == 413


def test_a_posted_delta_is_judged_as_by_the_command(served: Served) -> None:
    """The row of `validate --json`: a good delta, one with warnings, and refused ones with reason and JSON path."""
    served.look()
    for raw in (
        text(1),
        text(2, posts_created=[{"title": "no key"}], pots_created=[1]),
        b"{",
        b"",
        b'{"frame": 1, "frame": 1}',
        text(5_000),
    ):
        found = validate(served, raw)
        expected = validation_row("-", check_delta(raw, "-", served.primary.last.settings, 1))  # type: ignore[union-attr]
        assert found.code == 200
        assert found.text == canonical(expected).decode()
    assert validate(served, text(2)).json["warnings"]
    assert validate(served, b"{").json["reason"] == "not-json"


def test_a_path_counts_where_it_is_given(served: Served) -> None:
    """Another frame in the path, and a name that is never merged."""
    served.look()
    assert validate(served, text(1), f"?path={FOLDER}/2/a.json").json["reason"] == "frame-mismatch"
    assert "never merged" in validate(served, text(1), f"?path={FOLDER}/1/a.txt").json["warnings"][0]
    assert validate(served, text(1), f"?path={FOLDER}/1/a.json").json["ok"]
    assert validate(served, text(1), "?pth=x").code == 400


def test_the_settings_and_frame_of_the_last_poll_count(served: Served) -> None:
    """A delta for frame 4 is early until frame 4 is open; settings that were only pushed count as for the command."""
    served.look()
    early = text(4)
    assert "not open yet" in validate(served, early).json["warnings"][0]
    serve_history(served)
    assert validate(served, early).json["warnings"] == []
    served.push_bytes("state/dreamcatcher.toml", b"[limits]\ndelta_bytes = 1024\n")
    assert validate(served, text(4, observations=["x" * 2_000])).code == 413


def test_before_the_first_poll_nothing_is_judged(served: Served) -> None:
    """503, with the cause."""
    found = validate(served, text(1))
    assert (found.code, found.json["error"]) == (503, "no poll yet")


@pytest.mark.parametrize("path", [VALIDATE, HOOK])
def test_what_takes_post_takes_nothing_else(served: Served, path: str) -> None:
    """405 names POST there, and GET and HEAD everywhere else; like every error it is JSON with a remedy."""
    for method in ("GET", "HEAD", "PUT", "DELETE", "OPTIONS"):
        found = served.get(path, method)
        assert (found.code, found.headers["allow"]) == (405, "POST")
        assert method == "HEAD" or found.json["remedy"] == "ask with POST"
    for other in ("/", f"{path}/", f"{path}x", "/api/v1/status", "/metrics", "//hooks/push", "/hooks"):
        found = served.get(other, "POST")
        assert (found.code, found.headers["allow"]) == (405, "GET, HEAD")
        assert found.json["remedy"] == "ask with GET or HEAD"


def test_a_hint_needs_no_token_and_validate_does() -> None:
    """The signature of a hint is its own; whoever has no token is not let in anywhere else."""
    served = Served(listening=Listening("127.0.0.1", 0, AuthPolicy("s3cret")))
    served.look()
    assert validate(served, text(1)).code == 401
    assert validate(served, text(1), Authorization="Bearer s3cret").code == 200
    assert served.get(HOOK, "POST", body=b"{}").code != 401
    served.server.stop()


def test_pages_of_other_sites_cannot_post(served: Served) -> None:
    """403 for another origin, a sandboxed page included; a page of the daemon and a program are answered."""
    served.look()
    own = served.server.url
    for origin in ("https://evil.example", "null", own + "0", own.replace("127.0.0.1", "localhost"), "", "http://"):
        found = validate(served, text(1), Origin=origin)
        assert found.code == 403, origin
        assert found.json["remedy"]
        assert served.get(HOOK, "POST", body=b"", Origin=origin).code == 403
    assert validate(served, text(1), Origin=own).code == 200
    assert validate(served, text(1)).code == 200


def test_other_names_of_this_machine_cannot_post() -> None:
    """The Host rule against DNS rebinding holds for POST too."""
    served = Served(listening=Listening("127.0.0.1", 0, AuthPolicy(local_names_only=True)))
    served.look()
    for path in (VALIDATE, HOOK):
        assert served.get(path, "POST", body=b"", Host="evil.example").code == 421
    served.server.stop()


# Size -------------------------------------------------------------------------------------------------------------


@pytest.fixture
def small(served: Served, monkeypatch: pytest.MonkeyPatch) -> Served:
    """Only 2,000 bytes are taken."""
    monkeypatch.setattr("dreamcatcherd.web.delta_api.VALIDATED_BYTES", 2_000)
    served.look()
    return served


def test_a_body_that_says_that_it_is_too_large_is_not_read(small: Served) -> None:
    """413 before anything arrives, also for lengths that no machine integer holds, and without 100 Continue."""
    for length in ("2001", "9" * 20):
        with closing(connect(small, posting(f"Content-Length: {length}\r\nExpect: 100-continue"))) as one:
            assert answer(one).startswith(b"HTTP/1.1 413 ")
    assert held(small) == (0, 0)


def test_the_largest_body_is_taken_and_one_byte_more_is_not(small: Served) -> None:
    """With a length and in chunks."""
    fits = text(1, observations=["x"])
    fits += b" " * (2_000 - len(fits))
    for body, code in ((fits, b"200"), (fits + b" ", b"413")):
        for sent in (
            posting(f"Content-Length: {len(body)}", body),
            posting("Transfer-Encoding: chunked", chunked(body, 100)),
            posting("Transfer-Encoding: chunked", chunked(body, 1)),
        ):
            with closing(connect(small, sent)) as one:
                assert answer(one).split()[1] == code
    assert held(small) == (0, 0)


def chunked(body: bytes, size: int, end: bytes = b"0\r\n\r\n") -> bytes:
    pieces = [body[at : at + size] for at in range(0, len(body), size)]
    return b"".join(b"%x\r\n%s\r\n" % (len(piece), piece) for piece in pieces) + end


def drip(one: socket.socket, sent: bytes) -> None:
    """Send the same again and again, until the connection is closed."""
    with contextlib.suppress(ConnectionError):
        for _ in range(1_000):
            one.sendall(sent)
            time.sleep(0.01)
        pytest.fail("it is still open")


def test_chunks_without_end_are_stopped_at_the_limit(small: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    """413 as soon as the limit is passed; what still comes is thrown away, for as long as a request head may take."""
    monkeypatch.setattr(connections, "HEAD_S", 0.5)
    endless = posting("Transfer-Encoding: chunked", chunked(b"x" * 5_000, 500, b""))
    with closing(connect_at_once(small, endless)) as one:
        assert answer(one).startswith(b"HTTP/1.1 413 ")
        assert held(small) == (0, 0)
        drip(one, chunked(b"x" * 10_000, 10_000, b""))


def test_an_answered_connection_can_be_used_again(small: Served) -> None:
    """After a body that was refused unread, the next request on the connection gets its own answer."""
    with closing(connect(small, posting("Content-Length: 3000", b"x" * 3_000))) as one:
        assert answer(one).startswith(b"HTTP/1.1 413 ")
        one.sendall(asking("/healthz"))
        raw = b""
        while b"alive" not in raw:
            raw += (more := one.recv(1 << 16))
            assert more


@pytest.mark.parametrize(
    ("sent", "code"),
    [
        pytest.param(posting("Content-Length: -1", b"{}"), b"400", id="negative"),
        pytest.param(posting("Content-Length: 2\r\nContent-Length: 3", b"{}x"), b"400", id="two lengths"),
        pytest.param(posting("Content-Length: 1e1", b"{}"), b"400", id="no number"),
        pytest.param(posting("Transfer-Encoding: gzip, chunked", b"0\r\n\r\n"), b"501", id="another encoding"),
        pytest.param(posting("Transfer-Encoding: chunked", b"zz\r\nab\r\n"), b"400", id="no chunk"),
        pytest.param(posting("Content-Length: 2\r\nContent-Encoding: gzip", b"{}"), b"415", id="compressed"),
    ],
)
def test_a_length_that_is_none_is_refused(small: Served, sent: bytes, code: bytes) -> None:
    """Never guessed: what a proxy and the daemon could read in two ways is answered with an error, and logged by
    neither as a failure of the daemon."""
    with closing(connect(small, sent)) as one:
        raw = answer(one)
        assert raw.split()[1] in (code, b"400")
    wait_for(lambda: held(small) == (0, 0))


def test_a_shorter_body_than_announced_is_no_delta(small: Served, capsys: pytest.CaptureFixture[str]) -> None:
    """A client that hangs up half way leaves nothing behind, and nothing in the log."""
    with closing(connect(small, posting("Content-Length: 100", b"{}"))):
        wait_for(lambda: held(small) == (1, 2))
    wait_for(lambda: held(small) == (0, 0))
    assert "request failed" not in capsys.readouterr().out


def test_more_than_announced_is_not_part_of_the_delta(small: Served) -> None:
    """The rest is the next request, and no good one."""
    good = text(1)
    with closing(connect(small, posting(f"Content-Length: {len(good)}", good + b"}}}}\r\n\r\n"))) as one:
        raw = b"".join(iter(lambda: one.recv(1 << 16), b""))
    assert raw.startswith(b"HTTP/1.1 200 ")
    assert json.loads(raw.split(b"\r\n\r\n")[1].partition(b"HTTP/1.1")[0])["ok"]
    assert b"HTTP/1.1 400 " in raw


# Time and number --------------------------------------------------------------------------------------------------


def test_a_slow_body_is_given_up(small: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    """408 after the limit for the whole body, a byte now and then does not extend it, and the connection ends."""
    monkeypatch.setattr(bodies, "BODY_S", 0.4)
    with closing(connect(small, posting("Content-Length: 1900"))) as one:
        drip(one, b"x")
    with closing(connect(small, posting("Content-Length: 1000", b"{"))) as one:
        assert answer(one).startswith(b"HTTP/1.1 408 ")
        assert ended(one)
    assert held(small) == (0, 0)


def test_a_body_for_a_path_that_takes_none_ends_with_its_connection(
    served: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A follower of the events whose request never ends is not kept for ever."""
    monkeypatch.setattr(connections, "HEAD_S", 0.2)
    monkeypatch.setattr(connections, "BODY_S", 0.2)
    served.look()
    with closing(connect(served, asking("/api/v1/events", "Content-Length: 10\r\n"))) as one:
        assert ended(one)


def test_bodies_are_bounded_in_number_and_together(small: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    """Beyond either limit 503 with Retry-After; then the others go on, and probes are answered all the time."""
    monkeypatch.setattr(bodies, "BODIES_AT_ONCE", 3)
    monkeypatch.setattr(bodies, "BODIES_BYTES", 3_000)
    good = text(1)
    with ExitStack() as stack:
        slow = [stack.enter_context(closing(connect(small, posting(f"Content-Length: {len(good)}")))) for _ in range(3)]
        wait_for(lambda: held(small)[0] == 3)
        refused = validate(small, good)
        assert (refused.code, refused.headers["retry-after"]) == (503, "1")
        assert small.get("/healthz").code == small.get("/api/v1/status").code == 200
        for one in slow:
            one.sendall(good)
        assert all(b" 200 " in answer(one) for one in slow)
        many = [
            stack.enter_context(closing(connect(small, posting("Content-Length: 1900", b" " * 1_400))))
            for _ in range(2)
        ]
        wait_for(lambda: held(small) == (2, 2_800))
        assert validate(small, good + b" " * 200).code == 503
        for one in many:
            one.sendall(b" " * 500)
    wait_for(lambda: held(small) == (0, 0))


def test_a_slow_body_makes_room_for_a_quick_one(small: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    """Clients that send a byte each, without a token, keep nobody out: the oldest of them gets 503 in its place."""
    monkeypatch.setattr(bodies, "BODIES_AT_ONCE", 3)
    monkeypatch.setattr(bodies, "SLOW_BODY_S", 0.1)
    with ExitStack() as stack:
        slow = []
        for number in range(3):
            slow.append(stack.enter_context(closing(connect(small, posting("Content-Length: 1000", b"{")))))
            wait_for(lambda: held(small)[0] == number + 1)  # noqa: B023 (called at once)
        time.sleep(0.2)
        assert validate(small, text(1)).code == 200
        assert answer(slow[0]).startswith(b"HTTP/1.1 503 ")
        assert ended(slow[0])
        wait_for(lambda: held(small) == (2, 2))


def test_half_sent_bodies_make_room_for_others(small: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    """As half-sent heads do: they are no requests in progress, so the oldest is closed for a new connection."""
    monkeypatch.setattr(connections, "CONNECTIONS", 4)
    monkeypatch.setattr(auth, "REQUESTS_PER_CLIENT", 50)
    small.look()
    with closing(connect(small, asking("/api/v1/events"))) as follower:
        told = (line for line in follower.makefile("rb") if line.startswith(b"data: "))
        next(told)
        with crowd(small, 20, posting("Content-Length: 1000", b"{")) as many:
            assert small.get("/healthz").code == 200
            assert all(ended(one) for one in many[:10])
            small.push()
            assert json.loads(next(told)[6:])["total"] == 1


def test_frames_close_while_deltas_are_validated(served: Served) -> None:
    """Hundreds of different bodies at once hold up neither a close nor a probe."""
    serve_history(served)
    with ExitStack() as stack:
        for number in range(150):
            raw = text(4, number=number % 60, observations=[number] * 5_000)
            stack.enter_context(closing(connect(served, posting(f"Content-Length: {len(raw)}", raw))))
        assert served.get("/healthz").code == 200
        served.close()
        assert served.live_status.pending is not None
        assert served.live_status.pending.last_closed == 4
    # The clients are gone, and some of their deltas still wait to be validated: until they were, 503 is right.
    wait_for(lambda: validate(served, text(5)).code == 200)
    assert validate(served, text(5)).json["ok"]
