"""The dashboard as Grafana's JSON, built with its typed library, so that no field can be misspelled or mistyped."""

from __future__ import annotations

import json
from pathlib import Path

from grafana_foundation_sdk.builders import common, prometheus, stat, timeseries
from grafana_foundation_sdk.builders import dashboard as builders
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.models import common as kinds
from grafana_foundation_sdk.models import dashboard as models

from tests.dashboard.panels import HEALTH, ROWS, Shown

FILE = Path(__file__).parents[2] / "config" / "grafana" / "dreamcatcherd.json"

SOURCE = models.DataSourceRef(type_val="prometheus", uid="${datasource}")


def dashboard_json() -> str:
    """The whole file."""
    return json.dumps(build().build(), cls=JSONEncoder, indent=1, sort_keys=True) + "\n"


def build() -> builders.Dashboard:
    """All rows, under three choices: the data source, the fleet and the primaries."""
    board = (
        builders.Dashboard("dreamcatcherd")
        .uid("dreamcatcherd")
        .description("Is the fleet healthy? Merge time and delta counts first. Alerts are told of in docs/runbook.md.")
        .tags(["dreamcatcherd"])
        .time("now-1h", "now")
        .timezone("browser")
        .refresh("15s")
        .tooltip(models.DashboardCursorSync.CROSSHAIR)
        .with_variable(builders.DatasourceVariable("datasource").label("Data source").type("prometheus"))
        .with_variable(_label("fleet", "Fleet"))
        .with_variable(_label("instance", "Primary"))
    )
    for number, panel in enumerate(HEALTH, 1):
        board.with_panel(_number(panel).id(number))
    number = len(HEALTH)
    for title, panels in ROWS.items():
        number += 1
        board.with_row(builders.Row(title).id(number))
        for panel in panels:
            number += 1
            board.with_panel(_graph(panel).id(number))
    return board


def _label(name: str, shown: str) -> builders.QueryVariable:
    """A choice among the values of a label."""
    return (
        builders.QueryVariable(name)
        .label(shown)
        .datasource(SOURCE)
        .query(f"label_values(dreamcatcher_build_info, {name})")
        .refresh(models.VariableRefresh.ON_TIME_RANGE_CHANGED)
        .sort(models.VariableSort.ALPHABETICAL_ASC)
        .multi(True)
        .include_all(True)
        .all_value(".*")
        .current(models.VariableOption(selected=True, text=["All"], value=["$__all"]))
    )


def _targets(panel: Shown, *, instant: bool) -> list[prometheus.Dataquery]:
    found: list[prometheus.Dataquery] = []
    for ref, query in zip("ABCDEF", panel.queries, strict=False):
        target = prometheus.Dataquery().expr(query.expr).legend_format(query.legend).ref_id(ref).datasource(SOURCE)
        found.append(target.instant() if instant else target.range())
    return found


def _number(panel: Shown) -> stat.Panel:
    """One large number, coloured."""
    steps = [models.Threshold(value=value, color=colour) for value, colour in panel.steps]
    built = (
        stat.Panel()
        .title(panel.title)
        .description(panel.about)
        .datasource(SOURCE)
        .height(4)
        .span(panel.width)
        .unit(panel.unit)
        .no_value("none")
        .color_mode(kinds.BigValueColorMode.BACKGROUND)
        .graph_mode(kinds.BigValueGraphMode.NONE)
        .thresholds(builders.ThresholdsConfig().mode(models.ThresholdsMode.ABSOLUTE).steps(steps))
        .reduce_options(common.ReduceDataOptions().calcs(["lastNotNull"]))
    )
    for target in _targets(panel, instant=True):
        built.with_target(target)
    return built


def _graph(panel: Shown) -> timeseries.Panel:
    """Lines over time; stacked ones are filled."""
    built = (
        timeseries.Panel()
        .title(panel.title)
        .description(panel.about)
        .datasource(SOURCE)
        .height(7)
        .span(panel.width)
        .unit(panel.unit)
        .min(0)
        .line_width(1)
        .fill_opacity(40 if panel.stacked else 0)
        .show_points(kinds.VisibilityMode.NEVER)
        .tooltip(common.VizTooltipOptions().mode(kinds.TooltipDisplayMode.MULTI).sort(kinds.SortOrder.DESCENDING))
        .legend(
            common.VizLegendOptions()
            .display_mode(kinds.LegendDisplayMode.LIST)
            .placement(kinds.LegendPlacement.BOTTOM)
            .show_legend(True)
        )
    )
    if panel.stacked:
        built.stacking(common.StackingConfig().mode(kinds.StackingMode.NORMAL).group("A"))
    for target in _targets(panel, instant=False):
        built.with_target(target)
    return built
