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

    def last(self) -> dict[str, LastDelta]:
        """Each stream with the frame and UTC of its last delta."""
        found: dict[str, LastDelta] = {}
        for frame in sorted(self._frames):
            for stream, utc in self._frames[frame].items():
                found[stream] = LastDelta(frame, utc)
        return dict(sorted(found.items()))

    def within(self, frames: int) -> frozenset[str]:
        """The streams that delivered in the last so many closed frames."""
        newest = sorted(self._frames)[-frames:]
        return frozenset(stream for frame in newest for stream in self._frames[frame])
