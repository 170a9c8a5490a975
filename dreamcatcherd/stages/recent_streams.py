"""Which streams delivered lately, from the ledgers of the last frames. Each ledger is read once."""

from __future__ import annotations

from dreamcatcherd.core.report import LastDelta
from dreamcatcherd.git.protocols import ObjectReader
from dreamcatcherd.stages.published import PublishedState, streams_of

ACTIVE = 10
"""Frames whose streams count as active (docs/protocol.md#metrics)."""

REMEMBERED = 100
"""Frames for which a stream that delivers no more is called silent; after that it is forgotten."""


class RecentStreams:
    """Each stream's last delta within the remembered frames."""

    def __init__(self) -> None:
        self._frames: dict[int, dict[str, int]] = {}
        self._ledgers: str | None = None
        self._last: dict[str, LastDelta] = {}
        self._within: dict[int, frozenset[str]] = {}
        self._silent: list[str] = []

    def update(self, store: ObjectReader, base: PublishedState) -> None:
        """Follow the base: read the ledgers that are new, forget those that are old."""
        if base.ledgers == self._ledgers:
            return
        last = base.state.last_closed
        # Frames that left the window are dropped, and of the others only new ledgers are read.
        wanted = range(max(0, last - REMEMBERED + 1), last + 1) if last is not None else range(0)
        kept = {frame: found for frame, found in self._frames.items() if frame in wanted}
        self._frames = {
            frame: kept[frame] if frame in kept else streams_of(store, base.ledgers, frame) for frame in wanted
        }
        self._ledgers = base.ledgers
        found: dict[str, LastDelta] = {}
        for frame in sorted(self._frames):
            for stream, utc in self._frames[frame].items():
                found[stream] = LastDelta(frame, utc)
        # Polls ask each second, and there may be thousands of streams: what follows from the ledgers is kept.
        self._last = dict(sorted(found.items()))
        self._within = {}
        active = self.within(ACTIVE)
        self._silent = [stream for stream in self._last if stream not in active]

    def last(self) -> dict[str, LastDelta]:
        """Each stream with the frame and UTC of its last delta; the same object until the next update changes it."""
        return self._last

    def silent(self) -> list[str]:
        """The streams that delivered in none of the last ACTIVE frames; the same object until an update."""
        return self._silent

    def within(self, frames: int) -> frozenset[str]:
        """The streams that delivered in the last so many closed frames."""
        known = self._within.get(frames)
        if known is None:
            newest = sorted(self._frames)[-frames:]
            known = self._within[frames] = frozenset(stream for frame in newest for stream in self._frames[frame])
        return known
