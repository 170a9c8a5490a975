"""The files of views: shapes, names in maps, layout, and the way back to the key."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dreamcatcherd.core.codec import Exact, canonical
from dreamcatcherd.core.collections import DEFAULT_TABLE, Collection, KeyField
from dreamcatcherd.core.keys import sort_key
from dreamcatcherd.core.model import Stamp
from dreamcatcherd.core.platform_views import ViewOrigin, renamed, view_bytes
from dreamcatcherd.core.snapshot import Item
from dreamcatcherd.core.view_keys import fields_named, names_in_map
from dreamcatcherd.core.view_settings import ViewFile

ORIGIN = ViewOrigin(7, "d" * 40)
STAMP = Stamp(1, 5, "s", "c" * 40)
PAIR = Collection("pairs", ("pairs",), ((KeyField("a"), KeyField("b")),), "lww")
VOTES = Collection("votes", ("votes",), ((KeyField("id"),), (KeyField("node"), KeyField("agent"))), "dedup")
TWINS = Collection("twins", ("twins",), ((KeyField("a"), KeyField("b")), (KeyField("c"), KeyField("d"))), "lww")


def made(row: Collection, records: list[dict[str, Any]], **how: Any) -> bytes:
    stamps: Any = STAMP if row.rule in ("dedup", "append", "sum", "first") else {"": STAMP}
    found = [Item(row.name, record, stamps, at) for at, record in enumerate(records)]
    return view_bytes(found, row, ViewFile(row.name, "x.json", **how), ORIGIN)


def test_each_shape_has_one_record_a_line() -> None:
    """Maps, lists and lines, wrapped or not, with and without `meta`; all end with a line break."""
    posts = [{"discussion_number": 10, "t": "b"}, {"discussion_number": 9, "t": "a"}]
    row = DEFAULT_TABLE["posts"]
    about = b'"_meta":{"count":2,"digest":"' + b"d" * 40 + b'","frame":7}'
    assert made(row, posts) == b'[\n{"discussion_number":9,"t":"a"},\n{"discussion_number":10,"t":"b"}\n]\n'
    assert made(row, posts, shape="map") == b'{\n"9":{"t":"a"},\n"10":{"t":"b"}\n}\n'
    assert made(row, posts, shape="map", meta="_meta") == b"{\n" + about + b',\n"9":{"t":"a"},\n"10":{"t":"b"}\n}\n'
    assert made(row, posts[:1], under="all", rename={"t": "title"}) == (
        b'{\n"all":[\n{"discussion_number":10,"title":"b"}\n]\n}\n'
    )
    assert made(row, posts[:1], shape="lines") == b'{"discussion_number":10,"t":"b"}\n'
    assert (made(row, []), made(row, [], shape="map"), made(row, [], shape="lines")) == (b"[]\n", b"{}\n", b"")
    assert json.loads(made(row, [], shape="map", under="p", meta="m"))["p"] == {}


def test_counters_are_an_object_of_numbers() -> None:
    """As long as they have nothing but name and value; digits of exact decimals stay."""
    row = DEFAULT_TABLE["counters"]
    records = [{"name": "n", "value": Exact("0.12345678901234567890")}, {"name": "o", "value": 2, "x": 1}]
    assert made(row, records, shape="map") == b'{\n"n":0.12345678901234567890,\n"o":{"value":2,"x":1}\n}\n'
    assert json.loads(made(row, records[1:], shape="map", inside=True)) == {"o": records[1]}
    stamped = json.loads(made(row, [{"name": "n", "value": 1}], shape="map", stamps=True))
    assert stamped == {"n": {"value": 1, "_stamp": list(STAMP)}}


def test_nobody_can_pose_as_the_account_of_a_view() -> None:
    """An entity with the name of `meta` is left out of a map that has its account beside the entities."""
    row = DEFAULT_TABLE["agents"]
    found = json.loads(made(row, [{"agent": "_meta", "frame": 1}, {"agent": "b"}], shape="map", meta="_meta"))
    assert (found["_meta"]["frame"], found["_meta"]["count"], found["b"]) == (7, 2, {})
    assert "_meta" in json.loads(made(row, [{"agent": "_meta"}], shape="map", meta="_meta", under="all"))["all"]


def test_what_lacks_the_text_of_its_key_is_counted() -> None:
    """Appended comments share what is left of the key, and are told apart by their order."""
    row = DEFAULT_TABLE["comments"]
    base = {"discussion_number": 7, "author": "al/ice"}
    records = [{"id": 3, "body": "x"}, {**base, "body": "hi!"}, base, base]
    found = json.loads(made(row, [{**record} for record in records], shape="map"))
    assert list(found) == ["3", "7/al%2Fice/*0", "7/al%2Fice/*1", "7/al%2Fice/hi%21"]
    assert found["7/al%2Fice/hi%21"] == {}
    assert fields_named(row, "7/al%2Fice/*1") == {"discussion_number": "7", "author": "al/ice"}
    assert fields_named(row, "7/al%2Fice/hi%21") == {"discussion_number": "7", "author": "al/ice", "body": "hi!"}


PARTS = st.one_of(st.integers(-(10**6), 10**6), st.sampled_from(["", "007", "a/b", "*", "*0", "é%", "a=b", "-"]))
RECORDS = {
    PAIR.name: st.fixed_dictionaries({"a": PARTS, "b": PARTS}),
    VOTES.name: st.one_of(
        st.fixed_dictionaries({"id": PARTS}), st.fixed_dictionaries({"node": PARTS, "agent": PARTS | st.none()})
    ),
    TWINS.name: st.one_of(
        st.fixed_dictionaries({"a": PARTS, "b": PARTS}), st.fixed_dictionaries({"c": PARTS, "d": PARTS})
    ),
}


@pytest.mark.parametrize("row", [PAIR, VOTES, TWINS], ids=lambda row: row.name)
@given(data=st.data())
def test_no_two_keys_share_a_name_and_each_name_leads_back(row: Collection, data: st.DataObject) -> None:
    """Whatever the parts hold, and whichever alternative they are of."""
    found = data.draw(st.lists(RECORDS[row.name], unique_by=lambda record: canonical(record)))
    found.sort(key=lambda record: sort_key([*record.values()]))
    names = names_in_map(row, found)
    assert len(set(names)) == len(found)
    for name, record in zip(names, found, strict=True):
        told = {field: None if part is None else str(part) for field, part in record.items()}
        assert fields_named(row, name) == told


@given(
    st.dictionaries(st.sampled_from("abcd"), st.integers(), max_size=4),
    st.dictionaries(st.sampled_from("abcd"), st.sampled_from("abcd"), max_size=4),
)
def test_renaming_loses_no_value(record: dict[str, int], names: dict[str, str]) -> None:
    """Fields that would share a name keep their own."""
    if len(set(names.values())) == len(names):
        assert sorted(renamed(record, names).values()) == sorted(record.values())
