"""All subscriptions of the running daemon: which deliveries run, and what the loop reports to them.

Every function returns at once: the loop calls them between the steps of a cycle."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Iterator
from itertools import chain
from pathlib import Path

from dreamcatcherd.core.errors import GuardError
from dreamcatcherd.core.troubles import Trouble
from dreamcatcherd.daemon.event_backlog import Look
from dreamcatcherd.daemon.event_delivery import Delivery, GuardTrip
from dreamcatcherd.daemon.event_receivers import Subscription
from dreamcatcherd.git.protocols import QueryReader
from dreamcatcherd.observe.logs import EventLogger
from dreamcatcherd.stages.inbox import Inbox

ENDED_WITHIN_S = 0.5
"""How long the end of the deliveries is waited for: they write their cursors meanwhile."""


class Subscriptions:
    """The deliveries of the configuration in force."""

    def __init__(self, idle: threading.Event) -> None:
        """`idle` is set while no frame is being closed."""
        self._idle = idle
        self._running: dict[Path, Delivery] = {}  # by the file of the cursor
        self._started = False
        self._frame: int | None = None
        self._tripped: tuple[int | None, str] | None = None

    def take_over(
        self, wanted: Iterable[Subscription], open_store: Callable[[], QueryReader], logger: EventLogger
    ) -> None:
        """Run these subscriptions and no others. One that is as it was goes on; a changed one goes on from its cursor
        as soon as the old one has ended."""
        here = {one.cursor: one for one in wanted}
        for path, delivery in list(self._running.items()):
            if here.get(path) != delivery.subscription or not delivery.reads(open_store):
                self._running.pop(path).stop()
        for path, one in here.items():
            if path in self._running:
                self._running[path].logger = logger
                self._running[path].hurry()
            else:
                self._running[path] = Delivery(one, open_store, logger, self._idle)
                if self._started:
                    self._running[path].start()
        self._frame = self._tripped = None  # it may be another repository

    def start(self) -> None:
        """Start the threads."""
        self._started = True
        for delivery in self._running.values():
            delivery.start()

    def look(self, inbox: Inbox | None) -> None:
        """Pass on what the primary found."""
        if inbox is None:
            return
        base = inbox.published
        self._frame = base.state.frame
        for delivery in self._running.values():
            delivery.look(Look(base.state.frame, base.commit if base.ledger else None, inbox.head))

    def failed(self, error: Exception, now: int) -> None:
        """Pass on a failed cycle: a trip of the guard is an event. `now` is in microseconds UTC."""
        if isinstance(error, GuardError) and self._tripped != (self._frame, error.cause):
            self._tripped = (self._frame, error.cause)
            for delivery in self._running.values():
                delivery.add(GuardTrip(self._frame, error.cause, error.remedy, now / 1e6))

    def troubles(self) -> Iterator[Trouble]:
        """The troubles of all receivers."""
        return chain.from_iterable(one.troubles() for one in tuple(self._running.values()))

    def waiting(self) -> int:
        """How many events wait, over all subscriptions. Can be called from any thread."""
        return sum(one.waiting for one in tuple(self._running.values()))

    def stop(self) -> None:
        """End all deliveries; what is being sent is broken off."""
        until = time.monotonic() + ENDED_WITHIN_S
        for delivery in self._running.values():
            delivery.stop()
        for delivery in self._running.values():
            delivery.join(max(0.0, until - time.monotonic()))
