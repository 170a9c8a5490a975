"""House rules that no linter holds."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

from tests.tidy import house

ROOT = Path(__file__).parents[2]
CORE = sorted((ROOT / "dreamcatcherd" / "core").rglob("*.py"))
PACKAGE = sorted((ROOT / "dreamcatcherd").rglob("*.py"))
TESTS = sorted((ROOT / "tests").rglob("test_*.py"))
DATA_MODULES = frozenset(
    {
        "__future__",
        "base64",
        "binascii",
        "bisect",
        "decimal",
        "functools",
        "collections",
        "collections.abc",
        "datetime",
        "difflib",
        "fnmatch",
        "hashlib",
        "itertools",
        "json",
        "math",
        "operator",
        "re",
        "tomllib",
        "types",
        "typing",
        "unicodedata",
        "urllib.parse",
        "zlib",
    }
)
"""The standard modules that the core may import: they turn values into values. Clocks, files, processes and networks
are refused because they are not in this list, whatever their names. (`datetime` can tell the time: see the calls.)"""

FORBIDDEN_CALLS = {"open", "print", "input", "now", "utcnow", "today", "time", "monotonic", "perf_counter", "urandom"}


def imports(source: str) -> set[str]:
    """The modules that a module imports, at the top or elsewhere: `urllib.parse` for `from urllib.parse import quote`.

    A relative import keeps its dots, so that it is in no list."""
    found = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            found |= {name.name for name in node.names}
        elif isinstance(node, ast.ImportFrom):
            found.add("." * node.level + (node.module or ""))
    return found


def refused_imports(source: str) -> set[str]:
    """The modules that a module imports and a module of the core must not."""
    own = ("msgspec", "dreamcatcherd.core")
    return {
        name
        for name in imports(source)
        if name not in DATA_MODULES and not any(name == one or name.startswith(one + ".") for one in own)
    }


def calls(path: Path) -> set[str]:
    """The names of everything that a module calls."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Call):
            called = node.func
            found.add(called.attr if isinstance(called, ast.Attribute) else getattr(called, "id", ""))
    return found


@pytest.mark.parametrize("path", CORE, ids=lambda path: str(path.relative_to(ROOT)))
def test_the_core_imports_values_alone(path: Path) -> None:
    """A module of the core imports msgspec, the core itself and the listed standard modules, nothing else."""
    assert refused_imports(path.read_text()) == set()


def test_the_list_of_imports_holds_nothing_unused() -> None:
    """A standard module that no module of the core imports any longer leaves the list."""
    used = set().union(*(imports(path.read_text()) for path in CORE))
    assert used & DATA_MODULES == DATA_MODULES


@pytest.mark.parametrize(
    ("statement", "refused"),
    [
        ("import urllib.request", {"urllib.request"}),
        ("from urllib.request import urlopen", {"urllib.request"}),
        ("from urllib import request, parse", {"urllib"}),
        ("import os", {"os"}),
        ("import re, os.path", {"os.path"}),
        ("from pathlib import Path", {"pathlib"}),
        ("def late():\n    import time", {"time"}),
        ("if TYPE_CHECKING:\n    from dreamcatcherd.git.protocols import Store", {"dreamcatcherd.git.protocols"}),
        ("from dreamcatcherd import config", {"dreamcatcherd"}),
        ("from ..git import local", {"..git"}),
        ("import msgspecial, dreamcatcherd.coreless", {"msgspecial", "dreamcatcherd.coreless"}),
        ("from urllib.parse import quote, unquote", set()),
        ("import msgspec, json\nfrom dreamcatcherd.core import paths\nfrom msgspec import structs", set()),
    ],
)
def test_what_does_more_than_compute_is_refused(statement: str, refused: set[str]) -> None:
    """The network, files, processes, clocks and the layers above are refused; what handles values is not."""
    assert refused_imports(statement) == refused


@pytest.mark.parametrize("path", CORE, ids=lambda path: str(path.relative_to(ROOT)))
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


@pytest.mark.parametrize(
    "path",
    [path for path in PACKAGE if path.parent.name in ("git", "hook")],
    ids=lambda path: str(path.relative_to(ROOT)),
)
def test_what_git_prints_is_cut_at_line_feeds_alone(path: Path) -> None:
    """`splitlines` ends a line at U+2028 and others, which git allows in the names of refs: `lines_of` does not."""
    assert ".splitlines(" not in path.read_text()


def test_one_public_name_has_one_meaning() -> None:
    """No two modules of the package define the same public name."""
    assert house.homonyms() == {}


def test_the_package_is_written_in_plain_english() -> None:
    """Words of the old dialect are rare: at most 1.5 in 1,000 lines of code, and 8 in 1,000 lines of documents."""
    for paths, most in ((house.modules(), 1.5), (house.documents(), 8.0)):
        words = house.dialect_words(paths)
        assert 1000 * len(words) / house.lines_in(paths) <= most, words


def test_comments_give_reasons_and_public_names_are_described() -> None:
    """There are at least 15 lines of comments in 1,000, and at most one public name in twenty has no docstring."""
    paths = house.modules()
    assert 1000 * sum(map(house.comment_lines, paths)) / house.lines_in(paths) >= 15
    kept = house.protocol_methods()
    bare = [name for path in paths for name in house.without_docstring(path, kept)]
    assert len(bare) <= sum(len(list(house.public_definitions(path))) for path in paths) / 20, bare


@pytest.mark.parametrize("path", PACKAGE, ids=lambda path: str(path.relative_to(ROOT)))
def test_the_contract_is_cited_by_headings(path: Path) -> None:
    """No module cites a section of the contract by a number, which docs/protocol.md does not have."""
    assert "Protocol §" not in path.read_text()
