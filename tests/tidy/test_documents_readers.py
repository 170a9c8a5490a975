"""Three readers find their pages: the index is complete, and each page says whom it is for and where to go next."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.tidy.house import ROOT
from tests.tidy.test_documents import named

DOCS = ROOT / "docs"
INDEX = (DOCS / "README.md").read_text()
READERS = {
    "Before you decide": {"everybody"},
    "Worker": {"workers"},
    "Operator": {"operators"},
    "Contributor": {"contributors", "maintainers"},
}
"""The sections of the index, and how a page of each names its readers."""

GENERATED = frozenset({"configuration.md"})
"""Pages that a program writes (`make reference`)."""

HEAD = re.compile(r"\A# [^\n]+\n\n\*?For (?:the )?(\w+)\b(.+?)\n\n", re.DOTALL)
NEXT = re.compile(r"\n\n\*?Next: ([^\n]+(?:\n[^\n]+)*)\n\Z")


def listed(section: str) -> list[Path]:
    """The pages in the table of one section of the index, in reading order."""
    (part,) = re.findall(rf"^## {section}\n(.*?)(?=^## |\Z)", INDEX, re.MULTILINE | re.DOTALL)
    return [(DOCS / target).resolve() for target in re.findall(r"^\| \[[^\]]+\]\(([^)#]+)\) \|", part, re.MULTILINE)]


PAGES = [(page, section) for section in READERS for page in listed(section)]


def test_the_index_lists_every_page_once() -> None:
    """Each page of docs/ is in the reading list of one reader; a decision is listed by the page of decisions."""
    pages = [page for page, _ in PAGES]
    assert len(pages) == len(set(pages))
    assert {page for page in pages if page.parent == DOCS} == {*DOCS.glob("*.md")} - {DOCS / "README.md"}


def test_the_readme_names_the_three_readers_and_the_first_page_of_each() -> None:
    """The README leads each reader to the beginning of the reading list, and to the index for the rest."""
    text = (ROOT / "README.md").read_text()
    table = text[text.index("## Where to go") :]
    rows = re.findall(r"^\| .*\*\*.*$", table, re.MULTILINE)
    for reader, row in zip(("Worker", "Operator", "Contributor"), rows, strict=True):
        assert f"**{reader.lower()}**" in row
        assert (ROOT / re.findall(r"\]\(([^)#]+)\)", row)[0]).resolve() == listed(reader)[0]
    assert "(docs/README.md)" in table


def test_the_readme_fits_on_a_page() -> None:
    """What and why are five lines, and all of it is at most 90 lines, pictures and commands included."""
    lines = (ROOT / "README.md").read_text().splitlines()
    assert lines[1] == lines[7] == ""
    assert all(lines[2:7])
    assert len(lines) <= 90


@pytest.mark.parametrize(
    ("page", "section"), [one for one in PAGES if one[0].name not in GENERATED], ids=lambda one: Path(one).name
)
def test_a_page_says_whom_it_is_for_and_where_to_go_next(page: Path, section: str) -> None:
    """The first paragraph names the readers, and what they can do afterwards or what the page tells them; the last one
    leads to another page."""
    text = page.read_text()
    head, onward = HEAD.match(text), NEXT.search(text)
    assert head, f"{named(page)} begins with its title and a paragraph: For {min(READERS[section])} …"
    assert head[1] in READERS[section]
    assert "After this page you " in " ".join(head[2].split()) or ": " in head[2]
    assert onward, f"{named(page)} ends with a paragraph: Next: …"
    assert "](" in onward[1]
