"""`make simulate`: run many seeds, replay one, or show how soon old faults are found.

python -m tests.simulation run [SEEDS] [FIRST]
python -m tests.simulation replay SEED_OR_FILE
python -m tests.simulation shrink SEED
python -m tests.simulation faults [MOST]"""

from __future__ import annotations

import sys
import time
from pathlib import Path

from tests.simulation.actions import Script, read_script, write_script
from tests.simulation.campaign import (
    explain,
    report_lines,
    run_campaign,
    seeds_until_found,
    shortest,
    show_progress,
)
from tests.simulation.faults import FAULTS
from tests.simulation.scripts import script_of

SEEDS = 10_000
SHRUNK = 3
"""How many broken seeds are shrunk at the end of a campaign."""


def campaign(count: int = SEEDS, first: int = 0) -> int:
    """Run so many seeds; 1 if one of them breaks a promise or an event is never reached."""
    began = time.monotonic()
    tally = run_campaign(first, count, show_progress(count))
    for line in report_lines(tally, time.monotonic() - began):
        print(line)
    for seed, broken in tally.broken:
        print(f"seed {seed}: {broken}\n    replay it: python -m tests.simulation replay {seed}")
    for seed, _ in tally.broken[:SHRUNK]:
        show_shortest(seed)
    return 1 if tally.broken or tally.missing() else 0


def show_shortest(seed: int) -> int:
    """Print the shortest script that breaks what a seed breaks."""
    script = shortest(script_of(seed))
    print(f"seed {seed}, at its shortest; saved below tests/simulation/traces/ it becomes a test:")
    print(write_script(script).decode(), end="")
    for line in explain(script):
        print(f"    {line}")
    return 0


def replay(what: str) -> int:
    """Run a seed, or a script from a file, and print what happened."""
    script: Script = script_of(int(what)) if what.isdecimal() else read_script(Path(what).read_bytes())
    lines = list(explain(script))
    print("\n".join(lines))
    return int(lines[-1].startswith("broken"))


def faults(most: int = 2_000) -> int:
    """Print how many seeds each of the old faults needs to be found; 1 if one is not found."""
    found = {name: seeds_until_found(name, most) for name in FAULTS}
    for name, one in found.items():
        print(f"{name}: {f'found by seed {one[0] - 1}, {one[1]}' if one else f'not found by {most} seeds'}")
    return int(None in found.values())


def main(words: list[str]) -> int:
    """Do what the words of the command line say."""
    what, *rest = words or ["run"]
    if what == "run":
        return campaign(*map(int, rest))
    if what == "replay" and rest:
        return replay(rest[0])
    if what == "shrink" and rest:
        return show_shortest(int(rest[0]))
    if what == "faults":
        return faults(*map(int, rest))
    print(__doc__, file=sys.stderr)
    return 2


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
