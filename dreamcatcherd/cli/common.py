"""What all commands share: options, the primary that they work with, and the form of output."""

from __future__ import annotations

import os
import re
import shlex
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click
import msgspec
from msgspec import structs

from dreamcatcherd.config import load_config
from dreamcatcherd.config_rules import wrong_url
from dreamcatcherd.config_tables import Config
from dreamcatcherd.core.codec import canonical
from dreamcatcherd.core.codec import plain as plain
from dreamcatcherd.core.errors import RefusedError, UsageError
from dreamcatcherd.core.mistakes import MistakesError
from dreamcatcherd.core.settings import Settings, SettingsError, read_settings

if TYPE_CHECKING:  # the commands of workers load no primary, and no libgit2
    from dreamcatcherd.daemon.primary import Primary
    from dreamcatcherd.stages.published import PublishedState

_Command = TypeVar("_Command", bound=Callable[..., Any])
_T = TypeVar("_T")

_UNSHOWN = re.compile("[\x7f-\x9f\u202a-\u202e\u2066-\u2069]")
"""Characters that JSON does not escape, although a terminal obeys them or reorders the text that follows."""

_REPO = click.option("--repo", metavar="PATH_OR_URL", help="The shared repository. [default: ./fleet.git]")
_CONFIG = click.option(
    "--config",
    "config_file",
    metavar="FILE",
    type=click.Path(path_type=Path),
    help="TOML file with a primary's settings: `dreamcatcherd config reference` lists them.",
)
_JSON = click.option("--json", "as_json", is_flag=True, help="Write JSON for programs.")


def on_repository(command: _Command) -> _Command:
    """The options `--repo` and `--config`."""
    return _REPO(_CONFIG(command))


def with_json(command: _Command) -> _Command:
    """The option `--json`."""
    return _JSON(command)


def configuration(
    repo: str | None, config_file: Path | None, variables: Mapping[str, str] = os.environ
) -> tuple[Config, str]:
    """The configuration and the repository's path or URL; `--repo` overrides the file, as `variables` do."""
    config = load_config(config_file, variables)
    if repo and (why := wrong_url(repo)) is not None:
        raise UsageError(f"--repo {why}", "name the shared repository by a path or a URL")
    return config, repo or config.repository.url


def open_primary(repo: str | None, config_file: Path | None, *, notes: bool = True) -> Primary:
    """A primary on the repository that the options name. With `notes`, its troubles are printed on stderr."""
    from dreamcatcherd.daemon.opening import open_configured

    primary = open_configured(*configuration(repo, config_file))
    for trouble in primary.store.troubles() if notes else ():
        click.echo(f"dreamcatcherd: note: {trouble.what}; {trouble.remedy}", err=True)
    return primary


def settings_in(file: Path) -> Settings:
    """The settings in a dreamcatcher.toml; UsageError if they cannot count, as MistakesError with every mistake."""
    try:
        return read_settings(file.read_bytes())
    except OSError as error:
        raise UsageError(f"{file}: {error}", "name a readable dreamcatcher.toml") from error
    except SettingsError as error:
        found = [structs.replace(one, source=str(file)) for one in error.mistakes]
        raise MistakesError(found, f"dreamcatcherd config check {shlex.quote(str(file))}") from error


def with_history(primary: Primary) -> Primary:
    """The primary; RefusedError if its repository is shallow, since then the frames cannot be recomputed."""
    store = primary.store
    if store.cut:
        from dreamcatcherd.git.incomplete_clone import UNSHALLOW

        raise RefusedError(f"{store.where} is a shallow repository: its frames cannot be recomputed", UNSHALLOW)
    return primary


def base_of(primary: Primary) -> PublishedState:
    """The last published state of a primary's repository."""
    return primary.load_published(primary.store.refs())


def read_stdin(most: int = -1) -> bytes:
    """What is on standard input, at most so many bytes of it if `most` is given; UsageError if it cannot be read."""
    if sys.stdin is None:
        raise UsageError("standard input is closed", "name a file in place of -, or give it standard input")
    try:
        return sys.stdin.buffer.read(most)
    except OSError as error:
        raise UsageError(f"standard input cannot be read: {error.strerror}", "name a file in place of -") from error


def write_json(value: Any) -> None:
    """Write a value as readable JSON with sorted keys, without anything that a terminal obeys."""
    # Formatted and not decoded again: a sum may have digits that doubles do not have.
    click.echo(shown_json(msgspec.json.format(canonical(value), indent=1).decode()))


def shown_json(text: str) -> str:
    """The same JSON, with escapes for all characters that a terminal obeys."""
    return _UNSHOWN.sub(lambda found: f"\\u{ord(found[0]):04x}", text)


def write_table(title: str, columns: Iterable[str], rows: Iterable[Iterable[object]]) -> None:
    """Write rows as a table; in a pipe a line of column names, and then a line for each row, with tabs between cells.

    Text from deltas is never taken for markup or control codes."""
    if not sys.stdout.isatty():
        for row in (columns, *rows):
            click.echo("\t".join(plain(cell) for cell in row))
        return
    from rich.console import Console  # only on a terminal: it takes longer to import than most commands to run
    from rich.table import Table

    table = Table(title=title, title_justify="left")
    for column in columns:
        table.add_column(column, overflow="fold")
    for row in rows:
        table.add_row(*(plain(cell).replace("[", r"\[") for cell in row))
    Console().print(table)


def tracked(items: Iterable[_T], total: int, what: str) -> Iterator[_T]:
    """The items, with a progress bar if stderr is a terminal."""
    if not sys.stderr.isatty():
        yield from items
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        yield from bar.track(items, total=total, description=what)
