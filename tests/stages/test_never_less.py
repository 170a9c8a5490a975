"""Never publish less: a snapshot that lacks what was published is neither made, nor believed, nor built upon (§7)."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import pytest

from dreamcatcherd.core import merge as merging
from dreamcatcherd.core import paths
from dreamcatcherd.core.errors import GuardError
from dreamcatcherd.core.ledger import Counts, Ledger, write_ledger
from dreamcatcherd.core.tree import FILE, TREE, Entry, edit, subtree
from dreamcatcherd.daemon.cycle import poll
from dreamcatcherd.daemon.primary import Primary
from dreamcatcherd.git.protocols import Commit, Move, Store
from dreamcatcherd.stages import merge as merge_stage
from dreamcatcherd.stages.snapshot import commit_message
from tests.law.fleet import MAIN, NOW, commit_files
from tests.stages.tools import FOLDER, WHO, close, merged, other, text


def snapshot_of(store: Store, commit: str) -> str:
    found = subtree(store, store.commit(commit).tree, paths.SNAPSHOT)
    assert found is not None
    return found


def craft(
    store: Store, parent: str, snapshot: str, frame: int, previous: str, state: Mapping[str, object] | None = None
) -> str:
    """A snapshot commit that is whole and consistent, whatever its snapshot holds; no ref is moved."""
    ledger = Ledger(frame, snapshot, previous, "interval", None, counts=Counts(0, 0, 0, 0, 0, 0, 0, 0, 0, {}))
    opened = {"frame": frame + 1, "opened_at": None, "closes_at": None, "last_closed": frame, "snapshot": snapshot}
    files = {
        paths.SNAPSHOT: Entry(TREE, snapshot),
        f"{paths.LEDGER}/{paths.ledger_path(frame)}": Entry(FILE, store.write("blob", write_ledger(ledger))),
        paths.FRAME: Entry(FILE, store.write("blob", json.dumps({**opened, **(state or {})}).encode())),
    }
    tree = edit(store, store.commit(parent).tree, dict(files))
    assert tree is not None
    commit = store.write_commit(Commit(tree, (parent,), WHO, NOW // 1_000_000, commit_message(ledger, None)))
    store.flush()
    return commit


def two_frames(primary: Primary) -> tuple[str, str]:
    """Two closed frames with a delta each; returns their snapshot commits."""
    commits = []
    for number in (1, 2):
        commit_files(primary.store, MAIN, {f"{FOLDER}/1/d{number}.json": text(number=number)})
        close(primary)
        commits.append(primary.store.refs()[MAIN])
    return commits[0], commits[1]


def move(store: Store, commit: str) -> None:
    refs = store.refs()
    moves = [Move(ref, commit, refs[ref]) for ref in (MAIN, paths.PUBLISHED)]
    assert store.move_refs(moves, "force")


def test_a_whole_snapshot_that_lacks_an_entity_trips_the_guard_of_who_saw_more(primary: Primary) -> None:
    """Both refs name a consistent commit with less: the primary that saw more publishes nothing until it is mended."""
    store = primary.store
    first, second = two_frames(primary)
    less = craft(store, second, snapshot_of(store, first), 3, snapshot_of(store, second))
    move(store, less)
    for _ in range(2):
        with pytest.raises(GuardError, match=r"lacks .* of (merged|observations)"):
            poll(primary)
        with pytest.raises(GuardError):
            close(primary)
    refs = store.refs()
    assert (refs[MAIN], refs[paths.PUBLISHED]) == (less, less)
    move(store, second)
    ledger = close(primary)
    assert (ledger.frame, ledger.previous) == (3, snapshot_of(store, second))


def test_a_foreign_snapshot_on_main_that_lacks_an_entity_is_not_believed(primary: Primary) -> None:
    """Pushed to `main` alone, it is an edit like any other: put right from the deltas, and named."""
    store = primary.store
    first, second = two_frames(primary)
    less = craft(store, second, snapshot_of(store, first), 3, snapshot_of(store, second))
    assert store.move_refs([Move(MAIN, less, second)], "push")
    for one in (primary, other(store)):
        assert poll(one)[0].pending.frame == 3
    ledger = close(primary)
    assert (ledger.frame, ledger.snapshot) == (3, snapshot_of(store, second))
    assert {row.kind for row in ledger.violations} == {"snapshot-edited", "ledger-edited", "frame-edited"}
    assert {(row.commit, row.author) for row in ledger.violations} == {(less, WHO)}


@pytest.mark.parametrize(
    ("where", "entry"),
    [("state", FILE), ("state/observations.jsonl", TREE), ("merged.jsonl", TREE), ("state/observations", FILE)],
)
def test_a_foreign_snapshot_of_the_wrong_shape_is_not_believed(primary: Primary, where: str, entry: int) -> None:
    """Files where folders should stand, and folders in the place of files, stop nobody."""
    store = primary.store
    _, second = two_frames(primary)
    standing = snapshot_of(store, second)
    blob, tree = store.write("blob", b"no tree"), store.write("tree", b"")
    changes: dict[str, Entry | None] = {where: Entry(entry, tree if entry == TREE else blob)}
    if where == "state/observations":
        changes["state/observations.jsonl"] = None
    crafted = edit(store, standing, changes)
    assert crafted is not None
    forged = craft(store, second, crafted, 3, standing)
    assert store.move_refs([Move(MAIN, forged, second)], "push")
    commit_files(store, MAIN, {f"{FOLDER}/1/d3.json": text(number=3)})
    ledger = close(primary)
    assert (ledger.frame, ledger.previous, merged(ledger)) == (3, standing, ["d3.json"])


@pytest.mark.parametrize("state", [{"frame": 2**40}, {"frame": 3}, {"frame": 4, "last_closed": 2}])
def test_a_foreign_snapshot_that_opens_another_frame_than_the_next_is_not_believed(
    primary: Primary, state: dict[str, int]
) -> None:
    """A commit that is whole in all else cannot skip frames, nor close one twice."""
    store = primary.store
    _, second = two_frames(primary)
    standing = snapshot_of(store, second)
    forged = craft(store, second, standing, 3, standing, state)
    assert store.move_refs([Move(MAIN, forged, second)], "push")
    assert poll(primary)[0].pending.frame == 3
    assert close(primary).frame == 3


def test_a_foreign_snapshot_that_is_right_is_believed(primary: Primary) -> None:
    """What the other tests craft is refused for its fault alone: without one it closes the frame."""
    store = primary.store
    _, second = two_frames(primary)
    standing = snapshot_of(store, second)
    assert store.move_refs([Move(MAIN, craft(store, second, standing, 3, standing), second)], "push")
    assert poll(primary)[0].pending.frame == 4


@pytest.mark.parametrize("what", ["observations", "merged"])
def test_a_merge_that_would_drop_something_is_not_published(
    primary: Primary, what: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Were the merge broken, the guard, which shares no step with it, stops the publication and names what is lost."""
    store = primary.store
    two_frames(primary)
    commit_files(store, MAIN, {f"{FOLDER}/3/d3.json": text(3, number=3)})
    before = store.refs()
    path = {"observations": "state/observations.jsonl", "merged": "merged.jsonl"}[what]

    def broken(*args: Any) -> merging.Merged:
        done = merging.merge(*args)
        less = edit(store, done.tree, {path: Entry(FILE, store.write("blob", b""))})
        assert less is not None
        return done._replace(tree=less)

    monkeypatch.setattr(merge_stage, "merge", broken)
    for _ in range(2):
        with pytest.raises(GuardError, match=rf"lacks .* of {what}") as caught:
            close(primary)
        assert "nothing is published" in caught.value.remedy
    assert store.refs() == before
    monkeypatch.undo()
    assert merged(close(primary)) == ["d3.json"]
