"""Replay and verify give the same, whichever workers do them."""

from __future__ import annotations

import pytest

from dreamcatcherd.cli.progress import check_frames
from dreamcatcherd.core.errors import RetryableError
from dreamcatcherd.core.export import export
from dreamcatcherd.engine import large_merge
from dreamcatcherd.engine.large_merge import Place, Spent
from dreamcatcherd.engine.pools import Pool
from dreamcatcherd.engine.selection import Engine, folder_of
from dreamcatcherd.git.local import LocalStore
from dreamcatcherd.history.replay import ReplaySpread, closed_frames, replay_hindsight, replay_to
from dreamcatcherd.history.verify import Verdict, read_history
from dreamcatcherd.history.verify_spread import verify_frames
from tests.history.tamper import chain
from tests.law.fleet import MAIN

pytestmark = pytest.mark.xdist_group("engine")  # what all of them need is made once


def spread_over(pool: Pool, store: LocalStore, noted: list[int], threshold: int = 0) -> ReplaySpread:
    spent: list[Spent] = []
    return ReplaySpread(pool, Place(store, folder_of(store)), threshold, noted.append, spent.append)


@pytest.fixture
def many_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    """Work is cut as if it were large: chunks of a few deltas, and many parts."""
    monkeypatch.setattr(large_merge, "TASK_ITEMS", 7)
    monkeypatch.setattr(large_merge, "PART_COST", 4_000)
    monkeypatch.setattr(large_merge, "TOGETHER", 30)


@pytest.mark.usefixtures("many_parts")
def test_a_replay_is_the_same_by_any_workers(pool: Pool, history: LocalStore) -> None:
    """Late, early and duplicate deltas, attachments, claims and books, and settings that change: the digest of the
    ledger, after the last frame and after one in the middle."""
    told = list(closed_frames(history, chain(history)))
    for frame in (31, told[-1].link.frame):
        noted: list[int] = []
        done = replay_to(history, told, frame, spread_over(pool, history, noted))
        assert done.tree == told[frame - 1].ledger.snapshot
        assert sum(noted) == done.deltas


@pytest.mark.usefixtures("many_parts")
def test_a_replay_with_hindsight_is_the_same_by_any_workers(pool: Pool, history: LocalStore) -> None:
    """Late deltas in their own frames, and an export of the result that reads all of its objects."""
    told = list(closed_frames(history, chain(history)))
    here = replay_hindsight(history, told, 40)
    there = replay_hindsight(history, told, 40, spread_over(pool, history, []))
    assert there.tree == here.tree
    table = here.chapter.settings.table
    exports = [b"".join(export(one.overlay, one.tree, 40, table, None)) for one in (here, there)]
    assert exports[0] == exports[1]


def test_small_groups_of_deltas_are_merged_here(history: LocalStore, processes: Pool) -> None:
    """Deltas that one settings file places and that are few are merged without workers, the others with them."""
    told = list(closed_frames(history, chain(history)))
    noted: list[int] = []
    done = replay_to(history, told, 60, spread_over(processes, history, noted, threshold=10**6))
    assert (done.tree, sum(noted)) == (told[-1].ledger.snapshot, done.deltas)


def test_verify_is_the_same_by_any_workers(pool: Pool, history: LocalStore) -> None:
    """Every frame is as published, whether workers check runs of frames, or each large frame is merged by them."""
    known = read_history(history, history.refs(), MAIN)
    for frames, threshold in ((range(60), 10**6), (range(20, 28), 1)):
        if pool.workers > 1 or threshold == 1:
            assert list(verify_frames(history, known, frames, pool, threshold)) == [None] * len(frames)


def test_verify_by_workers_names_the_first_bad_frame(history: LocalStore, processes: Pool) -> None:
    """A chain that lacks a snapshot commit is named at the frame where inline names it, with the same words."""
    whole = read_history(history, history.refs(), MAIN)
    broken = whole._replace(links=[link for link in whole.links if link.frame != 23])
    here = [(one.frame, one.why) for one in verify_frames(history, broken, range(59), None, 0) if one]
    there = [(one.frame, one.why) for one in verify_frames(history, broken, range(59), processes, 10**6) if one]
    assert here == there
    assert here[0][0] == 23
    verdict = check_frames(history, broken, None, engine=Engine("processes", 2, threshold=0))
    assert verdict == Verdict(23, False, *here[0])


def test_verify_of_few_deltas_asks_no_worker(history: LocalStore) -> None:
    """Up to the threshold, which counts the deltas of all frames to check, verify stays inline: here the scheduler is
    not there. Beyond it, or with an engine that is named, which has no threshold, workers are asked."""
    known = read_history(history, history.refs(), MAIN)
    deltas = sum(len(one.ledger.deltas) for one in closed_frames(history, known.links))
    lost = pytest.raises(RetryableError, match="is lost or cannot be reached")

    def checked(threshold: int, start: int | None = None) -> Verdict:
        return check_frames(history, known, start, engine=Engine("dask", 1, "tcp://127.0.0.1:1", threshold))

    assert checked(deltas) == Verdict(60, True, None, None)
    assert checked(deltas - 1, start=2) == Verdict(59, True, None, None)
    for threshold in (deltas - 1, 0):
        with lost:
            checked(threshold)
