"""The command that makes a shared repository, or prepares one that exists."""

from __future__ import annotations

import shlex
from pathlib import Path

import click

from dreamcatcherd.cli.common import plain, with_json, write_json
from dreamcatcherd.cli.usage import WholeNumber
from dreamcatcherd.config import load_config
from dreamcatcherd.config_files import credential_file
from dreamcatcherd.config_tables import Config, FramesConfig
from dreamcatcherd.core.codec import MAX_FRAME
from dreamcatcherd.core.frames import Closing
from dreamcatcherd.core.paths import FRAME
from dreamcatcherd.daemon.opening import closing_of
from dreamcatcherd.git.local import LocalStore
from dreamcatcherd.imports.existing_repository import DONE_BY, Prepared, RepositoryChange, is_repository, prepare
from dreamcatcherd.imports.new_repository import GIT_SETTINGS, check_free, create
from dreamcatcherd.observe.clock import wall_clock


@click.command(short_help="Create a shared repository, or prepare an existing one.")
@click.argument("path", type=click.Path(path_type=Path))
@click.option(
    "--frame",
    type=WholeNumber(0, MAX_FRAME),
    help="The first open frame.  [default: the one that state/frame.json names, else 1]",
)
@click.option("--no-hook", is_flag=True, help="Install no hooks: no check of pushes, no sync of refs.")
@click.option("--dry-run", is_flag=True, help="List what would change, and change nothing.")
@click.option(
    "--config",
    "config_file",
    metavar="FILE",
    type=click.Path(path_type=Path),
    help="A primary's file, for its branch, closing rule and signing key.",
)
@with_json
def init(path: Path, frame: int | None, no_hook: bool, dry_run: bool, config_file: Path | None, as_json: bool) -> None:
    """Create a bare shared repository at PATH, ready for workers, or prepare the one that is there.

    It refuses forced pushes and deletions, keeps reflogs, and has `main` with `state/frame.json`. A pre-receive hook
    refuses pushes that edit computed files, delete deltas, or add deltas that cannot merge. Another hook makes an
    acknowledged push survive a power failure of the server.

    In a bare repository that exists, only what is missing is added: git settings, the hooks, and `state/frame.json` in
    a commit on top of the branch, unless frames are published there. A second run changes nothing."""
    config = load_config(config_file)
    there = is_repository(path)
    # Without the primary's file nobody knows when it will close the first frame: workers are promised no time.
    known = config_file is not None or config.frames != FramesConfig()
    closing = closing_of(config) if known else Closing("manual")
    made = (_prepare if there else _create)(path, frame, not no_hook, dry_run, config, closing)
    for trouble in made.troubles:
        click.echo(f"dreamcatcherd: note: {plain(trouble.what)}; {plain(trouble.remedy)}", err=True)
    if frame not in (None, made.frame):
        what = f"frames are published in {path}, and frame {made.frame} is open: --frame {frame} does not count"
        click.echo(f"dreamcatcherd: note: {plain(what)}", err=True)
    if as_json:
        write_json({"path": str(path), "changes": made.changes, "done": not dry_run})
        return
    if there or dry_run:
        for change in made.changes:
            click.echo(plain(f"{change.what}: {change.before or 'none'} → {change.to}"))
    if not made.changes:
        click.echo(f"nothing to change in {path}: frame {made.frame} is open")
    elif not dry_run:
        serve = ["dreamcatcherd", "run", "--repo", str(path), *(["--config", str(config_file)] if config_file else [])]
        done = "prepared" if there else "made"
        click.echo(f"{done} {path}: frame {made.frame} is open\nserve it: {shlex.join(serve)}")


def _prepare(path: Path, frame: int | None, hook: bool, dry_run: bool, config: Config, closing: Closing) -> Prepared:
    store = LocalStore(path)
    store.signing_key = credential_file("repository", "signing_key", config.repository.signing_key)
    branch = config.repository.branch
    return prepare(store, frame, wall_clock(), closing, branch, hook=hook, dry_run=dry_run)


def _create(path: Path, frame: int | None, hook: bool, dry_run: bool, config: Config, closing: Closing) -> Prepared:
    first = 1 if frame is None else frame
    if dry_run:
        check_free(path)
    else:
        create(path, first, wall_clock(), closing, config.repository.branch, hook=hook)
    changes = [RepositoryChange(str(path), None, "a bare repository")]
    changes += [RepositoryChange(name, None, value) for name, value in GIT_SETTINGS]
    if hook:
        changes += [RepositoryChange(f"hooks/{name}", None, does) for name, does in DONE_BY.items()]
    return Prepared([*changes, RepositoryChange(FRAME, None, f"frame {first}")], first)
