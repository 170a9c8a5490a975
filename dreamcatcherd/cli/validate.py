"""The command that says whether a file would merge, without a repository."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from dreamcatcherd.cli.common import plain, with_json, write_json
from dreamcatcherd.core.codec import read_document, read_header, too_large
from dreamcatcherd.core.errors import UsageError
from dreamcatcherd.core.model import Fault
from dreamcatcherd.core.paths import loose_frame_of
from dreamcatcherd.core.settings import DEFAULT, Limits, SettingsError, read_settings


@click.command()
@click.argument("files", nargs=-1, required=True, metavar="FILE…")
@click.option(
    "--settings", type=click.Path(path_type=Path), metavar="FILE", help="A dreamcatcher.toml with other limits."
)
@with_json
def validate(files: tuple[str, ...], settings: Path | None, as_json: bool) -> int:
    """Say whether each FILE would merge, with the reason and the JSON path where it would not. `-` reads stdin.

    A frame that the file's path names (stream_deltas/<frame>/…, or frame-<frame>-<stream>.json) must be the delta's.
    Exit code 1 where one of them would be quarantined."""
    limits = _limits(settings)
    rows = [(name, check(name, limits)) for name in files]
    if as_json:
        write_json([_row(name, fault) for name, fault in rows])
    else:
        for name, fault in rows:
            if fault is None:
                click.echo(f"{plain(name)}: would merge")
            else:
                at = f" at {fault.at}" if fault.at else ""
                click.echo(f"{plain(name)}: {fault.reason}{plain(at)}: {plain(fault.detail)}")
    return 1 if any(fault for _, fault in rows) else 0


def _row(name: str, fault: Fault | None) -> dict[str, object]:
    if fault is None:
        return {"path": name, "ok": True, "reason": None, "at": None, "detail": None}
    return {"path": name, "ok": False, "reason": fault.reason, "at": fault.at, "detail": fault.detail}


def _limits(settings: Path | None) -> Limits:
    try:
        return read_settings(settings.read_bytes()).limits if settings else DEFAULT.limits
    except (OSError, SettingsError) as error:
        raise UsageError(f"{settings}: {error}", "name a readable dreamcatcher.toml") from error


def check(name: str, limits: Limits) -> Fault | None:
    """Why a file would be quarantined, or None."""
    if name == "-":
        raw = sys.stdin.buffer.read(limits.delta_bytes + 1)
    else:
        path = Path(name)
        if path.is_symlink():
            return Fault("not-a-file", "a symbolic link stands where a delta should")
        if not path.is_file():
            if path.exists():
                return Fault("not-a-file", "this is no plain file")
            raise UsageError(f"{name} does not exist", "name a file, or - for stdin")
        if (size := path.stat().st_size) > limits.delta_bytes:
            return too_large(size, limits.delta_bytes)
        raw = path.read_bytes()
    document = read_document(raw, delta_bytes=limits.delta_bytes, depth=limits.depth)
    if isinstance(document, Fault):
        return document
    header = read_header(document, None if name == "-" else loose_frame_of(name))
    return header if isinstance(header, Fault) else None
