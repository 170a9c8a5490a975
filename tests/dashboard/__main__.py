"""Writes config/grafana/dreamcatcherd.json: `make dashboard`."""

from __future__ import annotations

from tests.dashboard.build import FILE, dashboard_json

FILE.write_text(dashboard_json())
print(f"wrote {FILE}")
