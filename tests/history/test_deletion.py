"""Deleted entities in everything that looks at a snapshot (docs/protocol.md#deletion)."""

from __future__ import annotations

import itertools
import json
from typing import Any

import pytest

from dreamcatcherd.core.diff import compare, diff_json
from dreamcatcherd.core.errors import RefusedError
from dreamcatcherd.core.guard import lost_entities
from dreamcatcherd.daemon.primary import Primary
from dreamcatcherd.history import queries
from tests.law.fleet import MAIN, commit_files, new_primary
from tests.law.test_law import digest_of, exported
from tests.stages.tools import FOLDER, close, text

SETTINGS = b"""
[collections.follows]
key = ["follower", "followee"]
delete = "unfollowed"
[collections.chapters]
delete = "chapters_removed"
[collections.books]
delete = "books_removed"
"""
EDGE = {"follower": "ada", "followee": "bob"}
FOLLOW = text(1, number=1, follows=[{**EDGE, "since": "monday"}])
UNFOLLOW = text(1, number=2, unfollowed=[["ada", "bob"]])
AGAIN = text(1, number=3, follows=[EDGE])


def merged(*frames: list[bytes]) -> Primary:
    """A primary that closed a frame for each list of deltas."""
    primary = new_primary(SETTINGS)
    for number, deltas in enumerate(frames):
        for at, raw in enumerate(deltas):
            commit_files(primary.store, MAIN, {f"{FOLDER}/1/{number}-{at}.json": raw})
        close(primary)
    return primary


def shown(primary: Primary, collection: str, key: str | None = None) -> list[Any]:
    base = primary.load_published(primary.store.refs())
    seen = queries.view(primary.store, base, None)
    return [item.record for item in queries.entities(primary.store, seen, collection, key)]


@pytest.mark.parametrize("order", [*itertools.permutations([FOLLOW, UNFOLLOW, AGAIN])])
def test_following_again_ends_with_the_last_of_the_three(order: tuple[bytes, ...]) -> None:
    """In any order, in one frame or in three, the edge is there, without what was said before it was cut."""
    primary = merged([order[0]], [order[1]], [order[2]])
    assert shown(primary, "follows") == [EDGE]
    assert digest_of(primary) == digest_of(merged([FOLLOW, UNFOLLOW, AGAIN], [], []))


def test_a_deleted_entity_is_hidden_counted_out_and_explained() -> None:
    """show does not list it, the ledger does not count it, the export has its tombstone, diff lists it as removed and
    as added again, and explain names the delta that deleted it."""
    primary = merged([FOLLOW], [UNFOLLOW], [AGAIN])
    store = primary.store
    base = primary.load_published(store.refs())
    heads = [queries.closed_head(store, base, frame) for frame in (1, 2, 3)]
    assert [head.counts.entities.get("follows") for head in heads] == [1, 0, 1]
    one, two, three = (head.snapshot for head in heads)
    table = base.settings.table
    gone = diff_json(compare(store, one, two, table), 1, 2)
    assert [row["followee"] for row in gone["removed"]["follows"]] == ["bob"]
    assert (gone["added"], gone["changed"]) == ({}, {})
    assert list(diff_json(compare(store, two, three, table), 2, 3)["added"]) == ["follows"]
    assert list(lost_entities(store, one, two)) == [], "the guard sees the tombstone"
    found = queries.explain_entity(store, base, "follows", "ada/bob", frame=2)
    assert found.deleted is not None
    assert (found.deleted.gone, found.deleted.path, found.deleted.frame) == (True, f"{FOLDER}/1/1-0.json", 2)
    now = queries.explain_entity(store, base, "follows", "ada/bob")
    assert now.deleted is not None
    assert not now.deleted.gone
    (row,) = exported(merged([FOLLOW], [UNFOLLOW]))["state"]["follows"]
    assert sorted(row) == ["_deleted", "_stamps", "followee", "follower"]
    with pytest.raises(RefusedError, match="has no"):
        queries.explain_entity(store, base, "follows", "ada/eve")


def test_a_deletion_of_what_is_not_there_waits_for_it() -> None:
    """A write that comes later and is earlier by its key is deleted, too; a later one is not."""
    primary = merged([UNFOLLOW])
    assert shown(primary, "follows") == []
    assert shown(merged([UNFOLLOW], [FOLLOW]), "follows") == []
    assert shown(merged([UNFOLLOW], [AGAIN]), "follows") == [EDGE]


def test_books_follow_deletions() -> None:
    """A deleted chapter is left out of the compiled book; without its title page a book is not in the library."""
    chapters = [{"book": "b", "chapter": n, "author": "a", "content": f"text {n}"} for n in (1, 2)]
    whole = text(1, number=1, books_started=[{"book": "b", "target_chapters": 2}], chapters_added=chapters)
    shorter = text(1, number=2, chapters_removed=[["b", 2, "a"]])
    primary = merged([whole], [shorter])
    (book,) = exported(primary)["state"]["library"]
    assert [one["number"] for one in book["object"]["chapters"]] == [1]
    assert exported(merged([whole], [shorter], [text(1, number=3, books_removed=["b"])]))["state"]["library"] == []
    assert json.dumps(exported(merged([shorter], [whole]))["state"]) == json.dumps(exported(primary)["state"])
