"""The bodies of POST requests: read completely, within limits of size, time and memory, or not at all.

uvicorn has none of these limits. A handler gets a body only when its last byte has arrived."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from starlette.requests import ClientDisconnect, Request

from dreamcatcherd.core.errors import DreamcatcherError

BODY_S = 30.0
"""The time limit for a complete body, from when its request is answered."""

BODIES_AT_ONCE = 32
"""How many bodies are read or used at the same time. Further requests get 503, unless one of these makes room."""

SLOW_BODY_S = 1.0
"""A body that has been arriving for so long makes room for another one."""

DISCARDED_BYTES = 8 * 2**20
DISCARD_S = 5.0
"""How far beyond its limit a body is taken in, and for how long, before it is refused. Nothing of it is kept."""

BODIES_BYTES = 64 * 2**20
"""The limit of the bytes of all these bodies together: a body counts as it arrives, until its answer is made."""

_SEND_LESS = "send less, or use the dreamcatcherd command"


class BodyError(DreamcatcherError):
    """A body that is not taken, with the HTTP status code of the answer."""

    def __init__(self, code: int, cause: str, remedy: str) -> None:
        super().__init__(cause, remedy)
        self.code = code


class Bodies:
    """The bodies of one server, and how much memory they take."""

    def __init__(self) -> None:
        self.reading = 0
        self.bytes = 0
        self._arriving: dict[asyncio.Timeout, float] = {}  # and since when; the oldest one is first

    @asynccontextmanager
    async def read(self, request: Request, limit: int, remedy: str = _SEND_LESS) -> AsyncIterator[bytes]:
        """The body of a request, of `limit` bytes at most. It counts as held until the block ends. `remedy` is for a
        client that sent more.

        BodyError for one that is too large (413), encoded (415), slow (408) or cut off (400), and if there are too many
        at once (503). Content-Length only serves to refuse early: what counts are the bytes that arrive."""
        encoding = request.headers.get("content-encoding", "identity").strip().lower()
        if encoding != "identity":
            raise BodyError(415, "the body has a Content-Encoding", "send it as it is, without compression")
        # A client that waits for 100 Continue is told before it sends anything.
        declared = request.headers.get("content-length", "")
        if declared.isdecimal() and int(declared[:20]) > limit:
            await _discard(request, limit + DISCARDED_BYTES)
            raise _too_large(limit, remedy)
        if self.reading >= BODIES_AT_ONCE:
            self._make_room()
        self.reading += 1
        body = bytearray()
        try:
            await self._fill(request, limit, remedy, body)
            # It is held while it is used, too: what counts is how much memory bodies take at one time.
            yield bytes(body)
        finally:
            self.reading -= 1
            self.bytes -= len(body)

    def _make_room(self) -> None:
        """Give up the body that has been arriving longest; BodyError if none is slow.

        Otherwise a few clients that send a byte each, which need no signature and no token for it, would keep everybody
        else out for `BODY_S`."""
        now = asyncio.get_running_loop().time()
        slowest, since = next(iter(self._arriving.items()), (None, now))
        if slowest is None or now - since < SLOW_BODY_S:
            raise _crowded()
        del self._arriving[slowest]
        slowest.reschedule(now)

    async def _fill(self, request: Request, limit: int, remedy: str, body: bytearray) -> None:
        loop = asyncio.get_running_loop()
        ending = asyncio.timeout(BODY_S)
        try:
            async with ending:
                self._arriving[ending] = loop.time()
                async for piece in request.stream():
                    self.bytes += len(piece)
                    body += piece
                    if len(body) > limit:
                        await _discard(request, limit + DISCARDED_BYTES)
                        raise _too_large(limit, remedy)
                    if self.bytes > BODIES_BYTES:
                        raise _crowded()
        except TimeoutError as error:
            if ending not in self._arriving:
                raise _crowded() from error
            raise BodyError(
                408, f"the body took longer than {BODY_S:g} s", "send it faster, or a smaller one"
            ) from error
        except ClientDisconnect as error:  # nobody reads this answer; the cause is not this daemon's
            raise BodyError(400, "the body ended early", "send as many bytes as Content-Length says") from error
        finally:
            self._arriving.pop(ending, None)


async def _discard(request: Request, most: int) -> None:
    """Take in the rest of a body that is too long, up to `most` bytes, where the connection ends with the answer.

    A connection that is closed while its client sends is reset, and most clients then never see the answer. One that
    stays open is read by the server in any case."""
    if request.headers.get("connection", "").strip().lower() != "close" or "expect" in request.headers:
        return
    left = most
    with contextlib.suppress(TimeoutError, ClientDisconnect, RuntimeError):  # RuntimeError: nothing is left of it
        async with asyncio.timeout(DISCARD_S):
            async for piece in request.stream():
                left -= len(piece)
                if left < 0:
                    return


def _too_large(limit: int, remedy: str) -> BodyError:
    return BodyError(413, f"the body has more than {limit} bytes", remedy)


def _crowded() -> BodyError:
    return BodyError(503, "too many bodies at once", "ask again in a moment")
