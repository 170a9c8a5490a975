"""The command that checks whether a file would merge, without a repository."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator
from os.path import relpath
from pathlib import Path

import click
import msgspec

from dreamcatcherd.cli.common import on_repository, open_primary, plain, settings_in, with_json, write_json
from dreamcatcherd.core.codec import read_as, too_large
from dreamcatcherd.core.errors import UsageError
from dreamcatcherd.core.model import Fault, FrameState
from dreamcatcherd.core.paths import DELTAS, FRAME, Roots, attachment_paths, loose_frame_of
from dreamcatcherd.core.settings import DEFAULT, Settings
from dreamcatcherd.core.validation import NO_PATH, check_delta, validation_row


@click.command()
@click.argument("files", nargs=-1, required=True, metavar="FILE…")
@click.option(
    "--settings", type=click.Path(path_type=Path), metavar="FILE", help="A dreamcatcher.toml with other settings."
)
@on_repository
@with_json
def validate(
    files: tuple[str, ...], settings: Path | None, repo: str | None, config_file: Path | None, as_json: bool
) -> int:
    """Say whether each FILE would merge; if not, with the reason and the JSON path. `-` reads stdin.

    Warnings name records of a valid delta that would not be stored as, or when, its author expects. With --repo the
    repository's settings and open frame count; else the frame.json of the clone that the file is in.

    A frame in the file's path (stream_deltas/<frame>/…, or frame-<frame>-<stream>.json) must be the delta's. The
    settings say where else deltas are.
    Exit code 1 if a file would be quarantined."""
    in_force, frame = _in_force(settings, repo, config_file)
    rows = [(name, check_files(name, in_force, frame)) for name in files]
    if as_json:
        write_json([validation_row(name, found) for name, found in rows])
    else:
        for name, found in rows:
            if isinstance(found, Fault):
                at = f" at {found.at}" if found.at else ""
                click.echo(f"{plain(name)}: {found.reason}{plain(at)}: {plain(found.detail)}")
                continue
            click.echo(f"{plain(name)}: would merge" + (", with warnings" if found else ""))
            for warning in found:
                click.echo(f"  warning: {plain(warning)}")
    return 1 if any(isinstance(found, Fault) for _, found in rows) else 0


def _in_force(settings: Path | None, repo: str | None, config_file: Path | None) -> tuple[Settings, int | None]:
    """The settings in force, and the open frame if a repository is named."""
    if repo is not None or config_file is not None:
        inbox = open_primary(repo, config_file).read_inbox()
        return (settings_in(settings) if settings else inbox.settings), inbox.published.state.frame
    return (settings_in(settings) if settings else DEFAULT), None


def check_files(name: str, settings: Settings, frame: int | None = None) -> Fault | list[str]:
    """The reason to quarantine a file, or the warnings if it would merge. `frame` is the open frame."""
    limits = settings.limits
    if name == NO_PATH:
        # One byte beyond the limit is enough to refuse it; an endless input is not read.
        raw = sys.stdin.buffer.read(limits.delta_bytes + 1)
    else:
        path = Path(name)
        if path.is_symlink():
            return Fault("not-a-file", "a symbolic link is not a delta")
        if not path.is_file():
            if path.exists():
                return Fault("not-a-file", "not a plain file")
            raise UsageError(f"{name} does not exist", "name a file, or - for stdin")
        if (size := path.stat().st_size) > limits.delta_bytes:
            return too_large(size, limits.delta_bytes)
        raw = path.read_bytes()
    roots = settings.intake.roots
    open_frame = frame if frame is not None else _frame_beside(Path(name), roots)
    return check_delta(raw, name, settings, open_frame, lambda named: _unresolved(Path(name), named, roots))


def _unresolved(file: Path, named: Iterable[str], roots: Roots) -> Iterator[str]:
    """References of a file in a repository's layout to attachments that do not exist."""
    if loose_frame_of(str(file), roots) is None:
        return
    for reference in named:
        places = attachment_paths(f"{DELTAS}/0/{file.name}", 0, reference)
        if not any((file.parent / place.removeprefix(f"{DELTAS}/0/")).is_file() for place in places):
            yield reference


def _frame_beside(file: Path, roots: Roots) -> int | None:
    """The open frame by the frame.json of the work tree that a file is in."""
    for folder in file.resolve().parents:
        named = [root for root in roots if root.rpartition("/")[2] == folder.name]
        if named:
            root = next((root for root in named if f"{folder}".endswith(f"/{root}")), named[0])
            try:
                found = read_as((folder / relpath(FRAME, root)).read_bytes(), FrameState)
            except (OSError, msgspec.DecodeError):
                return None
            return found.frame
    return None
