"""Python's cycle collector while a frame is read and closed."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def collector_off() -> Iterator[None]:
    """Without the cycle collector: reading and closing make millions of objects that all live to their end, none of
    them cyclic. A context manager, and a decorator."""
    was = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was:
            gc.enable()
