"""The documents for contributors agree with the project: links, modules, functions, decisions."""

from __future__ import annotations

import ast
import re
import tomllib
from pathlib import Path
from typing import get_args
from urllib.parse import urlsplit

import click
import pytest

from dreamcatcherd.cli import cli
from dreamcatcherd.core.collections import RuleName
from dreamcatcherd.observe.metrics import Metrics
from tests.tidy.house import PACKAGE, ROOT, documents, modules

DECISIONS = sorted((ROOT / "docs/decisions").glob("[0-9]*.md"))
FOR_CONTRIBUTORS = [
    ROOT / ".github/CONTRIBUTING.md",
    ROOT / "docs/architecture.md",
    ROOT / "docs/glossary.md",
    *sorted((ROOT / "docs/decisions").glob("*.md")),
]
FENCE = re.compile(r"^```.*?^```$", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"\]\((?!https?://)([^)#\"]*?)(?:#([^)\"]+?))?(?: \"[^\"]+\")?\)")
HTML_LINK = re.compile(r"\b(?:src|srcset|href)=\"(?!https?://)([^\"#]*)(?:#([^\"]+))?\"")
WEB_LINK = re.compile(r"(?:\]\(|<|(?:src|srcset|href)=\")(https?://[^)>\"\s]+)")
WEB_HOSTS = frozenset(
    {
        "automerge.org",
        "cloudevents.io",
        "docs.dolthub.com",
        "docs.github.com",
        "docs.gitlab.com",
        "docs.yjs.dev",
        "fluxcd.io",
        "github.com",
        "kafka.apache.org",
        "semver.org",
        "slsa.dev",
        "www.standardwebhooks.com",
        "www.w3.org",
    }
)
"""Where links of the documents lead outside the project. No test opens them: open a new one before you add it."""

PATH = re.compile(r"(?:[\w.-]+/)*[\w-]+\.(?:py|toml|md|txt|yaml|yml|jsonl?)|(?:[\w.-]+/)+")
ELSEWHERE = ("state/", "refs/", "posts/", "hooks/", "dc/", "artifacts/", "dreamcatcherd/dreamcatcherd", "/", ".venv")
"""How paths begin that are not of the project: those of a shared repository, of a machine, or of what tools make."""

STEP = re.compile(r"^\| \w* ?\| `(\S+\.py)` \| (`[^|]+`) \|", re.MULTILINE)
IN_MODULE = re.compile(r"`(\S+\.py)` `(\w[\w.]*)`")
IN_CODE = re.compile(r"docs/([\w/-]+\.md)(?:#([\w-]+)|,?\s+\"([^\"]+)\")")


def slug(heading: str) -> str:
    """The anchor that a forge gives to a heading."""
    return re.sub(r"[^\w\- ]", "", re.sub(r"[`*]", "", heading).lower()).replace(" ", "-")


def anchors(document: Path) -> set[str]:
    """The anchors of a document."""
    text = FENCE.sub("", document.read_text())
    return {slug(heading) for heading in re.findall(r"^#+ (.+)$", text, re.MULTILINE)}


def named(path: Path) -> str:
    """A document or module as the id of a test."""
    return path.relative_to(ROOT).as_posix()


def names_in(module: Path) -> set[str]:
    """What a module defines at its top level, and the methods of its classes as `Class.method`."""
    found: set[str] = set()
    for node in ast.parse(module.read_text()).body:
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            found.add(node.name)
            inner = node.body if isinstance(node, ast.ClassDef) else []
            found |= {f"{node.name}.{one.name}" for one in inner if isinstance(one, ast.FunctionDef)}
        elif isinstance(node, ast.Assign | ast.AnnAssign):
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            found |= {target.id for target in targets if isinstance(target, ast.Name)}
    return found


@pytest.mark.parametrize("document", documents(), ids=named)
def test_links_lead_to_a_file_and_a_heading(document: Path) -> None:
    """Every relative link of every document names a file that exists and, after a hash, one of its headings."""
    wrong = []
    text = re.sub(r"`[^`\n]*`", "", FENCE.sub("", document.read_text()))
    for target, anchor in LINK.findall(text) + HTML_LINK.findall(text):
        file = document.parent / target if target else document
        if not file.exists() or (anchor and file.suffix == ".md" and anchor not in anchors(file)):
            wrong.append(f"{target}#{anchor}")
    assert wrong == []


@pytest.mark.parametrize("document", documents(), ids=named)
def test_links_to_the_web_are_encrypted_and_lead_to_known_places(document: Path) -> None:
    """A link outside the project is https to one of a few hosts; the daemon's own page is the only other one."""
    links = [link for link in WEB_LINK.findall(FENCE.sub("", document.read_text())) if "//127.0.0.1:9464/" not in link]
    assert [
        link for link in links if urlsplit(link).scheme != "https" or urlsplit(link).hostname not in WEB_HOSTS
    ] == []


@pytest.mark.parametrize("document", documents(), ids=named)
def test_no_page_installs_the_package_from_an_index(document: Path) -> None:
    """The package is on no index, and anybody could publish another one under its name: a page installs it from a
    release or a checkout. A decision may name what was rejected."""
    found = re.findall(r"\bpip install [^`\n]*?\bdreamcatcherd(?:\[[\w,]+\])?['\"`\s]", document.read_text())
    assert document in DECISIONS or found == []


@pytest.mark.parametrize("document", documents(), ids=named)
def test_a_heading_leads_to_one_place(document: Path) -> None:
    """No two headings of a page have the same anchor, except in the changelog and in the reference of both files."""
    headings = [
        slug(heading) for heading in re.findall(r"^#+ (.+)$", FENCE.sub("", document.read_text()), re.MULTILINE)
    ]
    assert document.name in ("CHANGELOG.md", "configuration.md") or len(headings) == len(set(headings))


@pytest.mark.parametrize("document", FOR_CONTRIBUTORS, ids=named)
def test_files_that_a_document_names_are_there(document: Path) -> None:
    """A path in a code span with a folder in it is one of the package, of the project, or of a shared repository."""
    spans = re.findall(r"`([^`\n]+)`", FENCE.sub("", document.read_text()))
    paths = [span for span in spans if "/" in span and PATH.fullmatch(span) and not span.startswith(ELSEWHERE)]
    assert [path for path in paths if not (PACKAGE / path).exists() and not (ROOT / path).exists()] == []


def test_the_way_of_a_delta_names_functions_that_there_are() -> None:
    """Each step of *Follow one delta* names a module of the package and functions, classes or tables in it."""
    text = (ROOT / "docs/architecture.md").read_text()
    way = text[text.index("## Follow one delta") : text.index("## Where state lives")]
    steps = STEP.findall(way)
    assert len(steps) == sum(line.startswith("| ") for line in way.splitlines()) - 2, "a row is not understood"
    for module, functions in steps:
        assert set(re.findall(r"`([^`]+)`", functions)) <= names_in(PACKAGE / module), module
    for module, function in IN_MODULE.findall(text):
        assert function in names_in(PACKAGE / module), module


def test_the_layout_names_every_package() -> None:
    """Each package has one line in the layout of docs/architecture.md, and a level there."""
    text = (ROOT / "docs/architecture.md").read_text()
    packages = {path.parent.name for path in PACKAGE.glob("*/__init__.py")}
    assert set(re.findall(r"^\| `(\w+)/` \|", text, re.MULTILINE)) == packages
    layers = re.search(r"^## Layers\n.*?^```\n(.*?)^```", text, re.MULTILINE | re.DOTALL)
    assert layers
    (contract, *_) = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"]
    assert layers[1].splitlines() == contract["layers"]


def test_the_glossary_is_in_order_and_names_what_there_is() -> None:
    """Terms are sorted, none comes twice, and a module with a name after it defines that name."""
    text = (ROOT / "docs/glossary.md").read_text()
    terms = re.findall(r"^\| ([^|]+) \| [A-Z].*\. \|$", text, re.MULTILINE)
    assert len(terms) == sum(line.startswith("| ") for line in text.splitlines()) - 2, "a row is not understood"
    assert terms == sorted(set(terms))
    for module, name in IN_MODULE.findall(text):
        assert name in names_in(PACKAGE / module), module


@pytest.mark.parametrize("module", modules(), ids=named)
def test_a_document_that_code_refers_to_has_that_heading(module: Path) -> None:
    """`docs/x.md#heading` and `docs/x.md, "Heading"` in a module lead somewhere."""
    for document, anchor, heading in IN_CODE.findall(module.read_text()):
        assert (anchor or slug(heading)) in anchors(ROOT / "docs" / document), (document, anchor, heading)


@pytest.mark.parametrize("page", DECISIONS, ids=named)
def test_a_decision_has_its_date_status_and_sections(page: Path) -> None:
    """Each page has its number in the title, a date, a status, and the four sections in order."""
    text = page.read_text()
    head = rf"# {page.name[:4]}: .+\n\n\| \| \|\n\| --- \| --- \|\n\| Date \| 20\d\d-\d\d-\d\d.* \|\n"
    assert re.match(head + r"\| Status \| (accepted|superseded by \[\d{4}\]).* \|\n", text)
    assert re.findall(r"^## (.+)$", text, re.MULTILINE) == ["Context", "Decision", "Alternatives", "Consequences"]


def test_the_list_of_decisions_is_complete() -> None:
    """The index has every page once, by number, with the page's own title and date; no number is missing."""
    index = (ROOT / "docs/decisions/README.md").read_text()
    listed = re.findall(r"^- \[(\d+)\]\((\S+)\) (.+) \((\S+)\)$", index, re.MULTILINE)
    found = []
    for page in DECISIONS:
        lines = page.read_text().splitlines()
        date = next(line for line in lines if line.startswith("| Date | "))[9:19]
        found.append((page.name[:4], page.name, lines[0].partition(": ")[2], date))
    assert listed == found
    assert [int(number) for number, *_ in found] == list(range(1, len(found) + 1))


def test_the_reference_names_every_rule_command_and_metric() -> None:
    """What a contributor adds is in docs/protocol.md: merge rules, commands, and metrics by their own name."""
    text = (ROOT / "docs/protocol.md").read_text()
    assert [rule for rule in get_args(RuleName) if not re.search(rf"^\| .*`{rule}`.* \|", text, re.MULTILINE)] == []
    assert [name for name in cli.list_commands(click.Context(cli)) if not re.search(rf"`{name}[` ]", text)] == []
    families = {family.name for family in Metrics().registry.collect() if family.name.startswith("dreamcatcher_")}
    names = {family.removeprefix("dreamcatcher_") for family in families}
    assert [name for name in sorted(names) if not re.search(rf"(?:…|_){name}", text)] == []
