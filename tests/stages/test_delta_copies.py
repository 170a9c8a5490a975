"""Lane deltas in the tree of `main`: whatever their paths, each of them is there afterwards.

Contract: docs/protocol.md#publishing."""

from __future__ import annotations

from itertools import permutations

import pytest

from dreamcatcherd.core.tree import walk
from tests.law.fleet import MAIN, close, commit_files, new_primary
from tests.stages.tools import FOLDER, text

CLASHING = [
    {"d.json": 1, "d.json/e.json": 2},
    {"d.json/e.json": 1, "d.json": 2},
    {"d.json/e.json/f.json": 1, "d.json/e.json": 2, "d.json": 3},
    {"d.json": 1, "d.json/e.json": 2, "d.json/e.json/f.json": 3},
    {"a/b.json/c.json": 1, "a/B.json": 2, "A/b.json": 3},
    {"A/b.json": 1, "a/B.json": 2, "a/b.json/c.json": 3},
]


@pytest.mark.parametrize("names", CLASHING)
def test_a_folder_that_one_delta_makes_is_no_place_for_a_file(names: dict[str, int]) -> None:
    """Lanes whose paths cannot all be in one tree: every delta is merged, and every one of their files is on `main`."""
    for order in permutations(names):
        primary = new_primary()
        store = primary.store
        blobs = set()
        for second, name in enumerate(order):
            raw = text(1, f"s{second}", names[name], observations=[name])
            blobs.add(store.write("blob", raw))
            commit_files(store, f"refs/heads/dc/s{second}", {f"{FOLDER}/1/{name}": raw}, orphan=True)
        close(primary)
        tree = store.commit(store.refs()[MAIN]).tree
        there = {entry.oid for path, entry in walk(store, tree) if path.startswith(FOLDER)}
        assert blobs <= there, order
        at = [path.lower() for path, _ in walk(store, tree)]
        assert len(set(at)) == len(at)
        assert not {path for path in at if any(other.startswith(path + "/") for other in at)}


def test_an_attachment_replaces_no_file() -> None:
    """If a file of `main` has the name of an attachment's folder, the delta and its attachment move next to it."""
    primary = new_primary()
    store = primary.store
    mine, notes = f"{FOLDER}/1/notes.json", text(1, "main", 1)
    commit_files(store, MAIN, {mine: notes})
    body = {"posts_created": [{"number": 1, "body_ref": "notes.json/b.md"}]}
    commit_files(
        store,
        "refs/heads/dc/s",
        {f"{FOLDER}/1/a.json": text(1, "s", 2, **body), f"{FOLDER}/1/notes.json/b.md": b"a text"},
        orphan=True,
    )
    close(primary)
    tree = dict(walk(store, store.commit(store.refs()[MAIN]).tree))
    assert store.read(tree[mine].oid) == notes
    contents = {store.read(entry.oid) for path, entry in tree.items() if path.startswith(FOLDER)}
    assert contents == {notes, text(1, "s", 2, **body), b"a text"}
