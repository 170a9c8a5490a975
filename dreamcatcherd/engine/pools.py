"""Where tasks run: what every pool of workers does, and the pool that is this process. `process_pool` and `dask_pool`
have the other kinds.

A task is a function of bytes that a module has under its own name. Results come in the order of the tasks, and only a
few tasks are under way at a time, so memory does not grow with their number."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Protocol, TypeVar

from dreamcatcherd.core.errors import DreamcatcherError, RetryableError

Function = Callable[[bytes], bytes]
_Tag = TypeVar("_Tag")
Task = tuple[_Tag, bytes]
"""What a caller knows a task by, and the argument of its function."""

AHEAD = 3
"""How many tasks for each worker are under way or done and not asked for: enough that none waits for another."""


class Pool(Protocol):
    """Workers for one piece of work."""

    @property
    def workers(self) -> int:
        """How many tasks run at the same time."""

    @property
    def shares(self) -> bool:
        """Whether the workers read the repository where it is. Otherwise tasks carry the objects that they need."""

    def run(self, function: Function, tasks: Iterable[Task[_Tag]]) -> Iterator[tuple[_Tag, bytes]]:
        """The result of each task, in the order of the tasks. RetryableError if workers or their scheduler are lost, or
        if a task raises."""

    def close(self) -> None:
        """Let go of the workers."""


class InlinePool:
    """Tasks run in this process, one after the other."""

    workers = 1
    shares = True

    def run(self, function: Function, tasks: Iterable[Task[_Tag]]) -> Iterator[tuple[_Tag, bytes]]:
        for tag, argument in tasks:
            yield tag, function(argument)

    def close(self) -> None:
        pass


def task_failure(error: Exception) -> DreamcatcherError:
    """What to raise for a task that raised: it would do so again, so it is not repeated."""
    if isinstance(error, DreamcatcherError):
        return error
    cause = f"a task of the engine failed: {said_by(error)}"
    return RetryableError(cause, 'use [engine] kind = "inline", and report this')


def said_by(error: BaseException) -> str:
    """An error of a library in one line, with its type."""
    said = str(error).strip().splitlines()
    return f"{type(error).__name__}: {said[0][:200]}" if said else type(error).__name__
