"""What the loop shows to the outside: one frozen value, replaced whole after each cycle, read by any thread.

Owns the version that tells one showing from the next, and the word that a frame is being closed just now."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress

from msgspec import Struct, structs

from dreamcatcherd.core.report import CycleReport, Pending
from dreamcatcherd.core.troubles import Trouble

TIMES_KEPT = 200
"""Of how many closed frames the board remembers what each phase took. No ledger holds it: it is this machine's."""


class StatusValue(Struct, frozen=True):
    """One showing. `published` is the last published commit, `phases` the seconds by frame that this process took.

    `daemon_troubles` are the daemon's own troubles. `version` rises with every change that somebody could see."""

    version: int = 0
    pending: Pending | None = None
    ready: bool = False
    why: str = "no poll yet"
    published: str | None = None
    phases: dict[int, dict[str, float]] = {}
    daemon_troubles: tuple[Trouble, ...] = ()

    @property
    def troubles(self) -> list[Trouble]:
        """Everything that is wrong at the moment: with the daemon itself, and with the repository."""
        return [*self.daemon_troubles, *(self.pending.troubles if self.pending else ())]


class LiveStatus:
    """Written by the loop, read by everybody else."""

    def __init__(self, where: str = "", identity: str = "") -> None:
        """`where` is the repository as people call it, `identity` the same from everywhere on this machine."""
        self.where = where
        self.identity = identity
        self.current = StatusValue()
        self.closing = False
        self.idle = threading.Event()
        self.idle.set()
        self._listeners: list[Callable[[], None]] = []

    @property
    def pending(self) -> Pending | None:
        return self.current.pending

    @property
    def ready(self) -> bool:
        return self.current.ready

    @property
    def why(self) -> str:
        return self.current.why

    def show(self, report: CycleReport, published: str | None) -> None:
        """Show what a good cycle found or did."""
        phases = self.current.phases
        if report.ledger is not None:
            kept = sorted(phases)[-TIMES_KEPT + 1 :]
            phases = {frame: phases[frame] for frame in kept} | {report.ledger.frame: report.phases}
        self._replace(StatusValue(0, report.pending, True, "", published, phases, self.current.daemon_troubles))

    def update(self, pending: Pending) -> None:
        """Show what stands there now; whether all is well is told when the cycle is over."""
        self._replace(structs.replace(self.current, pending=pending))

    def fail(self, cause: str) -> None:
        """Show why the last cycle went wrong, beside what the last good one found."""
        self._replace(structs.replace(self.current, ready=False, why=cause))

    def note(self, troubles: Iterable[Trouble]) -> None:
        """Show the daemon's own troubles, in place of those shown before."""
        self._replace(structs.replace(self.current, daemon_troubles=tuple(troubles)))

    def _replace(self, current: StatusValue) -> None:
        if not _same(current, self.current):
            self.current = structs.replace(current, version=self.current.version + 1)
            self._notify()

    @contextmanager
    def merging(self) -> Iterator[None]:
        """While a frame closes: those who answer others let the loop have the interpreter for itself."""
        self.closing = True
        self.idle.clear()
        try:
            yield
        finally:
            self.closing = False
            self.idle.set()
            self._notify()

    def subscribe(self, listener: Callable[[], None]) -> None:
        """Call this, in the loop's thread, after every change. It must return at once and raise nothing."""
        self._listeners.append(listener)

    def unsubscribe(self, listener: Callable[[], None]) -> None:
        """Call it no more. May be called from any thread, also twice."""
        with suppress(ValueError):
            self._listeners.remove(listener)

    def _notify(self) -> None:
        for listener in tuple(self._listeners):
            listener()


def _same(one: StatusValue, other: StatusValue) -> bool:
    """Whether two showings differ in nothing but how time goes by."""
    if one.pending is None or other.pending is None:
        return structs.replace(one, version=0) == structs.replace(other, version=0)
    still = structs.replace(one, version=0, pending=structs.replace(one.pending, behind_s=0.0))
    return still == structs.replace(other, version=0, pending=structs.replace(other.pending, behind_s=0.0))
