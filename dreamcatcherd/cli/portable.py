"""The commands that move a snapshot to another repository: export and import."""

from __future__ import annotations

from collections.abc import Iterable
from functools import partial
from pathlib import Path
from typing import Literal

import click

from dreamcatcherd.cli.adopting import Wish, import_state
from dreamcatcherd.cli.common import (
    base_of,
    configuration,
    on_repository,
    open_primary,
    with_json,
    write_json,
)
from dreamcatcherd.cli.engines import chosen_engine, with_engine
from dreamcatcherd.cli.files import compressed, is_tar, read_in, tar_bytes, tar_files, write_out
from dreamcatcherd.cli.usage import WholeNumber
from dreamcatcherd.config_files import repository_path
from dreamcatcherd.core.codec import MAX_FRAME
from dreamcatcherd.core.errors import RefusedError, UsageError
from dreamcatcherd.core.export import Portable, export, read_portable
from dreamcatcherd.core.export_formats import from_files, from_ndjson, is_ndjson, to_files, to_ndjson
from dreamcatcherd.daemon.opening import closing_of
from dreamcatcherd.daemon.primary import Primary
from dreamcatcherd.engine.selection import EngineKind
from dreamcatcherd.history.queries import view
from dreamcatcherd.imports.adopt_export import adopt
from dreamcatcherd.imports.new_repository import create
from dreamcatcherd.observe.clock import wall_clock

Format = Literal["json", "ndjson", "tar"]

_FRAME = WholeNumber(0, MAX_FRAME)


@click.command("export", short_help="Write the portable snapshot, to continue elsewhere.")
@click.option("--frame", type=_FRAME, help="The snapshot after this frame, instead of the newest.")
@click.option(
    "-o", "--output", type=click.Path(path_type=Path), metavar="FILE", help="The output file. [default: stdout]"
)
@click.option(
    "--format", "form", type=click.Choice(["json", "ndjson", "tar"]), default="json", show_default=True,
    help="One object, one record per line, or one file per collection.",
)  # fmt: skip
@click.option("--zstd", is_flag=True, help="Compress it.")
@on_repository
@with_json
def export_command(
    frame: int | None,
    output: Path | None,
    form: Format,
    zstd: bool,
    repo: str | None,
    config_file: Path | None,
    as_json: bool,
) -> None:
    """Write the portable snapshot: everything that is needed to continue elsewhere. `import` reads every format.

    Early deltas that are held for later frames are not part of a snapshot and stay in the repository. --json is about
    what is said of an output file; the snapshot itself has the form that --format names."""
    primary = open_primary(repo, config_file)
    base = base_of(primary)
    tree, settings = view(primary.store, base, frame)
    number = base.state.last_closed if frame is None else frame
    if tree is None:
        raise RefusedError(f"{primary.store.where} has no snapshot yet", "close a frame first: dreamcatcherd merge")
    text = primary.store.read(settings.blob).decode() if settings.blob else None
    pieces = export(primary.store, tree, number, settings.table, text)
    write_out(shaped(pieces, form, zstd), output, text=form != "tar" and not zstd)
    if output is not None and as_json:
        write_json({"file": f"{output}", "frame": number, "digest": tree})
    elif output is not None:
        click.echo(f"wrote {output}: frame {number}, digest {tree}")


def shaped(pieces: Iterable[bytes], form: Format, zstd: bool) -> Iterable[bytes]:
    """An export in another format, compressed with `zstd`."""
    if form == "ndjson":
        pieces = to_ndjson(b"".join(pieces))
    elif form == "tar":
        pieces = [tar_bytes(to_files(b"".join(pieces)))]
    return [compressed(b"".join(pieces))] if zstd else pieces


def read_any(file: Path) -> Portable:
    """An exported snapshot in any format."""
    raw = read_in(file)
    if is_tar(raw):
        raw = from_files(tar_files(raw))
    elif is_ndjson(raw):
        raw = from_ndjson(raw)
    portable = read_portable(raw)
    if portable.frame is not None and not 0 <= portable.frame < MAX_FRAME:
        raise RefusedError(f"{file} is a snapshot of frame {portable.frame}, which is none", "export it again")
    return portable


@click.command("import", short_help="Import a snapshot, or a platform's plain state.")
@click.argument("file", type=click.Path(path_type=Path), required=False)
@click.option(
    "--map", "map_file", type=click.Path(path_type=Path), metavar="TOML",
    help="Import plain JSON files, from the branch or the folder FILE; TOML says what they hold (docs/time-travel.md).",
)  # fmt: skip
@click.option("--open", "open_frame", type=_FRAME, metavar="N", help="With --map: the open frame after the import.")
@click.option("--dry-run", is_flag=True, help="With --map: write nothing, say what will land where.")
@click.option("--force", is_flag=True, help="With --map: import views that do not give the same values back.")
@with_engine
@on_repository
@with_json
def import_command(
    file: Path | None,
    map_file: Path | None,
    open_frame: int | None,
    dry_run: bool,
    force: bool,
    kind: EngineKind | None,
    workers: int | None,
    scheduler: str | None,
    repo: str | None,
    config_file: Path | None,
    as_json: bool,
) -> None:
    """Import an exported snapshot into an empty repository, which is created if it does not exist.

    The digest stays the same, the next frame is open, and deltas that were merged before do not count again. With --map
    the plain state of a platform becomes frame 0: its records are committed as deltas and merged. The repository must
    have no closed frames, and may have anything else, so that a running fleet does not have to start over. Files that
    [views] of the map name must come back the same: if the view would write another value, nothing is imported."""
    asked = kind is not None or scheduler is not None
    if map_file is None:
        needs_map = {"--open": open_frame is not None, "--dry-run": dry_run, "--force": force}
        for option, given in {**needs_map, "--engine": asked, "--workers": workers is not None}.items():
            if given:
                raise UsageError(f"{option} goes with --map", "leave it out")
        if file is None:
            raise UsageError("no FILE", "name a file that dreamcatcherd export wrote, or use --map")
    else:
        engine = chosen_engine(repo, config_file, kind, workers, scheduler)
        wish = Wish(open_frame, dry_run, force, as_json, engine, asked)
        import_state(map_file, file, _existing(repo, config_file), partial(_made, repo, config_file), wish)
        return
    portable = read_any(file)
    primary = _made(repo, config_file)
    frame = adopt(primary.store, primary.main, portable, wall_clock(), primary.closing)
    if as_json:
        write_json({"frame": portable.frame, "digest": portable.digest, "open": frame})
    else:
        click.echo(f"imported frame {portable.frame}, digest {portable.digest}; frame {frame} is open")


def _existing(repo: str | None, config_file: Path | None) -> Primary | None:
    """A primary on the repository, or None if an import would have to create it."""
    path = repository_path(configuration(repo, config_file)[1])
    return None if path is not None and not path.exists() else open_primary(repo, config_file)


def _made(repo: str | None, config_file: Path | None) -> Primary:
    """A primary on the repository, which is created if it does not exist."""
    config, url = configuration(repo, config_file)
    path = repository_path(url)
    if path is not None and not path.exists():
        create(path, 1, wall_clock(), closing_of(config), config.repository.branch)
    return open_primary(repo, config_file)
