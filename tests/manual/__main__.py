"""`python -m tests.manual FOLDER`: write a manual page for every command into a folder, from its help.

click-man writes the pages. What it lacks is added to the commands before: it neither loads commands on demand, nor
escapes text for roff, nor knows click's paragraphs that keep their line breaks."""

from __future__ import annotations

import argparse
import inspect
from pathlib import Path

import click
from click_man.core import write_man_pages  # type: ignore[import-untyped]

from dreamcatcherd import __version__
from dreamcatcherd.cli import cli

UNBROKEN = "\b"
"""The first line of a paragraph that click does not rewrap."""


def prepare(command: click.Command, context: click.Context) -> None:
    """Load a command's sub-commands, and make its texts ready for roff; texts and parameters are changed in place."""
    text = inspect.cleandoc(command.help or "") + "\n\n" + (command.epilog or "")
    command.short_help = escaped(text.partition("\n\n")[0].replace("\n", " ").rstrip("."))
    command.help = "\n\n".join(paragraph(block) for block in text.split("\n\n")).strip()
    command.params = command.get_params(context)
    for option in command.params:
        if isinstance(option, click.Option):
            option.help = escaped(option.help or "")
    if isinstance(command, click.Group):
        for name in command.list_commands(context):
            below = command.get_command(context, name)
            if below is not None:
                command.add_command(below, name)
                prepare(below, click.Context(below, info_name=name, parent=context))


def paragraph(block: str) -> str:
    """A paragraph of a help text as roff."""
    first, _, rest = block.strip("\n").partition("\n")
    if first.strip(" ") != UNBROKEN:
        return "\n".join(map(escaped, block.splitlines()))
    return "\n".join([".nf", *(escaped(line.strip()) for line in rest.splitlines()), ".fi"])


def escaped(line: str) -> str:
    """A line as literal text: nothing in it is a request or an escape, and its dashes can be copied into a shell."""
    literal = line.replace("\\", r"\[rs]").replace("-", r"\-").replace("`", r"\[ga]").replace("'", r"\[aq]")
    return rf"\&{literal}" if literal.startswith(".") else literal


def main() -> None:
    """Write the pages; their date is SOURCE_DATE_EPOCH, in seconds since 1970, where it is set, else today."""
    parser = argparse.ArgumentParser(prog="python -m tests.manual", description="Write the manual pages.")
    parser.add_argument("folder", type=Path, help="an existing folder for the pages")
    parser.add_argument("version", nargs="?", default=__version__, help="the version that they name")
    given = parser.parse_args()
    prepare(cli, click.Context(cli, info_name="dreamcatcherd", **cli.context_settings))
    write_man_pages("dreamcatcherd", cli, version=given.version, target_dir=str(given.folder))


if __name__ == "__main__":
    main()
