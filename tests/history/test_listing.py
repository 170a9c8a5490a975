"""Pages of collections are in the order of `show` and complete, and their cost is bounded."""

from __future__ import annotations

from typing import Any

import pytest

from dreamcatcherd.core.errors import RefusedError, UsageError
from dreamcatcherd.core.snapshot import Item
from dreamcatcherd.daemon.cycle import close_frame
from dreamcatcherd.daemon.primary import Primary
from dreamcatcherd.history import listing
from dreamcatcherd.history.listing import Listings
from dreamcatcherd.history.queries import entities, view
from tests.law.fleet import MAIN, commit_files, new_primary
from tests.stages.tools import FOLDER, text

SETTINGS = b"""
[collections.notes]
section = "notes"
key = [["id"], ["title"]]
rule = "lww"
delete = "notes_removed"
"""
COLLECTIONS = (
    *("posts", "comments", "chapters", "books", "agents", "reactions", "counters", "observations", "notes"),
    *("library", "book_progress", "extra/odd", "extra/odd/er"),
)


def filled(settings: bytes = SETTINGS, many: int = 400) -> Primary:
    """A primary with one closed frame: every collection, keys of all types, tombstones, and files that were split."""
    primary = new_primary(settings)
    names = ["a", "b c", "é", "\U0001f600", "z" * 2_000, "z" * 2_001, "0", "-1", "007", "a/b"]
    files = {
        f"{FOLDER}/1/{stream}.json": text(
            1,
            stream,
            number,
            posts_created=[{"number": at * 7 - 50, "title": f"{stream} {at}"} for at in range(many)],
            comments_added=[{"discussion_number": 1, "author": stream, "body": name} for name in names]
            + [{"discussion_number": 1, "author": stream}, {"id": 5}, {"id": "five"}],
            chapters_added=[{"book": name, "chapter": at, "author": stream} for name in names for at in range(4)],
            books_started=[{"book": name, "target_chapters": 2} for name in names],
            profile_updates={name: {"bio": stream} for name in names} | {f"agent-{at}": {} for at in range(many)},
            reactions_added=["1:up", "two", {"id": 9, "type": "x"}],
            counters=dict.fromkeys(names, 1.5),
            observations=[stream, 1, None],
            notes=[{"id": at} for at in range(20)] + [{"title": str(at) + "t"} for at in range(20)],
            notes_removed=[3, 4, {"title": "7t"}],
            **{"": ["nameless"], "odd": [1, 2], "odd/er": list(range(many))},
        )
        for number, stream in enumerate(("s", "t é"))
    }
    commit_files(primary.store, MAIN, files)
    close_frame(primary, "test")
    return primary


@pytest.fixture(scope="module")
def primary() -> Primary:
    return filled()


def paged(primary: Primary, collection: str, limit: int, kept: Listings | None = None) -> list[Item]:
    assert primary.last is not None
    seen = view(primary.store, primary.last.published)
    kept = kept or Listings()
    found: list[Item] = []
    after = None
    while True:
        page = kept.page(primary.store, seen, collection, limit, after)
        assert len(page.items) == limit or page.after is None
        found += page.items
        if page.after is None:
            return found
        after = page.after


@pytest.mark.parametrize("collection", COLLECTIONS)
@pytest.mark.parametrize("limit", [1, 7, 1_000])
def test_pages_are_what_show_prints(primary: Primary, collection: str, limit: int) -> None:
    """One after another they are all records in the same order; two long keys that begin alike may change places."""
    assert primary.last is not None
    seen = view(primary.store, primary.last.published)
    expected = entities(primary.store, seen, collection, None)
    found = paged(primary, collection, limit)
    assert sorted(map(repr, found)) == sorted(map(repr, expected))
    short = [item for item in expected if len(repr(item)) < 1_500]
    assert [item for item in found if len(repr(item)) < 1_500] == short
    assert found


def test_tombstones_are_left_out(primary: Primary) -> None:
    """As everywhere else: deleted entities have no place on any page."""
    ids = [item.record.get("id", item.record.get("title")) for item in paged(primary, "notes", 5)]
    assert 3 not in ids
    assert "7t" not in ids
    assert len(ids) == 37


def test_a_place_stays_good_when_the_state_changes() -> None:
    """What is there all the time is listed once; what is added is listed if it is behind the place."""
    primary = filled()
    kept = Listings()
    assert primary.last is not None
    first = kept.page(primary.store, view(primary.store, primary.last.published), "posts", 100)
    added = [{"number": -51, "title": "before"}, {"number": 5_000, "title": "behind"}]
    commit_files(primary.store, MAIN, {f"{FOLDER}/2/n.json": text(2, "n", 0, posts_created=added)})
    close_frame(primary, "test")
    seen = view(primary.store, primary.last.published)
    rest = kept.page(primary.store, seen, "posts", 1_000, first.after)
    numbers = [item.record["discussion_number"] for item in [*first.items, *rest.items]]
    assert numbers == [at * 7 - 50 for at in range(400)] + [5_000]


def test_a_frame_costs_only_the_files_that_it_changed() -> None:
    """After a change of one entity the listing reads its file again, and no other."""
    primary = filled()
    kept = Listings()
    paged(primary, "posts", 1_000, kept)
    commit_files(primary.store, MAIN, {f"{FOLDER}/2/n.json": text(2, "n", 0, posts_created=[{"number": 6, "x": 1}])})
    close_frame(primary, "test")
    before = len(kept._files)
    paged(primary, "posts", 1_000, kept)
    assert len(kept._files) == before + 1


def test_what_is_kept_is_bounded(primary: Primary, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever is asked for, so many places are kept and no more than one file's beyond; answers stay right."""
    monkeypatch.setattr(listing, "PLACES_KEPT", 500)
    kept = Listings()
    for _ in range(2):
        for collection in COLLECTIONS:
            assert paged(primary, collection, 50, kept) == paged(primary, collection, 1_000)
            held = sum(map(len, kept._files.values())) + sum(map(len, kept._lists.values()))
            assert held == kept._places
            assert held <= 500 + 400


def test_a_collection_that_is_too_large_says_so(primary: Primary, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is refused with what to do instead, and not listed in part."""
    monkeypatch.setattr(listing, "LISTED", 100)
    with pytest.raises(UsageError, match="more than 100 entities"):
        paged(primary, "posts", 10)


def test_a_page_ends_before_it_is_too_long(primary: Primary) -> None:
    """So many bytes, except for one record alone, and the next page begins with what was left out."""
    assert primary.last is not None
    seen = view(primary.store, primary.last.published)
    found: list[Any] = []
    after, pages = None, 0
    while True:
        page = Listings().page(primary.store, seen, "agents", 1_000, after, 3_000)
        found += page.items
        pages += 1
        if page.after is None:
            break
        after = page.after
    assert found == paged(primary, "agents", 1_000)
    assert pages > 15


def test_sections_are_counted_by_name(primary: Primary) -> None:
    """Each section of extra with its records, sorted."""
    assert primary.last is not None
    seen = view(primary.store, primary.last.published)
    assert Listings().sections(primary.store, seen) == {"": 2, "odd": 4, "odd/er": 800}
    assert [item.record for item in paged(primary, "extra/", 1)] == [{"value": "nameless"}] * 2


def test_an_unknown_collection_is_refused(primary: Primary) -> None:
    """By name, with those that there are."""
    with pytest.raises(RefusedError, match="no collection"):
        paged(primary, "extra", 1)
