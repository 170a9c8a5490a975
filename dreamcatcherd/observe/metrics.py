"""The metrics of Protocol §10, all present from the start, made from cycle reports alone. No label grows unbounded."""

from __future__ import annotations

import platform
import time
from collections import Counter
from collections.abc import Iterable
from typing import get_args

import prometheus_client as prom

from dreamcatcherd import __version__
from dreamcatcherd.core.collections import DEFAULT_TABLE, DERIVED, EXTRA
from dreamcatcherd.core.ledger import BookEvent, Violation
from dreamcatcherd.core.model import Reason, ViolationKind
from dreamcatcherd.core.report import CycleReport, DiskUsage, Pending

_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120)
_AGES = (0.1, 0.25, 0.5, 1, 2.5, 5, 7.5, 10, 15, 20, 30, 60, 120, 300, 900, 3600, 21_600, 86_400)
_SIZES = (0, 1, 2, 5, 10, 25, 50, 100, 250, 500, 1_000, 2_500, 5_000, 10_000, 50_000, 100_000)
STREAM_LABELS = 100
"""How many streams have a label of their own: the latest ones."""

COLLECTIONS = 100
"""How many collections of a repository's own have a label of their own; further ones share `OTHER`."""

OTHER = "other"

PHASES = ("fetch", "ingest", "plan", "merge", "snapshot", "publish")


class Metrics:
    """One registry's collectors. `cycle` or `failure` is called after each cycle, from one thread.

    Beside them stand the library's series of the process itself (`process_…`)."""

    def __init__(self) -> None:
        prom.disable_created_metrics()  # type: ignore[no-untyped-call]
        self.registry = reg = prom.CollectorRegistry()
        prom.ProcessCollector(registry=reg)

        def gauge(name: str, text: str, *labels: str) -> prom.Gauge:
            return prom.Gauge(f"dreamcatcher_{name}", text, labels, registry=reg)

        def counter(name: str, text: str, *labels: str) -> prom.Counter:
            return prom.Counter(f"dreamcatcher_{name}", text, labels, registry=reg)

        def histogram(name: str, text: str, buckets: tuple[float, ...], *labels: str) -> prom.Histogram:
            return prom.Histogram(f"dreamcatcher_{name}", text, labels, buckets=buckets, registry=reg)

        self._frame = gauge("frame", "The open frame.")
        self._last_closed = gauge("frame_last_closed", "The last closed frame; -1 before the first.")
        self._closed_at = gauge("frame_closed_timestamp_seconds", "When the last frame was closed; 0 before the first.")
        self._due_at = gauge("frame_due_timestamp_seconds", "When the open frame is or was due; 0 where no time says.")
        self._pending = gauge("pending_deltas", "Deltas not merged yet, held ones too.")
        self._held = gauge("held_deltas", "Pending deltas whose frame is not open yet.")
        self._behind = gauge("behind_seconds", "How long ago the oldest pending delta that is due was committed.")
        self._merge_s = histogram("merge_duration_seconds", "Plan and merge of one frame.", _SECONDS)
        self._phase_s = histogram("phase_duration_seconds", "Each phase of a cycle that published.", _SECONDS, "phase")
        self._deltas = counter("deltas_total", "Deltas judged at a close, by outcome.", "outcome")
        self._frame_deltas = histogram("frame_deltas", "Deltas merged in a frame, late ones too.", _SIZES)
        self._quarantined = counter("quarantined_total", "Quarantined deltas.", "reason")
        self._conflicts = counter("conflicts_total", "Fields that a stream lost.", "collection")
        self._books = counter("books_total", "Books started, grown, published, revised or reopened.", "event")
        self._entities = gauge("entities", "Entities in the snapshot.", "collection")
        self._violations = counter("violations_total", "Violations of the protocol.", "kind")
        self._restores = counter("restores_total", "Commits that put edited canonical files back.")
        self._polls = counter("polls_total", "Looks at the repository.", "result")
        self._publishes = counter("publishes_total", "Attempts to publish a frame.", "result")
        self._retries = counter("publish_retries_total", "Rebuilds because main had moved.")
        self._age_s = histogram("delta_age_seconds", "From a delta's commit to its publication.", _AGES)
        self._active = gauge("streams_active", "Streams that delivered in the last 10 frames.")
        self._silent = gauge("streams_silent", "Streams of the last 100 frames that delivered in none of the last 10.")
        self._stream = gauge(
            "stream_last_frame", f"The last frame of each of the {STREAM_LABELS} latest streams.", "stream"
        )
        self._clocks = counter("clock_flags_total", "Deltas of clocks that cannot be right.", "kind")
        self._guard = gauge("guard_tripped", "1 while publishing is stopped because entities would be lost.")
        self._degraded = gauge("watch_degraded", "1 while changes of files are seen by polling alone.")
        self._refused = gauge("config_refused", "1 while the configuration on disk is refused.")
        self._lanes_refused = gauge("lanes_refused", "Lanes left out of main since the server refuses them.")
        self._largest = gauge("largest_blob_bytes", "Bytes of the largest file that frames have written.")
        self._asked_from = 0.0
        retry = gauge("remote_retry_after_seconds", "How much longer the server wants to be left alone, or 0.")
        retry.set_function(lambda: max(0.0, self._asked_from - time.monotonic()))
        self._packs = gauge("repository_packs", "Packs in the folder that this primary works on.")
        self._packed = gauge("repository_packed_bytes", "Bytes of those packs and their indexes.")
        self._free = gauge("disk_free_bytes", "Bytes left on the disk of that folder.")
        info = gauge("build_info", "Always 1; labels tell the version.", "version", "python")
        info.labels(__version__, platform.python_version()).set(1)
        self._shown: set[str] = set()
        self._collections = {*DEFAULT_TABLE, *DERIVED, EXTRA}
        self._most = len(self._collections) + COLLECTIONS
        self._open: int | None = None  # the open frame, as shown last
        self._violated: set[tuple[str, str, str | None]] = set()  # counted already, before a ledger lists them
        self._guarded: int | None = None  # the frame that the guard kept from being published
        self._show_all()

    def _show_all(self) -> None:
        """Make every series exist before anything happened, so that rates and alerts start from zero."""
        self._last_closed.set(-1)
        for family, values in (
            (self._phase_s, PHASES),
            (self._deltas, ("merged", "late", "duplicate", "quarantined")),
            (self._quarantined, get_args(Reason)),
            (self._conflicts, (*DEFAULT_TABLE, EXTRA)),
            (self._entities, (*DEFAULT_TABLE, *DERIVED, EXTRA)),
            (self._books, get_args(BookEvent)),
            (self._violations, get_args(ViolationKind)),
            (self._polls, ("ok", "failed")),
            (self._publishes, ("ok", "lost", "failed")),
            (self._clocks, ("ahead", "backward")),
        ):
            for value in values:
                family.labels(value)

    def cycle(self, report: CycleReport) -> None:
        """Account for a cycle that went well. Whoever reads a frame's number finds it counted already."""
        self._polls.labels("ok").inc()
        self._retries.inc(report.races)
        if report.lost:
            self._publishes.labels("lost").inc()
        if report.ledger is not None:
            self._close(report)
        if report.ledger is not None or report.pending.frame != self._guarded:
            self._guarded = None
            self._guard.set(0)
        if report.restored is not None:
            self._restores.inc()
        self.show(report.pending)

    def show(self, pending: Pending) -> None:
        """Show where things stand. Of what it shows only new violations are counted: they are reported at once."""
        self._count_violations(pending.violations)
        self._open = pending.frame
        self._frame.set(pending.frame)
        if pending.last_closed is not None:
            self._last_closed.set(pending.last_closed)
        self._closed_at.set(pending.closed_at_s or 0)
        self._due_at.set(pending.due_at_s or 0)
        self._pending.set(sum(pending.streams.values()))
        self._held.set(pending.held)
        self._behind.set(pending.behind_s)
        self._lanes_refused.set(pending.lanes_refused)
        counted: Counter[str] = Counter()
        for name, count in pending.entities.items():
            counted[self._label(name)] += count
        for label in self._collections:
            self._entities.labels(label).set(counted[label])
        self._show_streams(pending)

    def configuration(self, *, refused: bool) -> None:
        """Show whether the configuration on disk is refused, and an older one in force."""
        self._refused.set(refused)

    def left_alone(self, until: float) -> None:
        """Show how long a server that asked for it is left alone: until a reading of the monotonic clock."""
        self._asked_from = until

    def watch_degraded(self) -> None:
        """Show that the file watch no longer reports changes."""
        self._degraded.set(1)

    def footprint(self, found: DiskUsage) -> None:
        """Show what the primary's own folder takes."""
        self._packs.set(found.packs)
        self._packed.set(found.packed_bytes)
        self._free.set(found.free_bytes)

    def largest(self, size: int) -> None:
        """Show the bytes of the largest file that frames have written."""
        self._largest.set(size)

    def _label(self, collection: str) -> str:
        """A collection's label: its own name, or `OTHER` once there are too many that only a repository knows."""
        if collection not in self._collections and len(self._collections) >= self._most:
            collection = OTHER
        self._collections.add(collection)
        return collection

    def _show_streams(self, pending: Pending) -> None:
        self._silent.set(len(pending.silent))
        self._active.set(len(pending.seen) - len(pending.silent))
        latest = sorted(pending.seen, key=lambda name: (-pending.seen[name].frame, name))[:STREAM_LABELS]
        for name in self._shown - set(latest):
            self._stream.remove(name)
        for name in latest:
            self._stream.labels(name).set(pending.seen[name].frame)
        self._shown = set(latest)

    def _close(self, report: CycleReport) -> None:
        ledger = report.ledger
        if ledger is None:
            return
        counts = ledger.counts
        self._publishes.labels("ok").inc()
        self._merge_s.observe(report.phases.get("merge", 0.0))
        for phase, seconds in report.phases.items():
            self._phase_s.labels(phase).observe(seconds)
        self._deltas.labels("merged").inc(counts.deltas - counts.late)
        self._deltas.labels("late").inc(counts.late)
        self._deltas.labels("duplicate").inc(counts.duplicates)
        self._deltas.labels("quarantined").inc(counts.quarantined)
        self._frame_deltas.observe(counts.deltas)
        for bad in ledger.quarantined:
            if bad.since == ledger.frame:
                self._quarantined.labels(bad.reason).inc(1 + bad.more)
        for conflict in ledger.conflicts:
            self._conflicts.labels(self._label(conflict.collection)).inc()
        for row in ledger.deltas:
            if row.ahead_s is not None:
                self._clocks.labels("ahead").inc()
            if row.backward:
                self._clocks.labels("backward").inc()
        for book in ledger.books:
            for event in book.events:
                self._books.labels(event).inc()
        self._count_violations(ledger.violations)
        self._violated.clear()
        for age_s in report.ages_s:
            self._age_s.observe(age_s)

    def _count_violations(self, violations: Iterable[Violation]) -> None:
        for row in violations:
            known = (row.kind, row.path, row.commit)
            if known not in self._violated:
                self._violated.add(known)
                self._violations.labels(row.kind).inc()

    def failure(self, *, publishing: bool, guard: bool, races: int = 0) -> None:
        """Account for a cycle that failed; `guard` tells that it was the guard which stopped it, `races` how often
        others were faster.

        One that failed in publishing had looked well before."""
        self._polls.labels("ok" if publishing else "failed").inc()
        if publishing:
            self._publishes.labels("failed").inc()
            self._retries.inc(races)
        if guard:
            self._guard.set(1)
            self._guarded = self._open if publishing else None
