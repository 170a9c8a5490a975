"""The daemon: wires the objects once, then looks, closes and reports until told to stop.

One thread (the caller's) owns the repository. Signals, clock, file watcher and HTTP only set or read values."""

from __future__ import annotations

import os
import signal
import threading
import time
from types import FrameType

from structlog.typing import FilteringBoundLogger

from dreamcatcherd import __version__
from dreamcatcherd.config import Config, listen_address
from dreamcatcherd.core.errors import RetryableError
from dreamcatcherd.core.report import CycleReport
from dreamcatcherd.daemon.cycle import Primary, close_frame, look, remove_silent_lanes, wall_clock
from dreamcatcherd.daemon.http import Board, HttpServer, make_app
from dreamcatcherd.daemon.schedule import Ticker
from dreamcatcherd.observe.logs import CycleLog
from dreamcatcherd.observe.metrics import Metrics
from dreamcatcherd.store.objects import GitStore

STOP_S = 1.5
"""How long a cycle may go on after a signal before it is left where it is."""


class Service:
    """The running daemon. `run` returns after SIGTERM or SIGINT; a FatalError ends it with its remedy.

    Signals are caught from the moment that it is made, and the port is bound then."""

    def __init__(self, config: Config, store: GitStore, logger: FilteringBoundLogger) -> None:
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
        self._ticker = Ticker(self._wake.set, store.folder)
        host, port = listen_address(config.http.listen)
        self.http = HttpServer(make_app(self.metrics.registry, self.board), host, port)
        self._lanes_due = time.monotonic()

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
            report, at = look(self.primary)
            closing = at is not None and self.primary.clock() >= at and not self._stop.is_set()
            if closing:
                report = close_frame(self.primary, self.config.frames.close)
            self._tidy_lanes()
            self.metrics.streams(len(self.primary.recent_streams()))
        except RetryableError as error:
            self._cycles.failure(error)
            self.metrics.failure(publishing=closing)
            self.board.ready, self.board.why = False, error.cause
            return error.delay_s
        self._show(report)
        if closing:
            return 0.0
        if at is not None:
            self._ticker.wake_at(at)
        return self.config.repository.poll

    def _show(self, report: CycleReport) -> None:
        self.metrics.cycle(report)
        self._cycles.cycle(report)
        self.board.pending = report.pending
        self.board.ready, self.board.why = True, ""

    def _tidy_lanes(self) -> None:
        if time.monotonic() < self._lanes_due:
            return
        keep_s = self.config.retention.lanes_keep
        self._lanes_due = time.monotonic() + max(1.0, keep_s / 20)
        for ref in remove_silent_lanes(self.primary, keep_s):
            self._log.info("lane removed", lane=ref, why=f"merged whole and silent for {keep_s:g} s")
