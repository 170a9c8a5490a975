"""The command that writes closed frames to a file."""

from __future__ import annotations

from pathlib import Path

import click

from dreamcatcherd.cli.common import base_of, on_repository, open_primary, with_json, write_json
from dreamcatcherd.cli.progress import counted
from dreamcatcherd.cli.usage import WholeNumber
from dreamcatcherd.core.codec import MAX_FRAME
from dreamcatcherd.core.errors import RefusedError, UsageError
from dreamcatcherd.git.protocols import GitStore
from dreamcatcherd.history.archive import write_archive
from dreamcatcherd.stages.snapshot_chain import links

_FRAME = WholeNumber(0, MAX_FRAME)


@click.command(short_help="Write closed frames to one self-contained file.")
@click.option("--from", "first", type=_FRAME, metavar="A", help="The first frame. [default: the first closed one]")
@click.option("--to", "last", type=_FRAME, metavar="B", help="The last frame. [default: the last closed one]")
@click.option(
    "-o", "--output", type=click.Path(path_type=Path), metavar="FILE", required=True, help="The file to write."
)
@on_repository
@with_json
def archive(
    first: int | None, last: int | None, output: Path, repo: str | None, config_file: Path | None, as_json: bool
) -> None:
    """Write closed frames to one self-contained file with checksums: deltas, ledgers, snapshots, commits.

    The file is a tar of a bare git repository whose history begins at frame A. `verify --archive FILE` recomputes its
    frames; after unpacking it with tar, every command reads it with --repo. The repository itself does not change."""
    primary = open_primary(repo, config_file)
    store = primary.store
    if not isinstance(store, GitStore):
        raise AssertionError("commands work on git")
    # The chain is read from the newest commit backwards.
    chain = list(links(store, base_of(primary).commit))[::-1]
    if not chain:
        raise RefusedError(f"{store.where} has no closed frame", "close a frame first: dreamcatcherd merge")
    if not output.parent.is_dir():
        raise UsageError(f"{output.parent} is not a folder", "name a file in a folder that exists")
    start = chain[0].frame if first is None else first
    end = chain[-1].frame if last is None else last
    manifest = write_archive(store, chain, start, end, primary.main, output, counted)
    if as_json:
        write_json(manifest)
    else:
        click.echo(f"wrote {output}: frames {start} to {end}, digest {manifest.digest}")
