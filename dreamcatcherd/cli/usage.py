"""What the command line accepts beside files and names, and what is said about anything else: sub-commands, numbers."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import click


class CommandGroup(click.Group):
    """A group that names the nearest commands for an unknown one, and shows its help if no command is given.

    click has both in some versions, but only for commands that are loaded, and its help would be the error."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Refuse an empty command line, with the help on stdout, where nobody takes it for an error."""
        if not args and not self.invoke_without_command and not ctx.resilient_parsing:
            click.echo(ctx.get_help())
            raise click.UsageError("no command is given", ctx)
        return super().parse_args(ctx, args)

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Find the command that the first word names; click.UsageError with the nearest ones if there is none."""
        word = args[0]
        if self.get_command(ctx, word) is None and not ctx.resilient_parsing and not word.startswith("-"):
            near = nearest(word, self.list_commands(ctx))
            raise click.UsageError(f"no such command {word!r}{did_you_mean(near)}", ctx)
        return super().resolve_command(ctx, args)


def nearest(word: str, known: Iterable[str]) -> list[str]:
    """At most three of the known names: those that the word abbreviates, else those that are spelt alike."""
    names = list(known)
    begun = [name for name in names if name.startswith(word)] if word else []
    if begun:
        return begun[:3]
    from difflib import get_close_matches  # only a mistake needs it

    return get_close_matches(word, names)[:3]


def did_you_mean(near: Iterable[str]) -> str:
    """The question about names that may be meant, to follow what was wrong; empty if there are none."""
    names = [repr(name) for name in near]
    return f"; did you mean {' or '.join(names)}?" if names else ""


class WholeNumber(click.ParamType):  # type: ignore[type-arg]  # generic since click 8.2 only
    """A whole number between two bounds, both included; without the second one there is none."""

    # What the help shows in its place, in capitals.
    name = "n"

    def __init__(self, least: int, most: int | None = None) -> None:
        self.least, self.most = least, most

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        """The number; click.BadParameter names the bound that it exceeds."""
        try:
            number = int(value)
        except ValueError:
            self.fail(f"{value!r} is not a whole number", param, ctx)
        if number < self.least:
            self.fail(f"{number} is less than {self.least}", param, ctx)
        if self.most is not None and number > self.most:
            self.fail(f"{number} is more than {self.most}", param, ctx)
        return number


class Seconds(click.ParamType):  # type: ignore[type-arg]  # as above
    """A number of seconds; its bounds are those of the setting that it stands for."""

    name = "s"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        """The number; click.BadParameter for anything else."""
        try:
            return float(value)
        except ValueError:
            self.fail(f"{value!r} is not a number of seconds", param, ctx)
