"""`python -m tests.bench.requests URL COUNT CONNECTIONS PAUSE`: asks a daemon for its page and API, over and over.

A process of its own at the lowest priority, since it stands for other machines. A third of the clients take gzip, and a
third ask with the ETag that they got before, as a dashboard does. Each client waits for PAUSE seconds between two
requests. Prints how many answers had which code."""

from __future__ import annotations

import asyncio
import os
import sys
from collections import Counter
from itertools import count
from urllib.parse import urlsplit

PATHS = (
    "/api/v1/status",
    "/",
    "/api/v1/log",
    "/api/v1/collections/posts?limit=50",
    "/api/v1/status",
    "/api/v1/explain?collection=posts&key=1",
    "/api/v1/search?q=quorum",
    "/api/v1/conflicts",
    "/metrics",
    "/api/v1/entity?collection=posts&key=7",
    "/api/v1/streams",
    "/api/v1/collections",
    "/api/v1/diff?from=1&to=2&limit=50",
    "/api/v1/frames/1",
    "/static/page.css",
    "POST /api/v1/validate",
    "/api/v1/receipt?delta=state/stream_deltas/1/nothing.json",
    "/api/v1/collections/posts?limit=50&frame=1",
)
DELTA = b'{"frame": 1, "utc": "2026-01-01T00:00:00Z", "stream_id": "asks", "posts_created": [{"number": 1}]}'


async def client(
    host: str, port: int, numbers: count[int], most: int, codes: Counter[str], kind: int, pause_s: float
) -> None:
    """One connection that asks for one path after another until so many were asked for by all."""
    reader, writer = await asyncio.open_connection(host, port)
    tags: dict[str, str] = {}
    while (number := next(numbers)) < most:
        path = PATHS[number % len(PATHS)]
        writer.write(request_of(path, host, kind, tags))
        head = await reader.readuntil(b"\r\n\r\n")
        codes[head[9:12].decode()] += 1
        headers = dict(line.lower().split(": ", 1) for line in head.decode().split("\r\n")[1:] if line)
        if kind % 3 == 1 and "etag" in headers:
            tags[path] = next(line[6:] for line in head.decode().split("\r\n") if line.lower().startswith("etag: "))
        await reader.readexactly(int(headers.get("content-length", "0")))
        await asyncio.sleep(pause_s)
    writer.close()
    await writer.wait_closed()


def request_of(path: str, host: str, kind: int, tags: dict[str, str]) -> bytes:
    """The bytes of one request."""
    method, _, where = path.rpartition(" ")
    lines = [f"{method or 'GET'} {where} HTTP/1.1", f"Host: {host}"]
    if kind % 3 == 0:
        lines.append("Accept-Encoding: gzip")
    if path in tags:
        lines.append(f"If-None-Match: {tags[path]}")
    body = DELTA if method else b""
    if method:
        lines.append(f"Content-Length: {len(body)}")
    return "\r\n".join([*lines, "", ""]).encode() + body


async def load(url: str, most: int, connections: int, pause_s: float) -> Counter[str]:
    parts = urlsplit(url)
    codes: Counter[str] = Counter()
    numbers = count()
    await asyncio.gather(
        *(
            client(parts.hostname or "", parts.port or 80, numbers, most, codes, kind, pause_s)
            for kind in range(connections)
        )
    )
    return codes


if __name__ == "__main__":
    os.nice(19)
    found = asyncio.run(load(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), float(sys.argv[4])))
    print(" ".join(f"{code}:{number}" for code, number in sorted(found.items())))
