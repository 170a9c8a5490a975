"""What the documents promise and limit is shown by tests that exist, and by the numbers that the code has."""

from __future__ import annotations

import importlib
import re

import pytest

from dreamcatcherd.config_tables import Config
from dreamcatcherd.core.settings_schema import SettingsFile
from tests.tidy.house import ROOT

CONTRACT = (ROOT / "docs/contract.md").read_text()
LIMITS = (ROOT / "docs/limits.md").read_text()
GUARANTEES = re.findall(r"^\| (\*\*.+)\|$", CONTRACT[: CONTRACT.index("## What is not")], re.MULTILINE)
NOT_GUARANTEED = re.findall(r"^\| (\*\*.+)\|$", CONTRACT[CONTRACT.index("## What is not") :], re.MULTILINE)
ROWS = re.findall(r"^\| ([^|]+) \| ([^|]+) \| (`[^|]+`) \| [^|]+ \|$", LIMITS, re.MULTILINE)
UNITS = {"KiB": 2**10, "MiB": 2**20, "GiB": 2**30, "bytes": 1, "s": 1}
NAMED = re.compile(r"\]\(\.\./tests/([\w/]+\.py) \"(test_\w+)\"\)")


@pytest.mark.parametrize("row", GUARANTEES, ids=lambda row: row[2:40])
def test_every_guarantee_is_shown_by_a_test(row: str) -> None:
    """A guarantee names at least one test, and each test that it names is there."""
    shown = NAMED.findall(row)
    assert shown
    for file, name in shown:
        assert f"def {name}(" in (ROOT / "tests" / file).read_text()


def test_what_is_not_guaranteed_says_what_holds_instead() -> None:
    """The contract has both tables, and no row of the second one is left open."""
    assert len(GUARANTEES) >= 12
    assert len(NOT_GUARANTEED) >= 8
    for row in NOT_GUARANTEED:
        assert all(cell.strip() for cell in row.split(" | ")), row


def number(text: str) -> float:
    """The number of a limit as it is written: `16 MiB`, `4,000 bytes`, `10 s`, `2^53 - 1`."""
    figure, _, unit = text.partition(" ")
    if "^" in figure:
        base, exponent = figure.split("^")
        return float(int(base) ** int(exponent) - 1)
    return float(figure.replace(",", "")) * UNITS.get(unit.split()[0] if unit else "", 1)


def in_code(place: str) -> float:
    """The number in the code: `[table] key` is a default of a settings file, `module.py` `NAME` a constant."""
    if setting := re.fullmatch(r"`\[(\w+)\] (\w+)`", place):
        for file in (SettingsFile(), Config()):
            if hasattr(table := getattr(file, setting[1], None), setting[2]):
                return float(getattr(table, setting[2]))
        raise AssertionError(f"no such setting: {place}")
    module, name = re.findall(r"`([^`]+)`", place)
    return float(
        getattr(importlib.import_module(f"dreamcatcherd.{module.removesuffix('.py').replace('/', '.')}"), name)
    )


@pytest.mark.parametrize(("what", "limit", "place"), ROWS, ids=[row[0][:40] for row in ROWS])
def test_a_limit_is_the_one_in_the_code(what: str, limit: str, place: str) -> None:
    """The number in docs/limits.md is the default or the constant that the row names."""
    assert number(limit) == in_code(place), what


def test_every_limit_names_where_it_is_set() -> None:
    """No row of the tables of hard limits is skipped by the test above."""
    part = LIMITS[LIMITS.index("## Hard limits") : LIMITS.index("## Measured")]
    rows = [line for line in part.splitlines() if line.startswith("| ") and not line.startswith(("| what", "| ---"))]
    assert len(rows) == len(ROWS) > 15
