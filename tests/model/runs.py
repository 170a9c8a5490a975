"""What is searched: the model in several bounds, where every property must hold, and mutants, each of which must not.

One state space with all events at once would be far too large, so each run has some of them. docs/model/README.md says
which, and why that is enough."""

from __future__ import annotations

from typing import NamedTuple

PROPERTIES = {
    "P_ACKNOWLEDGED": "acknowledged is accounted for",
    "P_ONCE": "counts once",
    "P_CHAIN": "no fork",
    "P_JUDGED": "nothing unjudged is hidden",
    "P_RESTORE": "a restore changes nothing else",
}
"""The properties by the macro that turns each on."""


class Run(NamedTuple):
    """The model in some bounds, as macros of docs/model/intake.pml with their values."""

    name: str
    bounds: dict[str, int]


class Mutant(NamedTuple):
    """The model with one mistake, by its macro: the property that it must break, and bounds in which it does."""

    macro: str
    name: str
    breaks: str
    bounds: dict[str, int]


_ONE = {"WORKERS": 1, "REPEATS": 0}
_TWO = {"WORKERS": 2, "REPEATS": 0}
_HALVES = {**_ONE, "DISTANT": 3, "REWINDS": 1, "SPLIT": 1}

QUICK = (
    Run("races", {"WORKERS": 2, "REPEATS": 1, "SLOW": 1}),
    Run("torn looks", {"WORKERS": 2, "REPEATS": 0, "TORN": 1}),
    Run("lost answers", {"WORKERS": 2, "REPEATS": 0, "CRASHES": 1, "TIMEOUTS": 1}),
    Run("rewinds", {"WORKERS": 1, "REPEATS": 0, "CRASHES": 1, "REWINDS": 1}),
    Run("edits", {"WORKERS": 1, "REPEATS": 0, "CRASHES": 1, "EDITS": 1}),
    Run("lanes", {"WORKERS": 1, "REPEATS": 1, "BASES": 1, "REMOVALS": 1}),
    Run("long waits", {"WORKERS": 2, "REPEATS": 0, "BASES": 1, "EARLY": 3}),
    Run("no atomic push", {"WORKERS": 2, "REPEATS": 0, "CRASHES": 1, "DISTANT": 3, "SPLIT": 1}),
    Run("no atomic push, rewinds", {"WORKERS": 1, "REPEATS": 0, "REWINDS": 1, "SPLIT": 1}),
    Run("check", {"WORKERS": 2, "REPEATS": 0, "CHECK": 1, "DISTANT": 3}),
)
"""Searched in each run of the test suite."""

DEEP = (
    Run("lost answers, repeats", {"WORKERS": 2, "REPEATS": 1, "CRASHES": 1, "TIMEOUTS": 1}),
    Run("rewinds, torn looks", {"WORKERS": 1, "REPEATS": 0, "CRASHES": 1, "REWINDS": 1, "TORN": 1}),
    Run("rewinds, repeats", {"WORKERS": 1, "REPEATS": 1, "REWINDS": 1}),
    Run("rewinds, two workers", {"WORKERS": 2, "REPEATS": 0, "REWINDS": 1}),
    Run("rewinds, edits", {"WORKERS": 1, "REPEATS": 0, "EDITS": 1, "REWINDS": 1, "FRAMES": 1}),
    Run("no atomic push, rewinds, kills", {**_HALVES, "CRASHES": 1}),
    Run("edits, lost answers", {"WORKERS": 1, "REPEATS": 0, "CRASHES": 1, "EDITS": 1, "TIMEOUTS": 1}),
    Run("lanes of two", {"WORKERS": 2, "REPEATS": 1, "BASES": 1, "REMOVALS": 1}),
    Run("check, lost answers", {"WORKERS": 2, "REPEATS": 0, "CHECK": 1, "DISTANT": 3, "TIMEOUTS": 1}),
)
"""`make model DEPTH=deep` searches these as well."""

ENDING = next(run for run in QUICK if run.name == "edits")
"""The run in which the test suite also looks for a cycle; `DEPTH=deep` does so in every quick one."""

MUTANTS = (
    Mutant("M_FORCED", "publish without compare-and-swap", "P_ACKNOWLEDGED", _TWO),
    Mutant("M_FILTERED", "acknowledged, but filtered out", "P_ACKNOWLEDGED", {**_ONE, "EDITS": 1}),
    Mutant("M_REWOUND", "forget the head that main was rewound from", "P_ACKNOWLEDGED", {**_ONE, "REWINDS": 1}),
    Mutant("M_REMOVED", "remove a lane without compare-and-swap", "P_ACKNOWLEDGED", {"REPEATS": 1, "REMOVALS": 1}),
    Mutant("M_FORGOTTEN", "drop an early delta in the frames between", "P_ACKNOWLEDGED", {**_TWO, "EARLY": 3}),
    Mutant("M_FORGETFUL", "merge without asking the snapshot", "P_ONCE", {"WORKERS": 1, "REPEATS": 1}),
    Mutant("M_FORCED", "publish without compare-and-swap", "P_CHAIN", _TWO),
    Mutant("M_NEAREST", "take the nearest snapshot commit as the previous", "P_CHAIN", {**_ONE, "REWINDS": 1}),
    Mutant("M_TRUSTED", "believe a push without reading back", "P_CHAIN", _ONE),
    Mutant("M_UNLOADED", "publish on a state that was not loaded again", "P_CHAIN", _ONE),
    Mutant("M_TOGETHER", "push both refs at once to a server that is not atomic", "P_CHAIN",
           {**_TWO, "DISTANT": 3, "SPLIT": 1}),
    Mutant("M_HALF", "remember half a publication", "P_CHAIN", _HALVES),
    Mutant("M_BLIND", "rebuild on a moved head without judging what came", "P_JUDGED", _TWO),
    Mutant("M_RESTORED_REF", "a restore that moves the published ref", "P_JUDGED", {**_ONE, "EDITS": 1}),
    Mutant("M_RESTORED_REF", "a restore that moves the published ref", "P_RESTORE", {**_ONE, "EDITS": 1}),
    Mutant("M_RESTORED_TREE", "a restore that takes the complete published tree", "P_RESTORE", {**_ONE, "EDITS": 1}),
)  # fmt: skip
"""Each must break its property."""
