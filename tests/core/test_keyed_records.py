"""Records in maps and deletions, with their keys (docs/protocol.md#a-delta, docs/protocol.md#deletion)."""

from __future__ import annotations

import pytest

from dreamcatcherd.core.keys import text_mark
from dreamcatcherd.core.model import Deletion, Json
from dreamcatcherd.core.records import place
from dreamcatcherd.core.settings import read_settings
from tests.core.placing import HEADER, delta, everything, one_by_one

TABLE = read_settings(
    b'[collections.channels]\nform = "map"\nkey = ["id"]\nkey_aliases = {id = ["slug"]}\ndelete = "gone"\n'
    b'[collections.votes]\nkey = [["id"], ["node", "agent"]]\nscalar = "{node}:{agent}"\nrule = "dedup"\n'
    b'delete = "votes_gone"\n'
    b'[collections.comments]\ndelete = "comments_gone"\n'
    b'[collections.reactions]\ndelete = "reactions_gone"\n'
).table


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ({"a": {"x": 1}, "7": {}}, [("channels", ["a"], {"id": "a", "x": 1}), ("channels", [7], {"id": 7})]),
        ({"a": {"id": "a"}, "7": {"id": 7}}, [("channels", ["a"], {"id": "a"}), ("channels", [7], {"id": 7})]),
        ({"a": {"id": "b"}}, [("extra/channels!", None, {"a": {"id": "b"}})]),
        ({"a": {"x": 1}, "b": 5}, [("channels", ["a"], {"id": "a", "x": 1}), ("extra/channels!", None, {"b": 5})]),
        ({"a": {"_stamp": 1}}, [("extra/channels!", None, {"a": {"_stamp": 1}})]),
        ({"_stamp": {"x": 1}}, [("channels", ["_stamp"], {"id": "_stamp", "x": 1})]),
        ({"_stamp": 5}, [("extra/channels!", None, {"value": {"_stamp": 5}})]),
        ({"a": {"": 1}}, [("extra/channels!", None, {"a": {"": 1}})]),
        ({"id": "a", "x": 1}, [("channels", ["a"], {"id": "a", "x": 1})]),
        ([{"slug": "a"}, "b"], [("channels", ["a"], {"id": "a"}), ("channels", ["b"], {"id": "b"})]),
        ({}, []),
    ],
)
def test_a_map_is_records_by_their_first_key_field(value: Json, expected: list[tuple[str, Json, Json]]) -> None:
    """Members that cannot be records are misfits by themselves; lists and single records work as everywhere."""
    assert everything({"channels": value}, table=TABLE) == expected


COMMENT = {"discussion_number": 1, "author": "a", "body": "t"}


@pytest.mark.parametrize(
    ("section", "item", "key", "record"),
    [
        ("gone", "a", ["a"], {"id": "a"}),
        ("gone", "7", [7], {"id": 7}),
        ("gone", ["a"], ["a"], {"id": "a"}),
        ("gone", {"slug": "a", "x": 1}, ["a"], {"id": "a"}),
        ("votes_gone", 5, [5], {"id": 5}),
        ("votes_gone", "1:a", [1, "a"], {"node": 1, "agent": "a"}),
        ("votes_gone", ["1", "a"], [1, "a"], {"node": 1, "agent": "a"}),
        ("votes_gone", {"node": 1, "agent": "a"}, [1, "a"], {"node": 1, "agent": "a"}),
        ("comments_gone", "c", ["c"], {"id": "c"}),
        ("comments_gone", [1, "a", "t"], [1, "a", text_mark("t")], COMMENT),
        ("reactions_gone", [1, "t", None], [1, "t", None], {"node": 1, "type": "t", "agent": None}),
        ("reactions_gone", "12", [12, None, None], {"node": 12, "type": None, "agent": None}),
    ],
)
def test_a_deletion_names_a_key(section: str, item: Json, key: Json, record: Json) -> None:
    """As a bare value, a list of parts, or a record with the key fields; nothing else of it is kept."""
    (found,) = one_by_one(delta({**HEADER, section: [item]}), TABLE)
    assert found[2:4] == (key, record)
    assert type(found[3]) is Deletion


@pytest.mark.parametrize(
    ("section", "item"),
    [
        ("gone", None),
        ("gone", True),
        ("gone", 1.5),
        ("gone", []),
        ("gone", ["a", "b"]),
        ("gone", [None]),
        ("gone", {"x": 1}),
        ("gone", {"id": [1]}),
        ("gone", {"id": 1, "_deleted": 1}),
        ("votes_gone", [1, None]),
        ("comments_gone", [1, "a", ""]),
        ("comments_gone", {"number": 1, "agent": "a"}),
    ],
)
def test_a_deletion_without_a_usable_key_is_a_misfit(section: str, item: Json) -> None:
    """It is kept in the extras of its own section."""
    wrapped = item if isinstance(item, dict) and "_deleted" not in item else {"value": item}
    assert everything({section: [item]}, table=TABLE) == [(f"extra/{section}!", None, wrapped)]


def test_deletions_come_last() -> None:
    """Whatever the order in the document; an object as the section is one record."""
    found = place(delta({**HEADER, "gone": {"id": 1}, "channels": [1]}), read_settings(b"").sections)
    assert [one.section for one in found] == ["gone", "channels"]
    placed = everything({"gone": {"id": 1}, "channels": [1, 2]}, table=TABLE)
    assert [key for _, key, _ in placed] == [[1], [2], [1]]
