"""What a daemon costs while nothing happens, by the number of merged lanes, and how fast it sees a push then.

`python -m tests.bench.idle 10 1000 10000`. A real daemon with `poll = 1` on a repository on this disk: processor time
and wake-ups of its process and of those that it started, from /proc. Wake-ups do not depend on what else the machine
does. Every lane has a commit of its own, merged before."""

from __future__ import annotations

import json
import os
import re
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import NamedTuple

from dreamcatcherd.core.codec import utc_text
from tests.bench.fleet import DAY
from tests.bench.lanes import AT_ONCE, push_lanes
from tests.e2e.primaries import await_ready, metric
from tests.e2e.tools import Daemon, clone, dc, primary_toml, wait_for
from tests.e2e.tools import push as git_push

SIZES = (10, 1_000, 10_000)
SECONDS = 20.0
PUSHES = 10

_SLEEPS = re.compile(r"^voluntary_ctxt_switches:\s*(\d+)$", re.MULTILINE)


class Idle(NamedTuple):
    """Processor time (seconds) and wake-ups for each second; milliseconds from each push to its delta in `/metrics`."""

    busy: float
    wakes: float
    reactions_ms: list[float]


class Spent(NamedTuple):
    """What some processes have used since they began: processor time in seconds, and how often each thread slept."""

    processor_s: float
    sleeps: dict[str, int]


def spent(pid: int) -> Spent:
    """Of a process with those that it started: all threads of those that run, and the time of those that ended."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    processor_s = sum(map(int, fields[11:15])) / os.sysconf("SC_CLK_TCK")
    sleeps: dict[str, int] = {}
    for thread in Path(f"/proc/{pid}/task").iterdir():
        slept = _SLEEPS.search((thread / "status").read_text())
        assert slept
        sleeps[thread.name] = int(slept[1])
        for child in (thread / "children").read_text().split():
            part = spent(int(child))
            processor_s += part.processor_s
            sleeps |= part.sleeps
    return Spent(processor_s, sleeps)


def make_repository(folder: Path, lanes: int) -> Path:
    """A repository with so many merged lanes, each in a file of its own."""
    repository = folder / "fleet.git"
    dc("init", str(repository))
    for first in range(0, lanes, AT_ONCE):
        push_lanes(repository, 1 + first // AT_ONCE, first, min(AT_ONCE, lanes - first))
        dc("merge", "--repo", str(repository))
    return repository


def settled(daemon: Daemon, repository: Path) -> bool:
    """Whether the daemon has put the lanes in order, and its process that checks pushes is the only one."""
    loose = subprocess.run(["find", repository / "refs", "-type", "f"], capture_output=True, check=True).stdout
    tasks = Path(f"/proc/{daemon.process.pid}/task").iterdir()
    children = [child for task in tasks for child in (task / "children").read_text().split()]
    return len(loose.splitlines()) < 300 and bool(daemon.logged("checking pushes for the hook")) and len(children) == 1


def measure(folder: Path, lanes: int) -> Idle:
    """One daemon beside so many lanes: first alone, then with a few pushes."""
    repository = make_repository(folder, lanes)
    config = primary_toml(folder, "manual", more="[repository]\npoll = 1\n")
    with Daemon(folder, "--repo", str(repository), "--config", str(config)) as daemon:
        wait_for(lambda: daemon.logged("started"), 120)
        await_ready(daemon)
        wait_for(lambda: settled(daemon, repository), 90)
        before, start = spent(daemon.process.pid), time.monotonic()
        time.sleep(SECONDS)
        after, seconds = spent(daemon.process.pid), time.monotonic() - start
        reactions = [reaction_ms(daemon, worker, number) for worker, number in workers(folder, repository)]
        daemon.stop()
    busy = after.processor_s - before.processor_s
    # A thread that ended meanwhile is left out: how often it slept in its last seconds is not known.
    sleeps = sum(count - before.sleeps.get(thread, 0) for thread, count in after.sleeps.items())
    return Idle(busy / seconds, sleeps / seconds, reactions)


def workers(folder: Path, repository: Path) -> list[tuple[Path, int]]:
    worker = clone(repository, folder / "worker")
    return [(worker, number) for number in range(1, PUSHES + 1)]


def reaction_ms(daemon: Daemon, worker: Path, number: int) -> float:
    """From the end of a plain git push to the delta in `/metrics`: the status lists every stream, and asking for it all
    the time would be the most that the daemon does."""
    frame = round(metric(daemon, "frame"))
    body = {"frame": frame, "utc": utc_text(DAY + number), "stream_id": "a", "observations": [number]}
    git_push(worker, {f"state/stream_deltas/{frame}/a-{number}.json": json.dumps(body)}, "refs/heads/dc/a")
    start = time.perf_counter()
    while metric(daemon, "pending_deltas") < number:
        time.sleep(0.001)
    return 1000 * (time.perf_counter() - start)


def bench_idle(sizes: tuple[int, ...] = SIZES) -> None:
    """Print one line for each number of lanes, with the ratio to the first."""
    first: float | None = None
    for lanes in sizes:
        with tempfile.TemporaryDirectory(prefix="dreamcatcherd-bench-", ignore_cleanup_errors=True) as name:
            found = measure(Path(name), lanes)
        first = first or found.busy
        took = sorted(found.reactions_ms)
        print(
            f"idle beside {lanes} merged lanes: {100 * found.busy:.2f} % of a processor, "
            f"{found.busy / first:.2f} times that beside the fewest, {found.wakes:.1f} wake-ups a second; "
            f"push to pending {statistics.median(took):.1f} ms "
            f"(from {took[0]:.1f} to {took[-1]:.1f}, {len(took)} pushes)",
            flush=True,
        )


if __name__ == "__main__":
    bench_idle(tuple(int(word) for word in sys.argv[1:]) or SIZES)
