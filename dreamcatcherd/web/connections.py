"""Connections of HTTP: how many are open at the same time, their time limits, and which one is closed for a new one.

uvicorn limits neither how long a request takes to arrive nor how long an answer takes to be read, and it does not count
a connection before the TLS handshake has ended."""

from __future__ import annotations

import asyncio
import math
from collections import Counter
from collections.abc import Iterable
from typing import Any

import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol
from uvicorn.server import ServerState

from dreamcatcherd.web.bodies import BODY_S

CONNECTIONS = 256
"""How many connections are open at the same time. Each needs a file descriptor, of which a process usually has 1,024,
and git needs some too."""

HEAD_S = 10.0
"""The time limit for a complete request head, from when the connection opened (the TLS handshake included) or from the
previous answer. A request with a body may take `BODY_S` longer."""

IDLE_S = 5
"""How long a connection is kept after an answer if nothing at all arrives."""

UNREAD_S = 60.0
"""How long a client may leave an answer unread."""

UNREAD_BYTES = 64 * 2**20
"""The limit of unread bytes of answers on all connections together."""


class Connection(H11Protocol):
    """One connection, in `opened` from when it is accepted until it is lost.

    If there are `CONNECTIONS` already, an older one is closed for it: of those that wait for a request, or for the
    client to read an answer, the oldest one of the address that has most. A connection with a complete request in
    progress is closed only if there is no other."""

    def __init__(
        self,
        opened: set[Connection],
        config: uvicorn.Config,
        server_state: ServerState,
        app_state: dict[str, Any],
        _loop: asyncio.AbstractEventLoop | None = None,
    ) -> None:
        super().__init__(config, server_state, app_state, _loop)
        self._opened = opened
        self.since = self.loop.time()
        self._timer = self.loop.call_later(HEAD_S, self._check)
        self._made = False
        # asyncio creates the protocol in the task that accepts the connection, which ends after the TLS handshake.
        self._accepting = asyncio.current_task()
        if self._accepting is not None:
            self._accepting.add_done_callback(self._accepted)
        if config.ssl is not None:
            self._enter()

    def _enter(self) -> None:
        while len(self._opened) >= CONNECTIONS:
            next_to_close(self._opened).close()
        self._opened.add(self)

    @property
    def address(self) -> str:
        """The client's address without its port; empty before the TLS handshake has ended."""
        return self.client[0] if self.client else ""

    @property
    def answering(self) -> bool:
        """Whether a complete request is in progress. It ends when the last byte is handed to the transport, read or
        not."""
        return self._in_progress and not self.cycle.more_body

    @property
    def _in_progress(self) -> bool:
        return self.cycle is not None and not self.cycle.response_complete and not self.transport.is_closing()

    @property
    def unread(self) -> int:
        """Bytes that the client has not read yet, those in the kernel's buffers excluded."""
        return self.transport.get_write_buffer_size() if self._made else 0

    def close(self) -> None:
        """Close it immediately, whatever has not been sent."""
        self._gone()
        if self._made:
            self.transport.abort()
        elif self._accepting is not None:
            self._accepting.cancel()

    def _gone(self) -> None:
        self._opened.discard(self)
        self._timer.cancel()

    def _accepted(self, _: asyncio.Task[Any]) -> None:
        if not self._made:  # the handshake failed
            self._gone()

    def _check(self) -> None:
        """Close it if its time is over, else check again when that can be the case."""
        left = self.since + self._limit_s() - self.loop.time()
        if left <= 0:
            self.close()
        else:
            self._timer = self.loop.call_later(min(left, HEAD_S), self._check)

    def _limit_s(self) -> float:
        if self.answering:
            return UNREAD_S if self.flow.write_paused else math.inf
        if self._in_progress:  # its body is still arriving
            return HEAD_S + BODY_S
        return UNREAD_S if self.unread else HEAD_S

    # What uvicorn and asyncio call -----------------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._made = True
        if self.config.ssl is None:  # with TLS it is counted since `__init__`, although its address is known only now
            self._enter()

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        self._gone()

    def pause_writing(self) -> None:
        self.since = self.loop.time()
        super().pause_writing()

    def on_response_complete(self) -> None:
        self.since = self.loop.time()
        if self.unread:
            while sum(one.unread for one in self._opened) > UNREAD_BYTES:
                next_to_close(one for one in self._opened if one.unread).close()
        super().on_response_complete()


def next_to_close(connections: Iterable[Connection]) -> Connection:
    """The connection, of at least one, that is closed first."""
    found = list(connections)
    held = Counter(one.address for one in found)
    return min(found, key=lambda one: (one.answering, -held[one.address], one.since))
