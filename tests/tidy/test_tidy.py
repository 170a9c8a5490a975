"""House rules that no linter holds."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
CORE = sorted((ROOT / "dreamcatcherd" / "core").glob("*.py"))
PACKAGE = sorted((ROOT / "dreamcatcherd").rglob("*.py"))
TESTS = sorted((ROOT / "tests").rglob("test_*.py"))
FORBIDDEN_CALLS = {"open", "print", "input", "now", "utcnow", "today", "time", "monotonic", "perf_counter", "urandom"}


def calls(path: Path) -> set[str]:
    """The names of everything that a module calls."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Call):
            called = node.func
            found.add(called.attr if isinstance(called, ast.Attribute) else getattr(called, "id", ""))
    return found


@pytest.mark.parametrize("path", CORE, ids=lambda path: path.name)
def test_the_core_opens_nothing_and_reads_no_clock(path: Path) -> None:
    """No module of the core calls anything that does I/O, tells the time or draws a random number."""
    assert not calls(path) & FORBIDDEN_CALLS


@pytest.mark.parametrize("path", PACKAGE, ids=lambda path: str(path.relative_to(ROOT)))
def test_every_module_says_what_it_owns_and_stays_readable(path: Path) -> None:
    """Every module begins with a docstring, has at most 350 lines, and no function of more than 60."""
    tree = ast.parse(path.read_text())
    assert ast.get_docstring(tree)
    assert len(path.read_text().splitlines()) <= 350
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef):
            assert (node.end_lineno or 0) - node.lineno < 60, node.name


@pytest.mark.parametrize("path", TESTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_every_test_says_in_a_sentence_what_it_shows(path: Path) -> None:
    """Every test function has a docstring."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.FunctionDef) and node.name.startswith("test_"):
            assert ast.get_docstring(node), node.name
