"""The command `conformance`: what it prints, and its exit codes."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from dreamcatcherd.cli.conformance import both_shown, conformance
from dreamcatcherd.conformance.running import Deviation, first_deviation
from dreamcatcherd.core.errors import UsageError
from tests.conformance.build import FOLDER
from tests.e2e.tools import dc


def run(*words: str) -> Result:
    return CliRunner().invoke(conformance, words, standalone_mode=False)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Two files of the vectors, to be spoilt."""
    for file in ("keys/order.json", "trees/objects.json"):
        (tmp_path / file).parent.mkdir()
        shutil.copy(FOLDER / file, tmp_path / file)
    return tmp_path


def spoil(file: Path, **members: Any) -> None:
    document = json.loads(file.read_text())
    document["cases"][0].update(members)
    file.write_text(json.dumps(document))


def test_cases_that_pass_are_counted_by_section(folder: Path) -> None:
    """The output has a row for each section, and the exit code is 0."""
    done = dc("conformance", str(folder))
    assert done.splitlines() == ["section\tcases\tfailed", "keys\t7\t0", "trees\t10\t0", "17 cases passed"]


def test_a_failure_shows_the_first_deviation(folder: Path) -> None:
    """A failing case has its name, the place, what was expected and what was found; the exit code is 1."""
    spoil(folder / "trees" / "objects.json", expect={"id": "0" * 40})
    done = run(str(folder))
    assert done.return_value == 1
    assert done.output.splitlines()[:3] == [
        "trees/objects/empty-blob: expect.id",
        f'  expected "{"0" * 40}"',
        '  found    "e69de29bb2d1d6434b8b29ae775ad8c2e48c5391"',
    ]
    assert done.output.splitlines()[-1] == "17 cases, 1 failed"


def test_json_lists_failures_and_sections(folder: Path) -> None:
    """With `--json` programs get the same facts."""
    spoil(folder / "keys" / "order.json", expect={"sorted": []})
    done = run(str(folder), "--json")
    found = json.loads(done.output)
    assert done.return_value == 1
    assert found["cases"] == 17
    assert found["failed"][0]["case"] == "keys/order/integers-by-size"
    assert found["failed"][0]["deviation"]["at"] == "expect.sorted[0]"
    assert found["sections"][0] == {"section": "keys", "cases": 7, "failed": 1}


def test_an_error_of_the_implementation_is_a_failure(folder: Path) -> None:
    """A case that cannot be run fails, and the others go on."""
    spoil(folder / "trees" / "objects.json", blob=None)
    done = run(str(folder))
    assert done.return_value == 1
    assert "trees/objects/empty-blob: expect.error" in done.output


@pytest.mark.parametrize(
    ("members", "cause"),
    [
        ({}, "is not a file of test vectors"),
        ({"format": "dreamcatcher-vectors/2"}, "dreamcatcher-vectors/2"),
        ({"cases": [{}]}, "lacks name"),
        ({"kind": "new", "cases": [{"name": "a", "expect": 1}]}, "is of kind 'new'"),
    ],
)
def test_files_of_another_format_are_wrong_usage(tmp_path: Path, members: dict[str, Any], cause: str) -> None:
    """A file that is no vectors, or of a later format or kind, is named, and nothing counts as passed."""
    whole = {"format": "dreamcatcher-vectors/1", "section": "x", "kind": "utc", "about": "", "cases": []}
    (tmp_path / "x.json").write_text(json.dumps({**whole, **members} if members else members))
    done = run(str(tmp_path))
    assert isinstance(done.exception, UsageError)
    assert cause in str(done.exception)


def test_a_folder_without_vectors_is_wrong_usage(tmp_path: Path) -> None:
    """Neither a missing folder nor an empty one passes."""
    assert "is not a folder" in str(run(str(tmp_path / "none")).exception)
    assert "holds no test vectors" in str(run(str(tmp_path)).exception)


def test_differences_are_found_in_any_depth() -> None:
    """Members, items, lengths and types are compared."""
    assert first_deviation({"a": [1, {"b c": 2}]}, {"a": [1, {"b c": 2}]}) is None
    assert first_deviation({"a": [1]}, {"a": [True]}) == Deviation("expect.a[0]", 1, True)
    assert first_deviation({"a": [1]}, {"a": [1, 2]}) == Deviation("expect.a[1]", None, 2)
    assert first_deviation({"b c": 1}, {}) == Deviation("expect['b c']", 1, None)
    assert first_deviation({}, {"d": 1}) == Deviation("expect.d", None, 1)


def test_long_values_are_cut_around_the_difference() -> None:
    """What differs is shown, however far into a long text it is."""
    expected, found = both_shown("a" * 5000 + "x", "a" * 5000 + "y")
    assert expected.startswith("…")
    assert expected.endswith('ax"')
    assert found.endswith('ay"')
    assert both_shown("a", None) == ('"a"', "null")
