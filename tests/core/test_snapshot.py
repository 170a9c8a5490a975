"""The canonical files of a snapshot: keys, paths, lines, and what is read of them (docs/protocol.md#the-repository)."""

from __future__ import annotations

import hashlib
import tracemalloc
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dreamcatcherd.core.codec import canonical
from dreamcatcherd.core.collections import DEFAULT_TABLE, Collection, KeyField, RuleName
from dreamcatcherd.core.decimals import exact
from dreamcatcherd.core.entity_lines import entity_line, fresh_lines, read_entity
from dreamcatcherd.core.fold import append_changes
from dreamcatcherd.core.model import Json, Record, Stamp
from dreamcatcherd.core.rules import BY_FIELD, MERGE_RULES, Entity
from dreamcatcherd.core.settings import read_settings
from dreamcatcherd.core.shards import Change, parts_of, scan, sorted_changes, update
from dreamcatcherd.core.snapshot import (
    APPENDED,
    EXTRAS,
    MergedId,
    add_merged,
    already_merged,
    close_snapshot,
    get_keyed,
    has_entities,
    items,
    keyed_layout,
    keyed_path,
    merged_ids,
    near_paths,
    number_path,
    open_snapshot,
)
from dreamcatcherd.core.tree import Entry
from tests.core.tools import Heap, delta, files, merged, state

POSTS, COMMENTS = DEFAULT_TABLE["posts"], DEFAULT_TABLE["comments"]


def ids(*numbers: int) -> list[MergedId]:
    return [(number, hashlib.sha1(b"%d" % number).hexdigest()) for number in numbers]


# Paths ------------------------------------------------------------------------------------------------------------

naturals = st.one_of(st.integers(0, 1200), st.integers(0, 2**53 - 1))


@settings(max_examples=300)
@given(naturals, naturals)
def test_paths_of_numbers_are_in_order_of_the_numbers(one: int, other: int) -> None:
    """Paths sort as their numbers do, so that neighbours stand side by side, and none begins another."""
    first, second = number_path(one), number_path(other)
    assert (first < second) == (one < other)
    assert not first.startswith(second) or one == other


def test_paths_of_numbers_never_meet_those_of_texts() -> None:
    """A path of a text begins with a hex digit, a path of a number never does."""
    lengths = [number_path(10**power) for power in range(19)]
    assert not {path[0] for path in lengths} & set("0123456789abcdef")
    assert all(left < right for left, right in pairwise(lengths))


def test_a_discussion_lies_with_its_hundred() -> None:
    """Posts by number: the file of 13669 holds the rest of its hundred and no others, as the documents say."""
    heap = Heap()
    tree = merged(heap, [delta(posts_created=list(range(13_000, 14_000)))]).tree
    lines = files(heap, tree)["state/posts/k/1/3/6.jsonl"].splitlines()
    assert sorted(parts_of(line)[0] for line in lines) == [b"[%d]" % number for number in range(13_600, 13_700)]


def test_a_books_chapters_lie_together() -> None:
    """Texts are spread by their hash, entities of one shard field side by side."""
    paths = {keyed_path(DEFAULT_TABLE["chapters"], ["a book", n, "x"], canonical(["a book", n, "x"])) for n in range(9)}
    assert len(paths) == 9
    assert len({path[:4] for path in paths}) == 1


def test_the_shard_field_decides_what_lies_side_by_side() -> None:
    """A collection may name another key field than the first as the one that makes neighbours."""
    row = read_settings(b'[collections.marks]\nkey = ["who", "page"]\nshard = "page"\n').table["marks"]
    paths = [keyed_path(row, [who, 77], canonical([who, 77])) for who in ("ann", "bob")]
    assert [path[:3] for path in paths] == ["h77", "h77"]
    assert paths[0] != paths[1]


key_parts = st.one_of(st.integers(), st.integers(0, 30), st.integers(10**18, 10**21), st.text(max_size=5))


@settings(max_examples=150)
@given(key_parts, key_parts)
def test_a_standing_line_lies_where_it_was_put(number: Json, author: Json) -> None:
    """The path that a split finds from a line's key is the one that the line came by, for keys of every kind."""
    for row, key in ((POSTS, [number]), (COMMENTS, [number, author, "mark"])):
        raw_key = canonical(key)
        assert keyed_layout(row).path_of(raw_key) == keyed_path(row, key, raw_key)


def test_paths_of_long_keys_leave_nothing_behind() -> None:
    """A key may be a megabyte of text: finding where it lies keeps none of it."""
    tracemalloc.start()
    try:
        before, _ = tracemalloc.get_traced_memory()
        for number in range(50):
            assert len(near_paths(POSTS, [["x" * 10**6 + str(number)]])[0]) == 4
        after, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert after - before < 10**6


stamps = st.builds(
    Stamp, st.integers(0, 10**6), st.integers(-5, 5), st.text(max_size=3), st.sampled_from(["a" * 40, "b" * 40])
)


def append_change(collection: Collection | None, section: str, stamp: Stamp, rank: int, record: Record) -> Change[None]:
    """The change of one appended record."""
    (change,) = append_changes(collection, section, stamp, rank, [record])
    return change


@settings(max_examples=150)
@given(stamps, st.integers(0, 10**4), st.text(max_size=5))
def test_an_appended_line_lies_where_it_was_put(stamp: Stamp, rank: int, section: str) -> None:
    """The same holds for appended records and extras, whatever their section is called."""
    path, key, *_ = append_change(DEFAULT_TABLE["observations"], "observations", stamp, rank, {})
    assert APPENDED.path_of(key) == path
    path, key, *_ = append_change(None, section, stamp, rank, {})
    assert EXTRAS.path_of(key).startswith(path)  # which is cut short


def sections_that_collide(digits: str, count: int) -> list[str]:
    """Names whose hashes begin with the same digits: cheap to find for anybody who wants to do harm."""
    found: list[str] = []
    number = 0
    while len(found) < count:
        name = f"s{number}"
        if hashlib.sha256(name.encode()).hexdigest().startswith(digits):
            found.append(name)
        number += 1
    return found


def test_sections_whose_hashes_collide_still_have_paths_of_their_own() -> None:
    """One delta may bring any number of sections that begin alike: each record has a path, none begins another."""
    stamp = Stamp(1, 0, "s", "a" * 40)
    names = sections_that_collide("abcd", 3)
    paths = sorted(
        EXTRAS.path_of(append_change(None, name, stamp, rank, {})[1]) for name in names for rank in (0, 7, 11)
    )
    assert len({path[:4] for path in paths}) == 1
    assert not any(right.startswith(left) for left, right in pairwise(paths))


def test_more_colliding_sections_than_a_file_holds_are_split() -> None:
    """One delta with a record in each of them is laid out like any other, here with a limit of three lines."""
    heap, folder = Heap(), dict[str, Entry]()
    names = sections_that_collide("abcd", 4)
    changes = [append_change(None, name, Stamp(1, 0, "s", "a" * 40), 0, {"in": name}) for name in names]
    layout = EXTRAS._replace(limit=3)
    assert update(heap, folder, "extra", sorted_changes(changes), layout) == 4
    assert sorted(scan(heap, folder, "extra")) == sorted(line for _, _, line, _ in changes)


# Lines ------------------------------------------------------------------------------------------------------------

scalars = st.one_of(st.none(), st.booleans(), st.integers(), st.sampled_from([1.0, -0.0, 1e22]), st.text(max_size=4))
values = st.one_of(scalars, st.lists(scalars, max_size=2), st.dictionaries(st.text(max_size=2), scalars, max_size=2))
records = st.dictionaries(st.sampled_from(["x", "y", "\t", "é"]), values, max_size=4).map(lambda r: {"id": 1, **r})
few_stamps = st.builds(Stamp, st.integers(1, 2), st.integers(0, 1), st.sampled_from("ab"), st.just("c" * 40))


def row_of(rule: RuleName) -> Collection:
    return Collection("things", ("things",), ((KeyField("id"),),), rule)


@pytest.mark.parametrize("rule", MERGE_RULES)
@settings(max_examples=60)
@given(data=st.data())
def test_an_entity_is_read_as_it_was_written(rule: RuleName, data: st.DataObject) -> None:
    """Record and stamps survive their line, byte for byte, also where all fields have one stamp or there are none."""
    record: Record = data.draw(records)
    if rule == "sum":
        record = {name: exact(data.draw(st.integers() | st.sampled_from([0.1, 2.0, -0.0]))) for name in record}
    if rule in BY_FIELD:
        names = [name for name in record if name != "id"]
        names += [""] if not names or data.draw(st.booleans()) else []
        entity = Entity(record, {name: data.draw(few_stamps) for name in names})
    else:
        entity = Entity(record, data.draw(few_stamps))
    line = entity_line(b"[1]", entity)
    read = read_entity(row_of(rule), line)
    assert canonical(read.record) == canonical(record)
    assert read.stamps == entity.stamps
    assert entity_line(b"[1]", read) == line


@pytest.mark.parametrize("rule", MERGE_RULES)
@settings(max_examples=60)
@given(record=records, stamp=few_stamps)
def test_the_short_way_to_a_line_gives_the_same_line(rule: RuleName, record: Record, stamp: Stamp) -> None:
    """What one record makes of nothing has the same bytes whether its line was known beforehand or joined."""
    row = row_of(rule)
    (fresh,) = fresh_lines(row, [b"[1]"], [record], [canonical(stamp)])
    joined = entity_line(b"[1]", MERGE_RULES[rule](None, record, stamp, frozenset({"id"})))
    assert fresh == (b"" if rule == "union" else joined)


def test_stamps_that_are_all_the_same_are_written_once() -> None:
    """An entity that one delta made names it once; one of several deltas names each field's."""
    one, two = Stamp(1, 0, "s", "c"), Stamp(2, 0, "s", "d")
    assert parts_of(entity_line(b"[1]", Entity({"id": 1, "x": 2, "y": 3}, {"x": one, "y": one})))[2] == canonical(one)
    assert parts_of(entity_line(b"[1]", Entity({"id": 1, "x": 2, "y": 3}, {"x": one, "y": two})))[2] == canonical(
        {"x": one, "y": two}
    )


# The tree ---------------------------------------------------------------------------------------------------------


def test_an_empty_snapshot_holds_the_name_of_its_format() -> None:
    """There is at least one file, so that git can hold the folder, and its digest is the same everywhere."""
    heap = Heap()
    tree = close_snapshot(heap, open_snapshot(heap, None))
    assert files(heap, tree) == {"format": b"dreamcatcher-snapshot/2\n"}
    assert tree == "41f92ede8947d7a056a0fe94f5b81c615299b27a"
    assert has_entities(open_snapshot(heap, tree)) == frozenset()
    assert close_snapshot(heap, open_snapshot(heap, tree)) == tree


def test_a_snapshot_is_the_files_that_the_documents_name() -> None:
    """Merged ids beside the state, a file for each collection, one line for each record."""
    heap = Heap()
    tree = merged(heap, [delta(2, 5, "s", "a" * 40, posts_created=[7], observations=["seen"], dreams=[1])]).tree
    stamp = b'2,5,"s","' + b"a" * 40 + b'"'
    assert files(heap, tree) == {
        "format": b"dreamcatcher-snapshot/2\n",
        "merged.jsonl": b'[[2,"' + b"a" * 40 + b'"]]\n',
        "state/posts.jsonl": b'[[7],\t{"discussion_number":7},\t[' + stamp + b"]]\n",
        "state/observations.jsonl": b"[[" + stamp + b',0],\t{"value":"seen"}]\n',
        "state/extra.jsonl": b'[["dreams",' + stamp + b',0],\t{"value":1}]\n',
    }
    assert has_entities(open_snapshot(heap, tree)) == {"posts", "observations", "extra"}


@pytest.mark.parametrize("count", [256, 257])
@pytest.mark.parametrize("section", ["posts_created", "books_started", "observations", "dreams"])
def test_no_file_holds_more_than_its_entities(section: str, count: int) -> None:
    """A collection of any kind is one file up to the limit and a folder beyond it, and keeps every record."""
    heap = Heap()
    found = merged(heap, [delta(**{section: [f"{number} things" for number in range(count)]})])
    if section == "posts_created":
        found = merged(heap, [delta(**{section: list(range(count))})])
    kept = {path: raw.count(b"\n") for path, raw in files(heap, found.tree).items() if path.startswith("state/")}
    assert max(kept.values()) <= 256
    assert (sum(kept.values()), len(kept) == 1) == (count, count == 256)


# Merged ids -------------------------------------------------------------------------------------------------------


def test_what_was_merged_is_known_by_frame_and_content() -> None:
    """Ids are found across many files; others, and the same content of another frame, are not."""
    heap = Heap()
    folders = open_snapshot(heap, None)
    assert already_merged(heap, folders, ids(1)) == set()
    known = ids(*range(5000))
    assert add_merged(heap, folders, known) == len(known)
    tree = close_snapshot(heap, folders)
    assert max(raw.count(b"\n") for raw in files(heap, tree).values()) <= 2048
    again = open_snapshot(heap, tree)
    strange: list[MergedId] = [(0, known[1][1]), (2**53 - 1, "f" * 40)]
    assert already_merged(heap, again, [known[5], known[-1], *strange]) == {known[5], known[-1]}
    assert already_merged(heap, again, []) == set()
    assert sorted(merged_ids(heap, again)) == known


def test_an_id_that_is_noted_again_is_not_new() -> None:
    """Noting what is known changes nothing."""
    heap = Heap()
    folders = open_snapshot(heap, None)
    add_merged(heap, folders, ids(1, 2))
    tree = close_snapshot(heap, folders)
    assert add_merged(heap, folders, ids(2)) == 0
    assert add_merged(heap, folders, []) == 0
    assert close_snapshot(heap, folders) == tree


# Reading ----------------------------------------------------------------------------------------------------------


def test_one_entity_is_read_from_the_one_file_that_it_lies_in() -> None:
    """Of a thousand posts one is found by its key, without reading the others; a key that is not there is nothing."""
    heap = Heap()
    tree = merged(heap, [delta(posts_created=[{"number": n, "title": f"t{n}"} for n in range(1000)])]).tree
    folders = open_snapshot(heap, tree)
    heap.forget_counts()
    found = get_keyed(heap, folders, POSTS, [731])
    assert found is not None
    assert found.record == {"discussion_number": 731, "title": "t731"}
    assert isinstance(found.stamps, dict)
    assert len(heap.reads) == 3
    assert get_keyed(heap, folders, POSTS, [1000]) is None
    assert get_keyed(heap, folders, POSTS, ["731"]) is None
    assert get_keyed(heap, folders, DEFAULT_TABLE["books"], ["x"]) is None


def test_every_record_of_a_collection_is_given_with_what_set_it() -> None:
    """Keyed records have stamps by field, appended ones the delta's stamp and their position."""
    heap = Heap()
    one = delta(2, 5, posts_created=[{"number": 1, "title": "t"}], observations=["a", {"b": 1}])
    folders = open_snapshot(heap, merged(heap, [one]).tree)
    (post,) = items(heap, folders, DEFAULT_TABLE, "posts")
    assert (post.collection, post.record, post.stamps) == (
        "posts",
        {"discussion_number": 1, "title": "t"},
        {"title": one.stamp},
    )
    seen = sorted(items(heap, folders, DEFAULT_TABLE, "observations"), key=lambda item: item.rank)
    assert [(item.record, item.stamps, item.rank) for item in seen] == [
        ({"value": "a"}, one.stamp, 0),
        ({"b": 1}, one.stamp, 1),
    ]
    assert list(items(heap, folders, DEFAULT_TABLE, "books")) == []


def test_a_section_of_extras_is_read_without_its_neighbours() -> None:
    """`extra` is all sections, `extra/<section>` one of them, also where another's hash begins alike."""
    near, far = sections_that_collide("ab", 2)
    heap = Heap()
    tree = merged(heap, [delta(**{near: [1, 2], far: [3], "": [4]})]).tree
    assert state(heap, tree, f"extra/{near}") == [{"value": 1}, {"value": 2}]
    assert state(heap, tree, f"extra/{far}") == [{"value": 3}]
    folders = open_snapshot(heap, tree)
    names = sorted(item.collection for item in items(heap, folders, DEFAULT_TABLE, "extra"))
    assert names == sorted([f"extra/{near}", f"extra/{near}", f"extra/{far}", "extra/"])
    assert state(heap, tree, "extra/unheard of") == []
