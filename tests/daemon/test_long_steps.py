"""What the log says while a step of the loop takes long."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator
from typing import Any, TypeVar

import pytest

from dreamcatcherd.core.model import Delta
from dreamcatcherd.core.settings import Settings
from dreamcatcherd.daemon import long_steps
from dreamcatcherd.daemon.cycle import close_frame, poll
from dreamcatcherd.daemon.long_steps import LongSteps
from dreamcatcherd.daemon.primary import Primary
from dreamcatcherd.engine import large_merge
from dreamcatcherd.engine.pools import Function, InlinePool, Task
from dreamcatcherd.git.protocols import Store
from dreamcatcherd.observe.logs import CycleLog
from dreamcatcherd.stages import merge as merge_stage
from dreamcatcherd.stages.delta_reader import with_body
from tests.law.engines import engine_on
from tests.law.fleet import MAIN, commit_files, new_primary

DELTAS = 60
_Tag = TypeVar("_Tag")


class Lines:
    """A log that keeps what it is given."""

    def __init__(self) -> None:
        self.kept: list[tuple[str, dict[str, Any]]] = []

    def info(self, event: str, **values: Any) -> None:
        self.kept.append((event, values))

    debug = warning = error = info


class Reporting(InlinePool):
    """Workers after each of whose results the timer's function is called."""

    def __init__(self, report: Callable[[], None]) -> None:
        self._report = report

    def run(self, function: Function, tasks: Iterable[Task[_Tag]]) -> Iterator[tuple[_Tag, bytes]]:
        for one in super().run(function, tasks):
            yield one
            self._report()


@pytest.fixture
def lines() -> Lines:
    return Lines()


@pytest.fixture
def steps(lines: Lines, monkeypatch: pytest.MonkeyPatch) -> LongSteps:
    """Reports on steps of any length."""
    monkeypatch.setattr(long_steps, "LONG_S", 0.0)
    return LongSteps(CycleLog(lines))


@pytest.fixture
def primary() -> Primary:
    """A primary with a frame of a few deltas."""
    found = new_primary()
    body = {"frame": 1, "utc": "2026-01-01T00:00:00Z", "observations": ["x" * 100]}
    files = {
        f"state/stream_deltas/1/{number}.json": json.dumps({**body, "stream_id": f"s{number}"}).encode()
        for number in range(DELTAS)
    }
    commit_files(found.store, MAIN, files)
    return found


def reported(lines: Lines) -> list[dict[str, Any]]:
    """The lines about a close, without the time that it has taken."""
    found = [values for event, values in lines.kept if event == "still closing"]
    for values in found:
        assert values.pop("seconds") >= 0
    return found


def assert_goes_on(found: list[dict[str, Any]]) -> None:
    """Each line shows at least as much done as the one before, with a rate and a remaining time."""
    done = [values["done"] for values in found if "done" in values]
    assert len(done) > 2
    assert done == sorted(done)
    assert done[0] < done[-1] <= DELTAS
    for values in found:
        assert (values["frame"], values["phase"], values["deltas"]) == (1, "merge", DELTAS)
        if "done" in values:
            assert values["per_s"] >= 0
            assert values["left_s"] >= 0


def test_a_long_merge_by_workers_says_how_far_it_is(
    steps: LongSteps, primary: Primary, lines: Lines, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Frame, phase, deltas done of all, rate and remaining seconds, from the first chunk to the last part."""
    monkeypatch.setattr(large_merge, "TASK_ITEMS", 10)
    monkeypatch.setattr(large_merge, "PART_COST", 2_000)
    primary.engine = engine_on(Reporting(steps.report))
    with steps.timed(primary):
        poll(primary)
        close_frame(primary, "test")
    assert_goes_on(reported(lines))
    assert primary.merging.done == DELTAS


def test_a_long_merge_inline_says_how_far_it_is(
    steps: LongSteps, primary: Primary, lines: Lines, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A merge in this process goes through the deltas once for each part of its records: each pass counts."""
    monkeypatch.setattr(merge_stage, "COUNTED", 5)
    for module in ("dreamcatcherd.stages.merge", "dreamcatcherd.core.merge"):
        monkeypatch.setattr(f"{module}.AT_ONCE", 4_000)

    def reporting(store: Store, delta: Delta, settings: Settings) -> Delta:
        steps.report()
        return with_body(store, delta, settings)

    monkeypatch.setattr(merge_stage, "with_body", reporting)
    with steps.timed(primary):
        close_frame(primary, "test")
    assert_goes_on(reported(lines))


def test_reading_and_other_phases_are_named(steps: LongSteps, primary: Primary, lines: Lines) -> None:
    """Before a close has read what waits, and in a phase that counts nothing."""
    with steps.timed(primary):
        steps.report()
        poll(primary)
        close_frame(primary, "test")
        steps.report()
    assert [event for event, _ in lines.kept] == ["still reading", "still closing"]
    assert lines.kept[1][1]["phase"] == "fetch"  # where a close that lost the race would go on


def test_a_short_step_and_no_step_say_nothing(lines: Lines, primary: Primary) -> None:
    """The line comes every half minute, and only while a step runs."""
    steps = LongSteps(CycleLog(lines))
    with steps.timed(primary):
        steps.report()
    steps.report()
    assert lines.kept == []
