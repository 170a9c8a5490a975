"""Memory that a close needed and nothing needs after it: given back to the system, for whatever else runs there."""

from __future__ import annotations

import ctypes
from collections.abc import Callable


def _found() -> Callable[[int], object]:
    try:
        # glibc keeps freed memory: without this the daemon would hold the peak of its largest frame for ever.
        trim: Callable[[int], object] = ctypes.CDLL(None).malloc_trim
    except (OSError, AttributeError):  # only glibc has it, and keeps what is free
        return lambda _: None
    return trim


_trim = _found()


def give_back() -> None:
    """Return free memory to the system."""
    _trim(0)
