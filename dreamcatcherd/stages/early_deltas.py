"""Which early deltas wait: those that are due are read again, the others are only counted."""

from __future__ import annotations

from collections import Counter

from dreamcatcherd.core.ledger import HeldRow
from dreamcatcherd.core.waiting import all_rows, due_rows, read_rows, waiting_files
from dreamcatcherd.git.protocols import ObjectReader
from dreamcatcherd.stages.published import PublishedState


def ending(store: ObjectReader, base: PublishedState) -> list[HeldRow]:
    """The early deltas whose wait ends with the open frame."""
    return due_rows(store, base.ledgers, base.state.frame)


def count(store: ObjectReader, base: PublishedState) -> int:
    """How many early deltas wait in the folder of ledgers."""
    if base.ledger is not None and base.ledger.counts.waiting is not None:
        return base.ledger.counts.waiting
    return sum(1 for _ in all_rows(store, base.ledgers))


def waiting_commits(store: ObjectReader, base: PublishedState) -> set[str]:
    """The commits that early deltas are read from again."""
    return {row.commit for row in all_rows(store, base.ledgers)}


class EarlyCounts:
    """Counts what waits. Each file of the folder is read once, as long as it stays what it is."""

    def __init__(self) -> None:
        self._files: dict[str, Counter[tuple[int, str]]] = {}
        self._key: object = None
        self._streams: dict[str, int] = {}

    def look(self, store: ObjectReader, base: PublishedState, frames_ahead: int) -> dict[str, int]:
        """How many early deltas wait beyond the open frame, within so many frames, by stream."""
        # What waits changes with publications only, and a poll comes every second.
        key = (base.commit, base.state.frame, frames_ahead)
        if key != self._key:
            self._streams = dict(self._count(store, base, base.state.frame, base.state.frame + frames_ahead))
            self._key = key
        return self._streams

    def _count(self, store: ObjectReader, base: PublishedState, frame: int, horizon: int) -> Counter[str]:
        found: Counter[str] = Counter()
        before, self._files = self._files, {}
        for oid in waiting_files(store, base.ledgers):
            rows = before.get(oid)
            if rows is None:
                rows = Counter((row.frame, row.stream_id) for row in read_rows(store.read(oid)))
            self._files[oid] = rows
            for (target, stream), number in rows.items():
                if frame < target <= horizon:
                    found[stream] += number
        return found
