"""Others move `main` between a primary's read and its write, and while it writes: nothing is lost, nothing forced."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from dreamcatcherd.core.report import CycleReport
from dreamcatcherd.daemon import cycle
from dreamcatcherd.daemon.cycle import close_frame
from dreamcatcherd.daemon.primary import Primary
from dreamcatcherd.git.protocols import Move
from tests.e2e.primaries import assert_one_commit_a_frame, assert_only_fast_forwards, observations, primary_on
from tests.e2e.servers import Served, Server, hooked
from tests.e2e.tools import clone, delta, export_of, git


def commits_ahead(served: Served, folder: Path, count: int) -> tuple[Path, list[str]]:
    """A worker's clone with so many commits, each upon the one before and with a delta of its own; none is pushed."""
    worker = clone(served.url, folder, env=served.git_env)
    made = []
    for number in range(count):
        path = worker / f"state/stream_deltas/1/{number}.json"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(delta(1, f"rival-{number}", observations=[number]))
        git(worker, "add", "-A")
        git(worker, "commit", "-q", "-m", f"rival {number}")
        made.append(git(worker, "rev-parse", "HEAD"))
    return worker, made


class Overtaken:
    """In place of a store's `move_refs`: before each of the first moves of `main` somebody else's push lands."""

    def __init__(self, primary: Primary, pushes: Iterator[object]) -> None:
        self._move_refs = primary.store.move_refs
        self._pushes = pushes

    def __call__(self, moves: list[Move], reason: str) -> bool:
        overtaken = next(self._pushes, None) is not None
        moved = self._move_refs(moves, reason)
        assert moved is not overtaken
        return moved


def assert_all_landed(served: Served, report: CycleReport, rivals: list[str]) -> None:
    """One frame, closed on top of all the others' commits; each of their deltas is merged, none is there twice."""
    repository = served.repository
    assert report.ledger is not None
    assert sorted(row.stream_id for row in report.ledger.deltas) == sorted(f"rival-{n}" for n in range(len(rivals)))
    assert sorted(observations(export_of(repository))) == list(range(len(rivals)))
    reachable = set(git(repository, "rev-list", "main").splitlines())
    assert set(rivals) <= reachable
    assert git(repository, "rev-parse", "main", "refs/dreamcatcher/published").split() == [report.commit] * 2
    assert_only_fast_forwards(repository)
    assert_one_commit_a_frame(repository)


def test_a_primary_that_is_overtaken_again_and_again_loses_and_forces_nothing(
    served: Served, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In one close `main` moves 50 times between the read and the write, of a remote 12 times: what came is judged, and
    `main` only grows."""
    monkeypatch.setattr(cycle, "RACE_PAUSE_S", (0.0, 0.0))
    races = 12 if isinstance(served, Server) else 50
    worker, rivals = commits_ahead(served, tmp_path / "rival", races)
    target = str(served.repository)  # the fast way in: what races is the primary's push, through its server
    pushes = (git(worker, "push", "-q", target, f"{oid}:main", check=True) or oid for oid in rivals)
    primary = primary_on(served, tmp_path / "primary")
    monkeypatch.setattr(primary.store, "move_refs", Overtaken(primary, pushes))
    report = close_frame(primary, "test")
    assert report.races == races
    assert_all_landed(served, report, rivals)


MOVE_MAIN = """
next=$(sed -n 1p {todo}); sed -i 1d {todo}
test -z "$next" && exit 0
unset GIT_QUARANTINE_PATH GIT_OBJECT_DIRECTORY GIT_ALTERNATE_OBJECT_DIRECTORIES
git update-ref -m rival refs/heads/main "$next"
"""


def test_a_head_that_moves_while_a_push_is_under_way_is_not_overwritten(server: Server, tmp_path: Path) -> None:
    """The server has told its refs and is about to take the push when `main` moves, 8 times in one close."""
    worker, rivals = commits_ahead(server, tmp_path / "rival", 8)
    git(worker, "push", "-q", str(server.repository), f"{rivals[-1]}:refs/rival/last")
    todo = tmp_path / "todo"
    todo.write_text("".join(f"{oid}\n" for oid in rivals))
    with hooked(server.repository, MOVE_MAIN.format(todo=todo)):
        report = close_frame(primary_on(server, tmp_path / "primary"), "test")
    assert report.races == 8
    assert_all_landed(server, report, rivals)
