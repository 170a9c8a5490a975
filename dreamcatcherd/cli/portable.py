"""The commands that move a snapshot to another repository: export and import."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Literal

import click
from msgspec import structs

from dreamcatcherd.cli.common import (
    base_of,
    configuration,
    on_repository,
    open_primary,
    plain,
    with_json,
    write_json,
)
from dreamcatcherd.cli.files import compressed, is_tar, read_in, tar_bytes, tar_files, write_out
from dreamcatcherd.config import repository_path
from dreamcatcherd.core.codec import MAX_FRAME, read_document
from dreamcatcherd.core.errors import RefusedError, UsageError
from dreamcatcherd.core.export import Portable, export, read_portable
from dreamcatcherd.core.export_formats import from_files, from_ndjson, is_ndjson, to_files, to_ndjson
from dreamcatcherd.core.model import Fault
from dreamcatcherd.core.settings import DEFAULT
from dreamcatcherd.daemon.bootstrap import closing_of
from dreamcatcherd.daemon.primary import Primary
from dreamcatcherd.history.queries import view
from dreamcatcherd.imports.adopt_export import adopt
from dreamcatcherd.imports.adopt_state import adopt_state
from dreamcatcherd.imports.new_repository import create
from dreamcatcherd.imports.platform_state import MappedRecords, StateMap, deltas_of, read_map, records_of
from dreamcatcherd.observe.clock import wall_clock
from dreamcatcherd.stages.snapshot import SnapshotOptions

Format = Literal["json", "ndjson", "tar"]

_FRAME = click.IntRange(0, MAX_FRAME)


@click.command("export")
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
def export_command(
    frame: int | None, output: Path | None, form: Format, zstd: bool, repo: str | None, config_file: Path | None
) -> None:
    """Write the portable snapshot: everything that is needed to continue elsewhere. `import` reads every format.

    Early deltas that are held for later frames are not part of a snapshot and stay in the repository."""
    primary = open_primary(repo, config_file)
    base = base_of(primary)
    tree, settings = view(primary.store, base, frame)
    number = base.state.last_closed if frame is None else frame
    if tree is None:
        raise RefusedError(f"{primary.store.where} has no snapshot yet", "close a frame first: dreamcatcherd merge")
    text = primary.store.read(settings.blob).decode() if settings.blob else None
    pieces = export(primary.store, tree, number, settings.table, text)
    write_out(shaped(pieces, form, zstd), output, text=form != "tar" and not zstd)
    if output is not None:
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


@click.command("import")
@click.argument("file", type=click.Path(path_type=Path))
@click.option(
    "--map", "map_file", type=click.Path(path_type=Path), metavar="TOML",
    help="FILE is a folder of plain JSON files; TOML maps them to collections (docs/time-travel.md).",
)  # fmt: skip
@click.option("--open", "open_frame", type=_FRAME, metavar="N", help="With --map: the open frame after the import.")
@on_repository
@with_json
def import_command(
    file: Path,
    map_file: Path | None,
    open_frame: int | None,
    repo: str | None,
    config_file: Path | None,
    as_json: bool,
) -> None:
    """Import an exported snapshot into an empty repository, which is created if it does not exist.

    The digest stays the same, the next frame is open, and deltas that were merged before do not count again. With --map
    the plain state of a platform becomes frame 0: its records are committed as deltas and merged. The repository must
    have no closed frames, and may have anything else, so that a running fleet does not have to start over."""
    if open_frame is not None and map_file is None:
        raise UsageError("--open goes with --map", "leave it out: the frame after the exported one is open then")
    if map_file is not None:
        _import_state(file, map_file, open_frame, _made(repo, config_file), as_json)
        return
    portable = read_any(file)
    primary = _made(repo, config_file)
    frame = adopt(primary.store, primary.main, portable, wall_clock(), primary.closing)
    if as_json:
        write_json({"frame": portable.frame, "digest": portable.digest, "open": frame})
    else:
        click.echo(f"imported frame {portable.frame}, digest {portable.digest}; frame {frame} is open")


def _made(repo: str | None, config_file: Path | None) -> Primary:
    """A primary on the repository, which is created if it does not exist."""
    config, url = configuration(repo, config_file)
    path = repository_path(url)
    if path is not None and not path.exists():
        create(path, 1, wall_clock(), closing_of(config), config.repository.branch)
    return open_primary(repo, config_file)


def _import_state(folder: Path, map_file: Path, open_frame: int | None, primary: Primary, as_json: bool) -> None:
    mapping = read_map(read_in(map_file), str(map_file))
    following = mapping.frame + 1 if open_frame is None else open_frame
    if following <= mapping.frame:
        raise UsageError(f"--open {following} is not after frame {mapping.frame}", "name a later frame")
    deltas = dict(deltas_of(mapping, _found(folder, mapping)))
    options = SnapshotOptions(primary.closing, next_frame=following)
    ledger = adopt_state(primary.store, primary.main, deltas, mapping.frame, options, primary.clock())
    misfits = sum(row.records for row in ledger.misfits)
    if as_json:
        imported = {"frame": ledger.frame, "digest": ledger.snapshot, "open": following}
        write_json({**imported, "entities": ledger.counts.entities, "misfits": misfits})
        return
    counts = ", ".join(f"{count} {name}" for name, count in sorted(ledger.counts.entities.items()))
    click.echo(f"imported frame {ledger.frame}, digest {ledger.snapshot}; frame {following} is open\n{plain(counts)}")
    for row in ledger.misfits:
        click.echo(plain(f"{row.records} records of {row.path} went to extra/{row.section}: {row.why}"))


def _found(folder: Path, mapping: StateMap) -> Iterator[MappedRecords]:
    """The records of every file that the mapping names, in its order; the files of one pattern sorted by name."""
    # A platform's file is not a delta: the bounds of one delta do not apply.
    limits = structs.replace(DEFAULT.limits, delta_bytes=2**31, records=2**31)
    for mapped in mapping.files:
        paths = sorted(path for path in folder.glob(mapped.path) if path.is_file())
        if not paths:
            raise RefusedError(f"no file in {folder} matches {mapped.path!r}", "correct `path` in the mapping")
        for path in paths:
            raw = read_in(path)
            # Wrapped into an object, since a document must be one and a platform's file may be a list.
            document = read_document(b'{"_":%b}' % raw, limits)
            name = path.relative_to(folder).as_posix()
            if isinstance(document, Fault):
                raise RefusedError(f"{path} cannot be imported: {document.detail}", "correct the file")
            yield mapped, name, records_of(document["_"], mapped, name)
