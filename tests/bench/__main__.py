"""`make bench`: ratios measured in one run on one machine. Prints medians of several runs, never asserts.

`python -m tests.bench http 5000` runs one of them, here with another number of requests."""

from __future__ import annotations

import json
import statistics
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pygit2

from dreamcatcherd.core.codec import utc_text
from dreamcatcherd.core.frames import Closing
from dreamcatcherd.core.settings_schema import LANES
from dreamcatcherd.daemon.cycle import close_frame
from dreamcatcherd.daemon.primary import Primary
from dreamcatcherd.git.local import LocalStore
from dreamcatcherd.git.protocols import Move, Store
from dreamcatcherd.imports.new_repository import create
from dreamcatcherd.observe.clock import wall_clock
from tests.bench.check import bench_check
from tests.bench.fleet import DAY, push
from tests.bench.floor import floor, read_alone
from tests.bench.growth import SHORT_HISTORY, SHORT_STATE, bench_history, bench_states
from tests.bench.http import bench_http
from tests.bench.idle import SIZES, bench_idle
from tests.bench.one_shot import LEAST, time_merges, time_starts
from tests.e2e.primaries import await_ready
from tests.e2e.tools import Daemon, clone, primary_toml
from tests.e2e.tools import push as git_push

DELTAS = 10_000
STREAMS = 100
RUNS = 5
STATE = 300_000
SMALL = 200
MANUAL = Closing("manual")
EVERY = ["frame", "one-shot", "state", "reaction", "idle", "check", "http", "growth"]


def primary_on(store: Store) -> Primary:
    return Primary(store, "main", MANUAL, wall_clock)


def rewind(store: Store, refs: dict[str, str]) -> None:
    """Put every ref back where it was, so that one frame can be closed again."""
    now = store.refs()
    moves = [Move(ref, refs.get(ref), oid) for ref, oid in now.items() if refs.get(ref) != oid]
    assert not moves or store.move_refs(moves, "again")


def timed(work: Callable[[], object]) -> float:
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def report(name: str, ours: list[float], other: list[float], against: str) -> None:
    ratios = sorted(a / b for a, b in zip(ours, other, strict=True))
    print(
        f"{name}: {statistics.median(ours):.3f} s, {against}: {statistics.median(other):.3f} s, "
        f"ratio {statistics.median(ratios):.2f} (from {ratios[0]:.2f} to {ratios[-1]:.2f}, {len(ratios)} runs in turn)",
        flush=True,
    )


def print_medians(name: str, ours: list[float], other: list[float], against: str) -> None:
    """Like `report`, where the runs of the two are not in pairs."""
    one, two = statistics.median(ours), statistics.median(other)
    print(f"{name}: {one:.3f} s ({len(ours)} closes), {against}: {two:.3f} s ({len(other)}), ratio {one / two:.2f}")


def bench_frame(folder: Path) -> None:
    store = create(folder / "frame.git", 1, wall_clock(), MANUAL)
    push(store, 1, DELTAS, STREAMS, 1)
    refs = store.refs()
    inbox = primary_on(store).read_inbox()
    blobs = store.in_pack_order(arrival.item.version.blob for arrival in inbox.arrivals)
    size = sum(store.size(oid) for oid in blobs) / len(blobs)
    print(f"{len(blobs)} deltas of {size:.0f} bytes on {STREAMS} lanes", flush=True)
    ours, least, alone = [], [], []
    phases: dict[str, list[float]] = {}
    for run in range(RUNS + 1):
        rewind(store, refs)
        scratch = folder / f"scratch-{run}.git"
        pygit2.init_repository(str(scratch), bare=True)
        one = timed(partial(floor, str(folder / "frame.git"), str(scratch), blobs))
        reading = timed(partial(read_alone, str(folder / "frame.git"), blobs))
        other = LocalStore(folder / "frame.git")
        start = time.perf_counter()
        done = close_frame(primary_on(other), "bench")
        took = time.perf_counter() - start
        if run:
            least.append(one)
            alone.append(reading)
            ours.append(took)
            for name, seconds in done.phases.items():
                phases.setdefault(name, []).append(seconds)
    what = f"a frame of {DELTAS} deltas, read to published"
    report(what, ours, least, "floor (read in pack order, decode, sort, fold into dicts, encode, write)")
    report(what, ours, alone, "reading alone (the same objects in pack order, decoded by msgspec)")
    print("  phases: " + ", ".join(f"{name} {statistics.median(times):.3f} s" for name, times in phases.items()))


def bench_one_shot(folder: Path) -> None:
    """Commands as processes of their own: what starting one costs, and a whole `merge`."""
    ours, least = time_starts(folder, 2 * RUNS)
    report("the start of a command: `merge` with nothing to do", ours, least, f"python -c {LEAST!r}")
    for deltas in (SMALL, DELTAS):
        took = time_merges(folder, deltas, RUNS)
        what = f"`merge` of {deltas} deltas as a command"
        report(what, took.ours, took.floor, "the floor as a program (imports, read in pack order, decode, fold, write)")
        report(what, took.ours, took.reading, "a program that only reads and decodes them")


def bench_state(folder: Path) -> None:
    """What the state costs and nothing else: both repositories have one small frame behind them, and no old lanes."""
    stores = {}
    for name, entities in (("empty", 0), ("full", STATE)):
        store = stores[name] = create(folder / f"{name}.git", 1, wall_clock(), MANUAL)
        frames = entities // 8 // 2_500
        for frame in range(1, frames + 1):
            push(store, frame, 2_500, 25, 1 + (frame - 1) * 5_000)
            close_frame(primary_on(store), "bench")
        push(store, frames + 1, SMALL, 20, 1 + frames * 5_000)
        close_frame(primary_on(store), "bench")
        lanes = [(ref, oid) for ref, oid in store.refs().items() if ref.startswith(LANES)]
        assert store.move_refs([Move(ref, None, oid) for ref, oid in lanes], "silent")  # as lanes_keep does in time
        push(store, frames + 2, SMALL, 20, 1 + frames * 5_000 + 2 * SMALL)
        if entities:
            base = primary_on(store).load_published(store.refs())
            assert base.ledger
            print(f"a state of {sum(base.ledger.counts.entities.values())} entities in {frames} frames", flush=True)
    refs = {name: store.refs() for name, store in stores.items()}
    took: dict[str, list[float]] = {name: [] for name in stores}
    for run in range(4 * RUNS + 1):
        for name in stores:
            rewind(stores[name], refs[name])
            store = LocalStore(folder / f"{name}.git")
            seconds = timed(partial(close_frame, primary_on(store), "bench"))
            if run:
                took[name].append(seconds)
    report(f"a frame of {SMALL} deltas on the full state", took["full"], took["empty"], "on an empty one")


def bench_reaction(folder: Path) -> None:
    """From the end of a plain git push to the delta in `/api/v1/status`: the time that each of some pushes took."""
    repository = folder / "reaction.git"
    create(repository, 1, wall_clock(), MANUAL, hook=False)
    worker = clone(repository, folder / "worker")
    config = primary_toml(folder, "manual", more="[repository]\npoll = 60\n")
    took = []
    with Daemon(folder, "--repo", str(repository), "--config", str(config)) as daemon:
        await_ready(daemon)
        url = daemon.url() + "/api/v1/status"
        for number in range(1, 4 * RUNS + 1):
            time.sleep(0.1)  # within 50 ms of another push it would be noticed with the next ones
            text = json.dumps({"frame": 1, "utc": utc_text(DAY + number), "stream_id": "a", "observations": [number]})
            git_push(worker, {f"state/stream_deltas/1/{number}.json": text}, "refs/heads/dc/a")
            start = time.perf_counter()
            while json.loads(urllib.request.urlopen(url).read())["pending"]["total"] < number:
                time.sleep(0.001)  # asking without a pause would be most of what the daemon does
            took.append(1000 * (time.perf_counter() - start))
        daemon.stop()
    took.sort()
    print(
        f"push to pending: {statistics.median(took):.1f} ms (from {took[0]:.1f} to {took[-1]:.1f}, {len(took)} pushes)"
    )


def main() -> None:
    with tempfile.TemporaryDirectory(prefix="dreamcatcherd-bench-", ignore_cleanup_errors=True) as name:
        folder = Path(name)
        numbers = [int(word) for word in sys.argv[1:] if word.isdecimal()]
        chosen = [word for word in sys.argv[1:] if not word.isdecimal()] or EVERY
        if "frame" in chosen:
            bench_frame(folder)
        if "one-shot" in chosen:
            bench_one_shot(folder)
        if "state" in chosen:
            bench_state(folder)
        if "growth" in chosen:
            bench_history(folder, SHORT_HISTORY, RUNS)
            bench_states(folder, SHORT_STATE, RUNS)
        if "reaction" in chosen:
            bench_reaction(folder)
        if "idle" in chosen:
            bench_idle(tuple(numbers) or SIZES)
        if "http" in chosen:
            quiet, own, other = bench_http(folder, *numbers)
            for name, base in (("with nobody asking", quiet), ("while another daemon answers them", other)):
                print_medians("a merge while thousands of requests are answered", own.merge, base.merge, name)
                print_medians("the complete close of it", own.close, base.close, name)
        if "check" in chosen:
            bench_check(folder)


if __name__ == "__main__":
    main()
