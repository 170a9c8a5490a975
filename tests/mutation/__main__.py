"""Run a sample of all mutants of the core and the stages, and print which of them no test noticed.

mutmut makes the mutants, finds the tests that call each mutated function, and runs these tests for each mutant in a
process of its own; `[tool.mutmut]` in pyproject.toml holds its settings. This module adds what mutmut lacks: it works
on a copy of the tree, draws the sample from a seed, and prints each survivor as file, line and change."""

from __future__ import annotations

import argparse
import random
import resource
import shutil
import sys
import tempfile
import time
from pathlib import Path

from tests.mutation.report import Verdict, render
from tests.mutation.tool import Mutmut
from tests.tidy.house import ROOT

NOT_COPIED = shutil.ignore_patterns(".*_cache", ".git", ".venv", ".hypothesis", "__pycache__", "artifacts", "dist")
"""What the tests do not need: the copy has no repository, so git cannot reach the real one from it."""


def arguments() -> argparse.Namespace:
    """The command line; the defaults are those of `make mutate`."""
    parser = argparse.ArgumentParser(prog="python -m tests.mutation", description="Run a sample of all mutants.")
    parser.add_argument("--sample", type=int, default=150, help="how many mutants to run (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=1, help="which mutants are drawn (default: %(default)s)")
    parser.add_argument("--workers", type=int, default=2, help="how many run at a time (default: %(default)s)")
    return parser.parse_args()


def processor_time() -> float:
    """Seconds of processor time that the children of this process took until now."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def main() -> int:
    """Copy, mutate, draw, run and report; the exit code says whether the run worked, not whether mutants survived."""
    options = arguments()
    started = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="mutation-") as folder:
        copy = Path(folder) / ROOT.name
        shutil.copytree(ROOT, copy, ignore=NOT_COPIED)
        tool = Mutmut(copy, options.workers)
        tool.prepare()
        names = sorted(tool.verdicts())
        drawn = random.Random(options.seed).sample(names, min(options.sample, len(names)))
        tool.run(drawn)
        found = tool.verdicts()
        verdicts = [Verdict(name, found[name]) for name in sorted(drawn)]
        print(render(verdicts, tool.change))
    print(f"{len(names)} mutants in all, {len(drawn)} drawn with seed {options.seed}; ", end="")
    print(f"{time.monotonic() - started:.0f} s, {processor_time():.0f} s of processor time")
    return 0


if __name__ == "__main__":
    sys.exit(main())
