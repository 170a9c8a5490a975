"""Sections of a delta to keyed records, however messy (docs/protocol.md#a-delta)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from itertools import chain, islice, repeat
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dreamcatcherd.core.codec import canonical
from dreamcatcherd.core.collections import DEFAULT_TABLE, Collection, Table, sections_of
from dreamcatcherd.core.model import Delta, Json, Record, Version
from dreamcatcherd.core.records import content_mark, content_of, key_part, natural_key, place, sort_key
from dreamcatcherd.core.settings import read_settings

HEADER: Record = {"frame": 7, "utc": "2026-01-31T12:00:00Z", "stream_id": "s"}
COMMENTS = DEFAULT_TABLE["comments"]


def delta(body: Record, utc_name: str = "utc") -> Delta:
    version = Version("state/stream_deltas/7/a.json", "b" * 40, 0o100644, "c" * 40)
    return Delta(version, 7, 0, "s", "b" * 40, body, ("frame", utc_name, "stream_id"))


def one_by_one(
    given: Delta, table: Table
) -> list[tuple[Collection | None, str, list[Json] | None, Record, str | None]]:
    """What `place` says of each record of a delta, taken apart; the reasons of a section's misfits in any order."""
    return [
        (row, section, key, record, why)
        for row, section, keys, records, misfits in place(given, sections_of(table))
        for key, record, why in zip(
            keys or repeat(None, len(records)),
            records,
            islice(chain(Counter(misfits).elements(), repeat(None)), len(records)),
            strict=True,
        )
    ]


def everything(body: Record, utc_name: str = "utc", table: Table = DEFAULT_TABLE) -> list[tuple[str, Json, Record]]:
    """Where each record of the body goes: collection or extra section, key, record; misfits are marked by `!`."""
    found = []
    for row, section, key, record, why in one_by_one(delta({**HEADER, **body}, utc_name), table):
        assert why is None or (why and row is None)
        assert row is None or section in row.sections
        found.append((row.name if row else f"extra/{section}" + "!" * (why is not None), key, record))
    return found


def only(section: str, value: Json) -> tuple[str, Json, Record]:
    (found,) = everything({section: value})
    return found


def comment_key(record: Record) -> str:
    name, key, _ = only("comments_added", [record])
    assert name == "comments"
    return str(key)


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
    assert only("reactions_added", 12) == ("extra/reactions_added!", None, {"value": 12})


def test_sections_of_one_collection_come_in_the_tables_order() -> None:
    """Whatever the order in the document, an alias's records come after the section's own, so that they win."""
    late = {"chapters_written": [{"book": "b", "chapter": 1, "author": "a", "n": 2}]}
    early = {"chapters_added": [{"book": "b", "chapter": 1, "author": "a", "n": 1}]}
    both = [everything({**late, **early}), everything({**early, **late})]
    assert both[0] == both[1]
    assert [record["n"] for _, _, record in both[0]] == [1, 2]


@pytest.mark.parametrize("row", DEFAULT_TABLE.values(), ids=lambda row: row.name)
def test_every_section_and_alias_leads_to_its_collection(row: Any) -> None:
    """A record with all key fields reaches its collection under each of the section's names."""
    record = {names[0]: 3 for names in row.key}
    for section in row.sections:
        name, _, _ = only(section, [record])
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
    ],
)
def test_a_bare_number_or_string_is_a_record_with_only_its_key(section: str, item: Json, field: str, key: Json) -> None:
    """Where the key is one field, a bare value is that field, decimal strings as integers."""
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


@pytest.mark.parametrize("section", ["comments_added", "chapters_added", "reactions_added"])
@pytest.mark.parametrize("item", ["nice", 12])
def test_a_bare_value_where_the_key_has_several_parts_is_a_misfit(section: str, item: Json) -> None:
    """A string in place of a comment fits no key and is kept whole."""
    assert only(section, [item]) == (f"extra/{section}!", None, {"value": item})


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
        [9, "a", "up"],
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


# Reserved keys ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("mark", ["_stamp", "_stamps"])
@pytest.mark.parametrize("section", ["posts_created", "observations", "counters", "profile_updates", "dreams"])
def test_a_record_with_a_reserved_key_is_a_wrapped_misfit(section: str, mark: str) -> None:
    """A record that brings a stamp of its own is kept inside a value, wherever it comes."""
    record = {"discussion_number": 1, "name": "n", "agent": "a", mark: None}
    assert only(section, [record]) == (f"extra/{section}!", None, {"value": record})


def test_reserved_keys_deeper_down_are_values() -> None:
    """Only the record's own keys are reserved; field values are whole JSON values."""
    record = {"discussion_number": 1, "inner": {"_stamp": 1}}
    assert only("posts_created", [record]) == ("posts", [1], record)


def test_profile_fields_cannot_bring_a_reserved_key() -> None:
    """What would become a record with a stamp of its own is a misfit, nothing of it lost."""
    record = {"agent": "a", "fields": {"mood": "x", "_stamp": [1]}}
    assert only("profile_updates", [record]) == ("extra/profile_updates!", None, record)


# Counters and profiles --------------------------------------------------------------------------------------------


def test_counters_come_as_object_or_list() -> None:
    """Counters by name and counters as records are the same."""
    wanted = [("counters", ["a"], {"name": "a", "value": 2}), ("counters", [7], {"name": 7, "value": -1})]
    assert everything({"counters": {"a": 2, "7": -1}}) == wanted
    assert everything({"counters": [{"name": "a", "value": 2}, {"name": "7", "value": -1}]}) == wanted


def test_one_counter_record_in_place_of_a_list_is_a_record() -> None:
    """An object with a name that is a string is one counter; with integers throughout it names counters."""
    assert only("counters", {"name": "a", "value": 2}) == ("counters", ["a"], {"name": "a", "value": 2})
    assert everything({"counters": {"name": 1, "value": 2}}) == [
        ("counters", ["name"], {"name": "name", "value": 1}),
        ("counters", ["value"], {"name": "value", "value": 2}),
    ]


@pytest.mark.parametrize("value", [1.5, 2.0, True, "3", None, [1], {"by": 1}])
def test_a_counter_that_is_no_integer_is_a_misfit_by_itself(value: Json) -> None:
    """A bad member of the counters is kept under its name, and the good ones count."""
    assert everything({"counters": {"a": 2, "b": value}}) == [
        ("counters", ["a"], {"name": "a", "value": 2}),
        ("extra/counters!", None, {"b": value}),
    ]
    record = {"name": "b", "value": value}
    assert only("counters", [record]) == ("extra/counters!", None, record)


def test_profiles_come_as_list_or_object() -> None:
    """Profiles as records with fields, flat records and objects by agent are the same."""
    wanted = ("agents", ["a"], {"agent": "a", "mood": "calm", "karma": 3})
    fields = {"mood": "calm", "karma": 3}
    for value in (
        [{"agent": "a", "fields": fields}],
        {"agent": "a", "fields": fields},
        {"a": fields},
        [{"agent": "a", **fields}],
    ):
        assert only("profile_updates", value) == wanted


@pytest.mark.parametrize("section", ["profile_updates", "agent_updates", "agents_updated"])
def test_agents_by_name_are_many(section: str) -> None:
    """Each member of the object is one agent, also where it brings no fields."""
    assert everything({section: {"a": {"x": 1}, "42": {}}}) == [
        ("agents", ["a"], {"agent": "a", "x": 1}),
        ("agents", [42], {"agent": 42}),
    ]


def test_a_profile_that_is_no_object_is_a_misfit_by_itself() -> None:
    """A bad member of the profiles is kept under its name."""
    assert everything({"profile_updates": {"a": {"x": 1}, "b": "idle"}}) == [
        ("agents", ["a"], {"agent": "a", "x": 1}),
        ("extra/profile_updates!", None, {"b": "idle"}),
    ]


def test_what_stands_beside_fields_is_kept_as_fields() -> None:
    """Fields inside and outside become one record where they agree, and a misfit where they do not."""
    good = {"agent": "a", "fields": {"x": 1, "agent": "a"}, "y": 2}
    assert only("profile_updates", [good]) == ("agents", ["a"], {"agent": "a", "x": 1, "y": 2})
    bad = {"agent": "a", "fields": {"y": 1}, "y": 2}
    assert only("profile_updates", [bad]) == ("extra/profile_updates!", None, bad)
    subtle = {"agent": "a", "fields": {"y": 1}, "y": True}
    assert only("profile_updates", [subtle]) == ("extra/profile_updates!", None, subtle)


def test_fields_that_are_no_object_are_a_field() -> None:
    """A profile whose fields are something else keeps them under that name."""
    record = {"agent": "a", "fields": ["x"]}
    assert only("profile_updates", [record]) == ("agents", ["a"], record)


# Comments ---------------------------------------------------------------------------------------------------------


def test_comments_are_keyed_by_target_author_and_exact_body() -> None:
    """The same text of the same author in one place is one comment, whatever else the records say."""
    base: Record = {"discussion_number": 1, "author": "a", "body": "hello"}
    same: list[Record] = [base, {**base, "at": 5}, {"number": "1", "agent": "a", "body": "hello"}]
    others = [
        {**base, "body": "hello "},
        {**base, "body": "Hello"},
        {**base, "author": "b"},
        {**base, "discussion_number": 2},
    ]
    assert len({comment_key(record) for record in same}) == 1
    assert len({comment_key(record) for record in [base, *others]}) == 5


@pytest.mark.parametrize("body", [{}, {"body": None}, {"body": ""}, {"body": 5}, {"body": ["hello"]}])
def test_a_comment_without_a_text_is_keyed_by_the_whole_record(body: Record) -> None:
    """Such comments fit: equal records are one comment, any other field makes another."""
    base: Record = {"discussion_number": 1, "author": "a", **body}
    assert comment_key(base) == comment_key({"author": "a", **body, "number": "1"})
    assert comment_key(base) != comment_key({**base, "at": 5})


def test_a_text_and_a_whole_record_never_meet() -> None:
    """A body that spells another comment's record is still another comment."""
    base = {"discussion_number": 1, "author": "a"}
    assert comment_key(base) != comment_key({**base, "body": canonical(base).decode()})


def test_an_unresolved_reference_is_part_of_the_whole_record() -> None:
    """Without its text a comment is keyed by everything it has, the reference too."""
    base = {"discussion_number": 1, "author": "a"}
    assert comment_key({**base, "body_ref": "x.md"}) != comment_key({**base, "body_ref": "y.md"})
    assert comment_key({**base, "body_ref": "x.md", "body": "t"}) == comment_key({**base, "body": "t"})


def test_the_content_is_the_text_or_the_record() -> None:
    """What keys a comment is its body, else its record, and a digest stands for either in the key."""
    record = {"discussion_number": 1, "author": "a", "body": "hello"}
    bare = {"discussion_number": 1, "author": "a"}
    assert (content_of(COMMENTS, record), content_of(COMMENTS, bare)) == ("hello", bare)
    assert len(content_mark(COMMENTS, record)) == len(content_mark(COMMENTS, bare)) == 64


# Other tables -----------------------------------------------------------------------------------------------------


def test_a_collection_of_the_settings_is_read_like_the_others() -> None:
    """Adding a row is enough for records, bare keys and misfits to find their place."""
    table = read_settings(b'[collections.claims]\nsection = "claims"\nkey = ["resource"]\nrule = "first"').table
    assert everything({"claims": [{"resource": "r", "by": "a"}, "s", {"by": "b"}]}, table=table) == [
        ("claims", ["r"], {"resource": "r", "by": "a"}),
        ("claims", ["s"], {"resource": "s"}),
        ("extra/claims!", None, {"by": "b"}),
    ]


def test_a_sum_of_the_settings_takes_integers_only() -> None:
    """A record with anything but integers beside its key does not fit a sum."""
    table = read_settings(b'[collections.tally]\nkey = ["k"]\nrule = "sum"').table
    assert everything({"tally": [{"k": "x", "n": 1, "m": 2}, {"k": "x", "n": 1.0}]}, table=table) == [
        ("tally", ["x"], {"k": "x", "n": 1, "m": 2}),
        ("extra/tally!", None, {"k": "x", "n": 1.0}),
    ]


def test_a_content_alone_can_key_a_collection() -> None:
    """Records without other key fields are told apart by their text."""
    table = read_settings(b'[collections.notes]\ncontent = "text"\nrule = "dedup"').table
    found = everything({"notes": [{"text": "a", "by": 1}, {"text": "a", "by": 2}, {"text": "b"}, "a"]}, table=table)
    assert [name for name, _, _ in found] == ["notes", "notes", "notes", "extra/notes!"]
    assert found[0][1] == found[1][1] != found[2][1]


# Natural keys -----------------------------------------------------------------------------------------------------


def test_a_natural_key_is_one_value_or_a_list() -> None:
    """People see the key fields, and for comments the text itself."""
    chapter = {"book": "b", "chapter": 2, "author": "a", "title": "t"}
    comment = {"discussion_number": 1, "author": "a", "body": "hello"}
    bare = {"discussion_number": 1, "author": "a"}
    assert natural_key(DEFAULT_TABLE["posts"], {"discussion_number": 5, "title": "t"}) == 5
    assert natural_key(DEFAULT_TABLE["chapters"], chapter) == ["b", 2, "a"]
    assert natural_key(COMMENTS, comment) == [1, "a", "hello"]
    assert natural_key(COMMENTS, bare) == [1, "a", bare]


def test_integers_sort_before_strings_and_records_last() -> None:
    """Integers go by size, strings by code point, part by part."""
    keys: list[Json] = [10, 9, -1, "b", "10", "", "B", "é", "😀", "\uffff", 2**70]
    assert sorted(keys, key=sort_key) == [-1, 9, 10, 2**70, "", "10", "B", "b", "é", "\uffff", "😀"]
    parts: list[Json] = [["b", 2, {"x": 1}], ["b", 2, "z"], ["b", 10, "a"], ["a", "x", "a"], [5, 1, "a"]]
    assert sorted(parts, key=sort_key) == [
        [5, 1, "a"],
        ["a", "x", "a"],
        ["b", 2, "z"],
        ["b", 2, {"x": 1}],
        ["b", 10, "a"],
    ]


# Nothing is dropped -----------------------------------------------------------------------------------------------

FIELDS = ["discussion_number", "number", "discussion", "author", "agent", "body", "book", "chapter", "node", "target"]
FIELDS += ["type", "name", "value", "fields", "_stamp", "_stamps", "title", "body_ref"]
SECTIONS = [section for row in DEFAULT_TABLE.values() for section in row.sections]
SECTIONS += ["dreams", "completed_at", "timestamp", "claims", ""]

leaves = st.sampled_from([0, "0", "s", 0.5, True, None])
shapes = st.recursive(
    leaves,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(FIELDS), inner, max_size=5),
    max_leaves=10,
)
records = st.dictionaries(st.sampled_from(FIELDS), st.one_of(leaves, leaves, shapes), min_size=1, max_size=7)
section_values = st.one_of(
    shapes,
    st.lists(st.one_of(records, records, leaves), max_size=4),
    st.dictionaries(st.sampled_from(["a", "7", "agent", "name", "fields"]), st.one_of(leaves, records), max_size=3),
)
bodies = st.dictionaries(st.sampled_from(SECTIONS), section_values, max_size=4)


def _numbered(value: Json, count: Iterator[int]) -> Json:
    """The same shape with every number and text made unlike all others."""
    if isinstance(value, dict):
        return {name: _numbered(inner, count) for name, inner in value.items()}
    if isinstance(value, list):
        return [_numbered(inner, count) for inner in value]
    if value is None or value is True:
        return value
    number = next(count)
    return str(number) if value == "0" else f"s{number}" if isinstance(value, str) else number + value


def _leaves(value: Json) -> Iterator[bytes]:
    """Every scalar but null, decimal strings as integers."""
    if isinstance(value, dict | list):
        for inner in value.values() if isinstance(value, dict) else value:
            yield from _leaves(inner)
    elif value is not None:
        yield canonical(value if key_part(value) is None else key_part(value))


def _names(value: Json) -> Iterator[str]:
    """Every key of every object inside."""
    if isinstance(value, dict | list):
        for inner in value.values() if isinstance(value, dict) else value:
            yield from _names(inner)
    if isinstance(value, dict):
        yield from value


@settings(max_examples=150, deadline=None)
@given(bodies, st.booleans())
def test_nothing_that_a_delta_carries_is_dropped(body: Record, unlike: bool) -> None:
    """Every value of every section, and every name that an object gives, is in some record, whatever the mess."""
    if unlike:
        body = _numbered(body, iter(range(1000, 2000)))
    before = canonical(body)
    placed = everything(body)
    assert canonical(body) == before, "the delta itself is left as it was"
    found = {leaf for _, _, record in placed for leaf in _leaves(record)}
    assert found >= set(_leaves(body))
    names = {name for _, _, record in placed for name in _names(record)}
    aliases = {name for row in DEFAULT_TABLE.values() for names in row.key for name in names}
    told = names | {leaf.decode().strip('"') for leaf in found}
    assert told >= {name for value in body.values() for name in _names(value)} - aliases - {"fields"}


@settings(max_examples=150, deadline=None)
@given(st.sampled_from(SECTIONS), st.lists(records, max_size=4))
def test_a_record_is_placed_alike_whatever_its_neighbours_are(section: str, items: list[Json]) -> None:
    """A section of plain records is placed in one go, one with an odd record among them one by one: to the same end."""
    plain = one_by_one(delta({**HEADER, section: items}), DEFAULT_TABLE)
    odd = one_by_one(delta({**HEADER, section: [*items, {"_stamp": 0}]}), DEFAULT_TABLE)
    assert [one[:4] for one in odd[:-1]] == [one[:4] for one in plain]


@settings(max_examples=60, deadline=None)
@given(st.sampled_from(SECTIONS), st.lists(shapes, max_size=6))
def test_every_item_of_a_list_is_one_record(section: str, items: list[Json]) -> None:
    """As many records come out as a list holds, in its order, each with what its collection's key needs."""
    placed = one_by_one(delta({**HEADER, section: items}), DEFAULT_TABLE)
    assert len(placed) == len(items)
    for row, name, key, record, why in placed:
        assert name == section
        assert {"_stamp", "_stamps"}.isdisjoint(record)
        assert (key is None) == (row is None or row.rule == "append")
        if row is not None and key is not None:
            assert key[: len(row.key)] == [record[names[0]] for names in row.key]
            assert why is None
