"""The values of the metrics of docs/protocol.md#metrics, from cycle reports alone. No label grows without a bound."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping

from dreamcatcherd.core.collections import DEFAULT_TABLE, DERIVED, EXTRA
from dreamcatcherd.core.ledger import Violation
from dreamcatcherd.core.report import CycleReport, DiskUsage, Pending
from dreamcatcherd.observe.families import STREAM_LABELS, Families

COLLECTIONS = 100
"""The number of collections defined by a repository that have a label; further ones share `OTHER`."""

OTHER = "other"


class Metrics:
    """Sets the metrics. `cycle` or `failure` is called after each cycle, always from the same thread."""

    def __init__(self) -> None:
        self._families = Families()
        self.registry = self._families.registry
        self._streams: set[str] = set()  # the streams that have a label
        self._collections = {*DEFAULT_TABLE, *DERIVED, EXTRA}
        self._claimed: set[str] = set()  # the collections of claims that have a label
        self._most = len(self._collections) + COLLECTIONS
        self._open: int | None = None  # the open frame, as last reported
        # A violation is reported at each poll until a ledger lists it, and is counted once.
        self._violated: set[tuple[str, str, str | None]] = set()
        self._shown: Pending | None = None
        self._seen: tuple[object, object] = (None, None)
        self._guarded: int | None = None  # the frame that the guard kept from being published

    def cycle(self, report: CycleReport) -> None:
        """Count a successful cycle. The frame's number is set last: a scrape that has it has the frame's counts too."""
        self._families.polls.labels("ok").inc()
        self._families.retries.inc(report.races)
        if report.lost:
            self._families.publishes.labels("lost").inc()
        if report.ledger is not None:
            self._close(report)
        if report.ledger is not None or report.pending.frame != self._guarded:
            self._guarded = None
            self._families.guard.set(0)
        if report.restored is not None:
            self._families.restores.inc()
        self.show(report.pending)

    def show(self, pending: Pending) -> None:
        """Set the gauges from a poll, and count new violations: they are reported before their frame closes."""
        if pending == self._shown:  # most polls find nothing new
            return
        self._shown = pending
        self._count_violations(pending.violations)
        self._open = pending.frame
        self._families.closed_at.set(pending.closed_at_s or 0)
        self._families.due_at.set(pending.due_at_s or 0)
        self._families.pending.set(sum(pending.streams.values()))
        self._families.held.set(pending.held)
        self._families.behind.set(pending.behind_s)
        self._families.lanes_refused.set(pending.lanes_refused)
        self._families.relay_pending.set(pending.relay_pending)
        counted: Counter[str] = Counter()
        for name, count in pending.entities.items():
            counted[self._label(name)] += count
        for label in self._collections:
            self._families.entities.labels(label).set(counted[label])
        held: Counter[str] = Counter(dict.fromkeys(self._claimed, 0))
        for name, count in pending.claims_held.items():
            held[self._label(name)] += count
        self._claimed |= held.keys()
        for label in self._claimed:
            self._families.claims.labels(label).set(held[label])
        self._show_streams(pending)
        self._families.frame.set(pending.frame)
        if pending.last_closed is not None:
            self._families.last_closed.set(pending.last_closed)

    def configuration(self, *, refused: bool) -> None:
        """Set whether the configuration on disk is refused, so that an older one is in force."""
        self._families.refused.set(refused)

    def left_alone(self, until: float) -> None:
        """Set until when a server gets no requests because it asked for that, on the monotonic clock."""
        self._families.ask_again_at = until

    def watch_degraded(self, degraded: bool) -> None:
        """Set whether changes are noticed by polling alone."""
        self._families.degraded.set(degraded)

    def footprint(self, found: DiskUsage) -> None:
        """Set the sizes of the folder that the primary works on."""
        self._families.packs.set(found.packs)
        self._families.packed.set(found.packed_bytes)
        self._families.free.set(found.free_bytes)

    def undelivered(self, waiting: Callable[[], int]) -> None:
        """Show how many events wait for their receivers; `waiting` is called at each scrape, in any thread."""
        self._families.events_waiting = waiting

    def mirrors(self, states: Callable[[], Mapping[str, tuple[float, bool]]]) -> None:
        """Show the lag of each mirror in seconds, and whether its last look succeeded; `states` is called at each
        scrape, in any thread."""
        self._families.mirror_states = states

    def largest(self, size: int) -> None:
        """Set the bytes of the largest file that frames have written."""
        self._families.largest.set(size)

    def _label(self, collection: str) -> str:
        """A collection's label: its name, or `OTHER` if the repository defines too many collections."""
        if collection not in self._collections and len(self._collections) >= self._most:
            collection = OTHER
        self._collections.add(collection)
        return collection

    def _show_streams(self, pending: Pending) -> None:
        # The same objects while no frame closes, which costs nothing for each stream.
        if self._seen[0] is pending.seen and self._seen[1] is pending.silent:
            return
        self._seen = (pending.seen, pending.silent)
        self._families.silent.set(len(pending.silent))
        self._families.active.set(len(pending.seen) - len(pending.silent))
        latest = sorted(pending.seen, key=lambda name: (-pending.seen[name].frame, name))[:STREAM_LABELS]
        for name in self._streams - set(latest):
            self._families.stream.remove(name)
        for name in latest:
            self._families.stream.labels(name).set(pending.seen[name].frame)
        self._streams = set(latest)

    def _close(self, report: CycleReport) -> None:
        ledger = report.ledger
        if ledger is None:
            return
        counts = ledger.counts
        self._families.publishes.labels("ok").inc()
        self._families.merge_s.observe(report.phases.get("merge", 0.0))
        for phase, seconds in report.phases.items():
            self._families.phase_s.labels(phase).observe(seconds)
        self._families.deltas.labels("merged").inc(counts.deltas - counts.late)
        self._families.deltas.labels("late").inc(counts.late)
        self._families.deltas.labels("duplicate").inc(counts.duplicates)
        self._families.deltas.labels("quarantined").inc(counts.quarantined)
        self._families.frame_deltas.observe(counts.deltas)
        for bad in ledger.quarantined:
            if bad.since == ledger.frame:
                self._families.quarantined.labels(bad.reason).inc(1 + bad.more)
        for conflict in ledger.conflicts:
            self._families.conflicts.labels(self._label(conflict.collection)).inc()
        for row in ledger.deltas:
            if row.ahead_s is not None:
                self._families.clocks.labels("ahead").inc()
            if row.backward:
                self._families.clocks.labels("backward").inc()
        for book in ledger.books:
            for event in book.events:
                self._families.books.labels(event).inc()
        self._count_violations(ledger.violations)
        self._violated.clear()
        for age_s in report.ages_s:
            self._families.age_s.observe(age_s)

    def _count_violations(self, violations: Iterable[Violation]) -> None:
        for row in violations:
            known = (row.kind, row.path, row.commit)
            if known not in self._violated:
                self._violated.add(known)
                self._families.violations.labels(row.kind).inc()

    def failure(self, *, publishing: bool, guard: bool, races: int = 0) -> None:
        """Count a failed cycle. `guard`: the guard stopped it. `races`: how often another primary was faster.

        A cycle that failed while publishing had a good poll, and is counted as one."""
        self._families.polls.labels("ok" if publishing else "failed").inc()
        if publishing:
            self._families.publishes.labels("failed").inc()
            self._families.retries.inc(races)
        if guard:
            self._families.guard.set(1)
            self._guarded = self._open if publishing else None
