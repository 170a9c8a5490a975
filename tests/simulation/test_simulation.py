"""A deterministic simulation of the real daemon: no seed breaks a promise, and faults that it once had are found."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from msgspec import structs

from tests.simulation.__main__ import main
from tests.simulation.actions import Action, Push, Script, Setting, Step, read_script, write_script
from tests.simulation.campaign import TRACES, kind_of, run_seeds, seeds_until_found, shortest
from tests.simulation.faults import FAULTS
from tests.simulation.run import run
from tests.simulation.scripts import script_of

SEEDS = 300
FOUND_BY = {"nearest-parent": 2, "dates-in-walk": 2, "unloaded-state": 67, "no-read-back": 12, "filtered": 3}
"""How many seeds, from 0 on, each fault needs to be found."""


def test_no_seed_breaks_a_promise_and_all_that_matters_is_reached() -> None:
    """Under every fault that the first seeds inject, all that was acknowledged is accounted for once, the state is what
    the simple model gives, and verify agrees; races, restores, rewinds and the like do happen."""
    tally = run_seeds(0, SEEDS)
    assert tally.broken == []
    assert tally.missing() == []


@pytest.mark.parametrize("trace", sorted(TRACES.glob("*.json")), ids=lambda trace: trace.stem)
def test_what_once_broke_a_promise_breaks_none_any_more(trace: Path) -> None:
    """Every script that was found to break a promise runs to its end."""
    assert run(read_script(trace.read_bytes())).broken is None


@pytest.mark.parametrize("name", FAULTS)
def test_an_old_fault_is_found_again(name: str) -> None:
    """A fault of this project's past, put back into the code, is found by as many seeds as are documented."""
    found = seeds_until_found(name, FOUND_BY[name])
    assert found is not None
    assert found[0] == FOUND_BY[name]


def test_a_seed_gives_the_same_trace_in_every_process() -> None:
    """A seed replays the same life to the last line, whatever the order of Python's sets."""
    code = "import sys; from tests.simulation.test_simulation import fingerprints; print(*fingerprints())"
    words = (sys.executable, "-c", code)
    env = {**os.environ, "PYTHONHASHSEED": "7"}
    done = subprocess.run(words, capture_output=True, text=True, check=True, env=env)
    assert done.stdout.split() == fingerprints() == fingerprints()


def fingerprints() -> list[str]:
    """The traces of a few seeds, as hashes."""
    return [run(script_of(seed)).fingerprint for seed in (9, 15, 19)]


def test_a_failure_is_shown_by_its_shortest_script() -> None:
    """What does not matter for a failure is dropped, and what is left still fails in the same way."""
    script = script_of(2)
    with FAULTS["filtered"]():
        short = shortest(script)
        found, before = run(short).broken, run(script).broken
        without = [run(structs.replace(short, actions=left)).broken for left in each_dropped(short.actions)]
    assert found is not None
    assert before is not None
    assert kind_of(found) == kind_of(before)
    assert len(short.actions) < 10 < len(script.actions)
    assert kind_of(found) not in [kind_of(one) for one in without if one is not None]
    assert run(short).broken is None


def each_dropped(actions: list[Action]) -> list[list[Action]]:
    """The actions without each of them in turn."""
    return [actions[:at] + actions[at + 1 :] for at in range(len(actions))]


def test_a_script_is_the_same_after_it_was_written_and_read() -> None:
    """The file of a script holds all of it."""
    for script in (script_of(3), Script(1, Setting(), []), Script(1, Setting(), [Step(at={"move:0": [Push(1)]})])):
        assert read_script(write_script(script)) == script


def test_a_file_is_replayed_by_the_command(capsys: pytest.CaptureFixture[str]) -> None:
    """Replaying prints the trace, and what is broken if something is; the exit code says which."""
    trace = str(next(TRACES.glob("*.json")))
    assert main(["replay", trace]) == 0
    assert capsys.readouterr().out.endswith("nothing is broken\n")
    with FAULTS["filtered"]():
        assert main(["replay", "2"]) == 1
    assert "broken: " in capsys.readouterr().out
