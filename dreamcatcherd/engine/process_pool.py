"""Tasks in processes of this machine."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import signal
import threading
from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from multiprocessing.connection import wait
from typing import TypeVar

from dreamcatcherd.core.errors import RetryableError
from dreamcatcherd.engine.pools import AHEAD, Function, Task, said_by, task_failure
from dreamcatcherd.engine.tracker import start_tracker

_Tag = TypeVar("_Tag")

DEATHS_MOST = 3
"""How often a task is run once more whose worker died, before the task counts as the cause."""


class ProcessPool:
    """Tasks run in processes of this machine. A process that dies is replaced, and its task is run again."""

    shares = True

    def __init__(self, workers: int) -> None:
        self.workers = workers
        self._executor: ProcessPoolExecutor | None = None

    def run(self, function: Function, tasks: Iterable[Task[_Tag]]) -> Iterator[tuple[_Tag, bytes]]:
        source = iter(tasks)
        ahead: deque[tuple[_Tag, bytes, Future[bytes]]] = deque()
        lost = 0
        while True:
            while len(ahead) < AHEAD * self.workers and (task := next(source, None)) is not None:
                ahead.append((*task, self._submit(function, task[1])))
            if not ahead:
                return
            tag, _, future = ahead[0]
            try:
                result = future.result()
            except BrokenProcessPool as error:
                # The executor does not say whose worker died: all that is not done is run again, first the oldest.
                lost += 1
                if lost > DEATHS_MOST:
                    raise _lost_too_often() from error
                self.close()
                ahead = deque((tag, raw, self._again(function, raw, future)) for tag, raw, future in ahead)
                continue
            except Exception as error:
                raise task_failure(error) from error
            lost = 0
            ahead.popleft()
            yield tag, result

    def _submit(self, function: Function, argument: bytes) -> Future[bytes]:
        """A task under way. One that cannot be given to a worker has failed, and says so when its turn comes: results
        before it may be done."""
        try:
            return self._opened().submit(function, argument)
        except BrokenProcessPool as error:
            return _failed(error)
        except Exception as error:
            cause = f"a worker process could not be started: {said_by(error)}"
            remedy = 'look at the limits of processes, open files and memory; or use [engine] kind = "inline"'
            return _failed(RetryableError(cause, remedy))

    def _opened(self) -> ProcessPoolExecutor:
        if self._executor is None:
            start_tracker()
            # No fork: the daemon has threads, and a lock that one of them held would stay held in the child.
            context = multiprocessing.get_context("forkserver")
            context.set_forkserver_preload(["dreamcatcherd.engine.tasks"])
            self._executor = ProcessPoolExecutor(self.workers, context, _begin)
        return self._executor

    def _again(self, function: Function, argument: bytes, future: Future[bytes]) -> Future[bytes]:
        done = future.done() and not future.cancelled() and future.exception() is None
        return future if done else self._submit(function, argument)

    def close(self) -> None:
        """Let go of the workers; tasks that have not begun are dropped, and those that have are waited for: the library
        may otherwise fail at the end of the process."""
        if self._executor is not None:
            self._executor.shutdown(wait=True, cancel_futures=True)
            self._executor = None


def _failed(error: Exception) -> Future[bytes]:
    future: Future[bytes] = Future()
    future.set_exception(error)
    return future


def _begin() -> None:
    """Prepare a worker: Ctrl-C is for the process that asked, and without that process nothing is left to do."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    parent = multiprocessing.parent_process()
    if parent is not None:
        threading.Thread(target=_end_with, args=(parent.sentinel,), daemon=True).start()


def _end_with(sentinel: int) -> None:
    """End when the parent does: killed, it cannot say so, and its workers would wait for ever."""
    with contextlib.suppress(OSError):
        wait([sentinel])
    os._exit(0)


def _lost_too_often() -> RetryableError:
    cause = f"a worker process died {DEATHS_MOST + 1} times in a row on the same tasks"
    return RetryableError(cause, "look whether memory ran out (dmesg); lower [engine] workers, or use kind inline")
