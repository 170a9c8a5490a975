"""The command that shows the whole thing: a fleet of plain-git workers against a throw-away repository."""

from __future__ import annotations

import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import click
from rich.console import Console

from dreamcatcherd.cli.common import write_json
from dreamcatcherd.cli.fleet import Verdict, compare, make_fleet
from dreamcatcherd.core.errors import DreamcatcherError, FatalError
from dreamcatcherd.core.frames import Closing
from dreamcatcherd.core.report import Pending, plural
from dreamcatcherd.core.snapshot import items, open_snapshot
from dreamcatcherd.daemon.cycle import close_frame, look
from dreamcatcherd.daemon.primary import Primary, wall_clock
from dreamcatcherd.store.create import create

_CONFIG = (
    '[frames]\nclose = "interval"\ninterval = {interval}\n[http]\nlisten = "127.0.0.1:0"\n[log]\nlevel = "warning"\n'
)


@click.command()
@click.option("--workers", type=click.IntRange(1, 64), default=12, show_default=True, help="How many workers push.")
@click.option("--killed", type=click.IntRange(0, 64), default=3, show_default=True, help="How many die mid-push.")
@click.option("--frames", type=click.IntRange(1, 100), default=3, show_default=True, help="Frames to run for.")
@click.option("--interval", type=click.FloatRange(0.5, 60), default=2.0, show_default=True, help="Seconds a frame.")
@click.option("--json", "as_json", is_flag=True, help="Write the count as JSON.")
def demo(workers: int, killed: int, frames: int, interval: float, as_json: bool) -> int:
    """Run a fleet of plain-git workers against a throw-away repository, some of them killed half-way.

    Half push on lanes of their own, half on the shared branch; a real daemon closes the frames. Ends with a count of
    what was pushed and what landed; exit code 1 if any acknowledged delta were missing or counted twice."""
    with tempfile.TemporaryDirectory(prefix="dreamcatcherd-demo-") as name:
        folder = Path(name)
        verdict, pending = _play(folder, workers, min(killed, workers), frames, interval)
    if as_json:
        write_json(verdict)
    else:
        click.echo(f"acknowledged pushes   {verdict.acknowledged}")
        click.echo(f"pushes cut short      {verdict.unacknowledged} (each may have landed or not)")
        click.echo(f"landed                {verdict.landed} in {plural(pending.last_closed or 0, 'frame')}")
        click.echo(f"acknowledged, missing {len(verdict.missing)}")
        click.echo(f"counted twice         {len(verdict.doubled)}")
        click.echo("every acknowledged delta landed exactly once" if verdict.holds else "THE PROMISE IS BROKEN")
    return 0 if verdict.holds else 1


def _play(folder: Path, workers: int, killed: int, frames: int, interval: float) -> tuple[Verdict, Pending]:
    repository = folder / "fleet.git"
    config = folder / "primary.toml"
    config.write_text(_CONFIG.format(interval=interval))
    store = create(repository, 1, wall_clock(), Closing(interval_s=interval))
    fleet = make_fleet(repository, folder / "workers", workers, killed)
    (folder / "workers").mkdir()
    daemon = subprocess.Popen(
        [sys.executable, "-m", "dreamcatcherd", "run", "--repo", str(repository), "--config", str(config)],
        stdout=subprocess.DEVNULL,
    )
    primary = Primary(store, "main", Closing("manual"), wall_clock)
    try:
        for worker in fleet:
            worker.start()
        with Console(stderr=True).status("the fleet is pushing …") as shown:
            until = time.monotonic() + 4 * frames * interval + 30
            while time.monotonic() < until:
                pending = look(primary)[0].pending
                pushed = sum(len(worker.sent) for worker in fleet)
                shown.update(f"frame {pending.frame} is open: {pushed} deltas pushed by {plural(workers, 'worker')}")
                if pending.frame > frames or daemon.poll() is not None:
                    break
                time.sleep(0.1)
        for worker in fleet:
            worker.stop()
        for worker in fleet:
            worker.join(timeout=60)
    finally:
        daemon.send_signal(signal.SIGTERM)
        code = daemon.wait(timeout=10)
    failures = [worker.failure for worker in fleet if worker.failure]
    if code or failures:
        raise _failed(code, failures)
    pending = close_frame(primary, "demo").pending
    folders = open_snapshot(store, pending.digest)
    table = primary.load_base(store.refs()).settings.table
    landed = [item.record["value"] for item in items(store, folders, table, "observations")]
    return compare([sent for worker in fleet for sent in worker.sent], landed), pending


def _failed(code: int, failures: list[str]) -> DreamcatcherError:
    cause = failures[0] if failures else f"the daemon ended with {code}"
    return FatalError(f"the demo could not run: {cause}", "check that git works here and that there is space in /tmp")
