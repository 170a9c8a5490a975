"""Keys of entities: alternatives, stored keys and the keys that people see (docs/protocol.md#keys)."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dreamcatcherd.core.codec import canonical, decode
from dreamcatcherd.core.collections import DEFAULT_TABLE, Collection
from dreamcatcherd.core.keyed_records import read_record
from dreamcatcherd.core.keys import (
    choice_of,
    choice_of_key,
    content_text,
    key_of_record,
    natural_key,
    order_in_key,
    sort_key,
    text_mark,
)
from dreamcatcherd.core.model import Json, Record
from dreamcatcherd.core.settings import read_settings

TEXT = """
[collections.same]
key = [["id"], ["node"]]
[collections.more]
key = [["id"], ["node", "agent"], ["agent", "type"]]
scalar = ["{node}:{agent}", "{agent}/{type}"]
[collections.text]
key = [["id", "agent"], ["node"]]
content = "body"
rule = "dedup"
[collections.near]
key = [["id"], ["node"]]
content = "body"
rule = "dedup"
[collections.alone]
content = "body"
rule = "first"
[collections.part]
key = [["id"], ["node", "agent", "type"]]
scalar = ["{node}"]
"""
TABLE = read_settings(TEXT.encode()).table
COMMENTS, REACTIONS = DEFAULT_TABLE["comments"], DEFAULT_TABLE["reactions"]
KEYED = [row for row in TABLE.values() if row.key]
ORDER: Json = [7, 0, "s", "c", 0]


def stored(row: Collection, item: Json) -> tuple[list[Json], Record]:
    key, record, why = read_record(row, item, lambda row, parts: ORDER)
    assert why is None
    assert key is not None
    return key, record


# Which key ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "record", "key", "people"),
    [
        ("same", {"id": 1, "node": 2}, [1, ["id"]], {"id": 1}),
        ("same", {"node": "2"}, [2, ["node"]], {"node": 2}),
        ("more", {"id": "a", "node": 2, "agent": 3}, ["a"], "a"),
        ("more", {"node": 2, "agent": "x", "type": "t"}, [2, "x", ["node", "agent"]], {"node": 2, "agent": "x"}),
        ("more", {"agent": "x", "type": "t"}, ["x", "t", ["agent", "type"]], {"agent": "x", "type": "t"}),
        ("more", "2:x", [2, "x", ["node", "agent"]], {"node": 2, "agent": "x"}),
        ("more", "x/t", ["x", "t", ["agent", "type"]], {"agent": "x", "type": "t"}),
        ("more", "x", ["x"], "x"),
        ("text", {"id": 1, "agent": 2}, [1, 2, ["id", "agent"]], {"id": 1, "agent": 2}),
        ("text", {"node": 1, "body": "b"}, [1, text_mark("b"), ["node"]], {"node": 1, "body": "b"}),
        ("text", {"node": 1}, [1, ORDER, ["node"]], {"node": 1}),
        ("alone", {"body": "b"}, [text_mark("b")], "b"),
        ("alone", {"by": 1}, [ORDER], []),
        ("part", "n", ["n", None, None], ["n", None, None]),
        ("comments", {"id": "c", "body": "b"}, ["c"], "c"),
        ("comments", {"number": 1, "agent": "a", "body": "b"}, [1, "a", text_mark("b")], [1, "a", "b"]),
        ("comments", {"number": 1, "agent": "a", "body": ""}, [1, "a", ORDER], [1, "a"]),
        ("reactions", {"node": 1, "type": "t", "agent": "a"}, [1, "t", "a"], [1, "t", "a"]),
        ("reactions", {"node": 1, "type": "t"}, [1, "t", None], [1, "t", None]),
        ("reactions", {"id": None, "node": 1, "type": "t"}, [1, "t", None], [1, "t", None]),
    ],
)
def test_the_first_alternative_whose_fields_are_present_is_the_key(
    name: str, record: Json, key: Json, people: Json
) -> None:
    """The names of its fields are in the key where another alternative has as many parts."""
    found, kept = stored(TABLE[name], record)
    assert found == key
    assert natural_key(TABLE[name], kept) == people


values = st.sampled_from([None, 0, 5, "5", "x", "", "a:b"])
records = st.dictionaries(st.sampled_from(["id", "node", "agent", "type", "body", "number", "n"]), values, max_size=6)
items = st.one_of(records, st.sampled_from([1, "1", "x", "a:b", "1:", "a/b:c", "x/1"]))


@pytest.mark.parametrize("row", KEYED, ids=lambda row: row.name)
@settings(max_examples=120)
@given(item=items)
def test_the_key_of_a_stored_record_is_the_key_that_was_stored(row: Collection, item: Json) -> None:
    """An import finds every key again from the record alone, and the alternative from the record or from the key."""
    key, record, why = read_record(row, item, lambda row, parts: ORDER)
    if why is not None or key is None:
        return
    record = decode(canonical(record))
    order = order_in_key(key)
    assert order in (None, ORDER)
    assert canonical(key_of_record(row, record, order)) == canonical(key)
    choice = choice_of(row, record)
    assert choice is choice_of_key(row, key)
    assert (order is not None) == (choice.content is not None and content_text(choice, record) is None)


@pytest.mark.parametrize("row", KEYED, ids=lambda row: row.name)
@settings(max_examples=80)
@given(one=items, other=items)
def test_different_keys_are_different_for_people_too(row: Collection, one: Json, other: Json) -> None:
    """Two entities with one natural key are only appended ones, which share what is left of it."""
    found = [read_record(row, item, lambda row, parts: ORDER) for item in (one, other)]
    if any(why is not None for _, _, why in found) or any(order_in_key(key or []) for key, _, _ in found):
        return
    (key, record, _), (second, beside, _) = found
    same = canonical(natural_key(row, record)) == canonical(natural_key(row, beside))
    assert same == (canonical(key) == canonical(second))


def test_a_null_that_became_a_set_is_no_key() -> None:
    """Under `union` a field of another alternative may have been null; the record is still keyed by its own."""
    row = read_settings(b'[collections.x]\nkey = [["id"], ["node"]]\nrule = "union"').table["x"]
    assert key_of_record(row, {"id": [None], "node": 3, "tags": [1]}) == [3, ["node"]]


def test_a_record_without_any_key_is_an_error_of_the_caller() -> None:
    """No record without a key is ever stored."""
    with pytest.raises(AssertionError, match="has no key"):
        choice_of(REACTIONS, {"title": "t"})


def test_only_the_last_alternative_has_the_text() -> None:
    """And alternatives are told apart only where they have equally many parts."""
    assert [(one.names, one.content, one.apart) for one in COMMENTS.choices] == [
        (("id",), None, False),
        (("discussion_number", "author"), "body", False),
    ]
    assert [one.apart for one in TABLE["more"].choices] == [False, True, True]
    assert [one.apart for one in TABLE["text"].choices] == [True, True]


@pytest.mark.parametrize(("text", "found"), [("x", "x"), ("", None), (5, None), (None, None), (["x"], None)])
def test_a_text_is_a_string_that_is_not_empty(text: Json, found: str | None) -> None:
    """Nothing else can be a part of a key."""
    assert content_text(COMMENTS.choices[1], {"body": text}) == found


# Order ------------------------------------------------------------------------------------------------------------


def test_keys_are_in_order_part_by_part() -> None:
    """Null, integers by size, strings by code point, then anything else; one part alone is a list of one."""
    keys: list[Json] = [None, -1, 9, 10, 2**70, "", "10", "B", "b", "é", "\uffff", "😀", [[1]]]
    orders = [sort_key(one) for one in keys]
    assert orders == sorted(set(orders))
    assert sort_key(5) == sort_key([5])
    parts: list[Json] = [[5, None], [5, 1], [5, 1, "a"], [5, "a"], ["a"], ["a", 2], ["a", 10], ["b", {"x": 1}]]
    orders = [sort_key(one) for one in parts]
    assert orders == sorted(set(orders))


def test_keys_by_field_are_in_order_of_their_parts_and_then_of_their_fields() -> None:
    """Which alternative it was decides last."""
    keys: list[Json] = [{"id": 1}, {"node": 1}, {"id": 2}, {"id": "a"}, {"node": "b"}]
    orders = [sort_key(one) for one in keys]
    assert orders == sorted(set(orders))
