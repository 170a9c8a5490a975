"""What workers lose that write one shared file and rebase, and what the same workers keep that push deltas.

`python -m tests.bench.rebase 16 3`: 16 workers at once with 3 records each, in plain git, in a temporary folder. Three
ways: a JSON file that every worker rewrites, with `git pull --rebase -X theirs` after a refused push; delta files on
the shared branch, with `git pull --rebase`; and a lane for each worker. Prints what arrived, and how often a push was
tried again."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

from tests.e2e.tools import clone, dc, export_of, git, try_git

TRIES = 2_000
"""After which a worker gives up, so that a run ends."""

BEFORE = 20
"""Records that the shared file has before the workers begin."""


def shared_file(worker: Path, name: str, number: int, indent: int | None) -> None:
    """Add a record to the one file that all workers write."""
    path = worker / "state.json"
    records = json.loads(path.read_text())
    records[f"{name}-{number}"] = {"by": name}
    path.write_text(json.dumps(records, indent=indent, sort_keys=True) + "\n")


def delta_file(worker: Path, name: str, number: int) -> None:
    """Add a delta with one record, in a file of its own."""
    folder = worker / "state/stream_deltas/1"
    folder.mkdir(parents=True, exist_ok=True)
    head = {"frame": 1, "utc": f"2026-01-01T00:00:{number:02}Z", "stream_id": name}
    (folder / f"{name}-{number}.json").write_text(json.dumps({**head, "counters": {f"{name}-{number}": 1}}))


def work(worker: Path, count: int, write: Callable[[Path, str, int], None], ref: str, rebase: list[str]) -> int:
    """One worker's life: write, commit, push until it is accepted. Returns how many pushes were refused."""
    refused = 0
    for number in range(count):
        write(worker, worker.name, number)
        git(worker, "add", "-A")
        git(worker, "commit", "-q", "-m", f"{worker.name} {number}")
        while try_git(worker, "push", "-q", "origin", f"HEAD:{ref.format(worker.name)}").returncode:
            refused += 1
            if refused > TRIES:
                raise SystemExit(f"{worker.name} never arrives")
            if try_git(worker, "pull", "-q", "--rebase", *rebase, "origin", "main").returncode:
                try_git(worker, "rebase", "--skip")  # nothing of the record is left
    return refused


def fleet(
    folder: Path, workers: int, count: int, write: Callable[[Path, str, int], None], ref: str, *rebase: str
) -> str:
    """Run all workers at once; what they came to, up to the number that arrived."""
    folder.mkdir()
    dc("init", "--no-hook", str(folder / "fleet.git"))
    subprocess.run(["git", "-C", folder / "fleet.git", "config", "gc.auto", "0"], check=True)
    first = clone(folder / "fleet.git", folder / "first")
    (first / "state.json").write_text(json.dumps({f"x{number}": {} for number in range(BEFORE)}, indent=1) + "\n")
    git(first, "add", "-A")
    git(first, "commit", "-q", "-m", "what is there before")
    git(first, "push", "-q", "origin", "HEAD:main")
    clones = [clone(folder / "fleet.git", folder / f"w{number:02}") for number in range(workers)]
    start = time.perf_counter()
    with ThreadPoolExecutor(workers) as pool:
        refused = sum(pool.map(lambda one: work(one, count, write, ref, [*rebase]), clones))
    seconds = time.perf_counter() - start
    pushes = workers * count
    return f"{refused / pushes:6.1f} {pushes / seconds:9.1f}"


def main(workers: int, count: int) -> None:
    print(f"{workers} workers, {count} records each")
    print(f"{'way':44} {'retries':>7} {'pushes/s':>9} {'arrived':>9}")
    with tempfile.TemporaryDirectory() as name:
        for form, indent in (("one line", None), ("a record on each line", 1)):
            folder = Path(name) / f"file-{indent}"
            came = fleet(folder, workers, count, partial(shared_file, indent=indent), "main", "-X", "theirs")
            raw = git(folder / "fleet.git", "show", "main:state.json")
            print(f"{f'one JSON file, {form}':44} {came} {len(json.loads(raw)) - BEFORE:9}", flush=True)
        for way, ref in (("deltas on the shared branch", "main"), ("deltas on lanes", "refs/heads/dc/{}")):
            folder = Path(name) / way.split()[-1]
            came = fleet(folder, workers, count, delta_file, ref)
            dc("merge", "--repo", str(folder / "fleet.git"))
            arrived = len(export_of(folder / "fleet.git")["state"]["counters"])
            print(f"{way:44} {came} {arrived:9}", flush=True)


if __name__ == "__main__":
    main(*(int(word) for word in sys.argv[1:3] or ["16", "3"]))
