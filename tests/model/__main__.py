"""`make model`: searches every run and every mutant, and prints a table; exit 1 if a property fails or a mutant passes.

`--depth deep` searches larger bounds as well. `--trails FOLDER` keeps the steps of each counterexample."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from pathlib import Path

from tests.e2e.tools import missing
from tests.model.checker import Search, programs, search_cycles, search_mutant, search_run
from tests.model.runs import DEEP, ENDING, MUTANTS, PROPERTIES, QUICK, Mutant, Run

_LINE = "{:<11} {:<54} {:>11} {:>6} {:>7}  {}"


def _checked(run: Run, search: Callable[[Run], Search] = search_run, holds: str = "all hold") -> bool:
    """Print the line of a run; whether it `holds` what is searched for, by default every property."""
    found = search(run)
    events = ", ".join(f"{name.lower()} {value}" for name, value in run.bounds.items())
    verdict = holds if found.complete else "FAILS"
    name = f"{run.name} ({events})"
    print(
        _LINE.format("model", name[:54], f"{found.states:,}", found.depth, f"{found.seconds:.1f}", verdict), flush=True
    )
    if not found.complete:
        print(found.said)
    return found.complete


def _killed(mutant: Mutant, trails: Path | None) -> bool:
    """Print the line of a mutant; whether it breaks its property."""
    trail = trails and trails / f"{mutant.macro.lower()}-{mutant.breaks.lower()}.txt"
    found = search_mutant(mutant, trail)
    lengths = found.counterexamples
    what = f"in {min(lengths)} steps" if lengths else "SURVIVES"
    verdict = f"{what}: {PROPERTIES[mutant.breaks]}"
    row = ("mutant", mutant.name[:54], f"{found.states:,}", found.depth, f"{found.seconds:.1f}", verdict)
    print(_LINE.format(*row), flush=True)
    return bool(lengths)


def main() -> int:
    """Search all; 0 if every property holds and every mutant breaks one."""
    parser = argparse.ArgumentParser(prog="make model")
    parser.add_argument("--depth", choices=["quick", "deep"], default="quick")
    parser.add_argument("--trails", type=Path)
    given = parser.parse_args()
    if reason := missing(*programs):
        print(reason, file=sys.stderr)
        return 1
    if given.trails is not None:
        given.trails.mkdir(parents=True, exist_ok=True)
    print("properties:", "; ".join(PROPERTIES.values()))
    print(_LINE.format("", "", "states", "depth", "cpu s", "verdict"))
    deep = given.depth == "deep"
    answers = [_checked(run) for run in ((*QUICK, *DEEP) if deep else QUICK)]
    answers += [_checked(run, search_cycles, "no cycle: it ends") for run in (QUICK if deep else (ENDING,))]
    answers += [_killed(mutant, given.trails) for mutant in MUTANTS]
    return 0 if all(answers) else 1


if __name__ == "__main__":
    sys.exit(main())
