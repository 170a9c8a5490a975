"""Compresses answers for clients that take gzip (docs/protocol.md#the-api).

Starlette's middleware compresses in the event loop, where an answer of 8 MiB would hold up every probe for a quarter of
a second. Here it is done in another thread, and zlib leaves the interpreter to others meanwhile."""

from __future__ import annotations

import asyncio
import gzip

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

COMPRESSED_BYTES = 1_000
"""Shorter answers are sent as they are: they fit one packet."""

LEVEL = 4
"""Twice the speed of the usual 6, for answers that are at most a tenth larger."""


class CompressionMiddleware:
    """Compresses complete bodies; an answer in several pieces, such as the events, passes as it is."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        wanted = takes_gzip(Headers(scope=scope).getlist("accept-encoding"))
        start: Message | None = None

        async def send_on(message: Message) -> None:
            nonlocal start
            if message["type"] == "http.response.start":
                # Held back until the body is known: its length and encoding are in the head.
                start = message
                MutableHeaders(scope=message).add_vary_header("Accept-Encoding")
                return
            if start is not None:
                if wanted and not message.get("more_body") and len(message["body"]) >= COMPRESSED_BYTES:
                    message = {**message, "body": await _compressed(start, message["body"])}
                await send(start)
                start = None
            await send(message)

        await self._app(scope, receive, send_on)


async def _compressed(start: Message, body: bytes) -> bytes:
    """The body compressed, and its headers changed to fit. The time in the head is none, so equal bodies stay equal."""
    found = await asyncio.to_thread(gzip.compress, body, LEVEL, mtime=0)
    headers = MutableHeaders(scope=start)
    headers["Content-Encoding"] = "gzip"
    headers["Content-Length"] = str(len(found))
    return found


def takes_gzip(accepted: list[str]) -> bool:
    """Whether Accept-Encoding names gzip, or `*`, and not with the quality 0."""
    found = {}
    for one in ",".join(accepted).lower().split(","):
        name, _, quality = one.partition(";")
        found[name.strip()] = quality.replace(" ", "")
    quality = found.get("gzip", found.get("*", "q=0"))
    return quality.removeprefix("q=").strip("0.") != "" if quality.startswith("q=") else True
