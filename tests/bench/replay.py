"""What a replay of many deltas costs with each engine: `python -m tests.bench.replay [DELTAS] [FRAMES] [FOLDER]`.

A repository of 1,000,000 deltas in 100 streams and 10 frames (unless others are named) is closed by the real code; in
FOLDER it is kept and used again. Each engine replays it in a process of its own. Printed are seconds on the clock, the
ratio to the first row, the most memory of the process and of its largest worker, the processor time of all of them,
and the share of that time which no task took: starting, reading ledgers, cutting, sending, and the joining of results.
All digests must be the same."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from dreamcatcherd.core.frames import Closing
from dreamcatcherd.daemon.cycle import close_frame
from dreamcatcherd.daemon.primary import Primary
from dreamcatcherd.engine.large_merge import Spent
from dreamcatcherd.engine.selection import Engine, EngineKind, folder_of
from dreamcatcherd.git.local import LocalStore
from dreamcatcherd.git.maintenance import maintain
from dreamcatcherd.history.replay import ReplaySpread, closed_frames, replay_to
from dreamcatcherd.stages.first_frame import open_first
from dreamcatcherd.stages.snapshot_chain import links
from tests.bench.fleet import DAY, push
from tests.law.fleet import MAIN

STREAMS, WORKERS = 100, 2
_TICKS_S = os.sysconf("SC_CLK_TCK")
WAYS: tuple[tuple[str, EngineKind | None], ...] = (
    ("in one process, 2,000 at a time", None), ("inline", "inline"), (f"{WORKERS} processes", "processes"),
    (f"dask, {WORKERS} workers", "dask"),
)  # fmt: skip


def make(repository: Path, deltas: int, frames: int) -> None:
    """A repository whose frames are all closed, each of them with the same number of deltas of all streams."""
    subprocess.run(["git", "init", "--quiet", "--bare", "--initial-branch=main", str(repository)], check=True)
    store = LocalStore(repository)
    open_first(store, 1, DAY, Closing("manual"), MAIN)
    primary = Primary(store, "main", Closing("manual"), lambda: DAY)
    a_frame = deltas // frames
    for frame in range(1, frames + 1):
        push(store, frame, a_frame, STREAMS, 2 * a_frame * (frame - 1))
        close_frame(primary, "bench")
    maintain(repository)


def replay(repository: Path, kind: EngineKind | None) -> dict[str, Any]:
    """Replay the repository in this process; `busy` are the seconds of processor time that tasks took."""
    store = LocalStore(repository)
    tip = store.refs()[MAIN]
    chain = list(links(store, tip))[::-1]
    spent: list[Spent] = []
    begun = time.monotonic()
    if kind is None:
        done = replay_to(store, closed_frames(store, chain), chain[-1].frame)
    else:
        engine = Engine(kind, WORKERS, threshold=0)
        with engine.pool(folder_of(store), tip) as pool:
            from dreamcatcherd.engine.large_merge import Place

            spread = ReplaySpread(pool, Place(store, folder_of(store)), 0, lambda more: None, spent.append)
            done = replay_to(store, closed_frames(store, chain), chain[-1].frame, spread)
    seconds = time.monotonic() - begun
    busy = sum(one.read_s + one.fold_s for one in spent)
    known = done.chapter.ledger.snapshot
    return {"digest": done.tree, "known": known, "seconds": seconds, "busy": busy, "deltas": done.deltas}


def descendants(pid: int) -> Iterator[int]:
    """The processes that a process and its children have started, as far as they run."""
    for tasks in Path(f"/proc/{pid}/task").glob("*/children"):
        for child in map(int, tasks.read_text().split()):
            yield child
            yield from descendants(child)


class Used(NamedTuple):
    """What a process has used so far: its peak memory in KiB, and seconds of processor time."""

    peak_kib: int = 0
    seconds: float = 0.0


def watch(pid: int, found: dict[int, Used], ended: threading.Event) -> None:
    """Note what a process and its descendants use, until it has ended."""
    while not ended.wait(0.2):
        for one in (pid, *_running(pid)):
            try:
                status = Path(f"/proc/{one}/status").read_text()
                ticks = Path(f"/proc/{one}/stat").read_text().rpartition(")")[2].split()[11:13]
            except OSError:
                continue
            peak = next((int(line.split()[1]) for line in status.splitlines() if line.startswith("VmHWM")), 0)
            # A process that ends shows no memory any more.
            found[one] = Used(max(peak, found.get(one, Used()).peak_kib), sum(map(int, ticks)) / _TICKS_S)


def _running(pid: int) -> list[int]:
    try:
        return list(descendants(pid))
    except OSError:
        return []


def measured(repository: Path, kind: EngineKind | None) -> dict[str, Any]:
    """A replay in a new process, with the peak memory of it and of its largest worker in MiB, and the seconds of
    processor time of all of them (to within the 0.2 s between two looks for each)."""
    words = [sys.executable, "-m", "tests.bench.replay", "run", str(repository), kind or ""]
    process = subprocess.Popen(words, stdout=subprocess.PIPE, text=True)
    used: dict[int, Used] = {}
    ended = threading.Event()
    watching = threading.Thread(target=watch, args=(process.pid, used, ended))
    watching.start()
    said, _ = process.communicate()
    ended.set()
    watching.join()
    result: dict[str, Any] = json.loads(said)
    total_s = sum(one.seconds for one in used.values())
    own = used.pop(process.pid, Used())
    largest = max((one.peak_kib for one in used.values()), default=0)
    return {**result, "parent": own.peak_kib // 1024, "worker": largest // 1024, "total": total_s}


def main(deltas: int, frames: int, folder: Path) -> None:
    repository = folder / f"replay-{deltas}-{frames}.git"
    if not repository.exists():
        begun = time.monotonic()
        make(repository, deltas, frames)
        print(f"{deltas:,} deltas in {STREAMS} streams and {frames} frames, made in {time.monotonic() - begun:.0f} s")
    first = 0.0
    print(f"{'engine':32}  seconds  ratio  deltas/s  MiB here  MiB a worker  processor s  outside the tasks")
    for name, kind in WAYS:
        found = measured(repository, kind)
        if found["digest"] != found["known"]:
            sys.exit(f"{name}: {found['digest']}, and the ledger says {found['known']}")
        seconds = found["seconds"]
        first = first or seconds
        outside = f"{100 * max(0.0, 1 - found['busy'] / found['total']):.0f} %" if kind else ""
        rate = found["deltas"] / seconds
        print(
            f"{name:32} {seconds:8.1f} {seconds / first:6.2f} {rate:9,.0f} {found['parent']:9} {found['worker']:13}"
            f" {found['total']:12.1f}  {outside:>17}",
            flush=True,
        )
    print(f"digest of all: {found['digest']}")


if __name__ == "__main__":
    if sys.argv[1:2] == ["run"]:
        kinds: dict[str, EngineKind | None] = {kind or "": kind for _, kind in WAYS}
        print(json.dumps(replay(Path(sys.argv[2]), kinds[sys.argv[3]])))
    else:
        asked = dict(enumerate(sys.argv[1:]))
        with tempfile.TemporaryDirectory() as temporary:
            main(int(asked.get(0, "1000000")), int(asked.get(1, "10")), Path(asked.get(2, temporary)))
