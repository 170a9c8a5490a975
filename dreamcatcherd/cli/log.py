"""The command that lists closed frames, and the lines that it prints for people (docs/protocol.md#commands)."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path

import click

from dreamcatcherd.cli.common import base_of, on_repository, open_primary, plain, with_json, write_json
from dreamcatcherd.cli.usage import WholeNumber
from dreamcatcherd.core.model import Record
from dreamcatcherd.history.queries import Chain

_COLUMNS = ("frame", "closed_at", "deltas", "streams", "late", "conflicts", "quarantined", "digest")
_COUNTS = ("deltas", "late", "conflicts", "quarantined")
"""What makes a frame worth a line of its own."""

_LEAVE_OUT = ("late", "streams", "quarantined", "conflicts", "closed_at")
"""The columns that a narrow terminal does without, the first one first."""

_SHORT_DIGEST = 12
_GAP = "  "


@click.command(short_help="List closed frames, newest first.")
@click.option("-n", "--limit", type=WholeNumber(1), help="Only the newest N frames, folded or not. [default: all]")
@on_repository
@with_json
def log(limit: int | None, repo: str | None, config_file: Path | None, as_json: bool) -> None:
    """List closed frames, newest first: digest, deltas, streams, conflicts.

    Consecutive frames without deltas share one line. Without --json the first line names the columns. In a pipe they
    are separated by tabs, with the complete digest; on a terminal the digest is shortened, and columns that it has no
    room for are left out."""
    primary = open_primary(repo, config_file)
    rows = list(Chain().log(primary.store, base_of(primary), limit))
    if as_json:
        write_json(rows)
    elif not rows:
        click.echo("no frame is closed yet", err=True)
    elif sys.stdout.isatty():
        _show(rows)
    else:
        click.echo("\t".join(_COLUMNS))
        for run in runs(rows):
            click.echo(f"{_span(run)}\t{_quiet(run)}" if len(run) > 1 else "\t".join(_cells(run[0], _COLUMNS)))


def runs(rows: Iterable[Record]) -> Iterator[list[Record]]:
    """The rows of a log, grouped: frames without deltas that follow one another are one group, others are alone.

    A frame with quarantined deltas or a late conflict is alone as well: a line that hides it would hide news."""
    run: list[Record] = []
    for row in rows:
        if run and not (_is_quiet(run[-1]) and _is_quiet(row) and row["frame"] == run[-1]["frame"] - 1):
            yield run
            run = []
        run.append(row)
    if run:
        yield run


def _is_quiet(row: Record) -> bool:
    return not any(row[name] for name in _COUNTS)


def _span(run: list[Record]) -> str:
    return f"{run[0]['frame']}-{run[-1]['frame']}"


def _quiet(run: list[Record]) -> str:
    return f"{len(run)} frames without deltas"


def _cells(row: Record, columns: Iterable[str]) -> list[str]:
    return ["" if row[name] is None else plain(row[name]) for name in columns]


def _show(rows: list[Record]) -> None:
    """Print aligned columns; none wraps on a terminal of 80 columns."""
    grouped = list(runs(rows))
    single = [_short(run[0]) for run in grouped if len(run) == 1]
    frames = [_span(run) for run in grouped if len(run) > 1] + [str(row["frame"]) for row in single]
    widths = {name: max(len(name), *(len(str(row[name])) for row in single), 0) for name in _COLUMNS}
    widths["frame"] = max(len("frame"), *map(len, frames))
    columns = _fitting(widths, single, shutil.get_terminal_size().columns)
    click.secho(_line([name.replace("_", " ") for name in columns], columns, widths), bold=True)
    for run in grouped:
        if len(run) > 1:
            click.echo(f"{_span(run):<{widths['frame']}}{_GAP}{_quiet(run)}")
        else:
            click.echo(_line(_cells(_short(run[0]), columns), columns, widths))


def _short(row: Record) -> Record:
    """A row as a terminal shows it. Commits have no fractions of a second."""
    closed_at = str(row["closed_at"] or "").replace(".000000Z", "Z")
    return {**row, "closed_at": closed_at, "digest": row["digest"][:_SHORT_DIGEST]}


def _fitting(widths: dict[str, int], rows: list[Record], room: int) -> list[str]:
    """The columns that a terminal has room for. Those in which all counts are 0 go first."""
    columns = list(_COLUMNS)
    empty = [name for name in _LEAVE_OUT if not any(row[name] for row in rows)]
    for name in [*empty, *(name for name in _LEAVE_OUT if name not in empty)]:
        if sum(widths[column] for column in columns) + len(_GAP) * (len(columns) - 1) <= room:
            break
        columns.remove(name)
    return columns


def _line(cells: list[str], columns: list[str], widths: dict[str, int]) -> str:
    """Text to the left, numbers to the right."""
    left = ("frame", "closed_at", "digest")
    padded = [
        f"{cell:<{widths[name]}}" if name in left else f"{cell:>{widths[name]}}"
        for cell, name in zip(cells, columns, strict=True)
    ]
    return _GAP.join(padded).rstrip()
