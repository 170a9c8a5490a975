"""Events out: each subscription has a thread that delivers to its receiver, in order, at least once, for as long as it
takes (docs/protocol.md#events).

A thread reads git beside the loop and never asks anything of it, so a receiver that is dead delays no frame. Owns the
threads, the waits after failures, when a cursor is written, and what is said about a receiver that takes nothing."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Iterator

import msgspec
from msgspec import Struct

from dreamcatcherd.core.errors import DreamcatcherError, FatalError, RetryableError
from dreamcatcherd.core.events import CloudEvent, envelope, guard_tripped
from dreamcatcherd.core.report import plural
from dreamcatcherd.core.troubles import Trouble, failing
from dreamcatcherd.daemon.backoff import Backoff
from dreamcatcherd.daemon.event_backlog import Backlog, Look
from dreamcatcherd.daemon.event_cursor import Cursor, CursorFile
from dreamcatcherd.daemon.event_receivers import Subscription
from dreamcatcherd.git.disk_errors import known_failure
from dreamcatcherd.git.protocols import QueryReader
from dreamcatcherd.observe.clock import wall_clock
from dreamcatcherd.observe.logs import EventLogger

SAVE_S = 0.5
"""How often a cursor is written while events flow: so much is delivered again after a crash."""
COUNT_AT_ONCE = 50
"""How many frames are counted between two looks at the clock."""
PATIENCE_S = 60.0
PATIENCE_TRIES = 5
"""A receiver that failed for so long, or so often in a row, is a trouble."""
LOCK_S = 1.0


class GuardTrip(Struct, frozen=True):
    """The guard stopped publishing; `frame` is the open one, None if none was seen yet."""

    frame: int | None
    cause: str
    remedy: str
    at_s: float


class Delivery:
    """One subscription at work. All but its thread's own functions may be called from any thread."""

    def __init__(
        self,
        subscription: Subscription,
        open_store: Callable[[], QueryReader],
        logger: EventLogger,
        idle: threading.Event,
    ) -> None:
        """`idle` is set while no frame is being closed: reading waits for it a little."""
        self.subscription = subscription
        self.logger = logger
        self._open = open_store
        self._idle = idle
        self._receiver = subscription.receiver()
        self._file = CursorFile(subscription.cursor, subscription.shown, subscription.repository, subscription.nameless)
        self._store: QueryReader | None = None
        self._look: Look | None = None
        self._came: deque[GuardTrip] = deque()  # what the loop reports and no ledger has
        self._backlog: Backlog | None = None
        self._saved: tuple[Cursor | None, float] = (None, 0.0)
        self._backoff = Backoff()
        self._hurried = False
        self._tries = 0
        self._failing: tuple[DreamcatcherError, int, float] | None = None  # since when, by both clocks
        self._unsaved: Trouble | None = None
        self._wake = threading.Event()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="events", daemon=True)

    # From other threads -------------------------------------------------------------------------------------------

    def start(self) -> None:
        """Begin to deliver, as soon as no other process delivers for the same cursor."""
        self._thread.start()

    def look(self, look: Look) -> None:
        """What the primary found. It comes before a frame closes and after it did."""
        if look != self._look:
            self._look = look
            self._wake.set()

    def add(self, trip: GuardTrip) -> None:
        """What becomes an event and is in no ledger."""
        self._came.append(trip)
        self._wake.set()

    def reads(self, open_store: Callable[[], QueryReader]) -> bool:
        """Whether it reads this store."""
        return self._open == open_store

    def hurry(self) -> None:
        """Try again now, whatever failed before."""
        self._hurried = True
        self._wake.set()

    def stop(self) -> None:
        """End soon: what is being sent is broken off, and sent again by whoever goes on."""
        self._stop.set()
        self._wake.set()
        self._receiver.abort()

    def join(self, seconds: float) -> None:
        """Wait for the end of the thread, for so long at most."""
        if self._thread.is_alive():
            self._thread.join(seconds)

    @property
    def waiting(self) -> int:
        """How many events wait."""
        backlog = self._backlog
        return (backlog.waiting if backlog else 0) + len(self._came)

    def troubles(self) -> Iterator[Trouble]:
        """What a person should know: a receiver that takes nothing for long, a cursor that cannot be written."""
        found = self._failing
        if found is not None and (self._tries >= PATIENCE_TRIES or time.monotonic() - found[2] >= PATIENCE_S):
            error, since, _ = found
            what = f"{plural(self.waiting, 'event')} not delivered: {error.cause}"
            yield failing(RetryableError(what, error.remedy), since)
        if (unsaved := self._unsaved) is not None:
            yield unsaved

    # In its own thread --------------------------------------------------------------------------------------------

    def _run(self) -> None:
        with self._file:
            while not self._stop.is_set():
                try:
                    if self._file.hold():
                        self._begin()
                        break
                    self._stop.wait(LOCK_S)
                except (OSError, msgspec.DecodeError) as error:
                    self._failed(_unkept(self._file, error))
            while not self._stop.is_set():
                self._wake.wait()
                self._wake.clear()
                try:
                    self._catch_up()
                    if not self._stop.is_set():
                        self._succeeded()  # also after a failure of git that left nothing to deliver
                except (DreamcatcherError, OSError) as error:  # of git: `_deliver` deals with what the receiver does
                    self._store = None
                    self._failed(known_failure(error, self._file.path))
                    self._wake.set()
            self._receiver.close()
            self._save()
            self._file.hand_on(LOCK_S)

    def _begin(self) -> None:
        cursor = self._file.load()
        if cursor is not None:
            self._backlog = Backlog(cursor, self.subscription.types)
            self._saved = (cursor, time.monotonic())

    def _catch_up(self) -> None:
        """Deliver all that waits now."""
        look, backlog = self._look, self._backlog
        if backlog is None:
            if look is None:
                return
            # The subscription begins with the frame that is open at the first look.
            backlog = self._backlog = Backlog(Cursor(look.frame), self.subscription.types)
            self._save()
        self._take_came(backlog)
        if look is None:
            # No poll succeeded since the start, perhaps because of the guard: that can be said all the same.
            look = Look(backlog.cursor.frame, None, None)
        self._follow(backlog, look, rejoin=True)
        if backlog.moved is not None:
            self.logger.warning("events moved", receiver=self.subscription.shown, cause=backlog.moved)
            backlog.moved = None
            self._save()
        for event in backlog.events(self._reader(), look):
            self._save(SAVE_S)
            if not self._deliver(event, backlog):
                return
        self._save()
        if self._look not in (None, look):  # it came while a failure was waited out, which takes wake-ups
            self._wake.set()

    def _reader(self) -> QueryReader:
        if self._store is None:
            self._store = self._open()
        return self._store

    def _follow(self, backlog: Backlog, look: Look, *, rejoin: bool) -> None:
        self._idle.wait(1.0)
        store = self._reader()
        store.refresh()
        backlog.follow(store, look, rejoin=rejoin)

    def _take_came(self, backlog: Backlog) -> None:
        """Queue what the loop reported, on disk before it is sent: it cannot be made again."""
        came = False
        while self._came:
            trip = self._came.popleft()
            open_frame = self._look.frame if self._look else backlog.cursor.frame
            frame = open_frame if trip.frame is None else trip.frame
            came = backlog.queue(guard_tripped(frame, trip.cause, trip.remedy, trip.at_s)) or came
        if came:
            self._save()

    def _deliver(self, event: CloudEvent, backlog: Backlog) -> bool:
        """Send one event until the receiver takes it; False if it is time to stop."""
        body = envelope(event, self.subscription.source)
        while not self._stop.is_set():
            try:
                self._receiver.send(event.id, body)
            except RetryableError as error:
                if not self._stop.is_set():
                    self._failed(error, backlog)
            else:
                self._succeeded()
                return True
        return False

    def _failed(self, error: DreamcatcherError, backlog: Backlog | None = None) -> None:
        """Say so once for each kind of cause, and wait: longer each time, and as long as the receiver asks."""
        if self._failing is None or self._failing[0].kind != error.kind:
            said = {"cause": error.cause, "remedy": error.remedy}
            self.logger.warning("events not delivered", receiver=self.subscription.shown, **said)
        since = self._failing[1:] if self._failing else (wall_clock(), time.monotonic())
        self._failing = (error, *since)
        self._tries += 1
        self._save()
        until = time.monotonic() + self._backoff.wait_s(error, self.subscription.table.retry)
        self._hurried = False
        while not (self._stop.is_set() or self._hurried) and (left_s := until - time.monotonic()) > 0:
            counting = backlog is not None and self._watch(backlog)
            if self._wake.wait(0.0 if counting else left_s):
                self._wake.clear()

    def _watch(self, backlog: Backlog) -> bool:
        """While the receiver takes nothing: see what else waits for it; whether there is more to count."""
        try:
            self._take_came(backlog)
            if self._look is not None:
                self._follow(backlog, self._look, rejoin=False)
            return backlog.count(self._reader(), COUNT_AT_ONCE)
        except (DreamcatcherError, OSError):  # it will be said once the receiver is back and this is read again
            self._store = None
            return False

    def _succeeded(self) -> None:
        if self._failing is not None:
            after = self._failing[0].cause
            self.logger.info("events delivered again", receiver=self.subscription.shown, after=after)
            self._failing = None
        self._tries = 0
        self._backoff.end()

    def _save(self, every_s: float = 0.0) -> None:
        """Write the cursor if it has moved, and not before so many seconds have passed since the last time."""
        cursor = self._backlog.cursor if self._backlog else None
        if cursor is None or cursor == self._saved[0] or time.monotonic() - self._saved[1] < every_s:
            return
        try:
            self._file.save(cursor)
        except OSError as error:
            # Delivering goes on: what is not written is delivered again after a restart.
            if self._unsaved is None:
                found = _unkept(self._file, error)
                self.logger.warning("event cursor not written", cause=found.cause, remedy=found.remedy)
                self._unsaved = failing(found, wall_clock())
            self._saved = (self._saved[0], time.monotonic())
        else:
            self._unsaved = None
            self._saved = (cursor, time.monotonic())


def _unkept(file: CursorFile, error: Exception) -> FatalError:
    why = getattr(error, "strerror", None) or "it is damaged"
    remedy = "let this user write there and make room; remove a damaged file, and events begin with the open frame"
    return FatalError(f"the event cursor {file.path} cannot be read or written: {why}", remedy)
