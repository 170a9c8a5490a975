"""What belongs to the process and not to a test: no test may leave it changed.

Tests share a process, and which ones depends on how fast the others were. One that leaves the log, a handler or a
variable changed makes another fail, now and then, far from the cause."""

from __future__ import annotations

import logging
import os
import signal
import sys
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import structlog

SIGNALS = (signal.SIGCHLD, signal.SIGHUP, signal.SIGINT, signal.SIGPIPE, signal.SIGTERM, signal.SIGUSR1)
SET_BY_LIBRARIES = {
    "PYTEST_CURRENT_TEST",
    # Dask sets these in the process that starts its workers, also when it starts a lost one again.
    "MALLOC_TRIM_THRESHOLD_",
    "MKL_NUM_THREADS",
    "OMP_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "PYTHONHASHSEED",
    "__DASK_PARENT_PID",
}


def process_state() -> Mapping[str, object]:
    """What tests of one process share, by name."""
    return {
        "the configuration of structlog": structlog.get_config(),
        "the handlers of the root logger": [
            one for one in logging.root.handlers if not type(one).__module__.startswith("_pytest")
        ],
        "the level of the logger uvicorn.error": logging.getLogger("uvicorn.error").level,
        "sys.excepthook": sys.excepthook,
        "sys.unraisablehook": sys.unraisablehook,
        "threading.excepthook": threading.excepthook,
        "the folder of the process": Path.cwd(),
        "environment variables": {name: value for name, value in os.environ.items() if name not in SET_BY_LIBRARIES},
        "signal handlers": {one.name: signal.getsignal(one) for one in SIGNALS},
        "blocked signals": signal.pthread_sigmask(signal.SIG_BLOCK, ()),
    }


def changed(before: Mapping[str, object], after: Mapping[str, object]) -> list[str]:
    """The names of what differs between two states."""
    return [name for name, value in before.items() if after[name] != value]


@contextmanager
def log_put_back() -> Iterator[None]:
    """The log of the process as it was, after a block that sets it up."""
    handlers, level = list(logging.root.handlers), logging.getLogger("uvicorn.error").level
    yield
    structlog.reset_defaults()
    logging.root.handlers[:] = handlers
    logging.getLogger("uvicorn.error").setLevel(level)
