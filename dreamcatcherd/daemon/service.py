"""The daemon: wires the objects once, then looks, closes and reports until told to stop.

One thread (the caller's) owns the repository. Signals, clock, file watcher and HTTP only set or read values."""

from __future__ import annotations

import os
import random
import signal
import threading
import time
from pathlib import Path
from types import FrameType

from structlog.typing import FilteringBoundLogger

from dreamcatcherd import __version__
from dreamcatcherd.config import Config, listen_address
from dreamcatcherd.core.errors import GuardError, RetryableError
from dreamcatcherd.core.report import CycleReport
from dreamcatcherd.daemon.cycle import Primary, close_frame, look, remove_silent_lanes, wall_clock
from dreamcatcherd.daemon.http import Board, HttpServer, make_app
from dreamcatcherd.daemon.schedule import Ticker
from dreamcatcherd.observe.logs import CycleLog
from dreamcatcherd.observe.metrics import Metrics
from dreamcatcherd.store.create import open_first
from dreamcatcherd.store.gitcmd import maintain
from dreamcatcherd.store.objects import GitStore

STOP_S = 1.5
"""How long a cycle may go on after a signal before it is left where it is."""

DELAY_S = (1.0, 15.0)
"""The wait after a failed cycle, and the longest one: it doubles with each failure in a row, and chance shortens it."""

MAINTENANCE_S = 600.0
"""How often git is asked whether the repository wants maintenance."""


class Service:
    """The running daemon. `run` returns after SIGTERM or SIGINT; a FatalError ends it with its remedy.

    Signals are caught from the moment that it is made, and the port is bound then."""

    def __init__(self, config: Config, store: GitStore, logger: FilteringBoundLogger, folder: Path | None) -> None:
        """`folder` is the repository where it lies on this disk: it is watched then."""
        self._wake = threading.Event()
        self._stop = threading.Event()
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._on_signal)
        self.config = config
        self.primary = Primary(store, config.repository.branch, config.closing, wall_clock)
        self.board = Board()
        self.metrics = Metrics()
        self._log = logger
        self._cycles = CycleLog(logger)
        self._ticker = Ticker(self._wake.set, folder)
        host, port = listen_address(config.http.listen)
        self.http = HttpServer(make_app(self.metrics.registry, self.board), host, port)
        self._folder = store.folder
        self._failures = 0
        self._lanes_due = time.monotonic()
        self._maintenance_due = time.monotonic() + MAINTENANCE_S

    def run(self) -> None:
        """Serve until stopped."""
        self.http.start()
        self._ticker.start()
        self._log.info(
            "started", version=__version__, repository=self.primary.store.where, http=self.http.address, pid=os.getpid()
        )
        try:
            while not self._stop.is_set():
                self._wake.wait(self._step())
                self._wake.clear()
        finally:
            self._ticker.stop()
            self.http.stop()
        self._log.info("stopped")

    def _on_signal(self, number: int, _: FrameType | None) -> None:
        self._stop.set()
        self._wake.set()
        last = threading.Timer(STOP_S, self._leave)
        last.daemon = True
        last.start()

    def _leave(self) -> None:
        """A cycle may be left at any instant: nothing counts before the refs move, nothing is left to do after."""
        self._log.info("stopped in the middle of a cycle; the next start goes on from what git holds")
        os._exit(0)

    def _step(self) -> float:
        """One look, and a close if it is due; returns the seconds to wait for the next."""
        self._wake.clear()
        closing = False
        try:
            report, at = self._look()
            closing = at is not None and self.primary.clock() >= at and not self._stop.is_set()
            if closing:
                report = close_frame(self.primary, self.config.frames.close, report.pending.frame)
            self.metrics.streams(len(self.primary.recent_streams()))
        except RetryableError as error:
            return self._failed(error, closing)
        self._failures = 0
        self._show(report)
        self._tidy()
        if closing:
            return 0.0
        if at is not None:
            self._ticker.wake_at(at)
        return self.config.repository.poll

    def _look(self) -> tuple[CycleReport, int | None]:
        """One look; a repository without any commit gets its first frame opened on the way."""
        found = look(self.primary)
        survey = self.primary.last
        if survey is not None and survey.head is None and survey.base.commit is None:
            open_first(
                self.primary.store, found[0].pending.frame, self.primary.clock(), self.config.closing, survey.main
            )
            found = look(self.primary)
        return found

    def _failed(self, error: RetryableError, closing: bool) -> float:
        """Account for a failed cycle; returns the seconds to wait."""
        self._cycles.failure(error)
        self.metrics.failure(publishing=closing, guard=isinstance(error, GuardError))
        self.board.ready, self.board.why = False, error.cause
        longest = min(DELAY_S[0] * 2**self._failures, DELAY_S[1])
        self._failures = min(self._failures + 1, 10)
        return random.uniform(longest / 2, longest)  # noqa: S311 (no secret hangs on it)

    def _show(self, report: CycleReport) -> None:
        self.metrics.cycle(report)
        self._cycles.cycle(report)
        self.board.pending = report.pending
        self.board.ready, self.board.why = True, ""

    def _tidy(self) -> None:
        """What may wait, and what may fail without harm: lanes that are done with, and git's own maintenance."""
        now = time.monotonic()
        keep_s = self.config.retention.lanes_keep
        try:
            if now >= self._lanes_due:
                self._lanes_due = now + max(1.0, keep_s / 20)
                for ref in remove_silent_lanes(self.primary, keep_s):
                    self._log.info("lane removed", lane=ref, why=f"merged whole and silent for {keep_s:g} s")
            if now >= self._maintenance_due:
                self._maintenance_due = now + MAINTENANCE_S
                threading.Thread(target=self._maintain, name="maintenance", daemon=True).start()
        except RetryableError as error:
            self._cycles.hitch(error)

    def _maintain(self) -> None:
        """Runs beside the loop: git works in a process of its own, and touches nothing that a cycle holds."""
        try:
            maintain(self._folder)
        except RetryableError as error:
            self._cycles.hitch(error)
