"""The histories of the benchmarks of growth are ordinary ones."""

from __future__ import annotations

import subprocess
from pathlib import Path

from dreamcatcherd.git.local import LocalStore
from dreamcatcherd.history.receipts import receipts
from dreamcatcherd.history.verify import read_history, verify_frame
from dreamcatcherd.stages.published import load_published
from tests.bench.long_history import MAIN, make_history


def test_a_generated_history_is_what_the_deltas_give(tmp_path: Path) -> None:
    """30 frames with a conflict, a late delta and a duplicate: git finds no fault, every frame verifies, and receipts
    name the outcomes."""
    repository = tmp_path / "long.git"
    make_history(repository, 30, twice=20)
    subprocess.run(["git", "-C", str(repository), "fsck", "--strict"], check=True, capture_output=True)
    store = LocalStore(repository)
    history = read_history(store, store.refs(), MAIN)
    assert [link.frame for link in history.links] == list(range(1, 31))
    assert all(verify_frame(store, history, at) is None for at in range(30))
    base = load_published(store, store.refs(), MAIN)
    folder = "state/stream_deltas"
    for path, outcome, frame in (
        (f"{folder}/22/stream-3-25.json", "late", 25),
        (f"{folder}/19/again-20.json", "duplicate", 20),
        (f"{folder}/10/stream-2-10.json", "merged", 10),
    ):
        assert [(one.outcome, one.frame) for one in receipts(store, base, [], path)] == [(outcome, frame)]
    (loser,) = receipts(store, base, [], f"{folder}/10/stream-2-10.json")
    assert [one.winner.stream_id for one in loser.lost] == ["stream-3"]
