"""The command `conformance`: what it prints, and its exit codes."""

from __future__ import annotations

import json
import shutil
import subprocess
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
    ("kind", "members"),
    [
        ("history", {"settings": None, "steps": [{"commit": "a", "ref": "x", "files": None}]}),
        ("history", {"settings": None, "steps": [{"commit": "a", "ref": "x", "files": []}]}),
        ("history", {"settings": 5, "steps": []}),
        ("history", {"settings": None, "steps": None}),
        ("history", {"settings": None, "steps": [{"commit": "a"}]}),
        ("fingerprint", {"object": "5"}),
        ("fingerprint", {"object": "[" * 200_000}),
        ("key-order", {"keys": ["[" * 200_000]}),
        ("settings", {"settings": None}),
        ("attachment", {"delta": 5, "reference": "a"}),
        ("attachment", {"delta": "state/stream_deltas/1/d.json", "reference": {}}),
        ("delta", {"path": "state/stream_deltas/1/d.json", "delta": "{}", "files": []}),
        ("git-object", {"blob": {"repeat": "x", "times": 10**15}}),
        ("git-object", {"tree": [5]}),
        ("utc", {}),
    ],
)
def test_one_damaged_case_hides_no_other(folder: Path, kind: str, members: dict[str, Any]) -> None:
    """Members that no case can have, or none at all, let that case fail by its name; all others have their results."""
    case = {"name": "damaged", "about": "", "expect": {}, **members}
    vectors = {"format": "dreamcatcher-vectors/1", "section": "x", "kind": kind, "about": "", "cases": [case]}
    (folder / "x.json").write_text(json.dumps(vectors))
    done = run(str(folder))
    assert done.return_value == 1
    assert "x/x/damaged: expect.error" in done.output
    assert done.output.splitlines()[-1] == "18 cases, 1 failed"


def test_what_is_not_a_file_is_wrong_usage(folder: Path) -> None:
    """A link to nothing, a folder and a pipe with the name of a file of vectors are named; nothing waits for them."""
    file = folder / "x.json"
    for command in (["ln", "-s", "none"], ["mkdir"], ["mkfifo"]):
        subprocess.run([*command, str(file)], check=True)
        error = run(str(folder)).exception
        assert isinstance(error, UsageError)
        assert "x.json is not a file" in error.cause
        file.rmdir() if file.is_dir() else file.unlink()


def test_the_remedy_names_the_page_that_there_is(tmp_path: Path) -> None:
    """The format is described in the source of this program, not in a folder of vectors that somebody else wrote."""
    (tmp_path / "x.json").write_text("{}")
    error = run(str(tmp_path)).exception
    assert isinstance(error, UsageError)
    assert (error.remedy, (FOLDER / "README.md").is_file()) == (
        "the format is described in conformance/README.md of dreamcatcherd's source", True
    )  # fmt: skip


@pytest.mark.parametrize(
    ("members", "cause"),
    [
        ({}, "is not a file of test vectors"),
        ({"format": "dreamcatcher-vectors/2"}, "dreamcatcher-vectors/2"),
        ({"cases": [{}]}, "lacks name"),
        ({"cases": [{"name": "a", "expect": 1}, {"name": "a", "expect": 2}]}, "several cases have the name 'a'"),
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
