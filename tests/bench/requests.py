"""`python -m tests.bench.requests URL COUNT CONNECTIONS`: asks a daemon for its page and API, over and over.

A process of its own at the lowest priority, since it stands for other machines. Prints how many answers had which
code."""

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
    "/api/v1/status",
    "/api/v1/explain?collection=posts&key=1",
    "/api/v1/conflicts",
    "/metrics",
    "/api/v1/streams",
    "/api/v1/diff?from=1&to=2&limit=50",
    "/static/page.css",
)


async def client(host: str, port: int, numbers: count[int], most: int, codes: Counter[str]) -> None:
    """One connection that asks for one path after another until so many were asked for by all."""
    reader, writer = await asyncio.open_connection(host, port)
    while (number := next(numbers)) < most:
        path = PATHS[number % len(PATHS)]
        writer.write(f"GET {path} HTTP/1.1\r\nHost: {host}\r\n\r\n".encode())
        head = await reader.readuntil(b"\r\n\r\n")
        codes[head[9:12].decode()] += 1
        length = next(line for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:"))
        await reader.readexactly(int(length.partition(b":")[2]))
    writer.close()
    await writer.wait_closed()


async def load(url: str, most: int, connections: int) -> Counter[str]:
    parts = urlsplit(url)
    codes: Counter[str] = Counter()
    numbers = count()
    await asyncio.gather(
        *(client(parts.hostname or "", parts.port or 80, numbers, most, codes) for _ in range(connections))
    )
    return codes


if __name__ == "__main__":
    os.nice(19)
    found = asyncio.run(load(sys.argv[1], int(sys.argv[2]), int(sys.argv[3])))
    print(" ".join(f"{code}:{number}" for code, number in sorted(found.items())))
