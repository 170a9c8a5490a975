"""What a receiver's answer means: which one has taken an event, and what is said about one that has not."""

from __future__ import annotations

import fcntl
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path

import pytest

from dreamcatcherd.core.errors import RetryableError
from dreamcatcherd.daemon.event_cursor import Cursor, CursorFile
from dreamcatcherd.daemon.exec_receiver import Program
from dreamcatcherd.daemon.webhook import Webhook
from tests.e2e.tools import wait_for

EVENT = b'{"id": "1-0-abc"}'


@contextmanager
def answering(answer: bytes) -> Iterator[tuple[Webhook, list[bytes]]]:
    """A webhook whose server answers each request with these bytes and closes, and the requests that came."""
    requests: list[bytes] = []

    def serve() -> None:
        while True:
            try:
                found, _ = listener.accept()
            except OSError:
                return
            with found:
                raw = b""
                while EVENT not in raw and (more := found.recv(65_536)):
                    raw += more
                requests.append(raw)
                with suppress(ConnectionError):  # it may have read enough of a long answer
                    found.sendall(answer)

    with closing(socket.create_server(("127.0.0.1", 0))) as listener:
        threading.Thread(target=serve, daemon=True).start()
        webhook = Webhook(f"http://127.0.0.1:{listener.getsockname()[1]}/x", "a receiver", None, None, 60.0)
        try:
            yield webhook, requests
        finally:
            webhook.close()
            listener.shutdown(socket.SHUT_RDWR)


@pytest.mark.parametrize(
    "answer",
    [
        b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok",
        b"HTTP/1.1 204 No Content\r\n\r\n",
        b"HTTP/1.1 202 Accepted\r\nConnection: close\r\n\r\nqueued",
        b"HTTP/1.0 200 OK\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 9000000\r\n\r\n" + b"x" * 100_000,
    ],
)
def test_a_complete_answer_of_2xx_takes_the_event(answer: bytes) -> None:
    """In every form that HTTP has for the end of an answer, and if it is longer than what is read of it."""
    with answering(answer) as (webhook, requests):
        webhook.send("1-0-abc", EVENT)
        assert len(requests) == 1


@pytest.mark.parametrize(
    "answer",
    [
        b"HTTP/1.1 200",
        b"HTTP/1.1 200 OK\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Le",
        b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhalf",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n",
    ],
)
def test_an_answer_that_ends_early_takes_nothing(answer: bytes) -> None:
    """A receiver that dies while it answers has taken no event: it gets the same one again."""
    with answering(answer) as (webhook, _), pytest.raises(RetryableError) as caught:
        webhook.send("1-0-abc", EVENT)
    assert caught.value.cause.startswith("a receiver took no event: ")
    assert "ended early" in caught.value.cause


@pytest.mark.parametrize(
    ("script", "limit_s", "cause"),
    [
        ("echo no room; exit 7", 60.0, "ended with 7: no room"),
        ("kill -SEGV $$", 60.0, "was killed by SIGSEGV"),
        ("echo dying; kill -40 $$", 60.0, "was killed by signal 40: dying"),
        ("echo waiting for the database; sleep 600", 2.5, "did not end within 2.5 s: waiting for the database"),
    ],
)
def test_a_program_that_fails_is_reported_in_words(script: str, limit_s: float, cause: str) -> None:
    """Its exit code, the name of the signal or the time limit, with the beginning of what it wrote."""
    with pytest.raises(RetryableError) as caught:
        Program(["/bin/sh", "-c", script], "a program", limit_s).send("1-0-abc", EVENT)
    assert caught.value.cause == f"a program {cause}"


SENDS = """
import sys
from dreamcatcherd.daemon.exec_receiver import Program
script = f"touch {sys.argv[1]}.began; sleep 0.5; wc -c > {sys.argv[1]}.new; mv {sys.argv[1]}.new {sys.argv[1]}"
Program(["/bin/sh", "-c", script], "a program", 30).send("1-0-abc", b"x" * 200_000)
"""


def test_a_program_gets_the_complete_event_of_a_daemon_that_is_killed(tmp_path: Path) -> None:
    """What begins to work on an event never takes a cut or an empty one for it."""
    count = tmp_path / "count"
    with subprocess.Popen([sys.executable, "-c", SENDS, str(count)]) as daemon:
        wait_for((tmp_path / "count.began").exists)
        daemon.kill()
    wait_for(count.exists)
    assert count.read_text().strip() == "200000"


def test_a_subscription_that_ends_before_it_began_still_hands_its_cursor_on(tmp_path: Path) -> None:
    """A name and then another address, reloaded at once: the cursor from before the name waits under the name."""
    before, after = tmp_path / "url-1.json", tmp_path / "name-1.json"
    CursorFile(before, "r", "fleet").save(Cursor(7))
    with before.with_suffix(".lock").open("w") as lock, CursorFile(after, "r", "fleet", before) as named:
        fcntl.flock(lock, fcntl.LOCK_EX)
        assert not named.hold()
        threading.Timer(0.2, lock.close).start()
        named.hand_on(60.0)
    assert CursorFile(after, "r", "fleet").load() == Cursor(7)
