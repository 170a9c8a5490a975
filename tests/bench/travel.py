"""`python -m tests.bench.travel`: what a diff of two neighbouring frames costs on a small and on a large state."""

from __future__ import annotations

import statistics
import tempfile
import time
from pathlib import Path

from dreamcatcherd.core.diff import compare
from dreamcatcherd.core.frames import Closing
from dreamcatcherd.daemon.cycle import close_frame
from dreamcatcherd.daemon.primary import Primary
from dreamcatcherd.git.local import LocalStore
from dreamcatcherd.imports.new_repository import create
from dreamcatcherd.observe.clock import wall_clock
from dreamcatcherd.stages.published import load_ledger
from tests.bench.fleet import push

RUNS = 15
MANUAL = Closing("manual")


def measure(path: Path, entities: int) -> float:
    """The median seconds of a diff over a frame of 20 deltas on a state of about so many entities."""
    store = create(path, 1, wall_clock(), MANUAL)
    primary = Primary(store, "main", MANUAL, wall_clock)
    deltas = min(2_500, entities // 8)
    frames = entities // 8 // deltas
    for frame in range(1, frames + 1):
        push(store, frame, deltas, 25, 1 + (frame - 1) * 2 * deltas)
        close_frame(primary, "bench")
    push(store, frames + 1, 20, 5, 1 + frames * 2 * deltas)
    close_frame(primary, "bench")
    base = primary.load_published(store.refs())
    old, new = load_ledger(store, base.ledgers, frames), load_ledger(store, base.ledgers, frames + 1)
    assert old
    assert new
    times = []
    for _ in range(RUNS):
        fresh = LocalStore(path)
        start = time.perf_counter()
        compare(fresh, old.snapshot, new.snapshot, base.settings.table)
        times.append(time.perf_counter() - start)
    took = statistics.median(times)
    print(f"{sum(new.counts.entities.values())} entities: {1000 * took:.1f} ms", flush=True)
    return took


def main() -> None:
    with tempfile.TemporaryDirectory(prefix="dreamcatcherd-bench-") as name:
        small, large = (measure(Path(name) / f"{entities}.git", entities) for entities in (3_000, 300_000))
        print(f"ratio {large / small:.2f}")


if __name__ == "__main__":
    main()
