"""Sections of a delta to keyed records, however messy (docs/protocol.md#a-delta)."""

from __future__ import annotations

from typing import Any

import pytest

from dreamcatcherd.core.codec import canonical
from dreamcatcherd.core.collections import DEFAULT_TABLE, sections_of
from dreamcatcherd.core.keys import key_part
from dreamcatcherd.core.model import Json
from tests.core.placing import everything, only

# Headers and sections ---------------------------------------------------------------------------------------------


def test_a_delta_with_a_header_alone_brings_nothing() -> None:
    """Frame, utc and stream_id are not sections."""
    assert everything({}) == []


def test_time_names_that_do_not_count_are_sections() -> None:
    """Only the time that placed the delta is a header field; the other two names are kept as extras."""
    body = {"completed_at": "2026-01-31T11:00:00Z", "timestamp": 5}
    assert everything(body) == [
        ("extra/completed_at", None, {"value": "2026-01-31T11:00:00Z"}),
        ("extra/timestamp", None, {"value": 5}),
    ]
    assert everything({"utc": 17, "timestamp": "2026-01-31T11:00:00Z"}, "timestamp") == [
        ("extra/utc", None, {"value": 17})
    ]


def test_an_unknown_section_is_kept_as_an_extra() -> None:
    """Anything nobody knows is appended under its own name: objects as they are, other values as values."""
    assert everything({"dreams": [{"a": 1}, 5, None, [1], "x"], "mood": {"b": {}}, "": 0.5}) == [
        ("extra/dreams", None, {"a": 1}),
        ("extra/dreams", None, {"value": 5}),
        ("extra/dreams", None, {"value": None}),
        ("extra/dreams", None, {"value": [1]}),
        ("extra/dreams", None, {"value": "x"}),
        ("extra/mood", None, {"b": {}}),
        ("extra/", None, {"value": 0.5}),
    ]


@pytest.mark.parametrize("section", ["posts_created", "comments_added", "counters", "profile_updates", "dreams"])
@pytest.mark.parametrize("value", [None, []])
def test_a_null_or_empty_section_is_empty(section: str, value: Json) -> None:
    """No records come of nothing."""
    assert everything({section: value}) == []


def test_a_section_that_is_no_list_is_a_list_of_one() -> None:
    """One object or value in place of a list is one record."""
    assert only("posts_created", {"discussion_number": 4, "title": "t"}) == (
        "posts",
        [4],
        {"discussion_number": 4, "title": "t"},
    )
    assert only("posts_created", 4) == ("posts", [4], {"discussion_number": 4})
    assert only("observations", {"seen": 1}) == ("observations", None, {"seen": 1})
    assert only("reactions_added", 12) == ("reactions", [12], {"id": 12})
    assert only("reactions_added", 1.5) == ("extra/reactions_added!", None, {"value": 1.5})


def test_sections_of_one_collection_come_in_the_tables_order() -> None:
    """Whatever the order in the document, an alias's records come after the section's own, so that they win."""
    late = {"chapters_written": [{"book": "b", "chapter": 1, "author": "a", "n": 2}]}
    early = {"chapters_added": [{"book": "b", "chapter": 1, "author": "a", "n": 1}]}
    both = [everything({**late, **early}), everything({**early, **late})]
    assert both[0] == both[1]
    assert [record["n"] for _, _, record in both[0]] == [1, 2]


@pytest.mark.parametrize("row", DEFAULT_TABLE.values(), ids=lambda row: row.name)
def test_every_section_and_alias_leads_to_its_collection(row: Any) -> None:
    """A record with all fields of an alternative reaches its collection under each of the section's names."""
    for choice in row.key or [()]:
        for section in row.sections:
            name, _, _ = only(section, [{field.name: 3 for field in choice}])
            assert name == row.name


# Bare values and keys ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("section", "item", "field", "key"),
    [
        ("posts_created", 17, "discussion_number", 17),
        ("posts_created", "17", "discussion_number", 17),
        ("posts_created", "intro", "discussion_number", "intro"),
        ("books_started", "a book", "book", "a book"),
        ("profile_updates", "ag-1", "agent", "ag-1"),
        ("comments_added", "c-1", "id", "c-1"),
        ("comments_added", 12, "id", 12),
        ("reactions_added", 12, "id", 12),
    ],
)
def test_a_bare_number_or_string_is_a_record_with_only_its_key(section: str, item: Json, field: str, key: Json) -> None:
    """Where an alternative is one field, a bare value is that field, decimal strings as integers."""
    row = sections_of(DEFAULT_TABLE)[section][0]
    assert only(section, [item]) == (row.name, [key], {field: key})


def test_a_bare_counter_counts_nothing() -> None:
    """A counter named without a value exists and adds zero."""
    assert only("counters", ["visits"]) == ("counters", ["visits"], {"name": "visits", "value": 0})


@pytest.mark.parametrize("item", [True, 1.5, None, [], [1]])
@pytest.mark.parametrize("section", ["posts_created", "books_started", "counters", "profile_updates"])
def test_a_bare_value_that_can_be_no_key_is_a_misfit(section: str, item: Json) -> None:
    """Booleans, fractions, nulls and lists name no entity and are kept beside it."""
    assert only(section, [item]) == (f"extra/{section}!", None, {"value": item})


@pytest.mark.parametrize("item", ["nice", 12])
def test_a_bare_value_where_every_key_has_several_parts_is_a_misfit(item: Json) -> None:
    """A string in place of a chapter fits no key and is kept whole."""
    assert only("chapters_added", [item]) == ("extra/chapters_added!", None, {"value": item})


@pytest.mark.parametrize(
    ("item", "key"),
    [
        ("12:heart", [12, "heart", None]),
        ("post:a:b", ["post", "a:b", None]),
        ("12", [12, None, None]),
        ("post", ["post", None, None]),
        (":x", [":x", None, None]),
        ("x:", ["x:", None, None]),
        ("a\n:b", ["a\n", "b", None]),
    ],
)
def test_a_bare_reaction_is_node_and_type_or_a_node(item: str, key: list[Json]) -> None:
    """The first colon separates two texts that are not empty; what a string leaves out is null."""
    record = dict(zip(("node", "type", "agent"), key, strict=True))
    assert only("reactions_added", [item]) == ("reactions", key, record)


def test_appended_records_need_no_key() -> None:
    """Observations of any kind are appended as they are, each on its own."""
    assert everything({"observations": [{"a": 1}, {"a": 1}, 5, None, {}, "x", [2]]}) == [
        ("observations", None, {"a": 1}),
        ("observations", None, {"a": 1}),
        ("observations", None, {"value": 5}),
        ("observations", None, {"value": None}),
        ("observations", None, {}),
        ("observations", None, {"value": "x"}),
        ("observations", None, {"value": [2]}),
    ]


@pytest.mark.parametrize("name", ["discussion_number", "number", "discussion"])
@pytest.mark.parametrize("number", [5, "5"])
def test_aliases_are_stored_under_the_collections_own_name(name: str, number: Json) -> None:
    """Whatever a key field is called, and however its integer is written, the entity and the record are the same."""
    assert only("posts_created", [{"title": "t", name: number}]) == (
        "posts",
        [5],
        {"title": "t", "discussion_number": 5},
    )


def test_all_aliases_of_several_parts_are_known() -> None:
    """Chapters, comments and reactions take each of their other names."""
    assert only("chapters_written", [{"book": "b", "number": "2", "agent": "a"}]) == (
        "chapters",
        ["b", 2, "a"],
        {"book": "b", "chapter": 2, "author": "a"},
    )
    assert only("reactions_added", [{"target": 9, "agent": "a", "type": "up"}]) == (
        "reactions",
        [9, "up", "a"],
        {"node": 9, "agent": "a", "type": "up"},
    )
    assert only("reactions_added", [{"discussion": 9, "author": "a", "emoji": "up"}]) == (
        "reactions",
        [9, "up", "a"],
        {"node": 9, "agent": "a", "type": "up"},
    )
    _, key, record = only("comments_added", [{"discussion": 1, "agent": "a", "body": "x"}])
    assert (key[:2], record) == ([1, "a"], {"discussion_number": 1, "author": "a", "body": "x"})


def test_an_alias_beside_the_real_name_is_a_field() -> None:
    """The first name that is given counts, and what the others say is kept."""
    assert only("posts_created", [{"number": 9, "discussion_number": 5, "discussion": 8}]) == (
        "posts",
        [5],
        {"number": 9, "discussion_number": 5, "discussion": 8},
    )
    assert only("posts_created", [{"discussion": 8, "number": 9}]) == (
        "posts",
        [9],
        {"discussion": 8, "discussion_number": 9},
    )


def test_a_null_key_gives_way_to_its_alias() -> None:
    """A name that is null counts as not given."""
    assert only("posts_created", [{"discussion_number": None, "number": 5}]) == ("posts", [5], {"discussion_number": 5})


@pytest.mark.parametrize(
    ("section", "record"),
    [
        ("posts_created", {}),
        ("posts_created", {"title": "t"}),
        ("posts_created", {"discussion_number": None}),
        ("posts_created", {"discussion_number": 1.5}),
        ("posts_created", {"discussion_number": True}),
        ("posts_created", {"number": [1]}),
        ("posts_created", {"discussion_number": {}, "number": 5}),
        ("comments_added", {"discussion_number": 1, "body": "x"}),
        ("comments_added", {"author": "a", "body": "x"}),
        ("chapters_added", {"book": "b", "chapter": 1}),
        ("chapters_added", {"book": "b", "author": "a"}),
        ("reactions_added", {"node": 1, "agent": "a"}),
        ("reactions_added", {"node": 1, "agent": True, "type": "t"}),
        ("reactions_added", {"id": 1.5, "node": 1, "agent": "a", "type": "t"}),
        ("comments_added", {"id": [1], "discussion_number": 1, "author": "a", "body": "x"}),
        ("posts_created", {"discussion_number": 1, "": 2}),
        ("profile_updates", {"agent": "a", "fields": {"": 2}}),
        ("counters", [{"name": "a", "": 2}]),
        ("books_started", {"title": "t"}),
        ("profile_updates", {"fields": {"mood": "x"}}),
        ("counters", [{"value": 5}]),
    ],
)
def test_a_record_without_a_usable_key_is_a_misfit_kept_as_it_is(section: str, record: Json) -> None:
    """What lacks a key part, or has one that can be none, goes whole and unchanged to the extras."""
    record = record if isinstance(record, list) else [record]
    assert only(section, record) == (f"extra/{section}!", None, record[0])


@pytest.mark.parametrize(
    ("value", "part"),
    [
        (5, 5),
        (-5, -5),
        (2**70, 2**70),
        ("5", 5),
        ("-5", -5),
        ("0", 0),
        ("1" + "0" * 70, 10**70),
        ("-0", "-0"),
        ("05", "05"),
        ("+5", "+5"),
        ("5 ", "5 "),
        ("5\n", "5\n"),
        ("5.0", "5.0"),
        ("\u0665", "\u0665"),
        ("", ""),
        ("-", "-"),
        ("x", "x"),
        (True, None),
        (False, None),
        (5.0, None),
        (None, None),
        ([], None),
        ({}, None),
    ],
)
def test_a_key_part_is_an_integer_or_a_string(value: Json, part: Json) -> None:
    """A decimal string is its integer, other strings are themselves, nothing else can be a key."""
    assert canonical(key_part(value)) == canonical(part)
