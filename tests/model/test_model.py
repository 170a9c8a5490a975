"""The model of intake and publication holds in small bounds, its mutants do not, and it names what the code has."""

from __future__ import annotations

import re

import pytest

from tests.model.checker import MODEL, search_cycles, search_mutant, search_run
from tests.model.runs import DEEP, ENDING, MUTANTS, PROPERTIES, QUICK, Mutant, Run
from tests.tidy.house import PACKAGE, ROOT
from tests.tidy.test_documents import names_in

README = ROOT / "docs/model/README.md"


@pytest.mark.needs("spin", "gcc")
@pytest.mark.parametrize("run", QUICK, ids=lambda run: run.name.replace(" ", "-"))
def test_every_property_holds_in_every_state(run: Run) -> None:
    """All that can happen in these bounds was visited, and no property is broken anywhere."""
    found = search_run(run)
    assert found.complete, found.said
    assert found.states > 1_000


@pytest.mark.needs("spin", "gcc")
def test_everything_that_happens_comes_to_an_end() -> None:
    """There is no cycle of states, so what holds whenever nobody can do anything more is reached in every run."""
    found = search_cycles(ENDING)
    assert found.complete, found.said


@pytest.mark.needs("spin", "gcc")
@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda one: f"{one.macro}-{one.breaks}")
def test_every_mutant_breaks_its_property(mutant: Mutant) -> None:
    """With one mistake in the model the property fails: the search would have seen it."""
    found = search_mutant(mutant)
    assert found.counterexamples, found.said


def test_each_property_has_a_mutant_and_each_mutant_is_in_the_model() -> None:
    """Every property is broken by some mutant, and every macro that a run sets is one of the model's."""
    text = MODEL.read_text()
    assert {one.breaks for one in MUTANTS} == PROPERTIES.keys()
    macros = {one.macro for one in MUTANTS}
    assert macros == set(re.findall(r"\bM_[A-Z_]+\b", text))
    bounds = {name for one in (*QUICK, *DEEP, *MUTANTS) for name in one.bounds}
    assert bounds <= set(re.findall(r"^#ifndef ([A-Z]+)$", text, re.MULTILINE))


def test_the_page_names_functions_that_there_are() -> None:
    """Each step of the page is a step of the model, and names functions of the package that do it in the code."""
    text = README.read_text()
    rows = re.findall(r"^\| ([a-z ]+) \| ([^|]*(?:`\S+\.py` `|not of this project)[^|]*) \|$", text, re.MULTILINE)
    steps = set(re.findall(r"[Ss]tep \"([^\"]+)\":", MODEL.read_text()))
    assert {name for name, _ in rows} == steps
    for _, functions in rows:
        named = re.findall(r"`(\S+\.py)` `([\w.]+)`", functions)
        assert named or functions.startswith("not of this project")
        assert [one for one in named if one[1] not in names_in(PACKAGE / one[0])] == []


def test_the_page_lists_every_run_and_mutant() -> None:
    """The page has one row for each run and for each mutant, by name."""
    text = README.read_text()
    rows = set(re.findall(r"^\| ([^|]+) \|", text, re.MULTILINE))
    assert {one.name for one in (*QUICK, *DEEP, *MUTANTS)} <= rows
    assert set(PROPERTIES.values()) <= rows
