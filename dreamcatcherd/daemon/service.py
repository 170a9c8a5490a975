"""The daemon: wires the objects once, then looks, closes and reports until told to stop.

One thread (the caller's) owns the repository. Signals, clock, file watcher and HTTP only set or read values."""

from __future__ import annotations

import contextlib
import os
import signal
import threading
import time
from types import FrameType

from msgspec import structs
from structlog.typing import FilteringBoundLogger

from dreamcatcherd import __version__
from dreamcatcherd.config import Config
from dreamcatcherd.core.errors import (
    DreamcatcherError,
    FatalError,
    GuardError,
    OvertakenError,
    RefusedError,
    RetryableError,
    UsageError,
)
from dreamcatcherd.core.frames import Decision
from dreamcatcherd.core.report import CycleReport, status_line
from dreamcatcherd.core.troubles import Trouble, disk_full, failing
from dreamcatcherd.daemon.backoff import Backoff
from dreamcatcherd.daemon.bootstrap import Source, closing_of, keep_as_configured, primary_of, watched_folders
from dreamcatcherd.daemon.cycle import close_frame, poll, remove_silent_lanes
from dreamcatcherd.daemon.primary import Primary
from dreamcatcherd.daemon.systemd import SystemdNotifier
from dreamcatcherd.daemon.timers import Timers
from dreamcatcherd.git.disk_usage import disk_usage
from dreamcatcherd.git.local import LocalStore
from dreamcatcherd.git.maintenance import maintain
from dreamcatcherd.git.reachability import has_graph
from dreamcatcherd.observe.clock import wall_clock
from dreamcatcherd.observe.logs import CycleLog, set_up_logs
from dreamcatcherd.observe.metrics import Metrics
from dreamcatcherd.stages.first_frame import open_first
from dreamcatcherd.stages.lane_cleanup import LANES_AT_ONCE
from dreamcatcherd.web.app import make_app
from dreamcatcherd.web.live_status import LiveStatus
from dreamcatcherd.web.server import HttpServer, Listening, read_listening

STOP_S = 1.5
"""How long a cycle may go on after a signal before it is left where it is."""

MEASURE_S = 60.0
"""How often the own folder and its disk are measured."""

MAINTENANCE = (32, 600.0)
"""After so many closes, each of which leaves a pack, and at least so often in seconds, packs are joined and pruned."""


class Service:
    """The running daemon. `run` returns after SIGTERM or SIGINT.

    A repository that cannot be worked on stops frames, not the daemon: it goes on looking, says why it is not ready,
    and resumes once the repository is repaired.

    SIGHUP reads the configuration anew, SIGUSR1 closes the open frame. Signals are caught from the moment that the
    service is made, and the port is bound then."""

    def __init__(
        self,
        config: Config,
        store: LocalStore,
        logger: FilteringBoundLogger,
        source: Source | None = None,
    ) -> None:
        """`source` is where the configuration is read again."""
        self._wake = threading.Event()
        self._stop = threading.Event()
        self._asked: set[str] = set()
        signal.signal(signal.SIGTERM, self._on_stop)
        signal.signal(signal.SIGINT, self._on_stop)
        signal.signal(signal.SIGHUP, lambda *_: self._ask("reload"))
        signal.signal(signal.SIGUSR1, lambda *_: self._ask("close"))
        self._watch_for_stop()
        self.config = config
        self.primary = Primary(store, config.repository.branch, closing_of(config), wall_clock)
        keep_as_configured(self.primary, config)
        self.board = LiveStatus(store.where, store.identity)
        self.metrics = Metrics()
        self._log = logger
        self._cycles = CycleLog(logger)
        beside = [source.file.absolute().parent] if source and source.file else []
        self._ticker = Timers(self._wake.set, watched_folders(store), self._watch_degraded, beside)
        self._notifier = SystemdNotifier()
        self.primary.progress, store.progress = self._notifier.alive, self._notifier.progress
        self._folder = store.folder
        self._listening = read_listening(config.http)
        self.http = self._listen(self._listening)
        self._source = source
        self._backoff = Backoff()
        self._failing: Trouble | None = None
        self._failing_kind = ""
        self._refused: Trouble | None = None
        self._full: Trouble | None = None
        self._measure_due = self._lanes_due = time.monotonic()
        self._maintenance = threading.Thread(target=self._maintain, name="maintenance", daemon=True)
        self._maintenance_due = time.monotonic() + MAINTENANCE[1]
        self._closes = 0 if has_graph(store.folder) or not store.folder.is_dir() else MAINTENANCE[0]  # no graph yet

    def _listen(self, listening: Listening) -> HttpServer:
        app = make_app(self.metrics.registry, self.board, lambda: self.primary.store.reader(), listening.door)
        return HttpServer(app, listening)

    def _listen_anew(self, listening: Listening) -> None:
        """Listen as configured now. A port that stays the same is let go first: two cannot have it."""
        port = self.http.port
        same = listening.host == self._listening.host and listening.port in (self._listening.port, port)
        if same:
            self.http.stop(wait_s=5.0)
        try:
            http = self._listen(structs.replace(listening, port=port) if same else listening)
        except UsageError:
            if same:
                self.http = self._listen(structs.replace(self._listening, port=port))
                self.http.start()
            raise
        http.start()
        if not same:
            self.http.stop()
        self.http, self._listening = http, listening

    def run(self) -> None:
        """Serve until stopped."""
        self.http.start()
        self._ticker.start()
        self._log.info(
            "started", version=__version__, repository=self.primary.store.where, http=self.http.address, pid=os.getpid()
        )
        try:
            while not self._stop.is_set():
                self._rest(self._step())
        finally:
            self._notifier.stopping()
            self._ticker.stop()
            self.http.stop()
        self._log.info("stopped")

    def _rest(self, seconds: float) -> None:
        """Wait for the next step or a wake-up, and let systemd see meanwhile that nothing hangs."""
        until = time.monotonic() + seconds
        slice_s = self._notifier.watchdog_s / 3 if self._notifier.watchdog_s else seconds
        while True:
            self._notifier.alive()
            left = until - time.monotonic()
            if left <= 0 or self._wake.wait(min(left, slice_s)):
                break
        self._wake.clear()

    def _on_stop(self, number: int, _: FrameType | None) -> None:
        self._stop.set()
        self._wake.set()

    def _ask(self, what: str) -> None:
        self._asked.add(what)
        self._wake.set()

    def _watch_for_stop(self) -> None:
        """End a daemon that does not get to its end by itself.

        Python runs handlers in the main thread, and only once libgit2 is back, which may wait for a server for long;
        but what caught the signal writes its number at once."""
        numbers, told = os.pipe()
        os.set_blocking(told, False)
        signal.set_wakeup_fd(told, warn_on_full_buffer=False)

        def watch() -> None:
            while os.read(numbers, 1)[0] not in (signal.SIGTERM, signal.SIGINT):
                pass
            time.sleep(STOP_S)
            self._leave()

        threading.Thread(target=watch, name="stop", daemon=True).start()

    def _leave(self) -> None:
        """A cycle may be left at any instant: nothing counts before the refs move, nothing is left to do after."""
        self._log.info("stopped in the middle of a cycle; the next start goes on from what git holds")
        os._exit(0)

    def _step(self) -> float:
        """One look, and a close if it is due; returns the seconds to wait for the next."""
        self._wake.clear()
        if "reload" in self._asked or (self._source and self._source.changed()):
            self._asked.discard("reload")
            self.reload()
        self._measure()
        if self._backoff.left_s > 0:  # whatever else woke us
            return self._backoff.left_s
        closing = False
        try:
            report, decision = self._poll()
            if report.ledger is not None:  # an earlier publication had landed after all
                self._show(report)
            by_hand = "close" in self._asked
            closing = (decision.due or by_hand) and not self._stop.is_set()
            if closing:
                self._asked.discard("close")
                self.metrics.show(report.pending)  # what stands there, whatever becomes of the close
                self.board.update(report.pending)
                closed_by = "manual" if by_hand else decision.closed_by
                with self.board.merging():
                    report = close_frame(self.primary, closed_by, report.pending.frame, self.primary.last)
        except (RetryableError, FatalError) as error:
            if self._stop.is_set():  # a signal may break off what the network was asked for
                return 0.0
            return self._failed(error, closing)
        self._backoff.end()
        if closing or report.ledger is None:
            self._show(report)
        self._tidy()
        if closing:
            self._closes += 1
            return 0.0
        if report.restored is not None:
            return 0.0
        poll_s = self.config.repository.poll
        if decision.wake_in_s is None:
            return poll_s
        self._ticker.wake_in(decision.wake_in_s)
        return max(0.0, min(poll_s, decision.wake_in_s))

    def _poll(self) -> tuple[CycleReport, Decision]:
        """One poll; a repository without any commit gets its first frame opened on the way."""
        found = poll(self.primary, restore=True)
        inbox = self.primary.last
        if inbox is not None and inbox.head is None and inbox.published.commit is None:
            frame, now = found[0].pending.frame, self.primary.clock()
            with contextlib.suppress(RefusedError):  # another primary was faster
                open_first(self.primary.store, frame, now, self.primary.closing, inbox.main)
            found = poll(self.primary)
        return found

    def _failed(self, error: DreamcatcherError, closing: bool) -> float:
        """Account for a failed cycle; returns the seconds to wait."""
        self._cycles.failure(error)
        races = error.races if isinstance(error, OvertakenError) else 0
        self.metrics.failure(publishing=closing, guard=isinstance(error, GuardError), races=races)
        if self._failing is None or self._failing_kind != error.kind:
            self._failing, self._failing_kind = failing(error, self.primary.clock()), error.kind
        self.board.fail(error.cause)
        self._note()
        self._notifier.status(f"not ready: {error.cause}")
        if isinstance(error, FatalError):
            self._notifier.ready()  # the daemon is up and answers; what is broken is the repository
        wait_s = self._backoff.wait_s(error, self.config.repository.retry)
        self.metrics.left_alone(self._backoff.until)
        return wait_s

    def _note(self) -> None:
        """Show the daemon's own troubles, the one that stops frames first."""
        self.board.note(filter(None, (self._failing, self._full, self._refused, self._ticker.trouble)))

    def _show(self, report: CycleReport) -> None:
        self.metrics.cycle(report)
        self._cycles.cycle(report)
        self._failing = None
        self._note()
        self.metrics.largest(self.primary.largest_bytes())
        self.board.show(report, self.primary.last.published.commit if self.primary.last else None)
        self._notifier.status(status_line(report.pending, self.primary.clock()))
        self._notifier.ready()

    def reload(self) -> None:
        """Read the configuration anew and apply it between two cycles; one that is wrong is refused, and told."""
        if self._source is None:
            return
        self._notifier.reloading()
        try:
            found = self._source.read()
            config, listening = found.config, read_listening(found.config.http)
            if listening != self._listening:
                self._listen_anew(listening)
            self._source.accepted(found)
            if (store := found.store) is not None:
                self.board.where, self.board.identity = store.where, store.identity
                self.primary = primary_of(config, store)
                self.primary.progress, store.progress = self._notifier.alive, self._notifier.progress
                self._folder = store.folder
                self._ticker.watch(watched_folders(store))
                self._backoff.end()
                self.metrics.left_alone(0.0)
        except DreamcatcherError as error:
            self._log.error("configuration refused, the old one stays", cause=error.cause, remedy=error.remedy)
            what = RefusedError(f"the configuration on disk is refused: {error.cause}", error.remedy)
            self._refused = failing(what, self.primary.clock())
            self.metrics.configuration(refused=True)
            self._note()
        else:
            self._log = self._cycles.logger = set_up_logs(config.log.format, config.log.level)
            self._refused = None
            self.metrics.configuration(refused=False)
            self._note()
            self.primary.closing = found.closing
            keep_as_configured(self.primary, config)
            self.config = config
            self._log.info("configuration applied", repository=self.primary.store.where, http=self.http.address)
        finally:
            self._notifier.reloaded()

    def _watch_degraded(self, why: str) -> None:
        """In the watcher's thread: what is set here is read at the next step."""
        self._log.warning("file watch degraded to polling", cause=why, poll_s=self.config.repository.poll)
        self.metrics.watch_degraded()
        self._wake.set()

    def _measure(self) -> None:
        """Measure what the own folder takes, also while cycles fail: a full disk is a reason for that."""
        now = time.monotonic()
        if now >= self._measure_due:
            self._measure_due = now + MEASURE_S
            found = disk_usage(self._folder)
            if found is not None:
                self.metrics.footprint(found)
                self._full = disk_full(found.free_bytes, str(self._folder))
                self._note()

    def _tidy(self) -> None:
        """What may wait, and what may fail without harm: lanes that are done with, and git's own maintenance."""
        now = time.monotonic()
        keep_s = self.config.retention.lanes_keep
        try:
            if now >= self._lanes_due:
                self._lanes_due = now + max(1.0, keep_s / 20)
                removed = remove_silent_lanes(self.primary, keep_s)
                self._lanes_due = now if len(removed) >= LANES_AT_ONCE else self._lanes_due  # there may be more
                for ref in removed:
                    self._log.info("lane removed", lane=ref, why=f"merged whole and silent for {keep_s:g} s")
            due = now >= self._maintenance_due or self._closes >= MAINTENANCE[0]
            if due and not self._maintenance.is_alive():
                self._maintenance_due, self._closes = now + MAINTENANCE[1], 0
                self._maintenance = threading.Thread(target=self._maintain, name="maintenance", daemon=True)
                self._maintenance.start()
        except (RetryableError, FatalError) as error:
            self._cycles.hitch(error)

    def _maintain(self) -> None:
        """Runs beside the loop: git works in a process of its own, and touches nothing that a cycle holds."""
        try:
            maintain(self._folder)
        except (RetryableError, FatalError) as error:
            self._cycles.hitch(error)
