"""What a hundred thousand requests do to the merge: closes of like frames, with nobody asking and with many."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from collections import Counter
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
"""Closes in a row without requests, and then with."""


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


def bench_http(folder: Path, requests: int = REQUESTS) -> tuple[Times, Times]:
    """Times without and with requests; prints what the requests came to."""
    store = create(folder / "http.git", 1, wall_clock(), Closing("manual"), hook=False)
    config = primary_toml(folder, "manual")
    quiet, loaded = Times([], []), Times([], [])
    with Daemon(folder, "--repo", str(folder / "http.git"), "--config", str(config)) as daemon:
        await_ready(daemon)
        frame = 1
        for _ in range(2):
            frame = close_one(daemon, store, frame, Times([], []))
        asking: subprocess.Popen[str] | None = None
        asked, start = 0, time.monotonic()
        codes: Counter[str] = Counter()
        while asked < requests:
            for _ in range(TURNS):
                frame = close_one(daemon, store, frame, quiet)
            part = requests // 5
            words = [
                sys.executable,
                "-m",
                "tests.bench.requests",
                daemon.url(),
                str(part),
                str(CONNECTIONS),
                str(THINK_S),
            ]
            asking = subprocess.Popen(words, stdout=subprocess.PIPE, text=True)
            begun = time.monotonic()
            while asking.poll() is None:
                time.sleep(PAUSE_S)
                found = Times([], [])
                frame = close_one(daemon, store, frame, found)
                if asking.poll() is None:
                    loaded.close.extend(found.close)
                    loaded.merge.extend(found.merge)
            rate = part / (time.monotonic() - begun)
            said = asking.communicate()[0].strip()
            codes.update({code: int(number) for code, _, number in (one.partition(":") for one in said.split())})
            print(f"  answers by code: {said}, {rate:.0f} a second", flush=True)
            asked += part
        daemon.stop()
    print(f"  not sent again (304): {codes['304'] / codes.total():.0%}", flush=True)
    print(f"  {asked} requests in {time.monotonic() - start:.0f} s", flush=True)
    return quiet, loaded


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
