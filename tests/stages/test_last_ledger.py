"""The ledger of the last frame, which may be large, when the next frame closes."""

from __future__ import annotations

import pytest

from dreamcatcherd.core.paths import LEDGER, ledger_path
from dreamcatcherd.core.tree import blob_at
from dreamcatcherd.daemon.cycle import close_frame
from dreamcatcherd.testing.memory import MemoryStore
from tests.law.fleet import MAIN, commit_files, primary_on
from tests.stages.tools import FOLDER, counting_reads, text


@pytest.mark.parametrize(("fresh", "times"), [(True, 1), (False, 0)])
def test_the_last_ledger_is_read_at_most_once(monkeypatch: pytest.MonkeyPatch, fresh: bool, times: int) -> None:
    """A primary that just started reads the last ledger once to close the next frame; one that wrote it, never."""
    store = MemoryStore()
    primary = primary_on(store)
    for frame in (1, 2):
        commit_files(store, MAIN, {f"{FOLDER}/{frame}/a.json": text(frame)})
        close_frame(primary, "test")
    tree = store.commit(store.refs()[MAIN]).tree
    last = blob_at(store, tree, f"{LEDGER}/{ledger_path(2)}")
    commit_files(store, MAIN, {f"{FOLDER}/3/a.json": text(3)})
    reads = counting_reads(store, monkeypatch)
    report = close_frame(primary_on(store) if fresh else primary, "test")
    assert report.ledger is not None
    assert report.ledger.counts.deltas == 1
    assert last is not None
    assert reads[last] == times
