"""The commands that check and show a primary's configuration."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import click
import msgspec

from dreamcatcherd.cli.common import on_repository, open_primary, plain, settings_in, with_json, write_json
from dreamcatcherd.cli.reference import reference, schemas
from dreamcatcherd.cli.usage import CommandGroup
from dreamcatcherd.config import load_config, without_path
from dreamcatcherd.config_tables import Config
from dreamcatcherd.core.errors import DreamcatcherError, UsageError
from dreamcatcherd.core.paths import SETTINGS
from dreamcatcherd.daemon.bootstrap import closing_of
from dreamcatcherd.git.access import without_secrets

_FILE = click.option(
    "--config", "config_file", metavar="FILE", type=click.Path(path_type=Path), help="The TOML file. [default: none]"
)


@click.group("config", cls=CommandGroup, short_help="Check or show a primary's configuration.")
def config_group() -> None:
    """Check or show a primary's configuration: the file, and the environment that overrides it."""


@config_group.command("check", short_help="Say whether a configuration file would be accepted.")
@click.argument("file", required=False, type=click.Path(path_type=Path))
@on_repository
@with_json
def check_command(file: Path | None, repo: str | None, config_file: Path | None, as_json: bool) -> None:
    """Say whether a configuration FILE would be accepted; if not, exit code 2 and the reason.

    A FILE called dreamcatcher.toml holds the settings of a repository. With --repo, or a repository that --config
    names, the settings in force there are checked too. Warnings name what in them can never match anything."""
    checked: list[_Checked] = []
    settings_only = file is not None and file.name == SETTINGS.rpartition("/")[2]
    if file is not None and settings_only:
        checked.append(_Checked(f"{file}", f"{file}: valid", settings_in(file).warnings))
    chosen = config_file if settings_only else file or config_file
    if not settings_only or repo is not None or config_file is not None:
        config = _read(chosen)
        name = f"{chosen or 'the defaults'}"
        checked.append(_Checked(name, f"{name}: valid", ()))
        if repo is not None:
            checked.append(_in_repository(repo, chosen))
        elif config_file is not None and config.repository.url != Config().repository.url:
            try:
                checked.append(_in_repository(None, chosen))
            except DreamcatcherError as error:
                # The question is about a file: it may come before its repository, or where that cannot be reached.
                click.echo(f"note: the settings of its repository were not checked: {plain(error.cause)}", err=True)
    if as_json:
        write_json([{"path": one.path, "ok": True, "warnings": one.warnings} for one in checked])
        return
    for one in checked:
        click.echo(plain(one.text))
        for warning in one.warnings:
            click.echo(f"warning: {plain(one.path)}: {plain(warning)}")


class _Checked(NamedTuple):
    """What was found valid. `text` says so for people."""

    path: str
    text: str
    warnings: Sequence[str]


def _in_repository(repo: str | None, config_file: Path | None) -> _Checked:
    """Check the settings of the repository that the options name; UsageError if they are refused there."""
    view = open_primary(repo, config_file).read_inbox().view
    if view.refused is not None:
        raise UsageError(f"{SETTINGS} is refused: {view.refused}", "correct it and push it again")
    text = f"{SETTINGS} {view.settings.blob or 'does not exist: the defaults apply'}: valid"
    return _Checked(SETTINGS, text, view.settings.warnings)


@config_group.command("show", short_help="Show the effective value of every setting.")
@_FILE
@with_json
def show_command(config_file: Path | None, as_json: bool) -> None:
    """Show the effective value of every setting: the file overrides the defaults, the environment overrides both.

    A password or token in the URL is omitted, and the path of a URL that gets events."""
    tables = msgspec.to_builtins(_read(config_file))
    tables["repository"]["url"] = without_secrets(tables["repository"]["url"])[0]
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
    config = load_config(file)
    closing_of(config)  # refuses a cron expression that cannot be read
    return config
