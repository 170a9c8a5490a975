"""The manual pages: one for every command, from its help."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import click
import pytest

from dreamcatcherd.cli import cli
from tests.e2e.tools import need
from tests.manual.__main__ import paragraph, prepare

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def pages(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the pages, made as `make man` makes them."""
    folder = tmp_path_factory.mktemp("man")
    at = os.environ | {"SOURCE_DATE_EPOCH": "86400"}
    subprocess.run([sys.executable, "-m", "tests.manual", str(folder)], cwd=ROOT, env=at, check=True, timeout=300)
    return folder


def paths(command: click.Command, path: str) -> Iterator[str]:
    """The command and all its sub-commands, each as its page is named."""
    yield path
    if isinstance(command, click.Group):
        context = click.Context(command)
        for name in command.list_commands(context):
            if below := command.get_command(context, name):
                yield from paths(below, f"{path}-{name}")


def rendered(page: Path) -> str:
    """A page as a terminal shows it, with single spaces; groff found no fault in it."""
    need("groff")
    render = ["groff", "-k", "-man", "-Tutf8", "-ww", "-P-cbou", str(page)]
    done = subprocess.run(render, capture_output=True, text=True, check=True, timeout=300)
    assert done.stderr == ""
    return " ".join(done.stdout.replace("\u2010\n", "").split()).replace("\u2212", "-")


def test_every_command_has_a_page(pages: Path) -> None:
    """Each command and sub-command has a page of its own, and nothing else has."""
    assert {page.name for page in pages.iterdir()} == {f"{path}.1" for path in paths(cli, "dreamcatcherd")}


def test_every_page_renders_without_a_warning(pages: Path) -> None:
    """groff finds no fault in any page, and each gives the date that the build was told, and the help option."""
    for page in pages.iterdir():
        text = rendered(page)
        assert "1970-01-02" in text
        assert "-h, --help Show this message and exit." in text


def test_the_first_page_names_every_command_and_the_exit_codes(pages: Path) -> None:
    """The page of the command refers to all others, and has what the help says at its end."""
    text = rendered(pages / "dreamcatcherd.1")
    for name in cli.list_commands(click.Context(cli)):
        assert f"See dreamcatcherd-{name}(1)" in text
    assert "Exit codes: 0 done, 1 the answer is no" in text


def test_a_page_has_the_options_of_its_command(pages: Path) -> None:
    """Options are there with their kinds, and so are the choices of an argument."""
    assert "--frame N Close all frames up to this one" in rendered(pages / "dreamcatcherd-merge.1")
    assert "bash|zsh|fish" in rendered(pages / "dreamcatcherd-completion.1")


def test_nothing_in_the_help_can_drive_the_formatter() -> None:
    """A leading dot or quote, backslashes and dashes are text on the page, and unbroken lines stay unbroken."""

    @click.command(help="Name.\n\n.SH boo\n'quoted\n\n\b\nfirst  --line\nsecond \\fB")
    @click.option("--some", help=".\\&")
    def odd(some: str) -> None: ...

    prepare(odd, click.Context(odd))
    assert odd.help is not None
    page = odd.help.splitlines()
    assert r"\&.SH boo" in page
    assert r"\[aq]quoted" in page
    start = page.index(".nf")
    assert page[start : start + 4] == [".nf", r"first  \-\-line", r"second \[rs]fB", ".fi"]
    assert next(option.help for option in odd.params if isinstance(option, click.Option)) == r"\&.\[rs]&"


def test_a_paragraph_without_the_mark_is_filled() -> None:
    """Only a paragraph that begins with click's mark keeps its line breaks."""
    assert paragraph("one\ntwo") == "one\ntwo"
