"""The manual page: the help of every command as one page of roff. Owns the escaping."""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterator

import click

_UNBROKEN = "\b"
"""The first line of a paragraph that click does not rewrap."""

_CHARACTERS = str.maketrans(
    {"\\": r"\[rs]", "-": r"\-", "`": r"\[ga]", "'": r"\[aq]", "^": r"\[ha]", "~": r"\[ti]", '"': r"\[dq]"}
)


def manual_page(name: str, root: click.Command, version: str) -> str:
    """The page of a command and its sub-commands, for section 1, without a date: the same help gives the same bytes."""
    context = _context(root, name)
    first, *rest = _paragraphs(root)
    lines = [f'.TH {name.upper()} 1 "" "{_text(name)} {_text(version)}"', ".SH NAME"]
    lines.append(rf"{_text(name)} \- {_text(first[0].rstrip('.'))}")
    lines += [".SH SYNOPSIS", rf"\fB{_text(name)}\fR {_text(' '.join(root.collect_usage_pieces(context)))}"]
    lines += [".SH DESCRIPTION", *_prose(rest or [first]), *_options(context)]
    lines += [".SH COMMANDS", *_commands(context)]
    lines += [".SH NOTES", *_prose(_split(root.epilog or ""))]
    lines += [".SH SEE ALSO", ".BR git (1)"]
    return "\n".join(lines) + "\n"


def _commands(context: click.Context) -> Iterator[str]:
    """Every command below the context's, each group before its sub-commands."""
    group = context.command
    if not isinstance(group, click.Group):
        return
    for name in group.list_commands(context):
        command = group.get_command(context, name)
        if command is None or command.hidden:
            continue
        below = _context(command, name, context)
        yield f".SS {_quoted(below.command_path)}"
        yield rf"\fB{_text(below.command_path)}\fR {_text(' '.join(command.collect_usage_pieces(below)))}"
        yield ".PP"
        yield from _prose(_paragraphs(command))
        yield from _options(below)
        yield from _commands(below)


def _context(command: click.Command, name: str, parent: click.Context | None = None) -> click.Context:
    return click.Context(command, info_name=name, parent=parent, **command.context_settings)


def _options(context: click.Context) -> Iterator[str]:
    """The options as tagged paragraphs; click's arguments have no help text."""
    for parameter in context.command.get_params(context):
        record = parameter.get_help_record(context)
        if record is not None and isinstance(parameter, click.Option):
            yield from (".TP", rf"\fB{_text(record[0])}\fR", _text(record[1]) or r"\&")


def _paragraphs(command: click.Command) -> list[list[str]]:
    return _split(inspect.cleandoc(command.help or "")) or [[""]]


def _split(text: str) -> list[list[str]]:
    """Paragraphs as lists of lines; a list that begins with the mark keeps its line breaks."""
    return [block.splitlines() for block in re.split(r"\n\s*\n", text.strip("\n")) if block.strip(" \n")]


def _prose(paragraphs: list[list[str]]) -> Iterator[str]:
    for lines in paragraphs:
        yield ".PP"
        if lines[0].strip(" ") == _UNBROKEN:
            yield from (".nf", *map(_text, lines[1:]), ".fi")
        else:
            yield from (_text(line) for line in lines)


def _quoted(text: str) -> str:
    return f'"{_text(text)}"'


def _text(text: str) -> str:
    """A line as literal text: nothing in it is a request or an escape."""
    escaped = "".join(c if c.isascii() else rf"\[u{ord(c):04X}]" for c in text.translate(_CHARACTERS))
    return rf"\&{escaped}" if escaped.startswith(".") else escaped
