"""The command that checks whether a file would merge, without a repository."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator
from os.path import relpath
from pathlib import Path

import click
import msgspec

from dreamcatcherd.cli.common import on_repository, open_primary, plain, settings_in, with_json, write_json
from dreamcatcherd.core.advice import advise
from dreamcatcherd.core.codec import read_as, read_document, references, too_large
from dreamcatcherd.core.decimals import read_exactly
from dreamcatcherd.core.errors import UsageError
from dreamcatcherd.core.header import count_records, read_header
from dreamcatcherd.core.model import Delta, Fault, FrameState, Version
from dreamcatcherd.core.paths import DELTAS, FRAME, Roots, attachment_paths, bad_name, in_repository, loose_frame_of
from dreamcatcherd.core.report import plural
from dreamcatcherd.core.settings import DEFAULT, Settings
from dreamcatcherd.core.tree import FILE


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
    rows = [(name, _judged(name, in_force, frame)) for name in files]
    if as_json:
        write_json([_row(name, found) for name, found in rows])
    else:
        for name, found in rows:
            if not isinstance(found, list):
                at = f" at {found.at}" if found.at else ""
                click.echo(f"{plain(name)}: {found.reason}{plain(at)}: {plain(found.detail)}")
                continue
            click.echo(f"{plain(name)}: would merge" + (", with warnings" if found else ""))
            for warning in found:
                click.echo(f"  warning: {plain(warning)}")
    unread = [name for name, found in rows if isinstance(found, UnreadFileError)]
    if unread:
        cause = f"{len(unread)} of {plural(len(rows), 'file')} cannot be read, the first is {unread[0]}"
        # Whether they would merge is not known, so the answer is neither yes nor no.
        raise UsageError(cause, "name readable files, or - for stdin")
    return 1 if any(isinstance(found, Fault) for _, found in rows) else 0


class UnreadFileError(UsageError):
    """A file that is named and cannot be read. `reason` is `missing` or `unreadable`, `detail` says why."""

    def __init__(self, name: str, reason: str, detail: str) -> None:
        super().__init__(f"{name} cannot be read: {detail}", "name a readable file, or - for stdin")
        self.reason, self.detail, self.at = reason, detail, None


def _judged(name: str, settings: Settings, frame: int | None) -> Fault | UnreadFileError | list[str]:
    """What `check_files` says about a file, so that one that cannot be read does not hide the others."""
    try:
        return check_files(name, settings, frame)
    except UnreadFileError as error:
        return error


def _row(name: str, found: Fault | UnreadFileError | list[str]) -> dict[str, object]:
    if isinstance(found, list):
        return {"path": name, "ok": True, "reason": None, "at": None, "detail": None, "warnings": found}
    return {
        "path": name,
        "ok": False,
        "reason": found.reason,
        "at": found.at,
        "detail": found.detail,
        "warnings": [],
    }


def _in_force(settings: Path | None, repo: str | None, config_file: Path | None) -> tuple[Settings, int | None]:
    """The settings in force, and the open frame if a repository is named."""
    if repo is not None or config_file is not None:
        inbox = open_primary(repo, config_file).read_inbox()
        return (settings_in(settings) if settings else inbox.settings), inbox.published.state.frame
    return (settings_in(settings) if settings else DEFAULT), None


def _read(name: str, limit: int) -> Fault | bytes:
    """The bytes of a file, or the reason to quarantine it unread; UnreadFileError if it cannot be read."""
    # One byte beyond the limit is enough to refuse it; an endless input is not read.
    if name == "-":
        return sys.stdin.buffer.read(limit + 1)
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
    path_frame = None if name == "-" else loose_frame_of(name, roots)
    if path_frame is not None and (why := bad_name(in_repository(name, roots), roots)) is not None:
        return Fault("bad-name", why)
    document = read_document(raw, limits)
    if isinstance(document, Fault):
        return document
    header = read_header(document, path_frame, settings.intake)
    used = settings.intake.header if isinstance(header, Fault) else header.paths
    if (records := count_records(document, used, settings.sections)) > limits.records:
        return Fault("too-many-records", f"{records} records, the limit is {limits.records}")
    if isinstance(header, Fault):
        return header
    where = Path(name)
    unresolved = () if name == "-" else tuple(_unresolved(where, references(document), roots))
    version = Version(name, "0" * 40, FILE, "0" * 40)
    read_exactly(raw, document, settings.summed)
    place = (header.frame, header.utc, header.stream_id)
    delta = Delta(version, *place, "0" * 40, document, header.paths, unresolved=unresolved)
    found = advise(delta, settings, frame if frame is not None else _frame_beside(where, roots))
    if name != "-" and not name.endswith(".json"):
        found.append("the name of a delta file ends in .json: under this name it is never merged")
    return found


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
