"""Housekeeping of the daemon: the removal of merged lanes, git's maintenance, packing refs, measuring its folder,
reporting steps that take long.

All of it may fail without harm: a failure is logged, and the work is due at the next interval."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from pathlib import Path

from dreamcatcherd.core.errors import FatalError, RetryableError
from dreamcatcherd.core.troubles import Trouble, disk_full
from dreamcatcherd.daemon.bootstrap import Runtime
from dreamcatcherd.daemon.cycle import remove_silent_lanes
from dreamcatcherd.daemon.long_steps import LONG_S, LongSteps
from dreamcatcherd.daemon.timers import Timers
from dreamcatcherd.git.disk_usage import disk_usage
from dreamcatcherd.git.maintenance import LOOSE_MOST, maintain, pack_refs
from dreamcatcherd.git.reachability import has_graph
from dreamcatcherd.observe.logs import CycleLog
from dreamcatcherd.observe.metrics import Metrics
from dreamcatcherd.stages.lane_cleanup import LANES_AT_ONCE, remove_lanes

MEASURE_S = 60.0
"""How often the daemon's folder and its disk are measured."""

MAINTENANCE_EVERY_S = 600.0
"""How often packs are joined and pruned at the latest."""

MAINTENANCE_CLOSES = 32
"""After how many closes that is done in any case: each leaves a pack."""

PACK_EVERY_S = 60.0
"""How often refs are packed at most, where many workers push all the time."""


class Upkeep:
    """What is due by time or by count. Timers only note it; the daemon's loop does it between two cycles."""

    def __init__(self, timers: Timers, metrics: Metrics, cycles: CycleLog) -> None:
        self._timers = timers
        self._metrics = metrics
        self._cycles = cycles
        self._due: set[str] = set()
        self._closes = 0
        self._maintenance: threading.Thread | None = None
        self._pack_from_s = 0.0
        self.steps = LongSteps(cycles)

    def start(self, runtime: Runtime) -> None:
        """Set the timers."""
        self._timers.every("steps", LONG_S, self.steps.report)
        self._timers.every("measure", MEASURE_S, lambda: self._due.add("measure"))
        self._timers.every("maintenance", MAINTENANCE_EVERY_S, lambda: self._due.add("maintenance"))
        self.schedule_lanes(runtime)

    def schedule_lanes(self, runtime: Runtime) -> None:
        """Look for lanes to remove as often as the configuration in force makes it useful."""
        keep_s = runtime.config.retention.lanes_keep
        self._timers.every("lanes", max(1.0, keep_s / 20), lambda: self._due.add("lanes"))

    def take_over(self, runtime: Runtime) -> None:
        """Note what another repository or configuration needs soon."""
        self._due |= {"measure", "lanes"}
        if runtime.store.folder.is_dir() and not has_graph(runtime.store.folder):
            self._due.add("maintenance")  # without a commit-graph every question about history walks all of it

    def ask(self, what: str) -> None:
        """Note that something is due: `measure`, `lanes` or `maintenance`."""
        self._due.add(what)

    def measured(self, runtime: Runtime) -> tuple[bool, Trouble | None]:
        """Whether the folder was measured now, and the trouble of a full disk. Also runs while cycles fail: a full
        disk is a reason for that."""
        folder = runtime.store.folder
        if "measure" not in self._due or (found := disk_usage(folder)) is None:
            return False, None
        self._due.discard("measure")
        self._metrics.footprint(found)
        return True, disk_full(found.free_bytes, str(folder))

    def tidy(self, runtime: Runtime, closed: bool) -> None:
        """Remove lanes and start git's maintenance where that is due; `closed` says that a frame was just closed."""
        self._closes += closed
        try:
            if "lanes" in self._due:
                self._due.discard("lanes")
                self._remove_lanes(runtime)
            if self._maintenance is not None and self._maintenance.is_alive():
                return
            if self._closes >= MAINTENANCE_CLOSES or "maintenance" in self._due:
                self._closes = 0
                self._due.discard("maintenance")
                self._begin(maintain, runtime)
            elif runtime.store.loose_refs > LOOSE_MOST and time.monotonic() >= self._pack_from_s:
                self._pack_from_s = time.monotonic() + PACK_EVERY_S
                self._begin(pack_refs, runtime)
        except (RetryableError, FatalError) as error:
            self._cycles.hitch(error)

    def _remove_lanes(self, runtime: Runtime) -> None:
        keep_s = runtime.config.retention.lanes_keep
        if runtime.relay is not None:
            removed = remove_lanes(runtime.store, runtime.relay.silent_lanes(keep_s))
        else:
            removed = remove_silent_lanes(runtime.primary, keep_s)
        if len(removed) >= LANES_AT_ONCE:  # there may be more
            self._due.add("lanes")
        for ref in removed:
            why = f"completely merged, and silent for {keep_s:g} s"
            self._cycles.logger.info("lane removed", lane=ref, why=why)

    def _begin(self, work: Callable[[Path], None], runtime: Runtime) -> None:
        self._maintenance = threading.Thread(
            target=self._maintain, args=(work, runtime.store.folder), name="maintenance", daemon=True
        )
        self._maintenance.start()

    def _maintain(self, work: Callable[[Path], None], folder: Path) -> None:
        """Runs beside the loop: git works in a process of its own, and touches nothing that a cycle holds."""
        try:
            work(folder)
        except (RetryableError, FatalError) as error:
            self._cycles.hitch(error)
