"""A Dask cluster: versions, a lost scheduler, lost workers."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
import warnings
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path
from typing import Any

import pytest
from distributed import Future

from dreamcatcherd.cli.engines import chosen_engine
from dreamcatcherd.config_tables import EngineConfig
from dreamcatcherd.core.errors import RetryableError, UsageError
from dreamcatcherd.daemon.engines import check_engine
from dreamcatcherd.engine import dask_pool, usable
from dreamcatcherd.engine.selection import Engine
from tests.engine.test_pools import pid_of, raising, reversed_bytes

pytestmark = pytest.mark.xdist_group("engine")


class Own:
    """A scheduler of its own for one test, with workers that can be killed."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        file = folder / "scheduler.json"
        words = ["scheduler", "--host", "127.0.0.1", "--port", "0", "--no-dashboard", "--scheduler-file", str(file)]
        self.processes = [self._start(words)]
        while not (file.exists() and file.read_text().endswith("}")):
            assert self.processes[0].poll() is None
            time.sleep(0.05)
        self.address: str = json.loads(file.read_text())["address"]

    def add_worker(self) -> subprocess.Popen[bytes]:
        words = ["worker", self.address, "--nthreads", "1", "--no-nanny", "--no-dashboard"]
        self.processes.append(self._start(words))
        return self.processes[-1]

    def _start(self, words: list[str]) -> subprocess.Popen[bytes]:
        root = str(Path(__file__).parents[2])
        with (self._folder / "dask.log").open("ab") as log:
            return subprocess.Popen(
                [sys.executable, "-m", "dask", *words], stdout=log, stderr=log, cwd=self._folder,
                env={**os.environ, "PYTHONPATH": root},
            )  # fmt: skip


@pytest.fixture
def own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Own]:
    monkeypatch.setattr(dask_pool, "WORKERLESS_S", 300.0)  # a worker takes long to start on a busy machine
    found = Own(tmp_path)
    yield found
    for process in found.processes:
        process.kill()
        process.wait()


def test_a_worker_with_another_version_is_refused(scheduler: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Before any work: both versions and the worker are named, and what to install where."""
    theirs = metadata.version("dreamcatcherd")
    monkeypatch.setattr(dask_pool, "own_version", lambda: "9.9.9")
    refused = rf"worker tcp://.* has dreamcatcherd {re.escape(theirs)}, and this is 9\.9\.9; install"
    with pytest.raises(RetryableError, match=refused), Engine("dask", 1, scheduler).pool(None, None):
        pass


def test_a_task_that_raises_fails_once(scheduler: str, tmp_path: Path) -> None:
    """Dask does not try it again, and the error is that of the other engines."""
    tried = tmp_path / "tried"
    with Engine("dask", 1, scheduler).pool(None, None) as pool:
        with pytest.raises(RetryableError, match="a task of the engine failed: ValueError: no such thing"):
            list(pool.run(raising, [(0, str(tried).encode())]))
        assert tried.read_text() == "tried\n"
        assert list(pool.run(reversed_bytes, [("a", b"12")])) == [("a", b"21")]


def test_a_task_that_runs_out_of_time_is_not_waited_for(scheduler: str) -> None:
    """A TimeoutError of the task is its failure, and not one of waiting for its result."""
    with (
        Engine("dask", 1, scheduler).pool(None, None) as pool,
        pytest.raises(RetryableError, match="a task of the engine failed: TimeoutError"),
    ):
        list(pool.run(timing_out, [(0, b"")]))


def timing_out(_: bytes) -> bytes:
    raise TimeoutError("too late")


def test_a_result_that_comes_as_the_wait_ends_is_not_lost(scheduler: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """On a machine under load the library may answer a wait at its very end with an UnboundLocalError of its own: the
    wait goes on."""
    real, calls = Future.result, iter([True])

    def racing(self: Any, timeout: float | None = None) -> Any:
        if next(calls, False):
            raise UnboundLocalError("cannot access local variable 'result'")
        return real(self, timeout)

    monkeypatch.setattr(Future, "result", racing)
    with Engine("dask", 1, scheduler).pool(None, None) as pool:
        assert list(pool.run(reversed_bytes, [("a", b"12")])) == [("a", b"21")]


def test_a_large_argument_gives_no_warning(scheduler: str) -> None:
    """Tasks carry what they work on; the library would advise on stderr to load it otherwise."""
    large = bytes(11 * 2**20)
    with Engine("dask", 1, scheduler).pool(None, None) as pool, warnings.catch_warnings():
        warnings.simplefilter("error")
        assert list(pool.run(reversed_bytes, [("a", large)])) == [("a", large)]


def test_lost_workers_and_a_lost_scheduler(own: Own, monkeypatch: pytest.MonkeyPatch) -> None:
    """The task of a killed worker is done by another; without workers, or without the scheduler, the work fails with a
    cause and a remedy, and exit code 3."""
    first = own.add_worker()
    with Engine("dask", 1, own.address).pool(None, None) as pool:
        results = pool.run(slow_pid, ((at, b"") for at in range(6)))
        assert int(next(results)[1]) == first.pid
        first.send_signal(signal.SIGKILL)
        second = own.add_worker()
        assert [int(raw) for _, raw in results][-1] == second.pid
        monkeypatch.setattr(dask_pool, "WORKERLESS_S", 0.5)
        second.send_signal(signal.SIGKILL)
        second.wait()
        with pytest.raises(RetryableError, match="has had no workers for"):
            list(pool.run(pid_of, [(0, b"")]))
        own.processes[0].kill()
        with pytest.raises(RetryableError, match="is lost or cannot be reached") as found:
            list(pool.run(pid_of, [(0, b"")]))
        assert found.value.exit_code == 3


def test_a_scheduler_that_is_lost_while_the_results_are_worked_on(own: Own) -> None:
    """The client has closed by the time that the next task is sent: that is a lost scheduler too."""
    own.add_worker()
    with Engine("dask", 1, own.address).pool(None, None) as pool:
        results = pool.run(reversed_bytes, ((at, b"12") for at in range(60)))
        assert next(results) == (0, b"21")
        client = pool._client  # type: ignore[attr-defined]
        client._timeout = 3.0  # for how long it looks for its scheduler
        own.processes[0].kill()
        while client.status != "closed":
            time.sleep(0.1)
        with pytest.raises(RetryableError, match="is lost or cannot be reached") as found:
            list(results)
        assert found.value.exit_code == 3


def slow_pid(_: bytes) -> bytes:
    time.sleep(0.2)
    return str(os.getpid()).encode()


def test_a_scheduler_that_is_not_there(monkeypatch: pytest.MonkeyPatch) -> None:
    """The address and the remedy are named."""
    monkeypatch.setattr(dask_pool, "CONNECT_S", 0.5)
    lost = pytest.raises(RetryableError, match=r"the scheduler tcp://127\.0\.0\.1:1 is lost or cannot be reached")
    with lost, Engine("dask", 1, "tcp://127.0.0.1:1").pool(None, None):
        pass


def test_without_the_extra_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    """While a frame is closed, an engine without its library is a failure for now, as that of any part of an engine: a
    daemon goes on. A configuration or option that names it is refused before."""
    monkeypatch.setitem(sys.modules, "dreamcatcherd.engine.dask_pool", None)
    monkeypatch.setattr(usable, "find_spec", lambda _: None)
    install = r"needs a library that is not installed: .*; pip install 'dreamcatcherd\[dask\]'"
    with pytest.raises(RetryableError, match=install), Engine("dask").pool(None, None):
        pass
    with pytest.raises(UsageError, match=install):
        check_engine(EngineConfig("dask"))
    with pytest.raises(UsageError, match=install):
        chosen_engine(None, None, "dask", None, None)
    check_engine(EngineConfig("processes"))
