"""The state of the daemon as HTTP shows it: one frozen value, replaced after each cycle, read by any thread.

Owns the version that changes with every visible change, and the flag that a frame is being closed."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from typing import NamedTuple

from msgspec import Struct, structs

from dreamcatcherd.core.report import CycleReport, Pending
from dreamcatcherd.core.troubles import Trouble
from dreamcatcherd.stages.inbox import Inbox
from dreamcatcherd.web.forge_links import ForgeLinks

TIMES_KEPT = 200
"""For how many closed frames the durations of the phases are kept. They are measured here and in no ledger."""


class StatusValue(Struct, frozen=True):
    """The state at one moment. `published` is the last published commit, `phases` the seconds of each phase by frame.

    `daemon_troubles` are those of the daemon itself. `version` rises with every visible change."""

    version: int = 0
    pending: Pending | None = None
    ready: bool = False
    why: str = "no poll yet"
    published: str | None = None
    phases: dict[int, dict[str, float]] = {}
    daemon_troubles: tuple[Trouble, ...] = ()

    @property
    def troubles(self) -> list[Trouble]:
        """Every present trouble, of the daemon and of the repository."""
        return [*self.daemon_troubles, *(self.pending.troubles if self.pending else ())]


class WaitingInbox(NamedTuple):
    """What the last poll found to wait. `number` rises with every change of it."""

    number: int
    inbox: Inbox


class LiveStatus:
    """Written by the daemon's loop, read by every other thread. `waiting` is never changed, only replaced."""

    def __init__(self, where: str = "", identity: str = "") -> None:
        """`where` names the repository for people; `identity` is the same from every folder of this machine."""
        self.where = where
        self.identity = identity
        self.links = ForgeLinks()
        self.current = StatusValue()
        self.waiting: WaitingInbox | None = None
        self.closing = False
        self.idle = threading.Event()
        self.idle.set()
        self._listeners: list[Callable[[], None]] = []

    @property
    def pending(self) -> Pending | None:
        """The last poll, or None before the first."""
        return self.current.pending

    @property
    def ready(self) -> bool:
        """Whether the last cycle succeeded."""
        return self.current.ready

    @property
    def why(self) -> str:
        """Why it is not ready; empty if it is."""
        return self.current.why

    def show(self, report: CycleReport, published: str | None, inbox: Inbox | None = None) -> None:
        """Record a successful cycle, and what waits after it."""
        self._keep(inbox)
        phases = self.current.phases
        if report.ledger is not None:
            kept = sorted(phases)[-TIMES_KEPT + 1 :]
            phases = {frame: phases[frame] for frame in kept} | {report.ledger.frame: report.phases}
        self._replace(StatusValue(0, report.pending, True, "", published, phases, self.current.daemon_troubles))

    def update(self, pending: Pending, inbox: Inbox | None = None) -> None:
        """Record a poll in the middle of a cycle; `ready` changes when the cycle is over."""
        self._keep(inbox)
        self._replace(structs.replace(self.current, pending=pending))

    def fail(self, cause: str) -> None:
        """Record why the last cycle failed; the rest stays as the last good cycle found it."""
        self._replace(structs.replace(self.current, ready=False, why=cause))

    def note(self, troubles: Iterable[Trouble]) -> None:
        """Record the daemon's troubles, in place of the previous ones."""
        self._replace(structs.replace(self.current, daemon_troubles=tuple(troubles)))

    def _keep(self, inbox: Inbox | None) -> None:
        # Every poll makes another inbox. The former one is kept while both say the same, so that answers made from it
        # stay valid; it follows from the refs and the published commit.
        if inbox is None:
            return
        number = 1
        if self.waiting is not None:
            old = self.waiting.inbox
            if (inbox.published.commit, inbox.refs) == (old.published.commit, old.refs):
                return
            number += self.waiting.number
        self.waiting = WaitingInbox(number, inbox)

    def _replace(self, current: StatusValue) -> None:
        if not _same(current, self.current):
            self.current = structs.replace(current, version=self.current.version + 1)
            self._notify()

    @contextmanager
    def merging(self) -> Iterator[None]:
        """Set `closing` while a frame closes: then answers wait, so that the merge has the interpreter for itself."""
        self.closing = True
        self.idle.clear()
        try:
            yield
        finally:
            self.closing = False
            self.idle.set()
            self._notify()

    def subscribe(self, listener: Callable[[], None]) -> None:
        """Call the listener after every change, in the loop's thread. It must not block and not raise."""
        self._listeners.append(listener)

    def unsubscribe(self, listener: Callable[[], None]) -> None:
        """Stop calling the listener. Can be called from any thread, and more than once."""
        with suppress(ValueError):
            self._listeners.remove(listener)

    def _notify(self) -> None:
        # A copy, since listeners can be removed from other threads.
        for listener in tuple(self._listeners):
            listener()


def _same(one: StatusValue, other: StatusValue) -> bool:
    """Whether two values differ at most in their version and in how long the oldest delta waits."""
    if one.pending is None or other.pending is None:
        return structs.replace(one, version=0) == structs.replace(other, version=0)
    still = structs.replace(one, version=0, pending=structs.replace(one.pending, behind_s=0.0))
    return still == structs.replace(other, version=0, pending=structs.replace(other.pending, behind_s=0.0))
