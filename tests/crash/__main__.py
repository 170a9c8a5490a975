"""`make crash-points`: every change that a close makes to the disk goes wrong, in every scene, in each of ten ways.

Prints a table for each scene, as docs/crash-points.md has it, and each trial that broke a promise; ends with
1 if there was one. `--every N` tries each N-th point only, `--scenes A,B` some scenes only."""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Sequence

from tests.crash.changes import missing_parts
from tests.crash.scenes import SCENES
from tests.crash.spread import Task, judge_of, spread
from tests.crash.trials import CLOSED, KINDS, NOT_REACHED, PUBLISHED, RESTARTED, Trial, plan


def _table(trials: Sequence[Trial], changes: int) -> str:
    """The outcomes of one scene as a table in Markdown; the last column counts broken promises."""
    columns = (CLOSED, PUBLISHED, RESTARTED)
    lines = [f"| fault | trials | {' | '.join(columns)} | promise broken |", f"| --- |{' --- |' * 5}"]
    for kind in KINDS:
        mine = [one for one in trials if one.kind == kind.name]
        counts = Counter(one.outcome for one in mine)
        cells = [len(mine), *(counts[one] for one in columns), sum(bool(one.wrong) for one in mine)]
        lines.append(f"| {kind.name} | {' | '.join(str(one) for one in cells)} |")
    passed = Counter(one.outcome for one in trials)[NOT_REACHED]
    if passed:
        lines.append(f"\n{passed} trials came to nothing, as the run made fewer changes than {changes}.")
    return "\n".join(lines)


def _progress(done: int, left: int, began_s: float, wrong: int) -> None:
    if sys.stderr.isatty():
        rest_s = (time.monotonic() - began_s) / max(1, done) * left
        print(f"\r{done} points, {left} left, {rest_s:.0f} s, {wrong} broken ", end="", file=sys.stderr, flush=True)


def main() -> int:
    """Make all trials; returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m tests.crash", description=__doc__)
    parser.add_argument("--every", type=int, default=1)
    parser.add_argument("--scenes", default=",".join(one.name for one in SCENES))
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1)
    asked = parser.parse_args()
    if reason := missing_parts():
        print(reason, file=sys.stderr)
        return 2
    broken: list[Trial] = []
    version = subprocess.run(["git", "--version"], capture_output=True, text=True, check=True).stdout.strip()
    print(f"{version}, {sys.platform}, every {asked.every} point(s)")
    for scene in (one for one in SCENES if one.name in asked.scenes.split(",")):
        judge = judge_of(scene.name)
        tasks: list[Task] = [(scene.name, at, kinds) for at, kinds in plan(judge.changes)][:: asked.every]
        trials: list[Trial] = []
        began_s = time.monotonic()
        for done, some in enumerate(spread(tasks, asked.jobs), 1):
            trials += some
            broken += [one for one in some if one.wrong]
            _progress(done, len(tasks) - done, began_s, len(broken))
        took_s = time.monotonic() - began_s
        print(f"\n{scene.name}: {scene.about}. {len(judge.changes)} changes, {len(trials)} trials, {took_s:.0f} s\n")
        print(_table(trials, len(judge.changes)), flush=True)
    for one in broken:
        print(
            f"\n{one.scene}, {one.kind}, change {one.at}, {one.change}: {one.outcome}\n    " + "\n    ".join(one.wrong)
        )
    print(f"\n{len(broken)} promises were broken")
    return 1 if broken else 0


if __name__ == "__main__":
    sys.exit(main())
