"""Searches the model: spin writes a program in C for some bounds, gcc compiles it, and it visits every state."""

from __future__ import annotations

import re
import resource
import shutil
import subprocess
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from tests.model.runs import PROPERTIES, Mutant, Run
from tests.tidy.house import ROOT

MODEL = ROOT / "docs/model/intake.pml"
DEPTH_MOST = 10_000

programs = ("spin", "gcc")
"""What a search needs."""

_STATES = re.compile(r"^\s*(\S+) states, stored", re.MULTILINE)
_DEPTH = re.compile(r"depth reached (\d+)")
_BROKEN = re.compile(r"^pan:\d+: assertion violated \(.* \(at depth (\d+)\)$", re.MULTILINE)
_SEARCH_FLAGS = ("-O2", "-DSAFETY", "-DCOLLAPSE")
_CYCLE_FLAGS = ("-O2", "-DNP", "-DCOLLAPSE")
_SHORTEST_FLAGS = ("-O1", "-DSAFETY", "-DREACH")


class Search(NamedTuple):
    """What a search found: states and greatest depth, seconds of the processor with compilation, and the lengths of the
    counterexamples in steps. `complete` means that every reachable state was visited and none was wrong; `said` is the
    checker's report."""

    states: int
    depth: int
    seconds: float
    counterexamples: list[int]
    complete: bool
    said: str


def search_run(run: Run) -> Search:
    """Visit every state of the model in some bounds, with all properties on."""
    return _search({"P_ALL": 1, **run.bounds}, _SEARCH_FLAGS)


def search_cycles(run: Run) -> Search:
    """Look for a cycle of states: `complete` if there is none, so that everything that happens comes to an end."""
    return _search(run.bounds, _CYCLE_FLAGS, "-l")


def search_mutant(mutant: Mutant, trail: Path | None = None) -> Search:
    """Look for the shortest way in which a mutant breaks its property. With `trail`, the steps are written there."""
    # -i: every further counterexample must be shorter. -E: a mutant may also get stuck, which is no answer.
    return _search(_macros_of(mutant), _SHORTEST_FLAGS, "-i", "-E", trail=trail)


def _macros_of(mutant: Mutant) -> dict[str, int]:
    assert mutant.breaks in PROPERTIES
    return {mutant.breaks: 1, "MUTANT": 1, mutant.macro: 1, **mutant.bounds}


def _search(macros: Mapping[str, int], flags: tuple[str, ...], *options: str, trail: Path | None = None) -> Search:
    before = _spent_s()
    given = [f"-D{name}={value}" for name, value in macros.items()]
    with tempfile.TemporaryDirectory(prefix="dreamcatcherd-model-") as name:
        folder = Path(name)
        shutil.copy(MODEL, folder)
        _run(folder, "spin", *given, "-a", MODEL.name)
        _run(folder, "gcc", "-w", *flags, "-DVECTORSZ=1024", "-o", "pan", "pan.c")
        said = _run(folder, "./pan", f"-m{DEPTH_MOST}", *options)
        if trail is not None:
            trail.write_text(_run(folder, "spin", *given, "-t", "-p", MODEL.name))
    states, depth = _STATES.search(said), _DEPTH.search(said)
    if states is None or depth is None:
        raise AssertionError(f"the search did not end: {said}")
    complete = "errors: 0" in said and "max search depth too small" not in said and "out of memory" not in said
    found = [int(length) for length in _BROKEN.findall(said)]
    return Search(int(float(states[1])), int(depth[1]), _spent_s() - before, found, complete, said)


def _run(folder: Path, *words: str) -> str:
    done = subprocess.run(words, cwd=folder, capture_output=True, text=True, check=False)
    # The search itself ends with 0 whatever it finds; anything else is a mistake in the model or in the bounds.
    if done.returncode or "error:" in done.stdout.lower():
        raise AssertionError(f"{' '.join(words)} failed:\n{done.stdout}{done.stderr}")
    return done.stdout


def _spent_s() -> float:
    spent = resource.getrusage(resource.RUSAGE_CHILDREN)
    return spent.ru_utime + spent.ru_stime
