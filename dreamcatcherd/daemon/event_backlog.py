"""What a receiver has not had yet: its cursor, and the closed frames after it, oldest first (docs/protocol.md#events).

Owns the way of a cursor along the chain of snapshot commits, also where history went back. It reads git and sends
nothing; one thread owns it."""

from __future__ import annotations

from collections import deque
from collections.abc import Container, Iterator
from itertools import islice

from msgspec import Struct, structs

from dreamcatcherd.core.events import CloudEvent, EventType
from dreamcatcherd.daemon.event_cursor import Cursor
from dreamcatcherd.git.protocols import ObjectReader
from dreamcatcherd.history.frame_events import common_frame, frame_events, is_done, links_after, open_restores
from dreamcatcherd.stages.snapshot_chain import Link, links

QUEUED_MOST = 100
"""How many trips of the guard wait at most; the guard trips once for each cause in a frame."""


class Look(Struct, frozen=True):
    """What the primary found last: the open frame, the commit that closed the one before, and `main`'s head."""

    frame: int
    published: str | None
    head: str | None


class _Due(Struct):
    """A closed frame with events that are not delivered. `count` is how many; 1 until they are counted."""

    link: Link
    before: Link | None
    count: int = 1
    counted: bool = False


class Backlog:
    """The events after a cursor. `moved` says in words that history went back, if it did, until somebody reads it."""

    def __init__(self, cursor: Cursor, types: Container[EventType]) -> None:
        self.cursor = cursor
        self.moved: str | None = None
        self._types = types
        self._due: deque[_Due] = deque()
        self._left = 0  # the sum of their counts
        self._counted = 0  # how many of the first ones are counted
        self._newest: Link | None = None  # the last closed frame that was seen

    @property
    def waiting(self) -> int:
        """How many events wait; frames that are not counted yet count as one."""
        return self._left + len(self.cursor.queued)

    def follow(self, store: ObjectReader, look: Look, *, rejoin: bool = True) -> None:
        """Take in what was closed since the last look. FatalError if history cannot be read.

        Without `rejoin` nothing is taken in that does not continue what is known: while events are handed out, the list
        only grows."""
        tip = look.published
        if tip is None or (self._newest is not None and tip == self._newest.oid):
            return
        if self._newest is not None:
            found, before = links_after(store, tip, self._newest.frame + 1)
            if before == self._newest:
                self._append(found, before)
            if before == self._newest or not rejoin:
                return
            self._due.clear()
            self._left = self._counted = 0
        found, before = links_after(store, tip, self.cursor.frame)
        if not self._fits(found, before, look):
            found, before = self._rejoined(store, look)
        elif self.cursor.commit is None and before is not None:
            self.cursor = structs.replace(self.cursor, commit=before.oid)
        self._append(found, before)
        self._newest = found[-1] if found else before

    def _fits(self, found: list[Link], before: Link | None, look: Look) -> bool:
        """Whether the cursor is of this history: the frame before it was closed by the commit that it names, and its
        own frame is closed or open."""
        commit = self.cursor.commit
        if commit is not None and (before is None or before.oid != commit):
            return False
        return bool(found) or self.cursor.frame <= look.frame

    def _rejoined(self, store: ObjectReader, look: Look) -> tuple[list[Link], Link | None]:
        """Set the cursor after the last frame that both histories have: a backup was restored, or a frame lost."""
        chain = list(links(store, look.published))
        commit = self.cursor.commit
        last = common_frame(store, chain, commit) if commit is not None else None
        # If the receiver's history is gone, what both have of it is not known. A frame that is open is new in any case;
        # what was closed under a number that the receiver has had cannot be distinguished.
        frame = last.frame + 1 if last is not None else min(self.cursor.frame, look.frame)
        self.moved = f"frame {self.cursor.frame - 1} is not the one that was delivered: events go on from frame {frame}"
        found = [link for link in reversed(chain) if link.frame >= frame]
        before = next((link for link in chain if link.frame < frame), None)
        self.cursor = Cursor(frame, commit=before.oid if before else None, queued=self.cursor.queued)
        return found, before

    def _append(self, found: list[Link], before: Link | None) -> None:
        for link in found:
            self._due.append(_Due(link, before))
            self._left += 1
            before = self._newest = link

    def count(self, store: ObjectReader, most: int) -> bool:
        """Count the events of so many frames that are not counted yet; whether there are more. What is read for it is
        what would be delivered."""
        for due in islice(self._due, self._counted, None):
            if most <= 0:
                return True
            if not due.counted:
                most -= 1
                self._set(due, sum(1 for _ in self._left_of(store, due)))
            self._counted += 1
        return False

    def _set(self, due: _Due, count: int) -> None:
        self._left += count - due.count
        due.count, due.counted = count, True

    def _left_of(self, store: ObjectReader, due: _Due) -> Iterator[CloudEvent]:
        """The events of a frame that the receiver wants and has not had."""
        ordinal = self.cursor.ordinal if self.cursor.closing == due.link.oid else 0
        had = self.cursor.had if self.cursor.frame == due.link.frame else ()
        for event in frame_events(store, due.link, due.before, "canonical.restored" in self._types):
            if event.type in self._types and not is_done(event, ordinal, had):
                yield event

    def events(self, store: ObjectReader, look: Look) -> Iterator[CloudEvent]:
        """What is to be delivered now, in order. An event counts as delivered when the next one is asked for.

        Frames that close meanwhile, and were followed, are part of it."""
        while self._due:
            due = self._due[0]
            yield from self._queued(due.link.frame)
            if not due.counted:
                self._set(due, sum(1 for _ in self._left_of(store, due)))
            for event in self._left_of(store, due):
                yield event
                self._delivered(event, due)
            self._due.popleft()
            self._counted = max(0, self._counted - 1)
            self._left -= due.count
            self.cursor = Cursor(due.link.frame + 1, commit=due.link.oid, queued=self.cursor.queued)
        if self._newest is not None and look.published == self._newest.oid and "canonical.restored" in self._types:
            for event in open_restores(store, self._newest, look.head, look.frame):
                if event.id not in self.cursor.had:
                    yield event
                    self._remember(event)
        yield from self._queued(None)

    def _delivered(self, event: CloudEvent, due: _Due) -> None:
        self._set(due, max(0, due.count - 1))
        if event.ordinal is None:
            self._remember(event)
        else:
            self.cursor = structs.replace(self.cursor, ordinal=event.ordinal + 1, closing=due.link.oid)

    def _remember(self, event: CloudEvent) -> None:
        self.cursor = structs.replace(self.cursor, had=(*self.cursor.had, event.id))

    def queue(self, event: CloudEvent) -> bool:
        """Keep an event that is in no ledger, unless the receiver has had it or does not want it; whether it waits."""
        known = {*self.cursor.had, *(one.id for one in self.cursor.queued)}
        if event.type not in self._types or event.id in known or len(self.cursor.queued) >= QUEUED_MOST:
            return False
        self.cursor = structs.replace(self.cursor, queued=(*self.cursor.queued, event))
        return True

    def _queued(self, frame: int | None) -> Iterator[CloudEvent]:
        """Those of the queue that come before the close of a frame; all of them for None."""
        while self.cursor.queued and (frame is None or self.cursor.queued[0].data["frame"] <= frame):
            event = self.cursor.queued[0]
            yield event
            had = (*self.cursor.had, event.id)
            self.cursor = structs.replace(self.cursor, queued=self.cursor.queued[1:], had=had)
