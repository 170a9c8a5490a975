"""The commands that check and show a primary's configuration."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

import click
import msgspec

from dreamcatcherd.cli.common import on_repository, open_primary, plain, settings_in, with_json, write_json
from dreamcatcherd.cli.reference import reference, schemas
from dreamcatcherd.cli.usage import CommandGroup
from dreamcatcherd.config import load_config
from dreamcatcherd.config_rules import without_path
from dreamcatcherd.config_tables import Config
from dreamcatcherd.core.errors import DreamcatcherError
from dreamcatcherd.core.mistakes import Mistake, MistakesError
from dreamcatcherd.core.paths import SETTINGS
from dreamcatcherd.daemon.configured import load_complete
from dreamcatcherd.daemon.opening import closing_of
from dreamcatcherd.git.access import without_secrets

PUSH_AGAIN = "correct it and push it again"

_FILE = click.option(
    "--config", "config_file", metavar="FILE", type=click.Path(path_type=Path), help="The TOML file. [default: none]"
)


@click.group("config", cls=CommandGroup, short_help="Check or show a primary's configuration.")
def config_group() -> None:
    """Check or show a primary's configuration: the file, and the environment that overrides it."""


@config_group.command("check", short_help="Say whether a configuration file would be accepted.")
@click.argument("file", required=False, type=click.Path(path_type=Path))
@click.option("-q", "--quiet", is_flag=True, help="Write nothing about what is valid.")
@on_repository
@with_json
def check_command(
    file: Path | None, quiet: bool, repo: str | None, config_file: Path | None, as_json: bool
) -> int | None:
    """Say whether a configuration FILE would be accepted; if not, exit code 2 and every mistake, one a line.

    The files and programs that it names are tried too, as this user. A FILE called dreamcatcher.toml holds the settings
    of a repository. With --repo, or a repository that --config names, the settings in force there are checked too.
    Warnings name what in them can never match anything."""
    checked: list[_Checked] = []
    settings_only = file is not None and file.name == SETTINGS.rpartition("/")[2]
    if file is not None and settings_only:
        checked.append(_checked(f"{file}", lambda: settings_in(file).warnings))
    chosen = config_file if settings_only else file or config_file
    if not settings_only or repo is not None or config_file is not None:
        config = Config()

        def read() -> Sequence[str]:
            nonlocal config
            config = _read(chosen)
            return ()

        primary = _checked(f"{chosen or 'the defaults'}", read)
        checked.append(primary)
        named = config_file is not None and config.repository.url != Config().repository.url
        if not primary.mistakes and (repo is not None or named):
            try:
                checked.append(_in_repository(repo, chosen))
            except DreamcatcherError as error:
                if repo is not None:
                    raise
                # The question is about a file: it may come before its repository, or where that cannot be reached.
                click.echo(f"note: the settings of its repository were not checked: {plain(error.cause)}", err=True)
    return _report(checked, quiet, as_json)


class _Checked(NamedTuple):
    """What was found in one file. `text` says for people that it is valid."""

    path: str
    text: str
    warnings: Sequence[str] = ()
    mistakes: Sequence[Mistake] = ()


def _checked(path: str, warnings: Callable[[], Sequence[str]]) -> _Checked:
    try:
        return _Checked(path, f"{path}: valid", warnings())
    except MistakesError as error:
        return _Checked(path, "", mistakes=error.mistakes)


def _in_repository(repo: str | None, config_file: Path | None) -> _Checked:
    """Check the settings of the repository that the options name."""
    view = open_primary(repo, config_file).read_inbox().view
    if view.refused is not None:
        return _Checked(SETTINGS, "", mistakes=[Mistake(SETTINGS, f"is refused: {view.refused}", PUSH_AGAIN)])
    text = f"{SETTINGS} {view.settings.blob or 'does not exist: the defaults apply'}: valid"
    return _Checked(SETTINGS, text, view.settings.warnings)


def _report(checked: list[_Checked], quiet: bool, as_json: bool) -> int:
    """Write what was found; returns the exit code."""
    if as_json:
        write_json(
            [
                {
                    "path": one.path,
                    "ok": not one.mistakes,
                    "warnings": one.warnings,
                    "mistakes": [
                        {"where": wrong.where, "what": wrong.what, "remedy": wrong.remedy} for wrong in one.mistakes
                    ],
                }
                for one in checked
            ]
        )
    for one in checked:
        if not one.mistakes and not as_json and not quiet:
            click.echo(plain(one.text))
        for warning in one.warnings if not as_json else ():
            click.echo(f"warning: {plain(one.path)}: {plain(warning)}")
        for wrong in one.mistakes if not as_json else ():
            click.echo(f"dreamcatcherd: {plain(' '.join(wrong.line.split()))}", err=True)
    return 2 if any(one.mistakes for one in checked) else 0


@config_group.command("show", short_help="Show the effective value of every setting.")
@_FILE
@with_json
def show_command(config_file: Path | None, as_json: bool) -> None:
    """Show the effective value of every setting: the file overrides the defaults, the environment overrides both.

    A password or token in the URL is omitted, and the path of a URL that gets events."""
    config = load_config(config_file)
    closing_of(config)  # refuses a cron expression that cannot be read
    tables = msgspec.to_builtins(config)
    tables["repository"]["url"] = without_secrets(tables["repository"]["url"])[0]
    if tables["relay"]["upstream"]:
        tables["relay"]["upstream"] = without_secrets(tables["relay"]["upstream"])[0]
    for table in tables["mirrors"]:
        table["url"] = without_secrets(table["url"])[0]
    for table in tables["events"]:
        table["url"] = without_path(table["url"]) if table["url"] else None
    if as_json:
        write_json(tables)
        return
    for name, found in tables.items():
        for table in found if isinstance(found, list) else [found]:
            click.echo(f"[[{name}]]" if isinstance(found, list) else f"[{name}]")
            for key, value in table.items():
                shown = "" if value is None else json.dumps(value, ensure_ascii=False)
                click.echo(f"{key} = {shown}" if shown else f"# {key} is not set")
            click.echo("")


@config_group.command("reference", short_help="Print every setting with its default and values.")
@with_json
def reference_command(as_json: bool) -> None:
    """Print every setting with its default and possible values, as Markdown; with --json as JSON Schemas."""
    if as_json:
        write_json(schemas())
    else:
        click.echo(reference(), nl=False)


def _read(file: Path | None) -> Config:
    """The configuration; MistakesError also for what it names and cannot be used."""
    return load_complete(lambda: load_config(file), file)
