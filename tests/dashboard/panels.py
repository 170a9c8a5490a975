"""What the dashboard shows, as data: each panel's title, place, unit and queries. How Grafana wants it is in `build`.

The first row answers whether the fleet is healthy; each further row says more about one of its numbers."""

from __future__ import annotations

from typing import NamedTuple

SELECTOR = 'fleet=~"$fleet", instance=~"$instance"'
"""The primaries that are chosen above the panels. `.*`, which `All` stands for, also takes those without the label."""

GREEN, ORANGE, RED = "green", "orange", "red"


class Query(NamedTuple):
    """One PromQL expression and the legend of its series."""

    expr: str
    legend: str = "__auto"


class Shown(NamedTuple):
    """One panel: a number where it has `steps` (colours, each with the value from which it holds), else a graph."""

    title: str
    about: str
    width: int
    unit: str
    queries: tuple[Query, ...]
    steps: tuple[tuple[float | None, str], ...] = ()
    stacked: bool = False


def series(name: str, *more: str) -> str:
    """A metric of ours, of the primaries that are chosen."""
    return f"dreamcatcher_{name}{{{', '.join((SELECTOR, *more))}}}"


def quantile(share: float, name: str, span: str) -> str:
    """A quantile of a histogram over all primaries."""
    return f"histogram_quantile({share}, sum by (le) (rate({series(name + '_bucket')}[{span}])))"


def quantiles(name: str) -> tuple[Query, ...]:
    return tuple(Query(quantile(share, name, "$__rate_interval"), f"p{share * 100:.0f}") for share in (0.5, 0.95, 0.99))


def a_minute(name: str, *more: str, by: str) -> Query:
    """How much a counter grows a minute, by one of its labels."""
    return Query(f"sum by ({by}) (rate({series(name, *more)}[$__rate_interval])) * 60", f"{{{{{by}}}}}")


def best(name: str, legend: str = "__auto") -> Query:
    """A gauge that all primaries of a fleet show alike: one line for it."""
    return Query(f"max({series(name)})", legend)


def each(name: str, legend: str) -> Query:
    """A gauge that each primary has for itself."""
    return Query(series(name), f"{{{{instance}}}} {legend}")


MERGED = series("deltas_total", 'outcome=~"merged|late"')

HEALTH = (
    Shown(
        "Merge time, p95",
        "The merge of one frame, over the time that is shown.",
        4,
        "s",
        (Query(quantile(0.95, "merge_duration_seconds", "$__range")),),
        ((None, GREEN), (2, ORANGE), (10, RED)),
    ),
    Shown(
        "Push to published, p95",
        "From a delta's commit to the snapshot that holds it, over the time that is shown.",
        4,
        "s",
        (Query(quantile(0.95, "delta_age_seconds", "$__range")),),
        ((None, GREEN),),
    ),
    Shown(
        "Deltas merged",
        "Late ones too, over the time that is shown.",
        4,
        "short",
        (Query(f"sum(increase({MERGED}[$__range]))"),),
        ((None, GREEN),),
    ),
    Shown("Waiting", "Deltas not merged yet.", 3, "short", (best("pending_deltas"),), ((None, GREEN),)),
    Shown(
        "Frame overdue",
        "How long the open frame should have been closed.",
        3,
        "s",
        (Query(f"clamp_min(max(time() - ({series('frame_due_timestamp_seconds')} > 0)), 0) or vector(0)"),),
        ((None, GREEN), (15, ORANGE), (60, RED)),
    ),
    Shown(
        "Alerts",
        "Alerts of dreamcatcherd.rules.yml that fire.",
        3,
        "short",
        (Query('count(ALERTS{alertname=~"Dreamcatcher.*", alertstate="firing"}) or vector(0)'),),
        ((None, GREEN), (1, RED)),
    ),
    Shown(
        "Primaries up",
        "Those that Prometheus can scrape.",
        3,
        "short",
        (Query(f'sum(up{{job="dreamcatcherd", {SELECTOR}}})'),),
        ((None, RED), (1, GREEN)),
    ),
)

ROWS: dict[str, tuple[Shown, ...]] = {
    "Merging": (
        Shown("Merge time", "The merge of one frame.", 12, "s", quantiles("merge_duration_seconds")),
        Shown(
            "Deltas a minute",
            "By what became of them: each counts once.",
            12,
            "short",
            (a_minute("deltas_total", by="outcome"),),
            stacked=True,
        ),
        Shown("Push to published", "From a delta's commit to its snapshot.", 8, "s", quantiles("delta_age_seconds")),
        Shown(
            "Phases of a close",
            "Mean seconds of each phase of the closes that published.",
            8,
            "s",
            (
                Query(
                    f"sum by (phase) (rate({series('phase_duration_seconds_sum')}[$__rate_interval]))"
                    f" / sum by (phase) (rate({series('phase_duration_seconds_count')}[$__rate_interval]))",
                    "{{phase}}",
                ),
            ),
            stacked=True,
        ),
        Shown("Deltas a frame", "How large frames are.", 8, "short", quantiles("frame_deltas")),
    ),
    "The fleet": (
        Shown(
            "Waiting deltas",
            "All that are not merged, and those among them whose frame is not open yet.",
            8,
            "short",
            (best("pending_deltas", "waiting"), best("held_deltas", "held")),
        ),
        Shown(
            "Behind",
            "How long ago the oldest waiting delta was committed.",
            8,
            "s",
            (best("behind_seconds", "oldest"),),
        ),
        Shown(
            "Streams",
            "Those that delivered in the last 10 frames, and those of the last 100 that did not.",
            8,
            "short",
            (best("streams_active", "active"), best("streams_silent", "silent")),
        ),
    ),
    "What was out of the ordinary, a minute": (
        Shown("Quarantined", "By reason.", 6, "short", (a_minute("quarantined_total", by="reason"),), stacked=True),
        Shown(
            "Conflicts",
            "Fields that a stream lost, by collection.",
            6,
            "short",
            (a_minute("conflicts_total", by="collection"),),
            stacked=True,
        ),
        Shown(
            "Violations", "Put right, by kind.", 6, "short", (a_minute("violations_total", by="kind"),), stacked=True
        ),
        Shown(
            "Wrong clocks", "Deltas, by sign.", 6, "short", (a_minute("clock_flags_total", by="kind"),), stacked=True
        ),
    ),
    "The repository": (
        Shown(
            "Looks and publications a minute",
            "By result. `lost`: another primary closed the frame first. A retry: rebuilt, since main had moved.",
            8,
            "short",
            (
                Query(f"sum by (result) (rate({series('polls_total')}[$__rate_interval])) * 60", "looks {{result}}"),
                Query(
                    f"sum by (result) (rate({series('publishes_total')}[$__rate_interval])) * 60",
                    "published {{result}}",
                ),
                Query(f"sum(rate({series('publish_retries_total')}[$__rate_interval])) * 60", "retries"),
            ),
        ),
        Shown(
            "Mirrors",
            "How old the oldest publication is that a mirror lacks. Empty of names without mirrors.",
            8,
            "s",
            (Query(f"max by (mirror) ({series('mirror_lag_seconds')}) or on() vector(0)", "{{mirror}}"),),
        ),
        Shown(
            "Entities",
            "What the snapshot holds, by collection.",
            8,
            "short",
            (Query(f"max by (collection) ({series('entities')})", "{{collection}}"),),
        ),
        Shown(
            "Books a minute",
            "By what happened to them.",
            8,
            "short",
            (a_minute("books_total", by="event"),),
            stacked=True,
        ),
        Shown(
            "Not forwarded",
            "Deltas of a relay's region that its upstream does not have.",
            8,
            "short",
            (each("relay_pending_deltas", "deltas"),),
        ),
        Shown(
            "Disk",
            "The packs of the folder that a primary works on, and what its disk has left.",
            8,
            "bytes",
            (each("repository_packed_bytes", "packed"), each("disk_free_bytes", "free")),
        ),
        Shown(
            "Memory",
            "Of the daemon itself.",
            8,
            "bytes",
            (Query(f'process_resident_memory_bytes{{job="dreamcatcherd", {SELECTOR}}}', "{{instance}}"),),
        ),
        Shown(
            "Processor",
            "Cores in use by the daemon itself.",
            8,
            "short",
            (
                Query(
                    f'rate(process_cpu_seconds_total{{job="dreamcatcherd", {SELECTOR}}}[$__rate_interval])',
                    "{{instance}}",
                ),
            ),
        ),
    ),
}


def all_panels() -> list[Shown]:
    return [*HEALTH, *(panel for row in ROWS.values() for panel in row)]
