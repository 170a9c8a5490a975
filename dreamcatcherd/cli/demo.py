"""The demonstration: a fleet of plain-git workers against a throw-away repository."""

from __future__ import annotations

import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import NamedTuple

import click
import msgspec
from rich.console import Console

from dreamcatcherd.cli.authors import Bound, bound_books, make_authors
from dreamcatcherd.cli.common import write_json
from dreamcatcherd.cli.usage import WholeNumber
from dreamcatcherd.core.collections import LIBRARY
from dreamcatcherd.core.errors import DreamcatcherError, FatalError
from dreamcatcherd.core.frames import Closing
from dreamcatcherd.core.report import plural
from dreamcatcherd.core.snapshot import items, open_snapshot
from dreamcatcherd.daemon.cycle import close_frame, poll
from dreamcatcherd.daemon.primary import Primary
from dreamcatcherd.demo.fleet import RunVerdict, compare_publishing, make_fleet
from dreamcatcherd.imports.new_repository import create
from dreamcatcherd.observe.clock import wall_clock

_CONFIG = (
    '[frames]\nclose = "interval"\ninterval = {interval}\n[http]\nlisten = "127.0.0.1:0"\n[log]\nlevel = "error"\n'
)


class Played(NamedTuple):
    """The result of a run of the demo."""

    verdict: RunVerdict
    frames: int
    books: list[Bound]


@click.command(short_help="Run a fleet of workers against a throw-away repository.")
@click.option("--workers", type=WholeNumber(1, 64), default=12, show_default=True, help="Number of workers.")
@click.option("--killed", type=WholeNumber(0, 64), default=3, show_default=True, help="Workers that die during a push.")
@click.option("--authors", type=WholeNumber(0, 64), default=12, show_default=True, help="Number of authors of books.")
@click.option("--frames", type=WholeNumber(1, 100), default=3, show_default=True, help="Frames to run for.")
@click.option(
    "--interval", type=click.FloatRange(0.5, 60), default=2.0, show_default=True, help="Seconds for each frame."
)
@click.option("--json", "as_json", is_flag=True, help="Write the result as JSON.")
def demo(workers: int, killed: int, authors: int, frames: int, interval: float, as_json: bool) -> int:
    """Run a fleet of plain-git workers against a throw-away repository; some of them are killed during a push.

    Half of them push to their lanes, half to the shared branch; a real daemon closes the frames. Authors write three
    books at the same time, a chapter of each; two are killed and started again, one overwrites its file. Ends with the
    counts of pushed and merged deltas; exit code 1 if an acknowledged delta is missing or counted twice, or if a book
    is not published completely."""
    with tempfile.TemporaryDirectory(prefix="dreamcatcherd-demo-") as name:
        crew = _Crew(Path(name), workers, min(killed, workers), authors)
        played = _play(crew, frames, interval)
    verdict, books = played.verdict, played.books
    holds = verdict.holds and all(book.holds for book in books)
    if as_json:
        write_json({**msgspec.to_builtins(verdict), "books": books})
    else:
        click.echo(f"acknowledged pushes   {verdict.acknowledged}")
        click.echo(f"pushes cut short      {verdict.unacknowledged} (each may have landed or not)")
        click.echo(f"landed                {verdict.landed} in {plural(played.frames, 'frame')}")
        click.echo(f"acknowledged, missing {len(verdict.missing)}")
        click.echo(f"counted twice         {len(verdict.doubled)}")
        for book in books:
            state = f"published completely, fingerprint {book.fingerprint}" if book.holds else "INCOMPLETE"
            click.echo(f"book {book.book:<16} {book.chapters} of {book.target} chapters by as many authors: {state}")
        click.echo("every acknowledged delta landed exactly once" if holds else "THE PROMISE IS BROKEN")
    return 0 if holds else 1


class _Crew:
    """All workers and authors that push to the throw-away repository."""

    def __init__(self, folder: Path, workers: int, killed: int, authors: int) -> None:
        self.folder = folder
        self.repository = folder / "fleet.git"
        self.workers = make_fleet(self.repository, folder / "workers", workers, killed)
        self.authors = make_authors(self.repository, folder / "workers", authors)
        (folder / "workers").mkdir()

    def start(self) -> None:
        for one in (*self.workers, *self.authors):
            one.start()

    def progress(self, frame: int) -> str:
        pushed = sum(len(worker.sent) for worker in self.workers) + sum(author.wrote for author in self.authors)
        workers = plural(len(self.workers + self.authors), "worker")
        return f"frame {frame} is open: {plural(pushed, 'delta')} pushed by {workers}"

    def finish(self) -> None:
        """Stop the workers, and wait for all; the authors stop by themselves."""
        for worker in self.workers:
            worker.stop()
        for one in (*self.workers, *self.authors):
            one.join(timeout=120)

    @property
    def failures(self) -> list[str]:
        return [one.failure for one in (*self.workers, *self.authors) if one.failure]


def _play(crew: _Crew, frames: int, interval: float) -> Played:
    config = crew.folder / "primary.toml"
    config.write_text(_CONFIG.format(interval=interval))
    store = create(crew.repository, 1, wall_clock(), Closing(interval_s=interval))
    daemon = subprocess.Popen(
        [sys.executable, "-m", "dreamcatcherd", "run", "--repo", str(crew.repository), "--config", str(config)],
        stdout=subprocess.DEVNULL,
    )
    primary = Primary(store, "main", Closing("manual"), wall_clock)
    try:
        crew.start()
        with Console(stderr=True).status("the fleet is pushing …") as line:
            until = time.monotonic() + 4 * frames * interval + 30
            while time.monotonic() < until:
                pending = poll(primary)[0].pending
                line.update(crew.progress(pending.frame))
                if pending.frame > frames or daemon.poll() is not None:
                    break
                time.sleep(0.1)
        crew.finish()
    finally:
        daemon.send_signal(signal.SIGTERM)
        code = daemon.wait(timeout=10)
    if code or crew.failures:
        raise _failed(code, crew.failures)
    pending = close_frame(primary, "demo").pending
    folders = open_snapshot(store, pending.digest)
    table = primary.load_published(store.refs()).settings.table
    landed = [item.record["value"] for item in items(store, folders, table, "observations")]
    library = {item.record["book"]: item.record["object"] for item in items(store, folders, table, LIBRARY)}
    verdict = compare_publishing([sent for worker in crew.workers for sent in worker.sent], landed)
    return Played(verdict, pending.last_closed or 0, bound_books(library, len(crew.authors)))


def _failed(code: int, failures: list[str]) -> DreamcatcherError:
    cause = failures[0] if failures else f"the daemon ended with {code}"
    return FatalError(f"the demo could not run: {cause}", "check that git works here and that there is space in /tmp")
