"""Delta files leave the newest tree, and nothing else changes: history has them, every command finds them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from dreamcatcherd.core import paths
from dreamcatcherd.core.frames import Closing
from dreamcatcherd.core.snapshot import get_keyed, open_snapshot
from dreamcatcherd.core.tree import read_tree, subtree
from dreamcatcherd.daemon.primary import Primary
from dreamcatcherd.history.provenance import explain_item
from dreamcatcherd.history.receipts import receipts
from dreamcatcherd.history.replay import closed_frames, replay_to
from dreamcatcherd.imports.new_repository import create
from tests.history.history import grow
from tests.history.tamper import chain
from tests.history.test_verify import verify
from tests.law.fleet import MAIN, NOW, commit_files, new_primary, primary_on
from tests.stages.tools import FOLDER, close, content, put, stands, text


@pytest.fixture(params=["memory", "git"])
def primary(request: pytest.FixtureRequest, tmp_path: Path) -> Primary:
    """A primary that keeps the delta files of two closed frames."""
    git = request.param == "git"
    made = primary_on(create(tmp_path / "fleet.git", 1, NOW, Closing("manual"))) if git else new_primary(b"")
    made.deltas_frames = 2
    return made


def frames_in_tree(primary: Primary) -> set[str]:
    store = primary.store
    tree = store.commit(store.refs()[MAIN]).tree
    return set(read_tree(store, subtree(store, tree, paths.DELTAS)))


def test_what_a_close_lists_stays_until_the_next_one(primary: Primary) -> None:
    """A late flat delta of an old frame and its attachments are in the tree after the close that merges it, so that its
    worker sees it arrive; the next close takes both away."""
    for _ in range(3):
        close(primary)
    body: dict[str, Any] = {"posts_created": [{"number": 1, "body_ref": "b.md"}]}
    late = {f"{FOLDER}/frame-1-f.json": text(1, "f", **body), f"{FOLDER}/frame-1-f/b.md": b"text"}
    commit_files(primary.store, MAIN, late)
    assert [row.stream_id for row in close(primary).deltas] == ["f"]
    assert frames_in_tree(primary) == {"frame-1-f.json", "frame-1-f"}
    close(primary)
    assert frames_in_tree(primary) == set()


def test_delta_files_leave_after_so_many_frames_and_nothing_misses_them(primary: Primary) -> None:
    """Folders, flat files and attachments go, two frames after their own; nobody is blamed, all answers stay."""
    store = primary.store
    body: dict[str, Any] = {"posts_created": [{"number": 1, "body_ref": "b.md"}], "observations": [1]}
    commit_files(store, "refs/heads/dc/s", {f"{FOLDER}/1/a.json": text(1, **body), f"{FOLDER}/1/a/b.md": b"text"})
    flat = {f"{FOLDER}/frame-1-f.json": text(1, "f", 5), f"{FOLDER}/frame-1-f/x.md": b"x", f"{FOLDER}/notes.txt": b"n"}
    commit_files(store, MAIN, flat)
    commit_files(store, MAIN, {f"{FOLDER}/9/early.json": text(9, "e")})
    close(primary)
    close(primary)
    assert frames_in_tree(primary) == {"1", "9", "frame-1-f.json", "frame-1-f", "notes.txt"}
    commit_files(store, MAIN, {f"{FOLDER}/3/c.json": text(3, number=3)})
    assert close(primary).violations == []
    assert frames_in_tree(primary) == {"3", "9", "notes.txt"}
    assert close(primary).violations == []
    base = primary.load_published(store.refs())
    (receipt,) = receipts(store, base, [], f"{FOLDER}/1/a.json")
    assert (receipt.outcome, receipt.frame) == ("merged", 1)
    row = base.settings.table["posts"]
    item = get_keyed(store, open_snapshot(store, base.snapshot), row, [1])
    assert item
    told = explain_item(store, base.ledgers, row, item).fields["body"]
    assert (told.value, told.path, told.author) == ("text", f"{FOLDER}/1/a.json", "worker <worker@localhost>")
    assert verify(primary).ok
    assert replay_to(store, closed_frames(store, chain(store)), 4).tree == base.snapshot


def test_a_late_delta_is_seen_for_a_frame_before_it_leaves(primary: Primary) -> None:
    """A late delta for a frame long over merges, stands in the tree, and leaves with the next close."""
    store = primary.store
    for _ in range(4):
        close(primary)
    commit_files(store, "refs/heads/dc/s", {f"{FOLDER}/1/late.json": text(1)}, orphan=True)
    ledger = close(primary)
    assert (ledger.counts.late, content(store, f"{FOLDER}/1/late.json")) == (1, text(1))
    assert close(primary).violations == []
    assert stands(store, f"{FOLDER}/1/late.json") is None
    again = commit_files(store, "refs/heads/dc/t", {f"{FOLDER}/1/again.json": text(1, "t")}, orphan=True)
    assert store.commit(again).parents == ()
    assert [row.path for row in close(primary).deltas] == [f"{FOLDER}/1/again.json"]


def test_what_somebody_deletes_comes_back_unless_its_time_is_over(primary: Primary) -> None:
    """A deletion by others is still a violation; the file is put back while it belongs in the tree."""
    store = primary.store
    commit_files(store, MAIN, {f"{FOLDER}/1/a.json": text(1)})
    commit_files(store, MAIN, {f"{FOLDER}/2/b.json": text(2, number=2)})
    close(primary)
    put(store, MAIN, {f"{FOLDER}/1/a.json": None})
    assert [row.kind for row in close(primary).violations] == ["delta-deleted"]
    assert stands(store, f"{FOLDER}/1/a.json")
    put(store, MAIN, {f"{FOLDER}/1/a.json": None, f"{FOLDER}/2/b.json": None})
    assert [row.kind for row in close(primary).violations] == ["delta-deleted", "delta-deleted"]
    assert stands(store, f"{FOLDER}/1/a.json") is None
    assert stands(store, f"{FOLDER}/2/b.json")


def test_with_and_without_retention_the_digests_are_the_same() -> None:
    """Thirty generated frames come to the same snapshots whether delta files leave or not, and both verify."""
    kept, pruned = new_primary(), new_primary()
    pruned.deltas_frames = 3
    for primary in (kept, pruned):
        grow(primary, 30, seed=4)
    digests = [
        [chapter.ledger.snapshot for chapter in closed_frames(one.store, chain(one.store))] for one in (kept, pruned)
    ]
    assert digests[0] == digests[1]
    assert verify(pruned).ok
    assert len(frames_in_tree(pruned)) < 12 < len(frames_in_tree(kept))
