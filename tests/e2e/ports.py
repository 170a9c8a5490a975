"""A port that is taken, beside ports that stay free until they are asked for by number."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager

from tests.e2e.proxy import HOST

FIRST, LAST, APART = 20_000, 32_000, 32
"""Below those that systems give to whoever asks for any port; processes that run side by side begin at others."""


@contextmanager
def taken_port() -> Iterator[int]:
    """A port of 127.0.0.1 that something listens on. Those next above it are given to nobody else meanwhile."""
    with _listening() as found:
        yield found.getsockname()[1]


def _listening() -> socket.socket:
    start = os.getpid() * APART
    for number in range(start, start + LAST - FIRST, APART):
        try:
            return socket.create_server((HOST, FIRST + number % (LAST - FIRST)))
        except OSError:
            continue
    raise AssertionError(f"no port from {FIRST} to {LAST} is free")
