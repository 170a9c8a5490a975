"""Many seeds, over all processors, and what they came to: how much was simulated, which faults were injected, and
whether what the simulation exists for was reached at all."""

from __future__ import annotations

import re
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from os import cpu_count
from pathlib import Path
from typing import NamedTuple

from tests.simulation.actions import Script
from tests.simulation.faults import FAULTS
from tests.simulation.run import run
from tests.simulation.scripts import script_of
from tests.simulation.shrink import shrink

AT_ONCE = 20
"""How many seeds one process gets at a time."""

_IDS = re.compile(r"Pushed\([^)]*\)|[0-9a-f]{40}|[0-9]+")

TRACES = Path(__file__).parent / "traces"
"""Scripts that once broke a promise; each is a test."""

INJECTED = (
    "crash", "disk", "list", "fetch", "lost-push", "lost-answer", "lie", "half", "push lost", "died", "clock back",
    "clock forward", "rewind of main", "rewind of a lane", "rogue edit", "refused", "clone lost", "edit", "delete",
    "mirror restored", "crash during a step", "push during a step", "step during a step",
)  # fmt: skip
"""The faults, and what happened in the middle of steps."""

REACHED = (
    "frames", "merged", "late", "duplicate", "quarantined", "held", "merged after it waited", "race lost",
    "log: canonical files restored", "log: lane removed", "log: lane left out", "log: recovered", "log: cycle failed",
    "copied to the region", "through the relay", "through the mirror", "main-rewound", "lane-rewound",
    "delta-changed", "delta-deleted", "snapshot-edited", "log: book published",
)  # fmt: skip
"""What the simulation must reach: a zero here means that it shows nothing."""


class Tally(NamedTuple):
    """What some seeds came to. `broken` are the seeds that broke a promise, with which."""

    seeds: int
    counts: Counter[str]
    hours: float
    broken: list[tuple[int, str]]

    def missing(self) -> list[str]:
        """The events that no seed reached."""
        return [name for name in (*INJECTED, *REACHED) if not self.counts[name]]


def run_seeds(first: int, count: int) -> Tally:
    """Run some seeds one after the other."""
    counts: Counter[str] = Counter()
    hours, broken = 0.0, []
    for seed in range(first, first + count):
        done = run(script_of(seed))
        counts.update(done.counts)
        hours += done.hours
        if done.broken is not None:
            broken.append((seed, done.broken))
    return Tally(count, counts, hours, broken)


def run_campaign(first: int, count: int, shown: Callable[[int], None]) -> Tally:
    """Run seeds on all processors; `shown` is told now and then how many are done."""
    starts = range(first, first + count, AT_ONCE)
    tally = Tally(0, Counter(), 0.0, [])
    with ProcessPoolExecutor(cpu_count()) as pool:
        for one in pool.map(run_seeds, starts, (min(AT_ONCE, first + count - start) for start in starts)):
            tally = Tally(
                tally.seeds + one.seeds, tally.counts + one.counts, tally.hours + one.hours, tally.broken + one.broken
            )
            shown(tally.seeds)
    return tally


def kind_of(broken: str) -> str:
    """The part of a broken promise that stays the same while its script gets shorter: its words without ids."""
    return _IDS.sub("", broken)[:30]


def shortest(script: Script) -> Script:
    """The shortest script that breaks the same promise as this one; the same one if it breaks none."""
    found = run(script).broken
    if found is None:
        return script
    kind = kind_of(found)

    def fails(shorter: Script) -> bool:
        broken = run(shorter).broken
        return broken is not None and kind_of(broken) == kind

    return shrink(script, fails)


def seeds_until_found(name: str, most: int) -> tuple[int, str] | None:
    """How many seeds, from 0 on, the simulation needs to find one of the faults, and which promise that breaks."""
    with FAULTS[name]():
        for seed in range(most):
            if (broken := run(script_of(seed)).broken) is not None:
                return seed + 1, broken
    return None


def report_lines(tally: Tally, seconds: float) -> Iterator[str]:
    """What a campaign came to, for people."""
    steps = tally.counts["steps"]
    yield f"{tally.seeds} seeds in {seconds:.0f} s: {60 * tally.seeds / seconds:.0f} seeds a minute"
    yield f"{tally.hours:.1f} simulated hours, {steps} steps of primaries, {tally.counts['versions']} versions checked"
    for title, names in (("injected", INJECTED), ("reached", REACHED)):
        yield f"{title}: " + ", ".join(f"{name.removeprefix('log: ')} {tally.counts[name]}" for name in names)
    if missing := tally.missing():
        yield "never reached: " + ", ".join(missing)


def explain(script: Script) -> Iterator[str]:
    """The trace of a script, and the promise that it breaks, for people."""
    done = run(script)
    yield from done.trace
    yield f"broken: {done.broken}" if done.broken else "nothing is broken"


def show_progress(count: int) -> Callable[[int], None]:
    """Progress in one line of a terminal; nothing where the output is a file."""
    began = time.monotonic()

    def shown(done: int) -> None:
        if sys.stderr.isatty():
            left_s = (time.monotonic() - began) / done * (count - done)
            print(f"\r{done} of {count} seeds, {left_s:.0f} s left ", end="", file=sys.stderr, flush=True)
            if done == count:
                print(file=sys.stderr)

    return shown
