"""The command of workers: push deltas, or a claim, and wait for what becomes of them. It loads no libgit2."""

from __future__ import annotations

import math
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
import msgspec
from msgspec import structs

from dreamcatcherd.cli.common import configuration, on_repository, plain, read_stdin, with_json, write_json
from dreamcatcherd.cli.receipt_lines import receipt_lines
from dreamcatcherd.config_tables import RepositoryConfig
from dreamcatcherd.core.errors import UsageError

if TYPE_CHECKING:
    from dreamcatcherd.client.outcomes import Pushed
    from dreamcatcherd.client.session import Sight

_STDIN_MOST = 2**30 + 1
"""One byte more than any setting lets a delta have: an endless input is not read."""

DEFAULT_WAIT_S = 300.0
"""How long `--wait` without a number waits."""


class WaitsCommand(click.Command):
    """A command whose option `--wait` may stand before a FILE: only a number is taken for its value."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Parse the words of the command line."""
        # click would take the FILE after `--wait` for its value.
        words = []
        for word, following in zip(args, [*args[1:], ""], strict=True):
            words.append(f"--wait={DEFAULT_WAIT_S:g}" if word == "--wait" and not _is_seconds(following) else word)
        return super().parse_args(ctx, words)


def _is_seconds(word: str) -> bool:
    try:
        return math.isfinite(float(word))
    except ValueError:
        return False


@click.command("push", cls=WaitsCommand, short_help="Push deltas without a clone, and wait for the outcome.")
@click.argument("files", nargs=-1, metavar="[FILE…]")
@click.option("--stream", metavar="ID", help="The stream that each delta must have.")
@click.option(
    "--attach",
    multiple=True,
    metavar="FILE",
    type=click.Path(path_type=Path),
    help="A file that a *_ref field of a delta names. Files beside the delta are found without.",
)
@click.option("--claim", metavar="RESOURCE", help="Make and push a delta that claims a resource for --stream.")
@click.option("--collection", metavar="NAME", help="The collection of --claim, if several have the rule claim.")
@click.option(
    "--wait",
    "wait_s",
    type=click.FloatRange(0),
    metavar="[SECONDS]",
    help=f"Wait until each outcome is final. [default: {DEFAULT_WAIT_S:g} seconds]",
)
@on_repository
@with_json
def push_command(
    files: tuple[str, ...],
    stream: str | None,
    attach: tuple[Path, ...],
    claim: str | None,
    collection: str | None,
    wait_s: float | None,
    repo: str | None,
    config_file: Path | None,
    as_json: bool,
) -> int:
    """Push each FILE, a delta, to the lane of its stream, with its attachments; no clone is needed. `-` reads stdin.

    A delta that would be quarantined is not pushed; the others are. To push again is always safe: a delta that has
    arrived before is reported as a duplicate, and counts once.

    Exit code 0 if all are acknowledged, and merged with --wait; 1 if one is refused or quarantined, or a claim is
    refused; 3 if the repository did not answer, or if the wait ran out: then the outcome is pending."""
    for number in (signal.SIGTERM, signal.SIGHUP):  # as Ctrl-C, so that the temporary folder goes
        if signal.getsignal(number) != signal.SIG_IGN:  # nohup stays in force
            signal.signal(number, signal.default_int_handler)
    config, url = configuration(repo, config_file)
    repository = structs.replace(config.repository, url=url)
    if claim is not None:
        rows = [_claim(repository, claim, files, stream, attach, collection, wait_s)]
    else:
        rows = _push(repository, files, stream, attach, collection, wait_s)
    for row in rows:
        for warning in row.warnings:
            click.echo(f"dreamcatcherd: warning: {plain(row.name)}: {plain(warning)}", err=True)
    if as_json:
        write_json([_as_json(row) for row in rows])
    else:
        for row in rows:
            _show(row)
    for row in rows:
        if not row.accepted:
            click.echo(f"dreamcatcherd: {plain(_why(row))}", err=True)
    if not all(row.accepted for row in rows):
        return 1
    waiting = [row for row in rows if not row.final]
    if wait_s is not None and waiting:
        ask = f"dreamcatcherd receipt {waiting[0].blob[:12]}"
        click.echo(
            f"dreamcatcherd: not final after {wait_s:g} s; the delta is safe: {ask} says what became of it", err=True
        )
        return 3
    return 0


def _push(
    repository: RepositoryConfig,
    files: tuple[str, ...],
    stream: str | None,
    attach: tuple[Path, ...],
    collection: str | None,
    wait_s: float | None,
) -> list[Pushed]:
    from dreamcatcherd.client.pushing import push

    if not files:
        raise UsageError("there is nothing to push", "name a FILE, - for stdin, or --claim RESOURCE")
    if collection is not None:
        raise UsageError("--collection goes with --claim", "leave it out")
    if files.count("-") > 1:
        raise UsageError("- is there twice", "stdin can be read once")
    deltas = [read_stdin(_STDIN_MOST) if name == "-" else name for name in files]
    with _progress() as progress:
        rows = push(repository, deltas, stream_id=stream, attachments=attach, wait_s=wait_s, progress=progress)
    return [structs.replace(row, name=name) for row, name in zip(rows, files, strict=True)]


def _claim(
    repository: RepositoryConfig,
    resource: str,
    files: tuple[str, ...],
    stream: str | None,
    attach: tuple[Path, ...],
    collection: str | None,
    wait_s: float | None,
) -> Pushed:
    from dreamcatcherd.client.claiming import claim

    if files or attach:
        raise UsageError("--claim makes the delta itself", "leave FILE and --attach out")
    if stream is None:
        raise UsageError("--claim needs the stream that claims", "add --stream ID")
    with _progress() as progress:
        return claim(repository, resource, stream, collection=collection, wait_s=wait_s, progress=progress)


@contextmanager
def _progress() -> Iterator[Callable[[Sight, float], None]]:
    """What shows on a terminal that the command waits: one line, which is overwritten, and removed at the end."""
    if not sys.stderr.isatty():
        yield lambda sight, left_s: None
        return

    def show(sight: Sight, left_s: float) -> None:
        closes = f", closes at {sight.frame.closes_at}" if sight.frame.closes_at else ""
        text = f"waiting for frame {sight.frame.frame} to close{closes}; {left_s:.0f} s left"
        click.echo(f"{_CLEAR}{plain(text)}", err=True, nl=False)

    try:
        yield show
    finally:
        click.echo(_CLEAR, err=True, nl=False)


_CLEAR = "\r\x1b[K"
"""Begins the terminal's line again."""


def _as_json(row: Pushed) -> dict[str, Any]:
    fields: dict[str, Any] = msgspec.to_builtins(structs.asdict(row))
    return fields


def _show(row: Pushed) -> None:
    if row.outcome == "refused":
        return
    where = f" in frame {row.frame}" if row.frame is not None else ""
    why = f" ({row.reason})" if row.reason else ""
    click.echo(f"{plain(row.path)} {row.blob[:12]}: {row.outcome}{plain(why)}{where}")
    for line in receipt_lines(row):
        click.echo(f"  {line}")


def _why(row: Pushed) -> str:
    """Why a delta is not accepted, in a sentence."""
    refused = [claim for claim in row.claims if claim.outcome == "refused"]
    if row.outcome not in ("refused", "quarantined") and refused:
        holder = refused[0].holder
        return f"{row.name}: refused: {'held by ' + holder if holder else 'nobody holds it'}"
    at = f" at {row.at}" if row.at else ""
    detail = f": {row.detail}" if row.detail else ""
    remedy = _REMEDIES.get(row.reason or "", "correct it: unchanged, it would be refused again")
    if row.reason == "wrong-stream" and row.at:  # it is not --stream's; with a wrong key there is no place in the delta
        remedy = "name its own stream with --stream, or correct the delta"
    return f"{row.name}: {row.outcome}: {row.reason}{at}{detail}; {remedy}"


_REMEDIES = {
    "lane-blocked": "remove the ref that is in the way, or ask an operator to; the delta itself is valid",
    "wrong-stream": "push it as its own stream, with that stream's key where the repository names signers",
    "too-far-ahead": "push it when its frame is nearer",
    "refused": "ask who runs the server",
}
