"""What a hundred thousand requests do to the merge: closes of like frames, with nobody asking, with many requests to
the daemon that closes them, and with as many to another one."""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from dreamcatcherd.core.frames import Closing
from dreamcatcherd.git.local import LocalStore
from dreamcatcherd.imports.new_repository import create
from dreamcatcherd.observe.clock import wall_clock
from tests.bench.fleet import push
from tests.e2e.primaries import await_ready
from tests.e2e.tools import Daemon, primary_toml, wait_for

REQUESTS = 100_000
CONNECTIONS = 16
THINK_S = 0.05
"""Between an answer and the next request of one client: together about 300 requests a second."""
DELTAS = 1_000
STREAMS = 20
PAUSE_S = 5.0
"""Between two closes, so that requests are answered in their midst and not only held up."""
TURNS = 5
"""Closes in a row without requests."""
PARTS = 5
"""How often these take turns with requests to each daemon."""


def closed(daemon: Daemon) -> dict[int, float]:
    """Milliseconds of the last closed frame, from the daemon's log."""
    whole, _, _ = daemon.text.rpartition("\n")
    at = whole.rfind('"event": "frame closed"')
    line = json.loads(whole[whole.rfind("\n", 0, at) + 1 :].partition("\n")[0]) if at >= 0 else {}
    return {line["frame"]: line["ms"]} if line else {}


def merging(daemon: Daemon) -> float:
    """Seconds that all merges took so far: what `dreamcatcher_merge_duration_seconds` adds up to."""
    name = "dreamcatcher_merge_duration_seconds_sum "
    return float(daemon.get("/metrics").partition(f"\n{name}")[2].partition("\n")[0])


class Times(NamedTuple):
    """Seconds of each close, and of the merge in it."""

    close: list[float]
    merge: list[float]


class HttpTimes(NamedTuple):
    """Closes with nobody asking, with requests to the daemon that closes, and with the same to another daemon.

    The other daemon shows what the load of the machine alone does."""

    quiet: Times
    own: Times
    other: Times


def bench_http(folder: Path, requests: int = REQUESTS) -> HttpTimes:
    """Closes while nobody asks and while so many requests are answered, and then as many again by another daemon;
    prints what the requests came to."""
    first, second = folder / "first", folder / "second"
    for one in (first, second):
        one.mkdir()
    store = create(first / "http.git", 1, wall_clock(), Closing("manual"), hook=False)
    found = HttpTimes(Times([], []), Times([], []), Times([], []))
    codes: Counter[str] = Counter()
    with serving(first) as daemon:
        frame = 1
        for _ in range(2):
            frame = close_one(daemon, store, frame, Times([], []))
        shutil.copytree(first / "http.git", second / "http.git")
        with serving(second) as other:
            start = time.monotonic()
            for _ in range(PARTS):
                for _ in range(TURNS):
                    frame = close_one(daemon, store, frame, found.quiet)
                for asked, times in ((daemon, found.own), (other, found.other)):
                    with asking(asked.url(), requests // PARTS) as process:
                        frame = close_while(process, daemon, store, frame, times)
                        said = process.communicate()[0].strip()
                    print(f"  answers by code: {said}", flush=True)
                    if asked is daemon:
                        counted = (one.partition(":") for one in said.split())
                        codes.update({code: int(number) for code, _, number in counted})
            other.stop()
        daemon.stop()
    print(f"  not sent again (304): {codes['304'] / codes.total():.0%}", flush=True)
    print(f"  twice {codes.total()} requests in {time.monotonic() - start:.0f} s", flush=True)
    return found


@contextmanager
def serving(folder: Path) -> Iterator[Daemon]:
    """A daemon over the repository in a folder, ready."""
    config = primary_toml(folder, "manual")
    with Daemon(folder, "--repo", str(folder / "http.git"), "--config", str(config)) as daemon:
        await_ready(daemon)
        yield daemon


def asking(url: str, requests: int) -> subprocess.Popen[str]:
    """A process that asks a daemon so many times."""
    words = ["-m", "tests.bench.requests", url, str(requests), str(CONNECTIONS), str(THINK_S)]
    return subprocess.Popen([sys.executable, *words], stdout=subprocess.PIPE, text=True)


def close_while(process: subprocess.Popen[str], daemon: Daemon, store: LocalStore, frame: int, times: Times) -> int:
    """Close frames until a process ends; returns the next frame. The last close, which it may not have met, is left
    out."""
    while process.poll() is None:
        time.sleep(PAUSE_S)
        found = Times([], [])
        frame = close_one(daemon, store, frame, found)
        if process.poll() is None:
            times.close.extend(found.close)
            times.merge.extend(found.merge)
    return frame


def close_one(daemon: Daemon, store: LocalStore, frame: int, times: Times) -> int:
    """Push a frame's deltas, have the daemon close it, and wait for that; returns the next frame."""
    push(store, frame, DELTAS, STREAMS, 1 + 2 * DELTAS * (frame - 1))
    before = merging(daemon)
    wait_for(lambda: waiting(daemon) == (frame, DELTAS), 60)
    daemon.process.send_signal(signal.SIGUSR1)
    wait_for(lambda: frame in closed(daemon) or daemon.process.poll() is not None, 60)
    times.close.append(closed(daemon)[frame] / 1000)
    times.merge.append(merging(daemon) - before)
    return frame + 1


def waiting(daemon: Daemon) -> tuple[int, int]:
    """The open frame, and how many deltas wait."""
    status = json.loads(daemon.get("/api/v1/status"))
    return status["frame"], status["pending"]["total"]
