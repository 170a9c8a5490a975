"""Running one script, or one seed, from its first action to the last check."""

from __future__ import annotations

import gc
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from typing import NamedTuple

from tests.simulation.actions import Script
from tests.simulation.audit import BrokenError
from tests.simulation.ending import finish
from tests.simulation.simulated_time import simulated
from tests.simulation.world import World


class Run(NamedTuple):
    """How a run went: `broken` says which promise was broken, if one was."""

    broken: str | None
    counts: Counter[str]
    hours: float
    fingerprint: str
    trace: list[str]


def run(script: Script) -> Run:
    """Run a script to its end."""
    world = World(script)
    broken = None
    with simulated(world.time, world.chance, world.busy_s), _without_collector():
        try:
            for action in script.actions:
                world.note(str(action))
                world.do(action)
            finish(world)
        except BrokenError as error:
            broken = str(error)
        except Exception as error:  # what the code did not expect is a fault of it like any other
            broken = f"{type(error).__name__}: {error}"
    return Run(broken, world.counts, world.time.now_s / 3600, world.fingerprint(), world.trace)


@contextmanager
def _without_collector() -> Iterator[None]:
    """Without the cycle collector while a world lives: it would walk all of it again and again."""
    gc.disable()
    try:
        yield
    finally:
        gc.enable()
