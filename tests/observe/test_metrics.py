"""The metrics of docs/protocol.md#metrics: all there from the start, each outcome in one place."""

from __future__ import annotations

from typing import get_args

import prometheus_client as prom
import pytest
from msgspec import structs

from dreamcatcherd import __version__
from dreamcatcherd.core.collections import DEFAULT_TABLE
from dreamcatcherd.core.model import Reason, ViolationKind
from dreamcatcherd.core.report import CycleReport, DiskUsage, LastDelta
from dreamcatcherd.observe.metrics import Metrics
from tests.observe.reports import closed, conflict, pending, published, quarantined, violation

FAMILIES = {
    "frame": "gauge",
    "frame_last_closed": "gauge",
    "frame_closed_timestamp_seconds": "gauge",
    "frame_due_timestamp_seconds": "gauge",
    "pending_deltas": "gauge",
    "held_deltas": "gauge",
    "behind_seconds": "gauge",
    "merge_duration_seconds": "histogram",
    "phase_duration_seconds": "histogram",
    "deltas_total": "counter",
    "frame_deltas": "histogram",
    "quarantined_total": "counter",
    "conflicts_total": "counter",
    "books_total": "counter",
    "entities": "gauge",
    "violations_total": "counter",
    "polls_total": "counter",
    "publishes_total": "counter",
    "publish_retries_total": "counter",
    "delta_age_seconds": "histogram",
    "streams_active": "gauge",
    "guard_tripped": "gauge",
    "streams_silent": "gauge",
    "stream_last_frame": "gauge",
    "clock_flags_total": "counter",
    "restores_total": "counter",
    "watch_degraded": "gauge",
    "config_refused": "gauge",
    "claims_held": "gauge",
    "lanes_refused": "gauge",
    "relay_pending_deltas": "gauge",
    "events_undelivered": "gauge",
    "mirror_lag_seconds": "gauge",
    "mirror_up": "gauge",
    "largest_blob_bytes": "gauge",
    "remote_retry_after_seconds": "gauge",
    "repository_packs": "gauge",
    "repository_packed_bytes": "gauge",
    "disk_free_bytes": "gauge",
    "build_info": "gauge",
}
COLLECTIONS = {"posts", "comments", "chapters", "books", "agents", "reactions", "counters", "observations", "extra"}
LABELS = {
    ("phase_duration_seconds_count", "phase"): {"fetch", "ingest", "plan", "merge", "snapshot", "publish"},
    ("deltas_total", "outcome"): {"merged", "late", "duplicate", "quarantined"},
    ("quarantined_total", "reason"): set(get_args(Reason)),
    ("conflicts_total", "collection"): COLLECTIONS,
    ("entities", "collection"): COLLECTIONS | {"library", "book_progress"},
    ("books_total", "event"): {"started", "grew", "published", "revised", "reopened"},
    ("violations_total", "kind"): set(get_args(ViolationKind)),
    ("clock_flags_total", "kind"): {"ahead", "backward"},
}


class Shown:
    """What one scrape shows: every series by its name and labels, without the common prefix."""

    def __init__(self, metrics: Metrics) -> None:
        self.text = prom.generate_latest(metrics.registry).decode()
        lines = [line for line in self.text.splitlines() if not line.startswith("#")]
        self.series = {line.rpartition(" ")[0].removeprefix("dreamcatcher_"): float(line.split()[-1]) for line in lines}

    def labels(self, name: str, label: str) -> set[str]:
        head = f'{name}{{{label}="'
        return {one.removeprefix(head).removesuffix('"}') for one in self.series if one.startswith(head)}

    def of(self, name: str, label: str) -> dict[str, float]:
        """The series of a family that are not zero, by the value of their one label."""
        found = {value: self.series[f'{name}{{{label}="{value}"}}'] for value in self.labels(name, label)}
        return {value: number for value, number in found.items() if number}


def after(*reports: CycleReport) -> Shown:
    metrics = Metrics()
    for report in reports:
        metrics.cycle(report)
    return Shown(metrics)


# From the start ---------------------------------------------------------------------------------------------------


def test_every_family_is_there_from_the_start_with_its_type() -> None:
    """Before anything happened all names and types are there; what is not ours is the library's of the process."""
    lines = [line.split() for line in Shown(Metrics()).text.splitlines() if line.startswith("# TYPE")]
    found = {name.removeprefix("dreamcatcher_"): kind for _, _, name, kind in lines}
    assert {name: kind for name, kind in found.items() if not name.startswith("process_")} == FAMILIES
    assert {"process_start_time_seconds", "process_resident_memory_bytes"} <= found.keys()


@pytest.mark.parametrize(("name", "label"), LABELS)
def test_every_label_value_is_there_from_the_start(name: str, label: str) -> None:
    """Rates and alerts start from zero: no series appears only when something happens for the first time."""
    shown = Shown(Metrics())
    assert shown.labels(name, label) == LABELS[name, label]
    assert shown.of(name, label) == {}


def test_the_default_collections_are_the_labels() -> None:
    """A row added to the table is added to the metrics."""
    assert {*DEFAULT_TABLE, "extra"} == COLLECTIONS


def test_results_are_there_from_the_start() -> None:
    """Polls and publications have a series for going well and one for each way of not doing so."""
    shown = Shown(Metrics())
    assert shown.labels("polls_total", "result") == {"ok", "failed"}
    assert shown.labels("publishes_total", "result") == {"ok", "lost", "failed"}


def test_no_series_tells_when_it_was_created() -> None:
    """The library's `_created` series would double every counter and histogram."""
    assert "_created" not in Shown(Metrics()).text


def test_nothing_closed_is_told_from_frame_zero() -> None:
    """Before the first close the last closed frame is -1, since 0 is a frame."""
    assert Shown(Metrics()).series["frame_last_closed"] == -1
    assert after(CycleReport(pending(last_closed=None))).series["frame_last_closed"] == -1
    assert after(CycleReport(pending(last_closed=0))).series["frame_last_closed"] == 0


def test_the_build_is_told() -> None:
    """The version is a label of a series that is always 1."""
    found = {name: value for name, value in Shown(Metrics()).series.items() if name.startswith("build_info")}
    ((name, value),) = found.items()
    assert f'version="{__version__}"' in name
    assert value == 1


def test_two_registries_share_nothing() -> None:
    """Metrics are an object: a second one starts from zero."""
    after(published(closed(deltas=3)))
    assert Shown(Metrics()).of("deltas_total", "outcome") == {}


# After cycles -----------------------------------------------------------------------------------------------------


def test_a_look_shows_where_things_stand() -> None:
    """Frame, what waits over all streams, the last close and the entities; a look closes and publishes nothing."""
    times = {"due_at_s": 1_767_225_610.0, "behind_s": 2.5}
    shown = after(CycleReport(pending(streams={"a": 2, "b": 3}, held=1, entities={"posts": 4, "extra": 2}, **times)))
    wanted = {"frame": 8, "frame_last_closed": 7, "pending_deltas": 5, "held_deltas": 1, "behind_seconds": 2.5}
    assert {name: shown.series[name] for name in wanted} == wanted
    assert shown.series["frame_due_timestamp_seconds"] == 1_767_225_610
    assert shown.series["frame_closed_timestamp_seconds"] == 1_767_225_600
    assert shown.of("entities", "collection") == {"posts": 4, "extra": 2}
    assert shown.of("polls_total", "result") == {"ok": 1}
    assert shown.of("publishes_total", "result") == {}
    assert shown.series["frame_deltas_count"] == shown.series["merge_duration_seconds_count"] == 0


def test_gauges_follow_the_last_look() -> None:
    """What waited once and does not any more is not shown."""
    before = pending(streams={"a": 2}, frame=8, entities={"posts": 4, "claims": 2}, due_at_s=1.0)
    shown = after(CycleReport(before), CycleReport(pending(streams={}, frame=9, entities={"posts": 5})))
    assert (shown.series["pending_deltas"], shown.series["frame"]) == (0, 9)
    assert shown.of("entities", "collection") == {"posts": 5}
    assert shown.series["frame_due_timestamp_seconds"] == 0


def test_a_scrape_that_has_a_frames_number_has_all_of_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """In the middle of a cycle too: the numbers of the frames are set after everything else, and read first."""
    names: list[str] = []
    put = prom.Gauge.set

    def noted(gauge: prom.Gauge, value: float) -> None:
        names.extend(metric.name for metric in gauge.collect())
        put(gauge, value)

    metrics = Metrics()
    numbers = ["dreamcatcher_frame", "dreamcatcher_frame_last_closed"]
    read = [metric.name for metric in metrics.registry.collect() if "mirror" not in metric.name]
    assert [name for name in read if name.startswith("dreamcatcher_")][: len(numbers)] == numbers
    monkeypatch.setattr(prom.Gauge, "set", noted)
    seen = {"a": LastDelta(7, 1)}
    metrics.cycle(published(closed(deltas=1), pending=pending(entities={"posts": 1}, seen=seen)))
    assert names[-len(numbers) :] == numbers
    assert {"dreamcatcher_pending_deltas", "dreamcatcher_entities", "dreamcatcher_streams_active"} <= set(names)


def test_outcomes_are_exclusive() -> None:
    """Each delta counts under one outcome: of five deltas that went in, the two late ones are not merged ones."""
    shown = after(published(closed(deltas=5, late=2, duplicates=4, quarantined=[quarantined("x", "not-json")])))
    assert shown.of("deltas_total", "outcome") == {"merged": 3, "late": 2, "duplicate": 4, "quarantined": 1}
    assert (shown.series["frame_deltas_count"], shown.series["frame_deltas_sum"]) == (1, 5)


def test_what_is_listed_again_is_not_counted_again() -> None:
    """A delta too far ahead is in every ledger until its time comes, and is quarantined once."""
    far = quarantined("far", "too-far-ahead", since=7)
    shown = after(published(closed(7, quarantined=[far])), published(closed(8, quarantined=[far])))
    assert shown.of("quarantined_total", "reason") == {"too-far-ahead": 1}
    assert shown.of("deltas_total", "outcome") == {"quarantined": 1}


def test_rows_are_counted_by_their_label() -> None:
    """Reasons, collections and kinds each have their own number."""
    ledger = closed(
        quarantined=[quarantined("a", "bad-utc"), quarantined("b", "bad-utc"), quarantined("c", "too-deep")],
        conflicts=[conflict("posts"), conflict("posts"), conflict("claims")],
        violations=[violation("delta-deleted"), violation("snapshot-edited")],
    )
    shown = after(published(ledger))
    assert shown.of("quarantined_total", "reason") == {"bad-utc": 2, "too-deep": 1}
    assert shown.of("conflicts_total", "collection") == {"posts": 2, "claims": 1}
    assert shown.of("violations_total", "kind") == {"delta-deleted": 1, "snapshot-edited": 1}


def test_phases_and_ages_are_observed() -> None:
    """A publication's seconds by phase, the merge by itself, and each merged delta's age."""
    phases = {"fetch": 0.25, "ingest": 0.5, "plan": 0.1, "merge": 2.0, "snapshot": 0.0, "publish": 1.0}
    shown = after(published(closed(deltas=3), phases=phases, ages_s=[0.5, 7.0, 400.0]))
    sums = {name: shown.series[f'phase_duration_seconds_sum{{phase="{name}"}}'] for name in phases}
    assert sums == phases
    assert (shown.series["merge_duration_seconds_count"], shown.series["merge_duration_seconds_sum"]) == (1, 2.0)
    assert (shown.series["delta_age_seconds_count"], shown.series["delta_age_seconds_sum"]) == (3, 407.5)


def test_publications_and_races_are_counted() -> None:
    """Won, lost to another primary, failed, and how often a commit was rebuilt because `main` had moved.

    A publication that failed follows a look that went well: only a look that failed is a failed poll."""
    metrics = Metrics()
    metrics.cycle(published(closed(), races=3))
    metrics.cycle(CycleReport(pending(), lost=True, races=1))
    metrics.failure(publishing=True, guard=False)
    metrics.failure(publishing=False, guard=False)
    shown = Shown(metrics)
    assert shown.of("publishes_total", "result") == {"ok": 1, "lost": 1, "failed": 1}
    assert shown.of("polls_total", "result") == {"ok": 3, "failed": 1}
    assert shown.series["publish_retries_total"] == 4


def test_streams_are_active_or_silent_and_only_the_latest_have_a_label() -> None:
    """Each stream's last frame is shown for the latest hundred; one that falls out takes its label along."""
    metrics = Metrics()
    many = {f"s{number:03}": LastDelta(number, 0) for number in range(150)}
    metrics.cycle(CycleReport(structs.replace(pending(), seen=many, silent=["s000", "s001"])))
    shown = Shown(metrics)
    assert (shown.series["streams_active"], shown.series["streams_silent"]) == (148, 2)
    assert shown.labels("stream_last_frame", "stream") == {f"s{number:03}" for number in range(50, 150)}
    metrics.cycle(CycleReport(structs.replace(pending(), seen={"x": LastDelta(151, 0)}, silent=[])))
    assert Shown(metrics).of("stream_last_frame", "stream") == {"x": 151}


def test_the_guard_is_shown_while_it_is_tripped() -> None:
    """It stays 1 through other failures; where a look tripped it, a look that goes well says that it is over."""
    metrics = Metrics()
    metrics.cycle(CycleReport(pending()))
    metrics.failure(publishing=False, guard=True)
    metrics.failure(publishing=False, guard=False)
    assert Shown(metrics).series["guard_tripped"] == 1
    metrics.cycle(CycleReport(pending()))
    assert Shown(metrics).series["guard_tripped"] == 0


@pytest.mark.parametrize("over", [published(closed(8), pending=pending(frame=9)), CycleReport(pending(frame=9))])
def test_a_guard_that_a_close_tripped_stays_until_that_frame_is_closed(over: CycleReport) -> None:
    """A look proves nothing then; a publication of this primary, or of another one, does."""
    metrics = Metrics()
    metrics.show(pending(frame=8))
    metrics.failure(publishing=True, guard=True)
    metrics.cycle(CycleReport(pending(frame=8)))
    assert Shown(metrics).series["guard_tripped"] == 1
    metrics.cycle(over)
    assert Shown(metrics).series["guard_tripped"] == 0


def test_collections_of_a_repository_share_a_label_once_they_are_many() -> None:
    """Settings may name any number of collections: a hundred have a label of their own, and none is left out."""
    many = {f"c{number:03}": 1 for number in range(150)}
    ledger = closed(8, conflicts=[conflict("c000"), conflict("c149"), conflict("posts")])
    standing = pending(entities={"posts": 3, **many})
    shown = after(CycleReport(standing), published(ledger, pending=standing))
    found = shown.of("entities", "collection")
    assert (len(found), found["c099"], found["other"], found["posts"]) == (102, 1, 50, 3)
    assert shown.of("conflicts_total", "collection") == {"c000": 1, "other": 1, "posts": 1}


def test_the_folder_and_its_disk_are_shown() -> None:
    """Packs, their bytes, and what is left."""
    metrics = Metrics()
    metrics.footprint(DiskUsage(3, 4096, 10**9))
    shown = Shown(metrics)
    assert [shown.series[name] for name in ("repository_packs", "repository_packed_bytes", "disk_free_bytes")] == [
        3,
        4096,
        10**9,
    ]


def test_each_mirror_has_its_lag_and_whether_it_is_up() -> None:
    """A label for each that is configured at the moment of the scrape, and none for one that was taken out."""
    metrics = Metrics()
    states = {"north": (12.5, True), "south": (0.0, False)}
    metrics.mirrors(lambda: states)
    shown = Shown(metrics)
    assert [shown.series[f'mirror_lag_seconds{{mirror="{name}"}}'] for name in states] == [12.5, 0]
    assert [shown.series[f'mirror_up{{mirror="{name}"}}'] for name in states] == [1, 0]
    del states["north"]
    assert Shown(metrics).labels("mirror_up", "mirror") == {"south"}
