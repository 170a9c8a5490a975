"""Records with reserved names, counters, profiles, comments and rows of the settings (docs/protocol.md#a-delta)."""

from __future__ import annotations

import pytest

from dreamcatcherd.core.codec import canonical
from dreamcatcherd.core.collections import DEFAULT_TABLE, MARKS
from dreamcatcherd.core.model import Json, Record
from dreamcatcherd.core.settings import read_settings
from tests.core.placing import HEADER, comment_key, delta, everything, one_by_one, only

# Reserved keys ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("mark", MARKS)
@pytest.mark.parametrize("section", ["posts_created", "observations", "counters", "profile_updates", "dreams"])
def test_a_record_with_a_reserved_key_is_a_wrapped_misfit(section: str, mark: str) -> None:
    """A record that brings a stamp of its own is kept inside a value, wherever it comes."""
    record = {"discussion_number": 1, "name": "n", "agent": "a", mark: None}
    assert only(section, [record]) == (f"extra/{section}!", None, {"value": record})


@pytest.mark.parametrize("section", ["comments_added", "reactions_added", "observations", "dreams"])
def test_a_field_without_a_name_is_kept_where_records_are_kept_complete(section: str) -> None:
    """Only where fields have stamps of their own the empty name means a write of nothing but the key."""
    record = {"id": 1, "": 2}
    assert only(section, [record])[2] == record


def test_a_field_without_a_name_has_a_reason_of_its_own() -> None:
    """Its author learns what is wrong with the record."""
    ones = one_by_one(delta({**HEADER, "posts_created": [{"number": 1, "": 2}]}), DEFAULT_TABLE)
    assert [one[4] for one in ones] == ["a field has no name"]


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
    """An object with a name that is a string is one counter; with numbers throughout it names counters."""
    assert only("counters", {"name": "a", "value": 2}) == ("counters", ["a"], {"name": "a", "value": 2})
    assert everything({"counters": {"name": 1, "value": 2}}) == [
        ("counters", ["name"], {"name": "name", "value": 1}),
        ("counters", ["value"], {"name": "value", "value": 2}),
    ]


@pytest.mark.parametrize(("value", "stored"), [(1.5, b"1.5"), (2.0, b"2"), (-0.0, b"0"), (1e22, b"1" + b"0" * 22)])
def test_a_counter_may_be_a_decimal(value: float, stored: bytes) -> None:
    """It is stored exactly, and as an integer where it is whole."""
    for counters in ({"a": value}, [{"name": "a", "value": value}]):
        _, key, record = only("counters", counters)
        assert (key, canonical(record["value"])) == (["a"], stored)


@pytest.mark.parametrize("value", [True, "3", None, [1], {"by": 1}])
def test_a_counter_that_is_no_number_is_a_misfit_by_itself(value: Json) -> None:
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


@pytest.mark.parametrize("body", [{}, {"body": None}, {"body": ""}, {"body": 5}, {"body_ref": "x.md"}])
def test_a_comment_without_a_text_is_appended(body: Record) -> None:
    """Such comments fit, each is one of its own, and its key has the delta's stamp and its position."""
    base: Record = {"discussion_number": 1, "author": "a", **body}
    other = {**base, "author": "b"}
    items: list[Json] = [base, {"author": "a", **body, "number": "1"}, other, {**base, "at": 5}]
    keys = [key for _, key, _ in everything({"comments_added": items})]
    order = [7, 0, "s", "b" * 40]
    assert keys == [[1, "a", [*order, 0]], [1, "a", [*order, 1]], [1, "b", [*order, 0]], [1, "a", [*order, 2]]]


def test_a_comment_with_an_id_is_keyed_by_it() -> None:
    """Target, author and text are then fields, under their own names, and need not be there."""
    record = {"comment_id": "7", "number": 1, "agent": "a", "body": "x"}
    expected = {"id": 7, "discussion_number": 1, "author": "a", "body": "x"}
    assert only("comments_added", [record]) == ("comments", [7], expected)
    assert only("comments_added", [{"id": "c"}]) == ("comments", ["c"], {"id": "c"})


def test_a_text_is_in_the_key_as_a_digest() -> None:
    """A long text is not written twice, and a filled reference is a text like any other."""
    _, key, _ = only("comments_added", [{"discussion_number": 1, "author": "a", "body": "hello"}])
    assert (key[:2], len(key), len(key[2])) == ([1, "a"], 3, 64)
    base = {"discussion_number": 1, "author": "a", "body": "t"}
    assert comment_key({**base, "body_ref": "x.md"}) == comment_key(base)


# Other tables -----------------------------------------------------------------------------------------------------


def test_a_collection_of_the_settings_is_read_like_the_others() -> None:
    """Adding a row is enough for records, bare keys and misfits to find their place."""
    table = read_settings(b'[collections.claims]\nsection = "claims"\nkey = ["resource"]\nrule = "first"').table
    assert everything({"claims": [{"resource": "r", "by": "a"}, "s", {"by": "b"}]}, table=table) == [
        ("claims", ["r"], {"resource": "r", "by": "a"}),
        ("claims", ["s"], {"resource": "s"}),
        ("extra/claims!", None, {"by": "b"}),
    ]


def test_a_sum_of_the_settings_takes_numbers_only() -> None:
    """A record with anything but numbers beside its key does not fit a sum."""
    table = read_settings(b'[collections.tally]\nkey = ["k"]\nrule = "sum"').table
    items = [{"k": "x", "n": 1, "m": 2.5}, {"k": "x", "n": "1"}, {"k": "x", "n": True}]
    (name, key, record), *misfits = everything({"tally": items}, table=table)
    assert (name, key, canonical(record)) == ("tally", ["x"], b'{"k":"x","m":2.5,"n":1}')
    assert misfits == [("extra/tally!", None, item) for item in items[1:]]


def test_a_content_alone_can_key_a_collection() -> None:
    """Records without other key fields are told apart by their text, and appended without one."""
    table = read_settings(b'[collections.notes]\ncontent = "text"\nrule = "dedup"').table
    items = [{"text": "a", "by": 1}, {"text": "a", "by": 2}, {"text": "b"}, {"by": 3}, "a"]
    found = everything({"notes": items}, table=table)
    assert [name for name, _, _ in found] == ["notes"] * 4 + ["extra/notes!"]
    assert found[0][1] == found[1][1] != found[2][1]
    assert found[3][1] == [[7, 0, "s", "b" * 40, 0]]
