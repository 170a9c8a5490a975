"""A close that is interrupted at any change that it makes to the disk loses nothing, and goes on by itself.

A sample: `make crash-points` tries every point, and docs/crash-points.md has its tables."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from random import Random

import pytest

from tests.crash.changes import missing_parts
from tests.crash.scenes import SCENES, Place, Scene
from tests.crash.trials import KINDS, RESTARTED, Judge, points
from tests.e2e.tools import do_without

SEED = 19
SAMPLED = ("path", "adopted", "clone")
"""The scenes of the sample, with one point for each kind of fault."""


@pytest.fixture(params=[one for one in SCENES if one.name in SAMPLED], ids=lambda scene: str(scene.name))
def judge(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Judge]:
    """A scene, and what its close does without a fault."""
    if reason := missing_parts():
        do_without(reason)
    scene: Scene = request.param
    with closing(Place(scene, tmp_path / "place")) as place:
        yield Judge(place)


@pytest.mark.needs("gcc")
def test_whatever_goes_wrong_the_next_start_goes_on_and_nothing_is_lost(judge: Judge) -> None:
    """Killed, refused by the disk, or without power at a change drawn for each kind of fault: the frame is published
    with the same deltas and bytes as without it, `verify` and `git fsck` find nothing, and nothing is left for ever."""
    random = Random(f"{SEED} {judge.place.scene.name}")
    trials = [
        one
        for kind in KINDS
        if (where := points(kind, judge.changes))
        for one in judge.trials([kind], random.choice(where))
    ]
    assert [one for one in trials if one.wrong] == []
    assert len({one.kind for one in trials}) >= 8
    assert any(one.outcome == RESTARTED for one in trials)


@pytest.mark.needs("gcc")
def test_a_power_cut_never_takes_moved_refs_back_and_leaves_the_note_that_they_were_there(judge: Judge) -> None:
    """The note beside the refs reaches the disk after their names: otherwise the next start would take them for lost,
    and refuse to go on."""
    kind = next(one for one in KINDS if one.remains == "neither")
    moved = next(one.number for one in judge.changes if one.call.startswith("rename") and "/refs/" in one.path2)
    trials = [one for at in points(kind, judge.changes) if at > moved for one in judge.trials([kind], at)]
    assert [one for one in trials if one.wrong] == []
    assert trials
