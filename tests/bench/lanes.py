"""What many merged lanes cost a primary: an idle look, and a close of twenty fresh lanes, over a path and over http.

`python -m tests.bench.lanes 100 5000 50000`. Every lane has a commit of its own, merged before. Seconds of wall time;
`cpu` is the processor time of this process and of the git processes that it starts, without the server's."""

from __future__ import annotations

import json
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

from dreamcatcherd.daemon.cycle import close_frame, poll
from dreamcatcherd.daemon.primary import Primary
from tests.e2e.primaries import primary_on
from tests.e2e.servers import HttpServer, Served
from tests.e2e.tools import dc

FRESH = 20
LOOKS = 5
CLOSES = 3
AT_ONCE = 1_000


def push_lanes(repository: Path, frame: int, first: int, count: int) -> None:
    """Put new lanes straight into the repository, each a commit on top of `main` with one delta."""
    head = subprocess.run(["git", "-C", repository, "rev-parse", "main"], capture_output=True, check=True, text=True)
    parts = []
    for number in range(first, first + count):
        body = {"frame": frame, "utc": "2026-01-01T00:00:00Z", "stream_id": f"w{number}", "observations": [number]}
        text = json.dumps(body)
        parts.append(
            f"commit refs/heads/dc/w{number}\ncommitter w <w@example.org> {1767225600 + number} +0000\ndata 1\nd\n"
            f"from {head.stdout.strip()}\n"
            f"M 100644 inline state/stream_deltas/{frame}/w{number}.json\ndata {len(text)}\n{text}\n"
        )
    words = ["git", "-C", str(repository), "fast-import", "--quiet"]
    subprocess.run(words, input="".join(parts).encode(), check=True)


def cpu_seconds() -> float:
    """Processor time of this process and of its children that ended."""
    found = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(one.ru_utime + one.ru_stime for one in found)


def timed(act: Callable[[], object]) -> tuple[float, float]:
    wall, cpu = time.perf_counter(), cpu_seconds()
    act()
    return time.perf_counter() - wall, cpu_seconds() - cpu


def measure(primary: Primary, repository: Path, lanes: int) -> str:
    """One row of figures: medians of several looks, and of several closes, each with fresh lanes."""
    frame = poll(primary)[0].pending.frame
    looks = [timed(lambda: poll(primary)) for _ in range(LOOKS)]
    closes = []
    for number in range(CLOSES):
        push_lanes(repository, frame + number, 10**7 + lanes + number * FRESH, FRESH)
        closes.append(timed(lambda: close_frame(primary, "bench")))
    figures = [statistics.median(column) for rows in (looks, closes) for column in zip(*rows, strict=True)]
    return "".join(f"{figure:9.3f}" for figure in figures)


def main(sizes: list[int]) -> None:
    print(f"{'lanes':>7} {'way':>14} {'look':>8} {'cpu':>8} {'close':>8} {'cpu':>8}")
    for lanes in sizes:
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            repository = folder / "served" / "fleet.git"
            dc("init", str(repository))
            for first in range(0, lanes, AT_ONCE):
                push_lanes(repository, 1 + first // AT_ONCE, first, min(AT_ONCE, lanes - first))
                dc("merge", "--repo", str(repository))
            subprocess.run(["git", "-C", repository, "gc", "--quiet"], check=True)
            with closing(HttpServer(repository, folder / "server")) as server:
                server.start()
                ways: list[tuple[str, Served, str]] = [
                    ("path", Served(repository, folder / "path"), "pygit2"),
                    ("http, pygit2", server, "pygit2"),
                    ("http, git", server, "git"),
                ]
                for way, served, transport in ways:
                    primary = primary_on(served, folder / way.replace(", ", "-"), 600, transport)
                    print(f"{lanes:7} {way:>14} {measure(primary, repository, lanes)}", flush=True)


if __name__ == "__main__":
    main([int(word) for word in sys.argv[1:]] or [100, 5_000, 50_000])
