"""Each row of docs/security.md is backed by a test that exists."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
ROWS = [
    line
    for line in (ROOT / "docs/security.md").read_text().splitlines()
    if line.startswith("| ") and "](../tests/" in line
]
NAMED = re.compile(r"\]\(\.\./tests/([\w/]+\.py)(?: \"(\w+)\")?\) \|$")


def test_every_threat_names_a_test() -> None:
    """No row of the tables stands without one."""
    lines = (ROOT / "docs/security.md").read_text().splitlines()
    rows = [line for line in lines if line.startswith("| ") and not line.startswith(("| threat", "| ---"))]
    assert len(rows) > 30
    assert [row for row in rows if not NAMED.search(row)] == []


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row[2:40])
def test_the_test_that_a_row_names_is_there(row: str) -> None:
    """The file exists and defines it."""
    match = NAMED.search(row)
    assert match
    text = (ROOT / "tests" / match[1]).read_text()
    assert match[2] is None or f"def {match[2]}(" in text
