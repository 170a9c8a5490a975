"""What works beside the loop: traces, events, mirrors, and the process that checks pushes.

Each has threads or a process of its own, takes what the loop found, and delays no frame. Owns their common life."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import chain
from threading import Event

from dreamcatcherd.core.report import CycleReport
from dreamcatcherd.core.troubles import Trouble
from dreamcatcherd.daemon.bootstrap import Runtime
from dreamcatcherd.daemon.mirrors import Mirrors
from dreamcatcherd.daemon.push_checks import PushChecks
from dreamcatcherd.daemon.subscriptions import Subscriptions
from dreamcatcherd.observe.logs import EventLogger
from dreamcatcherd.observe.metrics import Metrics
from dreamcatcherd.observe.traces import Traces
from dreamcatcherd.stages.inbox import Inbox

FLUSH_S = 0.4
"""How long the last traces may take to be sent when the daemon ends."""


class Companions:
    """They start with the daemon, follow each configuration that takes effect, and end with the daemon."""

    def __init__(self, logger: EventLogger, metrics: Metrics, idle: Event, wake: Callable[[], None]) -> None:
        """`idle` is set while the loop merges nothing; `wake` begins its next look."""
        self._log = logger
        self.traces = Traces(logger)
        self.checks = PushChecks(logger)
        self.events = Subscriptions(idle)
        self.mirrors = Mirrors(wake)
        metrics.undelivered(self.events.waiting)
        metrics.mirrors(self.mirrors.states)

    def start(self) -> None:
        """Start the threads and the process."""
        self.events.start()
        self.checks.start()
        self.mirrors.start()

    def take_over(self, runtime: Runtime) -> None:
        """Follow the configuration in force; nothing here can fail."""
        self.traces.use(runtime.tracing, self._log)
        self.checks.use(runtime.store.folder if runtime.watched else None, self._log)
        self.events.take_over(runtime.subscriptions, runtime.store.reader, self._log)
        self.mirrors.take_over(runtime.mirrors, runtime.mirror_base, runtime.store.recall, self._log)
        runtime.primary.beside = self.mirrors.beside

    def cycle(self, report: CycleReport, inbox: Inbox | None) -> None:
        """Pass on what a cycle did."""
        self.events.look(inbox)
        self.mirrors.look(inbox)
        self.traces.cycle(report)

    def troubles(self) -> Iterator[Trouble]:
        """The troubles of receivers and mirrors."""
        return chain(self.events.troubles(), self.mirrors.troubles())

    def stop(self) -> None:
        """End them, each within a limit of its own."""
        self.events.stop()
        self.checks.stop()
        self.mirrors.stop()
        self.traces.stop(FLUSH_S)
