"""The commands that carry a snapshot elsewhere: export and import."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from dreamcatcherd.cli.common import (
    base_of,
    configuration,
    ledger_of,
    on_repository,
    open_primary,
    with_json,
    write_json,
    write_whole,
)
from dreamcatcherd.cli.inspect import settings_of
from dreamcatcherd.config import repository_path
from dreamcatcherd.core.codec import MAX_FRAME
from dreamcatcherd.core.errors import RefusedError, UsageError
from dreamcatcherd.core.export import export, read_portable
from dreamcatcherd.daemon.opening import closing_of
from dreamcatcherd.daemon.primary import wall_clock
from dreamcatcherd.store.adopt import adopt
from dreamcatcherd.store.create import create


@click.command("export")
@click.option(
    "--frame", type=click.IntRange(0, MAX_FRAME), help="The snapshot after this frame, instead of the newest."
)
@click.option("-o", "--output", type=click.Path(path_type=Path), metavar="FILE", help="Write there. [default: stdout]")
@on_repository
def export_command(frame: int | None, output: Path | None, repo: str | None, config_file: Path | None) -> None:
    """Write the portable snapshot: one JSON object with all that is needed to go on merging elsewhere.

    Early deltas that are held for later frames are in no snapshot: they stay with the repository."""
    primary = open_primary(repo, config_file)
    base = base_of(primary)
    tree, settings, number = base.snapshot, base.settings, base.state.last_closed
    if frame is not None:
        ledger = ledger_of(primary, base, frame)
        tree, settings, number = ledger.snapshot, settings_of(primary.store, ledger), frame
    if tree is None:
        raise RefusedError(f"{primary.store.where} has no snapshot yet", "close a frame first: dreamcatcherd merge")
    text = primary.store.read(settings.blob).decode() if settings.blob else None
    pieces = export(primary.store, tree, number, settings.table, text)
    if output is None:
        for piece in pieces:
            sys.stdout.buffer.write(piece)
        sys.stdout.buffer.flush()
        return
    write_whole(output, pieces)
    click.echo(f"wrote {output}: frame {number}, digest {tree}")


@click.command("import")
@click.argument("file", type=click.Path(path_type=Path))
@on_repository
@with_json
def import_command(file: Path, repo: str | None, config_file: Path | None, as_json: bool) -> None:
    """Put an exported snapshot into an empty repository, which is made if it does not exist.

    The digest comes out the same, the next frame is open, and what was merged before does not count again."""
    try:
        portable = read_portable(sys.stdin.buffer.read() if str(file) == "-" else file.read_bytes())
    except OSError as error:
        raise UsageError(
            f"{file} cannot be read: {error.strerror}", "name a file that dreamcatcherd export wrote"
        ) from error
    config, url = configuration(repo, config_file)
    path = repository_path(url)
    if path is not None and not path.exists():
        create(path, 1, wall_clock(), closing_of(config), config.repository.branch)
    primary = open_primary(repo, config_file)
    frame = adopt(primary.store, primary.main, portable, wall_clock(), primary.closing)
    if as_json:
        write_json({"frame": portable.frame, "digest": portable.digest, "open": frame})
    else:
        click.echo(f"imported frame {portable.frame}, digest {portable.digest}; frame {frame} is open")
