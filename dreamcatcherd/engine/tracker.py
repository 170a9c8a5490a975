"""The process of Python's own that removes the semaphores of a process which ended without doing so."""

from __future__ import annotations

import sys
from multiprocessing import resource_tracker

_QUIET = "ignore:resource_tracker"


def start_tracker() -> None:
    """Start it, unless it runs, so that it says nothing: a daemon may leave in the middle of a close, and its stderr
    has log lines alone. Python offers no other way than the options that it hands on to processes of its own."""
    sys.warnoptions.append(_QUIET)
    try:
        resource_tracker.ensure_running()
    finally:
        sys.warnoptions.remove(_QUIET)
