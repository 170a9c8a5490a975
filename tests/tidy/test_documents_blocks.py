"""Whatever the documents show in a block is run or read by a test: commands, settings, deltas, programs."""

from __future__ import annotations

import ast
import re
from functools import cache
from pathlib import Path

import pytest

from tests.tidy.house import ROOT, documents
from tests.tidy.test_documents import named

BLOCK = re.compile(r"^(?:<!-- run: (\w+) -->\n)?^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
EVERY_BLOCK = frozenset({"docs/runbook.md"})
"""Pages whose test runs every block that the page has, without naming each."""

EVERY_PAGE = frozenset({"toml"})
"""Languages that one test reads in every page: `test_every_configuration_block_is_accepted`."""

ONLY_TEXT = frozenset({"", "text"})
"""Blocks that are no program and no data: layouts and drawings."""

DROP_INS = frozenset({("docs/operations.md", "ini")})
"""Settings of systemd that a reader adds to a unit, if at all: no test adds them."""

COMMAND = re.compile(
    r"^\s*(?:\$ )?(?:sudo )?(?:dreamcatcherd|git|make|systemctl|curl|docker|kubectl|python3?|pip) \w", re.MULTILINE
)


@cache
def texts_of_tests() -> dict[Path, frozenset[str]]:
    """The texts that are written in each module below tests/e2e."""
    found = {}
    for path in sorted((ROOT / "tests/e2e").glob("*.py")):
        nodes = [node for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Constant)]
        found[path] = frozenset(node.value for node in nodes if isinstance(node.value, str))
    return found


def readers_of(page: str) -> list[frozenset[str]]:
    """The texts of each test module that names a page by its path or, in pieces, by its file's name."""
    name = page.rpartition("/")[2]
    return [texts for texts in texts_of_tests().values() if page in texts or name in texts]


def blocks(page: Path) -> list[tuple[str, str, str]]:
    """Each block of a page as (name or nothing, language, content)."""
    return [(name or "", language, content) for name, language, content in BLOCK.findall(page.read_text())]


@pytest.mark.parametrize("page", documents(), ids=named)
def test_a_named_block_is_run_by_a_test_that_names_it(page: Path) -> None:
    """Each name of a block is unique on its page, and is written in a test module that reads the page."""
    names = [name for name, _, _ in blocks(page) if name]
    assert len(names) == len(set(names)) == page.read_text().count("<!-- run: ")
    if names:
        readers = readers_of(named(page))
        assert readers, "no test reads this page"
        known = frozenset().union(*readers)
        assert named(page) in EVERY_BLOCK or [name for name in names if name not in known] == []


@pytest.mark.parametrize("page", documents(), ids=named)
def test_other_blocks_are_read_by_a_test(page: Path) -> None:
    """A block of data or of a program is found by a test module that reads its page and looks for its language."""
    languages = {language for _, language, _ in blocks(page)} - {"sh"} - EVERY_PAGE - ONLY_TEXT
    for language in sorted(languages):
        if (named(page), language) not in DROP_INS:
            marks = [f"```{language}\\n", f"```{language}\n"]
            texts = [text for known in readers_of(named(page)) for text in known]
            assert any(mark in text for text in texts for mark in marks), language


@pytest.mark.parametrize("page", documents(), ids=named)
def test_commands_are_in_blocks_that_are_known_as_such(page: Path) -> None:
    """A block without a language holds no command, so that none escapes the tests above."""
    hidden = [content for _, language, content in blocks(page) if language in ONLY_TEXT and COMMAND.search(content)]
    assert hidden == []
