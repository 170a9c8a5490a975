"""Many clients at once on plain sockets, as tests of slow, idle and greedy ones need them."""

from __future__ import annotations

import contextlib
import select
import socket
import threading
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path

from msgspec import structs

from dreamcatcherd.web.connections import Connection
from tests.e2e.tools import wait_for
from tests.web.served import Served

HALF = b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nX-Slow: "


def asking(path: str, more: str = "") -> bytes:
    return f"GET {path} HTTP/1.1\r\nHost: localhost\r\n{more}\r\n".encode()


def opened(served: Served) -> tuple[Connection, ...]:
    """The connections that the server has open, TLS handshakes included."""
    return tuple(served.server.opened)


def connect(served: Served, sent: bytes = b"", source: str = "127.0.0.1", window: int = 0) -> socket.socket:
    """A connection from an address of this machine on which something was sent. `window` is its receive buffer."""
    one = socket.socket()
    one.settimeout(60)
    if window:
        one.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, window)
    one.bind((source, 0))
    one.connect(("127.0.0.1", served.server.port))
    with contextlib.suppress(ConnectionError):  # it may have made room for others already
        one.sendall(sent)
    return one


@contextmanager
def looking_away(served: Served) -> Iterator[None]:
    """Meanwhile the server does nothing: what a client connects and sends is there at once when it looks again, however
    short the limit for it is."""
    loop, _ = wait_for(lambda: served.server._server._running)
    away, back = threading.Event(), threading.Event()

    def look_away() -> None:
        away.set()
        back.wait(60)

    loop.call_soon_threadsafe(look_away)
    assert away.wait(60)
    try:
        yield
    finally:
        back.set()


def connect_at_once(served: Served, sent: bytes, window: int = 0) -> socket.socket:
    """A connection on which everything that is sent first arrives as soon as it is accepted."""
    with looking_away(served):
        return connect(served, sent, window=window)


@contextmanager
def crowd(served: Served, count: int, sent: bytes = b"", window: int = 0) -> Iterator[list[socket.socket]]:
    """So many connections that stay open, as far as the server lets them."""
    with ExitStack() as stack:
        yield [stack.enter_context(closing(connect(served, sent, window=window))) for _ in range(count)]


def ended(one: socket.socket) -> bool:
    """Read to the end; whether the server ended the connection within the time limit of the socket."""
    with contextlib.suppress(ConnectionError):
        while one.recv(1 << 16):
            pass
    return True


def alive(one: socket.socket) -> bool:
    """Whether an idle connection is still open."""
    return not select.select([one], [], [], 0)[0]


def answer(one: socket.socket) -> bytes:
    """The status line and headers that arrive."""
    raw = b""
    while b"\r\n\r\n" not in raw:
        raw += (more := one.recv(1 << 16))
        assert more, raw
    return raw


def fill_status(served: Served, streams: int = 10_000) -> None:
    """Let `status` be an answer of some hundred kilobytes."""
    pending = served.live_status.pending
    assert pending is not None
    seen = next(iter(pending.seen.values()))
    names = [f"stream-{number}" for number in range(streams)]
    served.live_status.update(
        structs.replace(pending, seen=dict.fromkeys(names, seen), streams=dict.fromkeys(names, 1))
    )


def files() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))
