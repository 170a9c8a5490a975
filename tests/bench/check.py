"""What the server-side check costs a push: without it, with the full check, and by way of the daemon's socket.

The three take turns, so that a neighbour's load meets all of them. Processor time is that of git, of the hook and of
the processes that answer it."""

from __future__ import annotations

import contextlib
import json
import os
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

from dreamcatcherd.core.codec import utc_text
from dreamcatcherd.core.frames import Closing
from dreamcatcherd.imports.new_repository import create
from dreamcatcherd.observe.clock import wall_clock
from tests.bench.fleet import DAY
from tests.e2e.tools import clone, git

PUSHES = 40
AT_ONCE = 20
WAYS = ("without the check", "full check", "by socket")


class Cost(NamedTuple):
    """Seconds: by the clock, and of processor time."""

    wall: float
    cpu: float


@contextlib.contextmanager
def checking(repository: Path) -> Iterator[int]:
    """The process that answers hooks of a repository; its process id."""
    words = [sys.executable, "-P", "-m", "dreamcatcherd.hook.check_server", str(repository)]
    with subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as server:
        if server.stdout is None or server.stdout.readline() != "ready\n":
            raise AssertionError("no check by socket")
        yield server.pid
        server.terminate()


def processor_s(server: int | None) -> float:
    """The processor time of the ended processes of this one, and of the server and its workers, in seconds."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    total = used.ru_utime + used.ru_stime
    if server is None:
        return total
    for file in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            fields = file.read_text().rpartition(")")[2].split()
            if server in (int(file.parent.name), int(fields[1])):
                total += sum(map(int, fields[11:15])) / os.sysconf("SC_CLK_TCK")
    return total


def push(worker: Path, number: int, lane: str) -> None:
    git(worker, "push", "-q", "origin", f"{number_ref(number)}:refs/heads/dc/{lane}")


def number_ref(number: int) -> str:
    return f"refs/work/{number}"


def prepare(folder: Path, name: str, *, hook: bool) -> tuple[Path, Path]:
    """A repository and a clone with one commit for each push, on `refs/work/<number>`."""
    repository = folder / f"{name.replace(' ', '-')}.git"
    create(repository, 1, wall_clock(), Closing("manual"), hook=hook)
    worker = clone(repository, folder / f"{name.replace(' ', '-')}-worker")
    for number in range(PUSHES + 2 * AT_ONCE):
        git(worker, "checkout", "-q", "--detach", "origin/main")
        text = json.dumps({"frame": 1, "utc": utc_text(DAY), "stream_id": f"w{number}", "observations": [number]})
        path = worker / f"state/stream_deltas/1/w{number}.json"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        git(worker, "add", "-A")
        git(worker, "commit", "-q", "-m", "work")
        git(worker, "update-ref", number_ref(number), "HEAD")
    return repository, worker


def bench_check(folder: Path) -> None:
    """Pushes to lanes one after the other, then several at the same time; ratios to pushes without the check."""
    made = {way: prepare(folder, way, hook=way != WAYS[0]) for way in WAYS}
    with checking(made[WAYS[2]][0]) as server:
        one = {way: measured(made, way, server, range(0)) for way in WAYS}
        one = {way: Cost(0, 0) for way in WAYS}
        walls: dict[str, list[float]] = {way: [] for way in WAYS}
        for number in range(PUSHES):
            for way in WAYS:
                cost = measured(made, way, server, range(number, number + 1))
                walls[way].append(cost.wall)
                one[way] = Cost(0, one[way].cpu + cost.cpu)
        show("one push", {way: Cost(statistics.median(walls[way]), one[way].cpu / PUSHES) for way in WAYS})
        for first in (PUSHES, PUSHES + AT_ONCE):
            many = {way: measured(made, way, server, range(first, first + AT_ONCE)) for way in WAYS}
            show(f"{AT_ONCE} pushes at the same time", many)


def measured(made: dict[str, tuple[Path, Path]], way: str, server: int, numbers: range) -> Cost:
    """Push some of the commits at the same time."""
    worker = made[way][1]
    pid = server if way == WAYS[2] else None
    before, start = processor_s(pid), time.perf_counter()
    with ThreadPoolExecutor(max(1, len(numbers))) as pool:
        list(pool.map(lambda number: push(worker, number, f"w{number}"), numbers))
    return Cost(time.perf_counter() - start, processor_s(pid) - before)


def show(what: str, costs: dict[str, Cost]) -> None:
    least = costs[WAYS[0]]
    parts = (
        f"{way} {1000 * cost.wall:.0f} ms, {1000 * cost.cpu:.0f} ms of processor time"
        + (f" ({cost.wall / least.wall:.2f} and {cost.cpu / least.cpu:.2f} times)" if way != WAYS[0] else "")
        for way, cost in costs.items()
    )
    print(f"{what}: " + "; ".join(parts), flush=True)
