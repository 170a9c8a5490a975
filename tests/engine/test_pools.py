"""Pools: results in the order of the tasks, workers that die, tasks that raise, a parent that is killed."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from dreamcatcherd.core.errors import FatalError, RetryableError
from dreamcatcherd.engine import process_pool
from dreamcatcherd.engine.pools import AHEAD, InlinePool, Pool
from dreamcatcherd.engine.process_pool import ProcessPool
from dreamcatcherd.engine.wire import from_bytes, to_bytes

pytestmark = pytest.mark.xdist_group("engine")


def reversed_bytes(raw: bytes) -> bytes:
    return raw[::-1]


def dying_once(raw: bytes) -> bytes:
    """Kill the worker, unless the file that is named says that it was done before."""
    mark = Path(raw.decode())
    if not mark.exists():
        mark.touch()
        os.kill(os.getpid(), signal.SIGKILL)
    return raw


def dying(raw: bytes) -> bytes:
    os.kill(os.getpid(), signal.SIGKILL)
    return raw


def raising(raw: bytes) -> bytes:
    with Path(raw.decode()).open("a") as file:
        file.write("tried\n")
    raise ValueError("no such thing")


def slow_if_first(raw: bytes) -> bytes:
    if raw == b"0":
        time.sleep(0.5)
    return raw


@pytest.mark.parametrize("kind", ["inline", "processes"])
def test_results_come_in_order_and_tasks_are_made_a_few_ahead(kind: str, processes: Pool) -> None:
    """A slow worker delays the results and does not change their order; tasks are not all made at once."""
    pool = InlinePool() if kind == "inline" else processes
    made: list[int] = []

    def tasks() -> Iterator[tuple[int, bytes]]:
        for number in range(40):
            made.append(number)
            yield number, str(number).encode()

    for count, (tag, result) in enumerate(pool.run(slow_if_first, tasks())):
        assert (tag, result) == (count, str(count).encode())
        assert len(made) <= count + AHEAD * pool.workers + 1
    assert made == list(range(40))


def test_the_task_of_a_killed_worker_is_run_again(tmp_path: Path) -> None:
    """SIGKILL to a worker costs time alone: every result is there, in order."""
    pool = ProcessPool(2)
    tasks = [(at, str(tmp_path / f"mark-{at}").encode()) for at in range(3)]
    assert list(pool.run(dying_once, tasks)) == tasks
    pool.close()


def test_a_worker_that_dies_between_two_results_is_replaced() -> None:
    """Results that are done already, and a task that is to be given to the dead worker: all of them are there."""
    pool = ProcessPool(1)
    results = pool.run(pid_of, ((at, b"") for at in range(3 * AHEAD)))
    pids = [int(next(results)[1])]
    os.kill(pids[0], signal.SIGKILL)
    while Path(f"/proc/{pids[0]}").exists():  # it is waited for once the loss is known
        time.sleep(0.01)
    pids += [int(raw) for _, raw in results]
    pool.close()
    assert len(pids) == 3 * AHEAD
    assert pids[-1] != pids[0]


def test_processes_that_cannot_be_started(monkeypatch: pytest.MonkeyPatch) -> None:
    """Too many processes or open files: the work fails with the reason and where to look."""

    def refusing(*_: object) -> None:
        raise OSError(errno.EAGAIN, "Resource temporarily unavailable")

    monkeypatch.setattr(process_pool, "ProcessPoolExecutor", refusing)
    pool = ProcessPool(1)
    with pytest.raises(RetryableError, match=r"could not be started: BlockingIOError.*unavailable; look at the limits"):
        list(pool.run(pid_of, [(0, b"")]))


def test_a_task_that_kills_every_worker_is_given_up() -> None:
    """A task whose worker dies again and again, as for want of memory, ends the work with what to look at."""
    pool = ProcessPool(1)
    with pytest.raises(RetryableError, match=r"died 4 times in a row.*memory"):
        list(pool.run(dying, [(0, b"")]))
    pool.close()


def test_a_task_that_raises_is_not_tried_again(tmp_path: Path, processes: Pool) -> None:
    """Its error is one line of what happened, and exit code 3."""
    tried = tmp_path / "tried"
    with pytest.raises(RetryableError, match="a task of the engine failed: ValueError: no such thing") as found:
        list(processes.run(raising, [(0, str(tried).encode())]))
    assert found.value.exit_code == 3
    assert tried.read_text() == "tried\n"


def test_workers_end_with_a_parent_that_is_killed(tmp_path: Path) -> None:
    """A primary that is killed leaves no processes behind."""
    program = tmp_path / "parent.py"
    program.write_text(
        "import os, time\n"
        "from dreamcatcherd.engine.process_pool import ProcessPool\n"
        "from tests.engine.test_pools import pid_of\n"
        "if __name__ == '__main__':\n"
        "    for _, raw in ProcessPool(1).run(pid_of, [(0, b'')]):\n"
        "        print(raw.decode(), flush=True)\n"
        "        time.sleep(600)\n"
    )
    root = Path(__file__).parents[2]
    with subprocess.Popen(
        [sys.executable, str(program)], stdout=subprocess.PIPE, text=True, env={**os.environ, "PYTHONPATH": str(root)}
    ) as parent:
        assert parent.stdout is not None
        worker = int(parent.stdout.readline())
        assert Path(f"/proc/{worker}").exists()
        parent.kill()
    while _runs(worker):
        time.sleep(0.05)


@pytest.mark.parametrize("kind", ["processes", "dask"])
def test_a_parent_that_leaves_at_once_writes_nothing(kind: str, tmp_path: Path) -> None:
    """A daemon that is stopped in the middle of a close leaves without letting go of anything, and its stderr is its
    log: neither Python nor a worker writes there."""
    program = tmp_path / "parent.py"
    program.write_text(
        "import os\n"
        "from dreamcatcherd.engine.selection import Engine\n"
        "from tests.engine.test_pools import slow_if_first\n"
        "if __name__ == '__main__':\n"
        f"    with Engine({kind!r}, 1).pool(None, None) as pool:\n"
        "        for _ in pool.run(slow_if_first, [(0, b'1'), (1, b'0'), (2, b'0')]):\n"
        "            os._exit(0)\n"
    )
    env = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
    # It returns once the last process that could write has ended.
    done = subprocess.run([sys.executable, str(program)], capture_output=True, text=True, env=env, check=True)
    assert (done.stdout, done.stderr) == ("", "")


def _runs(pid: int) -> bool:
    try:
        return " Z " not in Path(f"/proc/{pid}/stat").read_text()
    except FileNotFoundError:
        return False


def pid_of(_: bytes) -> bytes:
    return str(os.getpid()).encode()


def test_nothing_but_listed_types_is_read() -> None:
    """Bytes that name a function, or that are cut short, are refused with one line."""
    for raw in (b"cos\nsystem\n(S'true'\ntR.", to_bytes([1, 2])[:-1], to_bytes(Path("x"))):
        with pytest.raises(FatalError, match="a worker's answer cannot be read"):
            from_bytes(raw)
