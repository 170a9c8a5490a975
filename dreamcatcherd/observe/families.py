"""The metric families of docs/protocol.md#metrics: names, help texts, labels and buckets. `metrics` sets the values."""

from __future__ import annotations

import platform
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import get_args

import prometheus_client as prom
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from dreamcatcherd import __version__
from dreamcatcherd.core.collections import DEFAULT_TABLE, DERIVED, EXTRA
from dreamcatcherd.core.ledger import BookEvent
from dreamcatcherd.core.model import Reason, ViolationKind

_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120)
_AGES = (0.1, 0.25, 0.5, 1, 2.5, 5, 7.5, 10, 15, 20, 30, 60, 120, 300, 900, 3600, 21_600, 86_400)
_SIZES = (0, 1, 2, 5, 10, 25, 50, 100, 250, 500, 1_000, 2_500, 5_000, 10_000, 50_000, 100_000)
STREAM_LABELS = 100
"""The number of streams that have a label: the latest ones."""

PHASES = ("fetch", "ingest", "plan", "merge", "snapshot", "publish")


class _MirrorCollector(Collector):
    """The families of mirrors: a label for each that is configured now, and none for any other."""

    def __init__(self, states: Callable[[], Mapping[str, tuple[float, bool]]]) -> None:
        self._states = states

    def collect(self) -> Iterator[Metric]:
        """The families with their present values."""
        text = "Seconds since the oldest publication was made that the mirror lacks, or 0."
        lag = GaugeMetricFamily("dreamcatcher_mirror_lag_seconds", text, labels=["mirror"])
        up = GaugeMetricFamily(
            "dreamcatcher_mirror_up", "1 if the last look at the mirror succeeded.", labels=["mirror"]
        )
        for name, (lag_s, is_up) in sorted(self._states().items()):
            lag.add_metric([name], lag_s)
            up.add_metric([name], float(is_up))
        yield from (lag, up)


class Families:
    """All metric families in one registry, each as an attribute.

    The library's series of the process itself (`process_…`) are in the registry as well."""

    def __init__(self) -> None:
        # Each counter would have a second series, `…_created`, which nothing here uses.
        prom.disable_created_metrics()  # type: ignore[no-untyped-call]
        self.registry = prom.CollectorRegistry()
        self.events_waiting: Callable[[], int] = lambda: 0
        """How many events no receiver has taken yet; read at each scrape."""
        self.ask_again_at = 0.0
        """When a server that wants no requests may be asked again, on the monotonic clock."""
        self.mirror_states: Callable[[], Mapping[str, tuple[float, bool]]] = dict
        """The lag of each mirror in seconds, and whether its last look succeeded; read at each scrape."""
        prom.ProcessCollector(registry=self.registry)
        self.registry.register(_MirrorCollector(lambda: self.mirror_states()))
        self._add_frames()
        self._add_activity()
        self._add_machine()
        self._start_from_zero()

    def _gauge(self, name: str, text: str, *labels: str) -> prom.Gauge:
        return prom.Gauge(f"dreamcatcher_{name}", text, labels, registry=self.registry)

    def _counter(self, name: str, text: str, *labels: str) -> prom.Counter:
        return prom.Counter(f"dreamcatcher_{name}", text, labels, registry=self.registry)

    def _histogram(self, name: str, text: str, buckets: tuple[float, ...], *labels: str) -> prom.Histogram:
        return prom.Histogram(f"dreamcatcher_{name}", text, labels, buckets=buckets, registry=self.registry)

    def _add_frames(self) -> None:
        """The frames and the contents of what is pending and published."""
        gauge, counter, histogram = self._gauge, self._counter, self._histogram
        self.frame = gauge("frame", "The open frame.")
        self.last_closed = gauge("frame_last_closed", "The last closed frame; -1 before the first.")
        self.closed_at = gauge("frame_closed_timestamp_seconds", "When the last frame was closed; 0 before the first.")
        self.due_at = gauge("frame_due_timestamp_seconds", "When the open frame is or was due; 0 if no time ends it.")
        self.pending = gauge("pending_deltas", "Deltas not merged yet, held ones included.")
        self.held = gauge("held_deltas", "Pending deltas whose frame is not open yet.")
        self.behind = gauge("behind_seconds", "Seconds since the oldest pending delta that is due was committed.")
        self.merge_s = histogram("merge_duration_seconds", "The merge of one frame.", _SECONDS)
        self.phase_s = histogram("phase_duration_seconds", "Each phase of a close that published.", _SECONDS, "phase")
        self.deltas = counter("deltas_total", "Deltas processed at a close, by outcome.", "outcome")
        self.frame_deltas = histogram("frame_deltas", "Deltas merged in a frame, late ones included.", _SIZES)
        self.quarantined = counter("quarantined_total", "Quarantined deltas.", "reason")
        self.conflicts = counter("conflicts_total", "Fields that a stream lost.", "collection")
        self.books = counter("books_total", "Books started, grown, published, revised or reopened.", "event")
        self.entities = gauge("entities", "Entities in the snapshot.", "collection")
        self.claims = gauge("claims_held", "Resources that a stream holds in the open frame.", "collection")
        self.violations = counter("violations_total", "Violations of the protocol.", "kind")
        self.clocks = counter("clock_flags_total", "Deltas with a UTC that cannot be right.", "kind")
        self.age_s = histogram("delta_age_seconds", "From a delta's commit to its publication.", _AGES)

    def _add_activity(self) -> None:
        """What the primary does, and which streams are active."""
        gauge, counter = self._gauge, self._counter
        self.restores = counter("restores_total", "Commits that restored edited canonical files.")
        self.polls = counter("polls_total", "Polls of the repository.", "result")
        self.publishes = counter("publishes_total", "Attempts to publish a frame.", "result")
        self.retries = counter("publish_retries_total", "Rebuilds because main had moved.")
        self.active = gauge("streams_active", "Streams that delivered in the last 10 frames.")
        self.silent = gauge("streams_silent", "Streams of the last 100 frames that delivered in none of the last 10.")
        self.stream = gauge(
            "stream_last_frame", f"The last frame of each of the {STREAM_LABELS} latest streams.", "stream"
        )
        self.guard = gauge("guard_tripped", "1 while publishing is stopped because entities would be lost.")
        self.degraded = gauge("watch_degraded", "1 while changes of files are noticed by polling alone.")
        self.refused = gauge("config_refused", "1 while the configuration on disk is refused.")
        self.lanes_refused = gauge("lanes_refused", "Lanes left out of main because the server refuses them.")
        self.relay_pending = gauge("relay_pending_deltas", "Deltas here that a relay's upstream does not have; or 0.")

    def _add_machine(self) -> None:
        """Sizes on disk, the server's wishes, and the build."""
        gauge = self._gauge
        self.largest = gauge("largest_blob_bytes", "Bytes of the largest file that frames have written.")
        # Computed at the scrape, so that it counts down between two cycles.
        retry = gauge("remote_retry_after_seconds", "Seconds for which the server wants no more requests, or 0.")
        retry.set_function(lambda: max(0.0, self.ask_again_at - time.monotonic()))
        undelivered = gauge("events_undelivered", "Events that wait for their receivers, over all subscriptions.")
        undelivered.set_function(lambda: self.events_waiting())
        self.packs = gauge("repository_packs", "Packs in the folder that this primary works on.")
        self.packed = gauge("repository_packed_bytes", "Bytes of those packs and their indexes.")
        self.free = gauge("disk_free_bytes", "Free bytes on the disk of that folder.")
        info = gauge("build_info", "Always 1; the labels have the versions.", "version", "python")
        info.labels(__version__, platform.python_version()).set(1)

    def _start_from_zero(self) -> None:
        """Create every series before anything happens, so that rates and alerts start from zero."""
        self.last_closed.set(-1)
        labels: tuple[tuple[prom.Counter | prom.Gauge | prom.Histogram, Iterable[str]], ...] = (
            (self.phase_s, PHASES),
            (self.deltas, ("merged", "late", "duplicate", "quarantined")),
            (self.quarantined, get_args(Reason)),
            (self.conflicts, (*DEFAULT_TABLE, EXTRA)),
            (self.entities, (*DEFAULT_TABLE, *DERIVED, EXTRA)),
            (self.books, get_args(BookEvent)),
            (self.violations, get_args(ViolationKind)),
            (self.polls, ("ok", "failed")),
            (self.publishes, ("ok", "lost", "failed")),
            (self.clocks, ("ahead", "backward")),
        )
        for family, values in labels:
            for value in values:
                family.labels(value)
