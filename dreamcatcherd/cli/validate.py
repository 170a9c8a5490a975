"""The command that checks whether a file would merge, without a repository."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from os.path import relpath
from pathlib import Path

import click
import msgspec

from dreamcatcherd.cli.common import on_repository, open_primary, plain, read_stdin, settings_in, with_json, write_json
from dreamcatcherd.core.codec import read_as, too_large
from dreamcatcherd.core.errors import UsageError
from dreamcatcherd.core.model import Fault, FrameState
from dreamcatcherd.core.paths import DELTAS, FRAME, Roots, attachment_paths, loose_frame_of
from dreamcatcherd.core.report import plural
from dreamcatcherd.core.settings import DEFAULT, Settings
from dreamcatcherd.core.validation import NO_PATH, ValidationRow, check_delta, validation_row


@click.command(short_help="Say whether delta files would merge, and why not.")
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
    Exit code 1 if a file would be quarantined, 2 if one is missing or unreadable; all others are checked first."""
    in_force, frame = _in_force(settings, repo, config_file)
    checked = [_checked(name, in_force, frame) for name in files]
    if as_json:
        write_json([row for row, _ in checked])
    else:
        for row, _ in checked:
            if not row.ok:
                at = f" at {row.at}" if row.at else ""
                click.echo(plain(f"{row.path}: {row.reason}{at}: {row.detail}"))
                continue
            click.echo(f"{plain(row.path)}: would merge" + (", with warnings" if row.warnings else ""))
            for warning in row.warnings:
                click.echo(f"  warning: {plain(warning)}")
    unread = [row.path for row, was_read in checked if not was_read]
    if unread:
        cause = f"{len(unread)} of {plural(len(checked), 'file')} cannot be read, the first is {unread[0]}"
        # Whether they would merge is not known, so the answer is neither yes nor no.
        raise UsageError(cause, "name readable files, or - for stdin")
    return 0 if all(row.ok for row, _ in checked) else 1


class UnreadFileError(UsageError):
    """A file that is named and cannot be read. `reason` is `missing` or `unreadable`, `detail` says why."""

    def __init__(self, name: str, reason: str, detail: str) -> None:
        super().__init__(f"{name} cannot be read: {detail}", "name a readable file, or - for stdin")
        self.reason, self.detail = reason, detail


def _checked(name: str, settings: Settings, frame: int | None) -> tuple[ValidationRow, bool]:
    """The row of a file, and whether it could be read: one that cannot be read does not hide the others."""
    try:
        return validation_row(name, check_files(name, settings, frame)), True
    except UnreadFileError as error:
        return ValidationRow(name, False, error.reason, None, error.detail, []), False


def _in_force(settings: Path | None, repo: str | None, config_file: Path | None) -> tuple[Settings, int | None]:
    """The settings in force, and the open frame if a repository is named."""
    if repo is not None or config_file is not None:
        inbox = open_primary(repo, config_file).read_inbox()
        return (settings_in(settings) if settings else inbox.settings), inbox.published.state.frame
    return (settings_in(settings) if settings else DEFAULT), None


def _read(name: str, limit: int) -> Fault | bytes:
    """The bytes of a file, or the reason to quarantine it unread; UnreadFileError if it cannot be read."""
    # One byte beyond the limit is enough to refuse it; an endless input is not read.
    if name == NO_PATH:
        try:
            return read_stdin(limit + 1)
        except UsageError as error:
            raise UnreadFileError(name, "unreadable", error.cause) from error
    path = Path(name)
    try:
        if path.is_symlink():
            return Fault("not-a-file", "a symbolic link is not a delta")
        if not path.exists():
            raise UnreadFileError(name, "missing", "does not exist")
        if not path.is_file():
            return Fault("not-a-file", "not a plain file")
        if (size := path.stat().st_size) > limit:
            return too_large(size, limit)
        with path.open("rb") as file:
            return file.read(limit + 1)
    except OSError as error:
        raise UnreadFileError(name, "unreadable", error.strerror or f"{error}") from error


def check_files(name: str, settings: Settings, frame: int | None = None) -> Fault | list[str]:
    """The reason to quarantine a file, or the warnings if it would merge; UnreadFileError if it cannot be read.

    `frame` is the open frame."""
    limits = settings.limits
    raw = _read(name, limits.delta_bytes)
    if isinstance(raw, Fault):
        return raw
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
