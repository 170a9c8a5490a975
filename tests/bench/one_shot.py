"""What a command costs that starts, closes one frame and ends: its start, and the whole of `merge`, as ratios.

The commands run as they do after an installation: with compiled modules, which are written once before."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import NamedTuple

import pygit2

from dreamcatcherd.core.frames import Closing
from dreamcatcherd.imports.new_repository import create
from dreamcatcherd.observe.clock import wall_clock
from tests.bench import floor
from tests.bench.fleet import push

LEAST = "import pygit2, msgspec"
"""The least that a program loads that reads git and JSON with these libraries."""


class Merges(NamedTuple):
    """Seconds of `merge`, of the floor as a program, and of the same program if it only reads and decodes."""

    ours: list[float]
    floor: list[float]
    reading: list[float]


def _environment(compiled: Path) -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    return kept | {"PYTHONPYCACHEPREFIX": str(compiled)}


def _seconds(environment: dict[str, str], words: list[str], given: str = "") -> float:
    start = time.perf_counter()
    subprocess.run([sys.executable, *words], env=environment, input=given, text=True, capture_output=True, check=True)
    return time.perf_counter() - start


def time_starts(folder: Path, runs: int) -> tuple[list[float], list[float]]:
    """Seconds of `merge` when there is nothing to do, and of importing pygit2 and msgspec, in turn."""
    store = create(folder / "closed.git", 1, wall_clock(), Closing("manual"))
    environment = _environment(folder / "compiled")
    words = ["-m", "dreamcatcherd", "merge", "--frame", "0", "--repo", str(store.folder)]
    ours, least = [], []
    for run in range(runs + 1):
        pair = _seconds(environment, words), _seconds(environment, ["-c", LEAST])
        if run:  # the first one compiles
            ours.append(pair[0])
            least.append(pair[1])
    return ours, least


def time_merges(folder: Path, deltas: int, runs: int) -> Merges:
    """Seconds of `merge` of one frame, and of programs that read the same blobs in the order of the pack, in turn."""
    store = create(folder / f"merge-{deltas}.git", 1, wall_clock(), Closing("manual"))
    before = set((store.folder / "objects/pack").glob("*.idx"))
    push(store, 1, deltas, min(20, deltas), 1)
    (index,) = set((store.folder / "objects/pack").glob("*.idx")) - before
    shown = subprocess.run(["git", "show-index"], stdin=index.open("rb"), capture_output=True, check=True).stdout
    lines = sorted((int(line.split()[0]), line.split()[1].decode()) for line in shown.splitlines())
    blobs = "".join(f"{oid}\n" for _, oid in lines if store.read(oid).startswith(b'{"frame"'))
    environment = _environment(folder / "compiled")
    took = Merges([], [], [])
    for run in range(runs + 1):
        copy, scratch = folder / "copy.git", folder / "scratch.git"
        for one in (copy, scratch):
            shutil.rmtree(one, ignore_errors=True)
        shutil.copytree(store.folder, copy)
        pygit2.init_repository(str(scratch), bare=True)
        seconds = (
            _seconds(environment, ["-m", "dreamcatcherd", "merge", "--repo", str(copy)]),
            _seconds(environment, [floor.__file__, str(store.folder), str(scratch)], blobs),
            _seconds(environment, [floor.__file__, str(store.folder)], blobs),
        )
        if run:
            for found, each in zip(took, seconds, strict=True):
                found.append(each)
    return took
