"""Which streams delivered lately, from the ledgers of the last frames. Each ledger is read once, also by commands that
run once: what ledgers said is kept in a derived file, by the ledger's object id."""

from __future__ import annotations

import msgspec

from dreamcatcherd.core.paths import ledger_path
from dreamcatcherd.core.report import LastDelta
from dreamcatcherd.core.tree import entries_at
from dreamcatcherd.git.derived_files import DerivedFiles
from dreamcatcherd.git.protocols import ObjectReader
from dreamcatcherd.stages.published import PublishedState, streams_in

ACTIVE = 10
"""Frames whose streams count as active (docs/protocol.md#metrics)."""

REMEMBERED = 100
"""Frames for which a stream that delivers no more is called silent; after that it is forgotten."""

KEPT_AFTER = 16
"""How many more ledgers are read before the file is written again. A daemon closes frame after frame, and only the next
process needs the file."""

_FILE = "streams"
_Streams = dict[str, int]

_kept = msgspec.json.Decoder(dict[str, _Streams])


class RecentStreams:
    """Each stream's last delta within the remembered frames."""

    def __init__(self, files: DerivedFiles | None = None) -> None:
        """`files` has what an earlier process read."""
        self._files = files
        self._frames: dict[int, _Streams] = {}
        self._known: dict[str, _Streams] = {}  # by ledger, those of the remembered frames
        self._unkept = 0  # how many of them the file lacks
        self._loaded = False
        self._ledgers: str | None = None
        self._last: dict[str, LastDelta] = {}
        self._within: dict[int, frozenset[str]] = {}
        self._silent: list[str] = []

    def update(self, store: ObjectReader, base: PublishedState) -> None:
        """Follow the base: read the ledgers that are new, forget those that are old."""
        if base.ledgers == self._ledgers:
            return
        last = base.state.last_closed
        wanted = range(max(0, last - REMEMBERED + 1), last + 1) if last is not None else range(0)
        entries = entries_at(store, base.ledgers, map(ledger_path, wanted))
        ledgers = {frame: entry.oid for frame in wanted if (entry := entries.get(ledger_path(frame))) is not None}
        known = self._known
        if not self._loaded and not known.keys() >= {*ledgers.values()}:
            known = self._read_file() | known
        self._known = {oid: known[oid] if oid in known else streams_in(store.read(oid)) for oid in ledgers.values()}
        self._unkept += len(self._known.keys() - known.keys())
        self._frames = {frame: self._known[ledgers[frame]] if frame in ledgers else {} for frame in wanted}
        self._ledgers = base.ledgers
        self._summarize()
        if self._unkept > KEPT_AFTER and self._files is not None:
            self._files.write(_FILE, msgspec.json.encode(self._known))
            self._unkept = 0

    def _read_file(self) -> dict[str, _Streams]:
        """What an earlier process kept. A ledger's id is that of its bytes, so what was read of it stays true."""
        self._loaded = True
        raw = self._files.read(_FILE) if self._files is not None else None
        try:
            return _kept.decode(raw) if raw is not None else {}
        except (msgspec.DecodeError, UnicodeDecodeError):
            return {}

    def _summarize(self) -> None:
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
