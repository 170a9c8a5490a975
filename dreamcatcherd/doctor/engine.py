"""The check of `doctor` for an engine: whether a scheduler answers, and has workers of this version. Its workers are
asked for their versions and get no work."""

from __future__ import annotations

import os
from collections.abc import Iterator

from dreamcatcherd.config_tables import EngineConfig
from dreamcatcherd.core.errors import DreamcatcherError
from dreamcatcherd.core.report import Check, plural
from dreamcatcherd.daemon.engines import engine_of
from dreamcatcherd.engine.usable import ask_scheduler

_WAIT_S = 5.0
"""How long a scheduler may be without workers."""


def check_engine_reach(table: EngineConfig) -> Iterator[Check]:
    """Whether large frames can be spread as `[engine]` says; nothing if they are not."""
    if table.kind == "inline":
        return
    if table.scheduler is None:
        workers = plural(table.workers or len(os.sched_getaffinity(0)), "worker")
        what = f"{table.kind} with {workers} on this machine, for frames of more than {table.threshold:,} deltas"
        yield Check("engine", True, what)
        return
    try:
        threads = ask_scheduler(engine_of(table), _WAIT_S)
    except DreamcatcherError as error:
        yield Check("engine", False, error.cause, error.remedy)
    else:
        answer = f"answers, its workers have this version and {plural(threads, 'thread')} together"
        yield Check("engine", True, f"{table.scheduler} {answer}")
