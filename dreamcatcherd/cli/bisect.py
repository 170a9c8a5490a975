"""The command that finds the frame that introduced a fault, by running a check on snapshots."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

import click
from msgspec import Struct

from dreamcatcherd.cli.common import base_of, on_repository, open_primary, plain, with_json, write_json
from dreamcatcherd.cli.usage import WholeNumber
from dreamcatcherd.core.codec import MAX_FRAME
from dreamcatcherd.core.errors import RefusedError, UsageError
from dreamcatcherd.core.export import export
from dreamcatcherd.core.ledger import Ledger
from dreamcatcherd.core.tree import walk
from dreamcatcherd.daemon.primary import Primary
from dreamcatcherd.git.protocols import ObjectReader
from dreamcatcherd.history.provenance import author_of, ledger_frames
from dreamcatcherd.history.queries import ledger_of, settings_of
from dreamcatcherd.stages.published import PublishedState

_FRAME = WholeNumber(0, MAX_FRAME)
_SKIP = 125  # as for `git bisect run`


class Search(Struct, frozen=True):
    """The result of a search: the last frame known to be good, the first known to be bad, the frames in between that
    could not be tested, and the tested frames in order."""

    good: int
    bad: int
    skipped: list[int]
    tested: list[int]


def search(frames: list[int], test: Callable[[int], int]) -> Search:
    """Find the first bad frame between the first of `frames`, which is good, and the last, which is bad.

    `test` returns 0 for good, 125 if the frame cannot be tested, anything else for bad. If a frame cannot be tested,
    the nearest one is tested instead."""
    low, high = 0, len(frames) - 1
    skipped: set[int] = set()
    tested: list[int] = []
    while untested := [at for at in range(low + 1, high) if at not in skipped]:
        # The untested frame nearest to the middle; of two equally near ones the earlier, so that runs are repeatable.
        middle = min(untested, key=lambda at: (abs(2 * at - low - high), at))
        tested.append(frames[middle])
        code = test(frames[middle])
        if code == _SKIP:
            skipped.add(middle)
        elif code == 0:
            low = middle
        else:
            high = middle
    return Search(frames[low], frames[high], [frames[at] for at in range(low + 1, high)], tested)


def check_ends(good: int, bad: int, test: Callable[[int], int]) -> None:
    """RefusedError unless the good frame tests good and the bad one bad: else the search would find an arbitrary
    frame."""
    for frame, wanted in ((good, "good"), (bad, "bad")):
        code = test(frame)
        if code == _SKIP or (code == 0) != (wanted == "good"):
            verdict = "cannot be tested" if code == _SKIP else f"is {'good' if code == 0 else 'bad'}"
            cause = f"frame {frame} was named as --{wanted}, and with this command it {verdict} (exit code {code})"
            raise RefusedError(cause, f"name a frame that is {wanted}, or correct the command")


@click.command(
    context_settings={"ignore_unknown_options": False}, short_help="Find the first frame whose snapshot fails a test."
)
@click.option("--good", type=_FRAME, required=True, help="A frame whose snapshot is as it should be.")
@click.option("--bad", type=_FRAME, required=True, help="A later frame whose snapshot is not.")
@click.argument("command", nargs=-1, required=True, type=click.UNPROCESSED, metavar="-- CMD…")
@on_repository
@with_json
def bisect(
    good: int, bad: int, command: tuple[str, ...], repo: str | None, config_file: Path | None, as_json: bool
) -> int:
    """Find the first frame for which CMD fails, by binary search: 1,000 frames take at most 12 runs.

    First CMD is run on both ends: frame --good must be good and frame --bad must be bad.

    CMD gets the path of the exported snapshot as its last argument and in DREAMCATCHER_SNAPSHOT, a folder with the
    snapshot's files as in the repository in DREAMCATCHER_SNAPSHOT_DIR, and the frame in DREAMCATCHER_FRAME. The files
    are deleted when it ends. Its exit code classifies the snapshot: 0 good, 125 cannot be tested, anything else bad.
    Its output goes to stderr. Prints the first bad frame, its deltas and their authors; exit code 1 if skipped frames
    leave the answer open."""
    if good >= bad:
        raise UsageError(f"--good {good} is not before --bad {bad}", "name an earlier frame that is good")
    primary = open_primary(repo, config_file)
    base = base_of(primary)
    for frame in (good, bad):
        ledger_of(primary.store, base, frame)
    frames = closed_between(primary.store, base, good, bad)
    check_ends(good, bad, lambda frame: _run(primary, base, frame, command))
    found = search(frames, lambda frame: _run(primary, base, frame, command))
    ledger = ledger_of(primary.store, base, found.bad)
    if as_json:
        write_json(_json(primary.store, found, ledger))
    else:
        _print(primary.store, found, ledger)
    return 1 if found.skipped else 0


def closed_between(store: ObjectReader, base: PublishedState, first: int, last: int) -> list[int]:
    """The closed frames from `first` to `last`, both included."""
    return [frame for frame, _ in ledger_frames(store, base.ledgers, first, last)]


def _run(primary: Primary, base: PublishedState, frame: int, command: tuple[str, ...]) -> int:
    """Run the command on one snapshot and return its exit code."""
    store = primary.store
    ledger = ledger_of(primary.store, base, frame)
    settings = settings_of(store, ledger)
    text = store.read(settings.blob).decode() if settings.blob else None
    with tempfile.TemporaryDirectory(prefix=f"dreamcatcherd-frame-{frame}-") as name:
        folder = Path(name) / "snapshot"
        for path, entry in walk(store, ledger.snapshot):
            (folder / path).parent.mkdir(parents=True, exist_ok=True)
            (folder / path).write_bytes(store.read(entry.oid))
        file = Path(name) / "snapshot.json"
        with file.open("wb") as opened:
            opened.writelines(export(store, ledger.snapshot, frame, settings.table, text))
        variables = {
            "DREAMCATCHER_SNAPSHOT": str(file),
            "DREAMCATCHER_SNAPSHOT_DIR": str(folder),
            "DREAMCATCHER_FRAME": str(frame),
        }
        # The command writes to the same terminal: buffered lines must not appear after its output.
        sys.stdout.flush()
        try:
            done = subprocess.run(
                [*command, str(file)], env=os.environ | variables, stdout=sys.stderr.fileno(), check=False
            )
        except OSError as error:
            cause = f"{command[0]} does not run: {error.strerror}"
            raise UsageError(cause, "name a command that can be started, after --") from error
    verdict = {0: "good", _SKIP: "skipped"}.get(done.returncode, "bad")
    click.echo(f"frame {frame}: {verdict} (exit code {done.returncode})", err=True)
    return done.returncode


def _deltas(store: ObjectReader, ledger: Ledger) -> list[dict[str, object]]:
    return [
        {
            "path": row.path,
            "blob": row.blob,
            "stream_id": row.stream_id,
            "commit": row.commit,
            "author": author_of(store, row.commit),
            "late": row.late,
        }
        for row in ledger.deltas
    ]


def _json(store: ObjectReader, found: Search, ledger: Ledger) -> dict[str, object]:
    return {
        "good": found.good,
        "first_bad": found.bad,
        "steps": len(found.tested),
        "tested": found.tested,
        "skipped": found.skipped,
        "digest": ledger.snapshot,
        "deltas": _deltas(store, ledger),
    }


def _print(store: ObjectReader, found: Search, ledger: Ledger) -> None:
    if found.skipped:
        frames = ", ".join(map(str, found.skipped))
        click.echo(f"the first bad frame is {found.bad} or one that was skipped: {frames}")
    else:
        click.echo(f"frame {found.bad} is the first bad one, after {len(found.tested)} steps")
    for row in _deltas(store, ledger):
        late = " (late)" if row["late"] else ""
        click.echo(plain(f"  {row['path']} of {row['stream_id']}{late}, commit {row['commit']} by {row['author']}"))
    if not ledger.deltas:
        click.echo("  it merged no delta")
    click.echo(f"see what changed: dreamcatcherd diff {found.good} {found.bad}")
