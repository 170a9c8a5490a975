"""What the simple model reads in a delta, by small examples (docs/protocol.md#a-delta): header, sections, keys."""

from __future__ import annotations

import json
import random
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.law.deltas import sets_of_deltas, sets_with_deletions, written_out
from tests.law.hand import START, sent, stamp, state
from tests.law.model import Sent, conflicts, key_of, model, stamped, text
from tests.law.records import order_of


@settings(max_examples=150, suppress_health_check=list(HealthCheck))
@given(st.one_of(sets_of_deltas, sets_with_deletions, sets_with_deletions), st.randoms(use_true_random=False))
def test_the_model_does_not_depend_on_the_order_of_the_list(deltas: list[Sent], chance: random.Random) -> None:
    """Listed in another order, and some of them twice, the same deltas have the same state and the same conflicts."""
    shuffled = deltas + chance.sample(deltas, chance.randrange(len(deltas) + 1))
    chance.shuffle(shuffled)
    assert text(model(shuffled)) == text(model(deltas))
    assert sorted(map(text, conflicts([], shuffled))) == sorted(map(text, conflicts([], deltas)))


@settings(max_examples=50, suppress_health_check=list(HealthCheck))
@given(sets_of_deltas)
def test_every_stored_record_shows_its_key(deltas: list[Sent]) -> None:
    """The key that is found in a record places it where the model placed it: no two of one collection are equal."""
    for name, records in model(deltas)["state"].items():
        if name in ("votes", "pins", "reactions", "channels", "follows"):
            keys = [order_of(key_of(name, record)) for record in records]
            assert keys == sorted(set(keys))


META = {"frame": 1, "timestamp": "2026-01-01T00:00:00Z", "node_id": "m"}


@pytest.mark.parametrize(
    ("document", "stream", "left"),
    [
        ({"frame": 1, "utc": "2026-01-01T00:00:00Z", "stream_id": "a", "x": 1}, "a", {"x": 1}),
        ({"_meta": META}, "m", {}),
        ({"_meta": {**META, "by": 1}}, "m", {"_meta": {"by": 1}}),
        ({"_meta": META, "stream_id": "a"}, "a", {"_meta": {"node_id": "m"}}),
        ({"_meta": META, "stream_id": 5, "frame": True}, "m", {"stream_id": 5, "frame": True}),
        ({"_meta": {**META, "timestamp": "?"}, "utc": 5, "timestamp": "2026-01-01T00:00:00Z"}, "m",
         {"_meta": {"timestamp": "?"}, "utc": 5}),
        ({"frame": "1", "stream_id": "a", "completed_at": "2026-01-01T01:00:00+01:00", "timestamp": "?"}, "a",
         {"timestamp": "?"}),
        ({"_meta": {}, "frame": 1, "utc": "2026-01-01T00:00:00Z", "stream_id": "a"}, "a", {"_meta": {}}),
    ],
)  # fmt: skip
def test_the_header_is_found_and_is_no_section(document: dict[str, Any], stream: str, left: dict[str, Any]) -> None:
    """The first place with a value of the right type counts; what was used is left out, and a parent emptied by it."""
    found, sections = stamped(Sent(json.dumps(document).encode()))
    assert found[:3] == (1, START, stream)
    assert sections == left


def test_a_dotted_section_is_taken_out_of_its_parent() -> None:
    """The rest of the parent is a section; an emptied parent is none; a top-level name goes before the path."""
    both = state(sent(1, channels_updated=[{"id": 1}], meta={"channels": {"c": {"mood": 2}}, "more": 3}))
    assert both["channels"] == [{"id": 1}, {"id": "c", "mood": 2}]
    assert both["extra/meta"] == [{"more": 3}]
    assert state(sent(1, meta={"channels": None})) == {}
    literal = state(sent(1, meta={"channels": ["d"]}, more={"meta.channels": ["c"]}))
    assert literal == {"channels": [{"id": "c"}], "extra/meta": [{"channels": ["d"]}]}
    deep = b'[collections.x]\nsection = "a.b.c"\nkey = ["id"]\nrule = "lww"\n'
    assert state(sent(1, a={"b": {"c": [1]}}), settings=deep) == {"x": [{"id": 1}]}
    assert state(sent(1, a=[{"b": {"c": [1]}}]), settings=deep) == {"extra/a": [{"b": {"c": [1]}}]}


def test_a_map_is_spread_by_name() -> None:
    """Members are records under their name; other members, and records under another name, are misfits."""
    assert state(sent(1, channels_updated={"7": {"id": 7, "mood": 1}, "c": {"id": None}}))["channels"] == [
        {"id": 7, "mood": 1},
        {"id": "c"},
    ]
    mixed = state(sent(1, channels_updated={"c": {"mood": 1}, "d": 5, "e": {"id": "f"}}))
    assert mixed["channels"] == [{"id": "c", "mood": 1}]
    assert mixed["extra/channels_updated"] == [{"d": 5}, {"e": {"id": "f"}}]
    assert state(sent(1, channels_updated={"id": "c", "mood": {"x": 1}}))["channels"] == [{"id": "c", "mood": {"x": 1}}]
    assert state(sent(1, channels_updated={"c": {"_deleted": 1}})) == {
        "extra/channels_updated": [{"c": {"_deleted": 1}}]
    }


@pytest.mark.parametrize(
    ("item", "stored"),
    [
        ("n1:up", {"node": "n1", "type": "up", "agent": None}),
        ("n1:up:x", {"node": "n1", "type": "up:x", "agent": None}),
        ("7", {"node": 7, "type": None, "agent": None}),
        (":up", {"node": ":up", "type": None, "agent": None}),
        ("n1:", {"node": "n1:", "type": None, "agent": None}),
        ("", {"id": ""}),
        (5, {"id": 5}),
        ({"target": "n1", "emoji": "up"}, {"node": "n1", "type": "up", "agent": None}),
        ({"number": "7", "content": "up", "author": "x"}, {"node": 7, "type": "up", "agent": "x"}),
        ({"id": "1", "target": "7", "emoji": True}, {"id": 1, "node": "7", "type": True}),
        ({"node": None, "target": 1, "type": "up", "agent": 2, "author": 3},
         {"node": 1, "type": "up", "agent": 2, "author": 3}),
    ],
)  # fmt: skip
def test_reactions_are_keyed_by_id_or_by_node_type_and_agent(item: Any, stored: dict[str, Any]) -> None:
    """Every form of a reaction is one record with the collection's names; only the parts of its key are converted."""
    assert state(sent(1, reactions_added=[item])) == {"reactions": [stored]}


@pytest.mark.parametrize(
    "item",
    [True, None, 1.5, [1], {"node": "n1"}, {"node": "n1", "type": 1.5}, {"node": 1, "type": 1, "agent": True},
     {"id": [1], "node": 1, "type": 1}, {"node": 1, "type": None}],
)  # fmt: skip
def test_a_reaction_without_a_usable_key_is_a_misfit(item: Any) -> None:
    """The first alternative that is there decides: if a part of it is no key, the others are not asked."""
    kept = item if isinstance(item, dict) else {"value": item}
    assert state(sent(1, reactions_added=[item])) == {"extra/reactions_added": [kept]}


def test_comments_have_an_id_or_a_text_or_are_appended() -> None:
    """An id keys a comment; else target, author and text do; without a text every comment is one of its own."""
    bare = {"discussion": "7", "agent": "x"}
    one = sent(1, comments_added=[bare, {**bare, "body": "b"}, bare, {**bare, "body": "b", "n": 1}, 3])
    two = sent(2, comments_added=[{"comment_id": 1, "number": "2"}, {**bare, "body": ""}, {"id": 1}])
    found = model([two, one])["state"]["comments"]
    own = {"discussion_number": 7, "author": "x"}
    assert found == [
        {"id": 1, "discussion_number": "2", "_stamp": stamp(two, 2)},
        {"id": 3, "_stamp": stamp(one, 1)},
        {**own, "_stamp": stamp(one, 1)},
        {**own, "_stamp": stamp(one, 1)},
        {**own, "body": "", "_stamp": stamp(two, 2)},
        {**own, "body": "b", "_stamp": stamp(one, 1)},
    ]
    assert [key_of("comments", record) for record in found] == [1, 3, *[[7, "x"]] * 3, [7, "x", "b"]]


def test_alternatives_that_could_be_confused_show_their_field() -> None:
    """An id and a slug of the same value are two entities, by value and then by field; lists need no names."""
    found = state(sent(1, pins=[{"slug": "a"}, {"id": "a", "slug": 3}, 1], votes=["n:7", {"id": "n", "agent": "7"}]))
    assert [key_of("pins", record) for record in found["pins"]] == [{"id": 1}, {"id": "a"}, {"slug": "a"}]
    assert found["pins"][1] == {"id": "a", "slug": 3}
    assert found["votes"] == [{"id": "n", "agent": "7"}, {"node": "n", "agent": 7}]
    assert [key_of("votes", record) for record in found["votes"]] == ["n", ["n", 7]]


def test_keys_are_in_natural_order() -> None:
    """Part by part, null before integers before strings; one part alone is a list of one."""
    keys = [None, -1, 1, [1, None], [1, 2], [1, "a"], {"id": 1}, 7, "", "7", ["a", 1]]
    keys.reverse()
    assert sorted(keys, key=order_of) == keys[::-1]


@pytest.mark.parametrize("name", ["_stamp", "_stamps", "_deleted"])
@pytest.mark.parametrize("section", ["posts_created", "observations", "votes_removed", "unheard of"])
def test_reserved_names_make_a_misfit_of_a_record(name: str, section: str) -> None:
    """A record that brings a reserved name is kept whole under `value`, wherever it stands."""
    record = {"number": 1, "id": 1, name: 0}
    assert state(sent(1, more={section: [record]})) == {f"extra/{section}": [{"value": record}]}


def test_what_cannot_be_added_is_a_misfit() -> None:
    """A sum takes integers and decimals alone; a counter without a value counts 0."""
    assert state(sent(1, counters={"a": 1, "b": "<<0.5>>", "c": True}))["extra/counters"] == [{"c": True}]
    assert state(sent(1, counters=["a", {"name": "b", "value": None}])) == {
        "counters": [{"name": "a", "value": 0}],
        "extra/counters": [{"name": "b", "value": None}],
    }
    wrong = {"id": "c", "post_count": "1"}
    assert state(sent(1, channels_updated=[wrong])) == {"extra/channels_updated": [wrong]}


def test_generated_numbers_are_written_as_they_are() -> None:
    """A placeholder stands for a number with just these digits."""
    assert written_out({"n": ["<<12345678901234567.891>>", "<<-0.0>>"]}) == b'{"n": [12345678901234567.891, -0.0]}'
