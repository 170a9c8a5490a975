"""Search finds what a plain look at every text finds, page by page, and its cost is bounded."""

from __future__ import annotations

import re
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dreamcatcherd.core.errors import UsageError
from dreamcatcherd.core.snapshot import Item, items, open_snapshot
from dreamcatcherd.daemon.primary import Primary
from dreamcatcherd.history import search as module
from dreamcatcherd.history.queries import SnapshotView, view
from dreamcatcherd.history.search import Hit, search_texts
from tests.history.test_listing import filled
from tests.law.fleet import MAIN, close, commit_files
from tests.stages.tools import FOLDER, text

PRIMARY = filled(many=60)


def seen_in(primary: Primary) -> SnapshotView:
    assert primary.last is not None
    return view(primary.store, primary.last.published)


def found(primary: Primary, wanted: str, limit: int = 10_000) -> list[Hit]:
    """All hits, page by page."""
    hits: list[Hit] = []
    after = None
    while True:
        page = search_texts(primary.store, seen_in(primary), wanted, limit, after)
        assert len(page.hits) <= limit
        hits += page.hits
        if page.after is None:
            return hits
        after = page.after


def looked_at(primary: Primary, wanted: str) -> list[tuple[str, str]]:
    """The collection and dotted path of every text that contains the words, by a look at each."""
    seen = seen_in(primary)
    folders = open_snapshot(primary.store, seen.tree)
    hits = []

    def walk(collection: str, value: Any, path: list[str], keys: tuple[str, ...]) -> None:
        if isinstance(value, str) and re.search(re.escape(wanted), value, re.IGNORECASE):
            hits.append((collection, ".".join(path)))
        elif type(value) is int and len(path) == 1 and path[0] in keys and str(value) == wanted:
            hits.append((collection, path[0]))
        elif isinstance(value, dict):
            for name, one in value.items():
                walk(collection, one, [*path, name], keys)
        elif isinstance(value, list):
            for at, one in enumerate(value):
                walk(collection, one, [*path, str(at)], keys)

    for name in (*seen.settings.table, "extra"):
        row = seen.settings.table.get(name)
        for item in items(primary.store, folders, seen.settings.table, name):
            walk(item.collection, item.record, [], row.key_names if row is not None and row.rule != "append" else ())
    return sorted(hits)


WORDS = ["s", "T É", "é", "É", "zz", "agent-1", "7", "-50", "5", "five", "a/b", "nowhere", "😀", "b c", "1t"]
WORDS += ['"', "\\", "\n"]


@settings(max_examples=40)
@given(st.sampled_from(WORDS) | st.text(min_size=1, max_size=3), st.sampled_from([40, 300, 10_000]))
def test_a_search_finds_what_a_look_at_every_text_finds(wanted: str, limit: int) -> None:
    """Whatever is searched for, and however small the pages are: nothing twice, nothing left out."""
    hits = found(PRIMARY, wanted, limit)
    assert sorted((hit.collection, hit.field) for hit in hits) == looked_at(PRIMARY, wanted)


def test_a_hit_names_its_entity_and_shows_the_text_around() -> None:
    """With the key for explain, the dotted path, and a line of the text, cut on both sides."""
    primary = filled(b"", many=1)
    long = "one\n two " * 40 + "needle " + "three\t four " * 40
    files = {f"{FOLDER}/2/x.json": text(2, "x", 0, posts_created=[{"number": 9, "meta": {"tags": ["a", long]}}])}
    commit_files(primary.store, MAIN, files)
    close(primary)
    (hit,) = found(primary, "NEEDLE")
    assert (hit.collection, hit.key, hit.field) == ("posts", 9, "meta.tags.1")
    assert "two needle three" in hit.snippet
    assert hit.snippet.startswith(module.CUT)
    assert hit.snippet.endswith(module.CUT)
    assert "\n" not in hit.snippet
    assert len(hit.snippet) <= module.AROUND + 2
    (key,) = [hit for hit in found(primary, "z" * 2_001) if hit.collection == "books" and hit.field == "book"]
    assert key.key == "z" * 2_001
    assert {hit.key for hit in found(primary, "nameless")} == {None}


def test_a_costly_search_goes_on_with_the_next_page(monkeypatch: pytest.MonkeyPatch) -> None:
    """A page ends when it has read enough, with few hits or none, and all pages together have all of them."""
    whole = found(PRIMARY, "agent-1")
    monkeypatch.setattr(module, "SEARCH_COST", 2_000)
    pages = [search_texts(PRIMARY.store, seen_in(PRIMARY), "agent-1", 100)]
    while (after := pages[-1].after) is not None:
        pages.append(search_texts(PRIMARY.store, seen_in(PRIMARY), "agent-1", 100, after))
    assert [hit for page in pages for hit in page.hits] == whole
    assert len(pages) > 10
    assert any(not page.hits for page in pages)


def test_a_page_of_long_keys_is_cut(monkeypatch: pytest.MonkeyPatch) -> None:
    """So many bytes of hits, and at least one."""
    monkeypatch.setattr(module, "HITS_BYTES", 3_000)
    page = search_texts(PRIMARY.store, seen_in(PRIMARY), "zzz", 100)
    assert 1 <= len(page.hits) <= 3
    assert page.after is not None
    assert len(found(PRIMARY, "zzz", 100)) == len(looked_at(PRIMARY, "zzz"))


def test_long_names_of_many_members_cost_little(monkeypatch: pytest.MonkeyPatch) -> None:
    """A record whose names would be a gigabyte of paths is searched like any other, and a path that is shown is cut."""
    members = {f"m{at}": "x" for at in range(5_000)} | {"last": "needle"}
    nested: Any = members
    for level in range(60):
        nested = {f"{level}" * 2_000: nested}
    hits = list(module._Wanted("needle").hits(Item("extra/x", nested, None), None))
    assert [len(hit.field) for hit in hits] == [module.FIELD_CHARACTERS]


@pytest.mark.parametrize("after", ["", "!", "0-1-2-3", "00-1-2", "00-1-2-x", "00-1-2-1234567890"])
def test_a_place_of_no_search_is_refused(after: str) -> None:
    """UsageError, whatever it holds."""
    with pytest.raises(UsageError, match="after"):
        search_texts(PRIMARY.store, seen_in(PRIMARY), "x", 10, after)


def test_an_empty_repository_has_no_hits() -> None:
    """Before the first close there is nothing to search."""
    assert search_texts(PRIMARY.store, SnapshotView(None, seen_in(PRIMARY).settings), "x", 10) == ([], None)
