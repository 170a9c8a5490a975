"""The counts of closed frames over time: for trends over days, and for what the newest frames hold together.

A week of frames of ten seconds is 60,000 ledgers. So they are read once, newest first, in steps that end soon, and kept
as sums by minute. What was not read yet is not guessed: `covered` says from when on the sums are complete."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from itertools import islice
from typing import NamedTuple

import msgspec
from msgspec import Struct

from dreamcatcherd.core.codec import utc_text
from dreamcatcherd.core.errors import FatalError
from dreamcatcherd.core.ledger import Counts
from dreamcatcherd.core.paths import ledger_path
from dreamcatcherd.core.tree import Entry, read_tree
from dreamcatcherd.core.verdict import RECENT_FRAMES, Recent
from dreamcatcherd.git.protocols import ObjectReader
from dreamcatcherd.history.queries import Chain
from dreamcatcherd.stages.published import PublishedState
from dreamcatcherd.stages.snapshot_chain import Link

MINUTE_S = 60
KEPT_S = 7 * 86_400
"""How far back the sums go."""

STEP_FRAMES = 1_500
STEP_BYTES = 24 * 2**20
"""How many frames, and how many bytes of ledgers, one step reads: a fraction of a second."""

CATCH_UP = 5_000
"""How many new frames may have been closed since the last step; beyond, all is read again."""

OLD_IN_A_ROW = 10
"""The walk ends after so many frames from before the time that is kept: one wrong clock must not end it."""

_COUNTS = b'\n"counts":'


class Sums(Struct):
    """The sums of some frames."""

    frames: int = 0
    deltas: int = 0
    late: int = 0
    conflicts: int = 0
    quarantined: int = 0
    violations: int = 0

    def add(self, other: Sums) -> None:
        """Add the sums of other frames."""
        self.frames += other.frames
        self.deltas += other.deltas
        self.late += other.late
        self.conflicts += other.conflicts
        self.quarantined += other.quarantined
        self.violations += other.violations


class FrameSums(NamedTuple):
    """One frame: when its commit was made (seconds since 1970), and its counts."""

    frame: int
    closed_s: int
    sums: Sums


class _CountsOnly(Struct):
    counts: Counts


_counts = msgspec.json.Decoder(Counts)
_complete = msgspec.json.Decoder(_CountsOnly)


def read_counts(raw: bytes) -> Counts:
    """The counts of a ledger from its bytes. Only their own line is decoded, however many rows the ledger has."""
    at = raw.find(_COUNTS)
    if at < 0:
        return _complete.decode(raw).counts
    # A raw line feed cannot occur inside a JSON string, so no text of a delta can look like this line.
    line = raw[at + len(_COUNTS) : raw.find(b"\n", at + 1)]
    return _counts.decode(line.removesuffix(b","))


class Timeline:
    """The sums by minute of one repository. Used by one thread."""

    def __init__(self) -> None:
        self._begin()

    def _begin(self) -> None:
        self.minutes: dict[int, Sums] = {}
        self.newest: deque[FrameSums] = deque(maxlen=RECENT_FRAMES)
        self.frames = 0
        self.covered_s: int | None = None
        self.complete = False
        self._tip: Link | None = None
        self._oldest: int | None = None
        self._old = 0

    def step(self, store: ObjectReader, base: PublishedState, chain: Chain, now_s: float) -> None:
        """Take in the frames that were closed since the last step, and some of those that came before."""
        ledgers = _Ledgers(store, base.ledgers)
        self._follow(store, base, chain, ledgers)
        self._back(store, base, chain, ledgers, now_s)
        self._forget(now_s)

    def _follow(self, store: ObjectReader, base: PublishedState, chain: Chain, ledgers: _Ledgers) -> None:
        fresh: list[Link] = []
        for link in islice(chain.frames(store, base), CATCH_UP if self._tip else 0):
            if link == self._tip:
                break
            fresh.append(link)
        else:  # another history, or so much that is new that it is read like one
            fresh = []
            self._begin()
        for link in reversed(fresh):
            if (one := ledgers.sums(link)) is not None:
                self.newest.appendleft(one)
                self._add(one)
            self._tip = link

    def _back(self, store: ObjectReader, base: PublishedState, chain: Chain, ledgers: _Ledgers, now_s: float) -> None:
        if self.complete:
            return
        count = 0
        for link in chain.frames(store, base, self._oldest):
            if count >= STEP_FRAMES or ledgers.read > STEP_BYTES:
                return
            count += 1
            one = ledgers.sums(link)
            # Only now, so that a step that the time limit ends leaves nothing out.
            self._tip = self._tip or link
            self._oldest = link.frame
            if one is None:
                continue
            if len(self.newest) < RECENT_FRAMES:
                self.newest.append(one)
            self._add(one)
            self.covered_s = one.closed_s
            self._old = self._old + 1 if one.closed_s < now_s - KEPT_S else 0
            if self._old >= OLD_IN_A_ROW:
                break
        self.complete = True

    def _add(self, one: FrameSums) -> None:
        self.frames += 1
        self.minutes.setdefault(one.closed_s // MINUTE_S, Sums()).add(one.sums)

    def _forget(self, now_s: float) -> None:
        oldest = int(now_s - KEPT_S) // MINUTE_S - 1
        for minute in [one for one in self.minutes if one < oldest]:
            del self.minutes[minute]

    def recent(self) -> Recent:
        """What the newest frames hold together, for the verdict."""
        total = Sums()
        quarantined_at = violated_at = violated = None
        for one in reversed(self.newest):
            total.add(one.sums)
            at = utc_text(one.closed_s * 1_000_000)
            quarantined_at = at if one.sums.quarantined else quarantined_at
            violated_at, violated = (at, one.frame) if one.sums.violations else (violated_at, violated)
        return Recent(
            frames=total.frames,
            deltas=total.deltas,
            late=total.late,
            quarantined=total.quarantined,
            violations=total.violations,
            quarantined_at=quarantined_at,
            violated_at=violated_at,
            violated=violated,
        )


class _Ledgers:
    """The ledgers of one published commit, with the folder of the last thousand kept open."""

    def __init__(self, store: ObjectReader, ledgers: str | None) -> None:
        self._store = store
        self._root = read_tree(store, ledgers)
        self._open: tuple[str, dict[str, Entry]] = ("", {})
        self.read = 0

    def sums(self, link: Link) -> FrameSums | None:
        # A folder of a thousand names would otherwise be parsed for each of its frames.
        folder, _, name = ledger_path(link.frame).rpartition("/")
        if self._open[0] != folder:
            entry = self._root.get(folder)
            self._open = (folder, read_tree(self._store, entry.oid) if entry else {})
        entry = self._open[1].get(name)
        if entry is None:
            return None
        raw = self._store.read(entry.oid)
        self.read += len(raw)
        try:
            counts = read_counts(raw)
        except msgspec.DecodeError as error:
            raise FatalError(
                f"the ledger of frame {link.frame} is damaged: {error}", "run dreamcatcherd verify"
            ) from error
        sums = Sums(1, counts.deltas, counts.late, counts.conflicts, counts.quarantined, counts.violations)
        return FrameSums(link.frame, self._store.commit(link.oid).time, sums)


def minutes_between(minutes: dict[int, Sums], start_s: int, end_s: int, width_s: int) -> Iterator[tuple[int, Sums]]:
    """The sums of spans of equal width, oldest first, each with its beginning in seconds since 1970."""
    for begin in range(start_s, end_s, width_s):
        total = Sums()
        for minute in range(begin // MINUTE_S, (begin + width_s) // MINUTE_S):
            if (one := minutes.get(minute)) is not None:
                total.add(one)
        yield begin, total
