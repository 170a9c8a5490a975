"""The ways in for contributors exist: make targets, markers, and the hooks of pre-commit."""

from __future__ import annotations

import re
import sys
import tomllib
from pathlib import Path
from typing import cast

import pytest
import yaml

from tests.conftest import ROOT_FIXTURES, pytest_collection_modifyitems
from tests.slow import SLOW, SLOW_FIXTURES
from tests.tidy.house import ROOT, documents

MAKEFILE = (ROOT / "Makefile").read_text()
TARGETS = set(re.findall(r"^([a-z][a-z-]*):", MAKEFILE, re.MULTILINE))
HOOKS = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text())["repos"]
MAKE = re.compile(r"(?:`|^|&& |sudo )make ([a-z][a-z-]*)", re.MULTILINE)


def test_make_targets_that_a_text_names_are_there() -> None:
    """Each target that a document, a message of a test or a workflow asks for is one of the Makefile."""
    sources = [*documents(), *(ROOT / "tests").rglob("*.py"), *(ROOT / "config").rglob("*.y*ml"), *ROOT.glob(".ci/*")]
    named = {(target, path.name) for path in sources for target in MAKE.findall(path.read_text())}
    assert len(named) > 20
    assert [one for one in sorted(named) if one[0] not in TARGETS] == []


def test_every_make_target_is_listed_by_help() -> None:
    """Each target is phony and has a line in `make help`."""
    (phony,) = re.findall(r"^\.PHONY: (.+)$", MAKEFILE, re.MULTILINE)
    described = set(re.findall(r"^([a-z-]+):.*## ", MAKEFILE, re.MULTILINE))
    assert set(phony.split()) == described == TARGETS


def test_check_runs_what_lint_and_the_quick_tests_run() -> None:
    """`make check` lints and then runs the tests of the core, of the house and of the law, without the slow ones."""
    (rule,) = re.findall(r"^check: (.*)\n((?:\t.*\n)+)", MAKEFILE, re.MULTILINE)
    assert "lint" in rule[0].split("##")[0].split()
    assert '-m "not slow" tests/core tests/tidy tests/law tests/pictures' in rule[1]


def test_hooks_of_pre_commit_run_programs_of_the_development_environment() -> None:
    """Every hook is local, runs without a download, and its program comes with the development dependencies."""
    assert [repo["repo"] for repo in HOOKS] == ["local"]
    hooks = HOOKS[0]["hooks"]
    assert [hook["id"] for hook in hooks] == ["ruff-check", "ruff-format", "mypy", "lint-imports"]
    for hook in hooks:
        program = hook["entry"].split()[0]
        assert hook["language"] == "system"
        assert Path(program).parts[:2] == (".venv", "bin")
        assert (Path(sys.executable).parent / Path(program).name).is_file(), program


def test_hooks_of_pre_commit_are_the_linters_of_make_lint() -> None:
    """What a commit is checked for is what `make lint` checks."""
    (lint,) = re.findall(r"^lint: .*\n((?:\t.*\n)+)", MAKEFILE, re.MULTILINE)
    run = [re.sub(r" --check| dreamcatcherd tests", "", line) for line in re.findall(r"\$\(BIN\)/(.+)", lint)]
    entries = [hook["entry"].removeprefix(".venv/bin/").removesuffix(" --force-exclude") for hook in HOOKS[0]["hooks"]]
    assert entries == run


def test_slow_tests_and_fixtures_are_there() -> None:
    """Each name in `tests/slow.py` and each fixture that makes a test need root is defined where it is said to be."""
    for name in SLOW:
        path, *parts = name.split("::")
        assert f"{parts[0]}" in (ROOT / path).read_text(), name
    sources = "".join(path.read_text() for path in (ROOT / "tests").rglob("*.py"))
    for fixture in ROOT_FIXTURES | SLOW_FIXTURES:
        assert f"def {fixture}(" in sources, fixture


def test_markers_are_registered() -> None:
    """Each marker that tests/conftest.py sets is described in pyproject.toml."""
    options = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["pytest"]["ini_options"]
    assert {re.split(r"[:(]", marker)[0] for marker in options["markers"]} == {"needs", "e2e", "root", "slow"}


class Collected:
    """What tests/conftest.py reads of a collected test, and the markers that it gets."""

    def __init__(self, nodeid: str, *fixtures: str) -> None:
        self.nodeid = nodeid
        self.fixturenames = fixtures
        self.markers: set[str] = set()

    def add_marker(self, name: str) -> None:
        """Note a marker."""
        self.markers.add(name)


@pytest.mark.parametrize(
    ("nodeid", "fixtures", "markers"),
    [
        ("tests/core/test_codec.py::test_hand_written_json_is_judged_as_by_a_strict_reader", [], {"slow"}),
        ("tests/core/test_merge.py::test_any_order_and_any_batches_give_the_same_digest[3000]", [], {"slow"}),
        ("tests/history/test_verify.py::test_a_thousand_frames_verify@history", ["thousand"], {"slow"}),
        ("tests/history/test_verify.py::test_anything_else[a]@history", ["thousand"], {"slow"}),
        ("tests/daemon/test_closing.py::TestFrames::runTest", [], {"slow"}),
        ("tests/core/test_frames.py::test_a_manual_frame_is_never_due_by_itself", [], set()),
        ("tests/e2e/test_docs.py::test_anything[served]", ["served", "tmp_path"], {"e2e"}),
        ("tests/e2e/test_systemd.py::test_anything@guest", ["host"], {"e2e", "root"}),
        ("tests/git/test_anything.py::test_with_a_fixture_of_that_name", ["host"], set()),
    ],
)
def test_tests_get_their_markers(nodeid: str, fixtures: list[str], markers: set[str]) -> None:
    """By folder, by fixture, and by the list of slow tests, whatever parameters or group a test has."""
    item = Collected(nodeid, *fixtures)
    pytest_collection_modifyitems([cast(pytest.Item, item)])
    assert item.markers == markers
