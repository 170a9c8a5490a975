"""The daemon: polls, closes and reports until it is stopped.

One thread (the caller's) owns the repository. Signals, timers, the file watch and HTTP only set or read values."""

from __future__ import annotations

import contextlib
import os
import threading
import time

from dreamcatcherd import __version__
from dreamcatcherd.core.codec import plain
from dreamcatcherd.core.errors import (
    DreamcatcherError,
    FatalError,
    GuardError,
    OvertakenError,
    RefusedError,
    RetryableError,
)
from dreamcatcherd.core.frames import Decision
from dreamcatcherd.core.mistakes import Mistake, MistakesError, listed
from dreamcatcherd.core.report import CycleReport, Pending, status_line
from dreamcatcherd.core.troubles import Trouble, failing
from dreamcatcherd.daemon.backoff import Backoff
from dreamcatcherd.daemon.bootstrap import Runtime, Source, build_runtime
from dreamcatcherd.daemon.changes import changed_files, changed_keys
from dreamcatcherd.daemon.companions import Companions
from dreamcatcherd.daemon.cycle import close_frame, poll
from dreamcatcherd.daemon.file_watch import FileWatch, degraded_trouble
from dreamcatcherd.daemon.hints import HintPace
from dreamcatcherd.daemon.memory import give_back
from dreamcatcherd.daemon.opening import configure
from dreamcatcherd.daemon.primary import Primary
from dreamcatcherd.daemon.requests import LoopRequests
from dreamcatcherd.daemon.signals import catch_signals
from dreamcatcherd.daemon.systemd import SystemdNotifier
from dreamcatcherd.daemon.timers import Timers
from dreamcatcherd.daemon.upkeep import Upkeep
from dreamcatcherd.git.disk_errors import known_failure
from dreamcatcherd.observe.logs import CycleLog, EventLogger, set_up_logs
from dreamcatcherd.observe.metrics import Metrics
from dreamcatcherd.stages.first_frame import open_first
from dreamcatcherd.stages.relay_copy import CLOSE_UPSTREAM, NO_CLOSE
from dreamcatcherd.web.app import WebApp, make_app
from dreamcatcherd.web.forge_links import forge_links
from dreamcatcherd.web.hints import Hints
from dreamcatcherd.web.listener import Listener
from dreamcatcherd.web.live_status import LiveStatus
from dreamcatcherd.web.server import HttpServer, Listening

STOP_S = 1.5
"""How long a cycle may continue after a signal before the process ends."""


class Service:
    """The running daemon. `run` returns after SIGTERM or SIGINT.

    A repository that cannot be worked on stops frames, not the daemon: it keeps polling, says why it is not ready, and
    resumes once the repository is repaired. SIGHUP reads the configuration again, SIGUSR1 closes the open frame.

    Nothing takes effect before `start`: no signal is caught, no port bound, no thread started."""

    def __init__(self, runtime: Runtime, logger: EventLogger, source: Source | None = None) -> None:
        """`source` is where the configuration is read again."""
        self._wake = threading.Event()
        self._stop = threading.Event()
        self._requests = LoopRequests()
        self._runtime = runtime
        self._source = source
        self._log = logger
        self._cycles = CycleLog(logger)
        self.metrics = Metrics()
        self.live_status = LiveStatus()
        self._timers = Timers()
        self._hints = Hints(HintPace(self._timers, lambda: self._ask("hint")).hint)
        self._listener = Listener(self._application, runtime.listening)
        self._notifier = SystemdNotifier()
        self._watch = FileWatch(runtime.watched, self._wake.set, self._watch_degraded)
        beside = [source.file.absolute().parent] if source and source.file else []
        self._config_watch = FileWatch(beside, self._wake.set, at_once=False)  # each step asks the files as well
        self._upkeep = Upkeep(self._timers, self.metrics, self._cycles)
        self.companions = Companions(logger, self.metrics, self.live_status.idle, self._wake.set)
        self._backoff = Backoff()
        self._failing: Trouble | None = None
        self._failing_kind = ""
        self._refused: Trouble | None = None
        self._full: Trouble | None = None
        self._unwatched: Trouble | None = None
        self._take_over(runtime)

    @property
    def primary(self) -> Primary:
        """The primary of the configuration in force."""
        return self._runtime.primary

    @property
    def http(self) -> HttpServer:
        """The server that answers now."""
        return self._listener.server

    def _application(self, at: Listening) -> WebApp:
        shown = self.metrics.registry, self.live_status
        return make_app(*shown, lambda: self._runtime.store.reader(), at.auth_policy, self._hints)

    # Starting and stopping ----------------------------------------------------------------------------------------

    def start(self) -> None:
        """Catch signals, bind the port and start the threads; UsageError if the port cannot be bound."""
        self._listener.open()
        self._timers.start()
        catch_signals(self._end, self._ask, lambda: self._timers.after("leave", STOP_S, self._leave))
        self._upkeep.start(self._runtime)
        self.companions.start()
        self._watch.start()
        self._config_watch.start()

    def run(self) -> None:
        """Serve until stopped; `start` comes before."""
        where, at = self._runtime.store.where, {"http": self.http.address, "page": f"{self.http.url}/"}
        self._log.info("started", version=__version__, repository=where, **at, pid=os.getpid())
        try:
            while not self._stop.is_set():
                with self._upkeep.steps.timed(self.primary):
                    wait_s = self._step()
                self._rest(wait_s)
        finally:
            self._notifier.stopping()
            self.close()
        self._log.info("stopped")
        if not self.companions.mirrors.has_ended():  # git waits for a mirror: nothing of that counts any more
            os._exit(0)

    def close(self) -> None:
        """Let go what `start` took. The timers end last: they bound how long the rest may take."""
        self._watch.stop()
        self._config_watch.stop()
        self._listener.close()
        self.companions.stop()
        self._timers.stop()

    def _rest(self, seconds: float) -> None:
        """Wait for the next step or a wake-up, and let systemd see meanwhile that nothing hangs.

        The wait has a limit of its own, so that the loop polls although a timer or the file watch failed."""
        until = time.monotonic() + seconds
        slice_s = self._notifier.watchdog_s / 3 if self._notifier.watchdog_s else seconds
        while True:
            self._notifier.alive()
            left = until - time.monotonic()
            if left <= 0 or self._wake.wait(min(left, slice_s)):
                break
        self._wake.clear()

    def _end(self) -> None:
        self._stop.set()
        self._wake.set()

    def _ask(self, what: str) -> None:
        self._requests.ask(what)
        self._wake.set()

    def _leave(self) -> None:
        """A cycle may be left at any instant: nothing counts before the refs move, nothing is left to do after."""
        self._log.info("stopped in the middle of a cycle; the next start goes on from what git holds")
        os._exit(0)

    # One step -----------------------------------------------------------------------------------------------------

    def _step(self) -> float:
        """One poll, and a close if it is due; returns the seconds to wait for the next."""
        self._wake.clear()
        self._timers.follow_clock()
        self._watch.follow()
        if self._requests.take("reload") or (self._source and self._source.changed()):
            self.reload()
        measured, full = self._upkeep.measured(self._runtime)
        if measured:
            self._full = full
            self._note()
        if (left_s := self._backoff.left_s) > 0:  # whatever else woke us
            return left_s
        closing = False
        try:
            report, decision = self._poll()
            if report.ledger is not None:  # an earlier publication had landed after all
                self._show(report)
            by_hand = self._runtime.relay is None and self._requests.wants_close(report.pending.frame)
            closing = (decision.due or by_hand) and not self._stop.is_set()
            if closing:
                self._show_pending(report.pending)
                closed_by = "manual" if by_hand else decision.closed_by
                with self.live_status.merging():
                    report = close_frame(self.primary, closed_by, report.pending.frame, self.primary.last)
                    give_back()
                self._requests.end_close()
        except (RetryableError, FatalError, OSError) as error:
            if self._stop.is_set():  # a signal may break off what the network was asked for
                return 0.0
            return self._failed(known_failure(error, self._runtime.store.folder), closing)
        self._backoff.end()
        if closing or report.ledger is None:
            self._show(report)
        self._upkeep.tidy(self._runtime, closing)
        if closing or report.restored is not None:
            return 0.0
        poll_s = self._runtime.config.repository.poll
        if decision.wake_in_s is None:
            return poll_s
        self._timers.after("due", decision.wake_in_s, self._wake.set)
        return max(0.0, min(poll_s, decision.wake_in_s))

    def _poll(self) -> tuple[CycleReport, Decision]:
        """One poll; a repository without any commit gets its first frame opened on the way."""
        if (relay := self._runtime.relay) is not None:
            if self._requests.take("close"):
                self._log.warning("no frame closed", cause=NO_CLOSE, remedy=CLOSE_UPSTREAM)
            return relay.poll(self._requests.take("hint"), self._show_pending)
        found = poll(self.primary, restore=True)
        inbox = self.primary.last
        if inbox is not None and inbox.head is None and inbox.published.commit is None:
            frame, now = found[0].pending.frame, self.primary.clock()
            with contextlib.suppress(RefusedError):  # another primary was faster
                open_first(self.primary.store, frame, now, self.primary.closing, inbox.main)
            found = poll(self.primary)
        self.companions.events.look(self.primary.last)
        return found

    def _show_pending(self, pending: Pending) -> None:
        """Show what waits in the middle of a cycle, whatever becomes of it."""
        self.metrics.show(pending)
        self.live_status.update(pending, self.primary.last)

    def _failed(self, error: DreamcatcherError, closing: bool) -> float:
        """Account for a failed cycle; returns the seconds to wait."""
        if isinstance(error, GuardError | FatalError):
            self._requests.end_close()
        if closing:
            self.companions.traces.failure(self.primary.timeline, error)
        races = error.races if isinstance(error, OvertakenError) else 0
        self.companions.events.failed(error, self.primary.clock())
        self.metrics.failure(publishing=closing, guard=isinstance(error, GuardError), races=races)
        if self._failing is None or self._failing_kind != error.kind:
            self._failing, self._failing_kind = failing(error, self.primary.clock()), error.kind
        self.live_status.fail(error.cause)
        self._note()
        self._cycles.failure(error)  # in the log once the metrics and the status show it
        self._notifier.status(f"not ready: {error.cause}")
        if isinstance(error, FatalError):
            self._notifier.ready()  # the daemon is up and answers; what is broken is the repository
        relay = self._runtime.relay
        if relay is not None and error is relay.failure:
            self.metrics.left_alone(relay.backoff.until)
            return relay.left_s
        wait_s = self._backoff.wait_s(error, self._runtime.config.repository.retry)
        self.metrics.left_alone(self._backoff.until)
        return wait_s

    def _note(self) -> None:
        """Show the daemon's own troubles, the one that stops frames first."""
        own = filter(None, (self._failing, self._full, self._refused, self._unwatched))
        self.live_status.note((*own, *self.companions.troubles()))

    def _show(self, report: CycleReport) -> None:
        self.metrics.cycle(report)
        self._cycles.cycle(report)
        self.companions.cycle(report, self.primary.last)
        self._failing = None
        self._note()
        self.metrics.largest(self.primary.largest_bytes())
        last = self.primary.last
        self.live_status.show(report, last.published.commit if last else None, last)
        self._notifier.status(status_line(report.pending, self.primary.clock()))
        self._notifier.ready()

    # Configuration ------------------------------------------------------------------------------------------------

    def reload(self) -> None:
        """Read the configuration again and apply it between two cycles; one that is wrong is refused and reported.

        Everything that can fail comes first. What is in force changes only once the new runtime is complete."""
        if self._source is None:
            return
        self._notifier.reloading()
        try:
            runtime = build_runtime(*self._source.read(), self._runtime)
            self._listener.switch(runtime.listening)
        except DreamcatcherError as error:
            self._refuse(error)
        else:
            self._log = self._cycles.logger = set_up_logs(runtime.config.log.format, runtime.config.log.level)
            self._refused = None
            self.metrics.configuration(refused=False)
            old = self._runtime
            self._swap(runtime)
            self._note()
            self._notifier.note("")
            changed, files = changed_keys(old.config, runtime.config), changed_files(old, runtime)
            where = {"repository": runtime.store.where, "http": self.http.address}
            self._log.info("configuration applied", changed=changed, files=files, **where)
        finally:
            self._notifier.reloaded()

    def _refuse(self, error: DreamcatcherError) -> None:
        """Report a configuration that is not applied, with every mistake, until another one is."""
        mistakes = error.mistakes if isinstance(error, MistakesError) else (Mistake("", error.cause, error.remedy),)
        every = [one.line for one in mistakes]
        what = RefusedError(f"the configuration on disk is refused: {listed(mistakes)}", error.remedy)
        self._refused = failing(what, self.primary.clock())
        self.metrics.configuration(refused=True)
        self._note()
        self._notifier.note(f"the configuration on disk is refused: {error.cause}")
        refused = "configuration refused, the old one stays"  # said last: whoever reads it finds the metric set
        self._log.error(refused, cause=error.cause, remedy=error.remedy, mistakes=every)

    def _swap(self, runtime: Runtime) -> None:
        """Put another runtime in force in place of the one that is; nothing here can fail."""
        old, self._runtime = self._runtime, runtime
        if runtime.store is not old.store:
            old.store.discard()
            self._watch.stop()
            self._watch = FileWatch(runtime.watched, self._wake.set, self._watch_degraded)
            self._watch.start()
            self._backoff.end()
            self.metrics.left_alone(0.0)
        self._take_over(runtime)
        self._upkeep.schedule_lanes(runtime)

    def _take_over(self, runtime: Runtime) -> None:
        """Let what serves a runtime know of it."""
        self.live_status.where, self.live_status.identity = plain(runtime.store.where), runtime.store.identity
        links = runtime.config.links
        self.live_status.links = forge_links(runtime.config.repository.url, links.commit, links.file)
        runtime.primary.closing = runtime.closing
        configure(runtime.primary, runtime.config)
        runtime.primary.policy = runtime.policy or runtime.primary.policy
        runtime.primary.progress = runtime.store.progress = self._notifier.progress
        self._upkeep.take_over(runtime)
        self._hints.secrets = runtime.hint_secrets
        self.companions.take_over(runtime)

    def _watch_degraded(self, why: str) -> None:
        """In the watch's thread: what is set here is read at the next step."""
        self._unwatched = degraded_trouble(why) if why else None
        self.metrics.watch_degraded(bool(why))
        if why:
            self._log.warning("file watch degraded to polling", cause=why, poll_s=self._runtime.config.repository.poll)
        self._wake.set()
