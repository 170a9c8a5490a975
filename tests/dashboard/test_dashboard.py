"""The dashboard as a file: what Grafana can read, of metrics that there are. That its queries give data: e2e."""

from __future__ import annotations

import json
import re
from itertools import combinations
from typing import Any

import prometheus_client as prom
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.cog.plugins import register_default_plugins
from grafana_foundation_sdk.models.dashboard import Dashboard

from dreamcatcherd.observe.metrics import Metrics
from tests.dashboard.build import FILE, dashboard_json
from tests.dashboard.panels import ROWS, all_panels

NOT_OURS = {"up", "ALERTS", "process_resident_memory_bytes", "process_cpu_seconds_total"}


def board() -> dict[str, Any]:
    found: dict[str, Any] = json.loads(FILE.read_text())
    return found


def expressions() -> list[str]:
    return [target["expr"] for panel in board()["panels"] for target in panel.get("targets", [])]


def test_the_file_is_what_its_source_makes() -> None:
    """config/grafana/dreamcatcherd.json is never edited by hand: `make dashboard` writes it."""
    assert FILE.read_text() == dashboard_json()
    assert len(board()["panels"]) == len(all_panels()) + len(ROWS)


def test_grafanas_own_types_keep_all_of_it() -> None:
    """Read into the typed library and written again it is the same: there is no field that Grafana does not know."""
    register_default_plugins()
    again = json.loads(json.dumps(Dashboard.from_json(board()), cls=JSONEncoder))
    assert again == board()


def test_it_can_be_imported_without_edits() -> None:
    """Every panel, query and choice goes to the data source that is chosen above; nothing names one of this machine."""
    found = board()
    assert [choice["name"] for choice in found["templating"]["list"]] == ["datasource", "fleet", "instance"]
    assert set(re.findall(r'"uid": "([^"]*)"', FILE.read_text())) == {"${datasource}", "dreamcatcherd"}
    assert "id" not in found
    assert "__inputs" not in found


def test_every_query_asks_for_metrics_that_there_are() -> None:
    """A metric that was renamed would leave an empty panel."""
    metrics = Metrics()
    metrics.mirrors(lambda: {"north": (0.0, True)})
    text = prom.generate_latest(metrics.registry).decode()
    shown = {re.split(r"[ {]", line)[0] for line in text.splitlines() if not line.startswith("#")}
    assert "dreamcatcher_merge_duration_seconds_bucket" in shown
    for expr in expressions():
        named = set(re.findall(r"\b(dreamcatcher_\w+|process_\w+|up|ALERTS)\b(?=\{)", expr))
        assert named, expr
        assert named <= shown | NOT_OURS, expr


def test_no_panel_lies_upon_another() -> None:
    """Each has an id and a place of its own, within the 24 columns."""
    panels = board()["panels"]
    assert len({panel["id"] for panel in panels}) == len(panels)
    places = [panel["gridPos"] for panel in panels]
    assert all(place["x"] + place["w"] <= 24 for place in places)
    for one, other in combinations(places, 2):
        apart_x = one["x"] + one["w"] <= other["x"] or other["x"] + other["w"] <= one["x"]
        apart_y = one["y"] + one["h"] <= other["y"] or other["y"] + other["h"] <= one["y"]
        assert apart_x or apart_y, (one, other)


def test_merge_time_and_delta_counts_come_first() -> None:
    """The first row are numbers, and the first of them tell how long merges take and how many deltas there are."""
    first = sorted((p for p in board()["panels"] if p["gridPos"]["y"] == 0), key=lambda p: int(p["gridPos"]["x"]))
    assert {panel["type"] for panel in first} == {"stat"}
    assert [panel["title"] for panel in first][:3] == ["Merge time, p95", "Push to published, p95", "Deltas merged"]
