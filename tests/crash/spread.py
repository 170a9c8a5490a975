"""Trials spread over processes, each with places of its own.

In a module of its own, because a new process does not load `__main__` again."""

from __future__ import annotations

import atexit
import functools
import multiprocessing
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from pathlib import Path

from tests.crash.scenes import SCENES, Place
from tests.crash.trials import Judge, Kind, Trial
from tests.e2e.tools import close_warm

Task = tuple[str, int, list[Kind]]
"""A scene's name, the number of a change, and the kinds of one fault that are tried there."""


@functools.cache
def judge_of(scene: str) -> Judge:
    """The scene in a folder of this process."""
    folder = Path(tempfile.mkdtemp(prefix="crash-"))
    place = Place(next(one for one in SCENES if one.name == scene), folder / "place")
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    atexit.register(place.close)
    atexit.register(close_warm)
    return Judge(place)


def _work(task: Task) -> list[Trial]:
    scene, at, kinds = task
    return judge_of(scene).trials(kinds, at)


def spread(tasks: Sequence[Task], jobs: int) -> Iterator[list[Trial]]:
    """Make all trials in so many processes; each task's as it is done."""
    with ProcessPoolExecutor(jobs, multiprocessing.get_context("spawn")) as pool:
        for done in as_completed([pool.submit(_work, task) for task in tasks]):
            yield done.result()
