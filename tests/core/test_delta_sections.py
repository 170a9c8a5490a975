"""The sections of a delta, by name and by dotted path (docs/protocol.md#a-delta)."""

from __future__ import annotations

import pytest

from dreamcatcherd.core.codec import canonical
from dreamcatcherd.core.delta_sections import known_sections, sections_in, value_at
from dreamcatcherd.core.model import Json, Record
from dreamcatcherd.core.settings import DEFAULT, read_settings

META: Record = {"frame": 1, "timestamp": "t", "node_id": "s"}


@pytest.mark.parametrize(
    ("body", "header", "dotted", "expected"),
    [
        ({"frame": 1, "utc": "t", "a": [1], "b": 2}, ["frame", "utc"], [], [("a", [1]), ("b", 2)]),
        ({"utc": "t", "timestamp": "u"}, ["utc"], [], [("timestamp", "u")]),
        ({"a": None, "b": [], "c": {}}, [], [], [("b", []), ("c", {})]),
        ({"_meta": META}, ["_meta.frame", "_meta.timestamp", "_meta.node_id"], [], []),
        ({"_meta": {**META, "x": 1}}, ["_meta.frame", "_meta.timestamp", "_meta.node_id"], [], [("_meta", {"x": 1})]),
        ({"_meta": META, "frame": 2}, ["frame"], [], [("_meta", META)]),
        ({"a.b": 1, "a": {"b": 2}}, ["a.b"], [], [("a", {"b": 2})]),
        ({"m": {"c": [1]}}, [], ["m.c"], [("m.c", [1])]),
        ({"m": {"c": [1], "d": 2}, "z": 3}, [], ["m.c"], [("m", {"d": 2}), ("z", 3), ("m.c", [1])]),
        ({"m": {"c": {"x": 1}, "d": {"e": 1}}}, [], ["m.c", "m.d.e"], [("m.c", {"x": 1}), ("m.d.e", 1)]),
        ({"m.c": 1, "m": {"c": 2}}, [], ["m.c"], [("m.c", 1), ("m", {"c": 2})]),
        ({"m": [{"c": 1}]}, [], ["m.c"], [("m", [{"c": 1}])]),
        ({"m": {"c": {"d": 1, "e": 2}}}, [], ["m.c", "m.c.d"], [("m.c", {"e": 2}), ("m.c.d", 1)]),
        ({"m": {"c": {"d": 1}}}, [], ["m.c", "m.c.d"], [("m.c.d", 1)]),
        ({"m": {"c": {}}}, [], ["m.c"], [("m.c", {})]),
        ({"m": {"frame": 1, "c": {"x": 1}}}, ["m.frame"], ["m.c"], [("m.c", {"x": 1})]),
        ({"m": {"frame": 1}}, ["m.frame"], ["m.frame"], []),
    ],
)
def test_sections_are_all_but_the_header(
    body: Record, header: list[str], dotted: list[str], expected: list[tuple[str, Json]]
) -> None:
    """What was used as header, and what a path takes, is left out of its parent; an object that is empty then is no
    section."""
    before = canonical(body)
    assert list(sections_in(body, header, dotted)) == expected
    assert canonical(body) == before, "the delta itself is left as it was"


def test_a_value_is_found_through_objects_alone() -> None:
    """Lists and missing members lead to nothing."""
    document = {"a": {"b": {"c": 1}, "l": [1]}}
    assert value_at(document, ["a", "b", "c"]) == 1
    assert value_at(document, ["a", "l", "0"]) is None
    assert value_at(document, ["x", "b"]) is None


def test_the_sections_of_a_table_are_prepared_once() -> None:
    """Those with a dot are tried as paths, deletions among them."""
    text = b'[collections.x]\nkey = ["id"]\nsection = ["x", "meta.x"]\ndelete = "meta.gone"'
    found = known_sections(read_settings(text).table)
    assert (found.dotted, found.known["meta.gone"][1]) == (("meta.x", "meta.gone"), 2)
    assert known_sections(DEFAULT.table).dotted == ()


def test_null_at_a_dotted_path_is_an_empty_section() -> None:
    """It is taken out of its parent as any other value would be, and brings no record."""
    assert list(sections_in({"meta": {"channels": None}}, (), ("meta.channels",))) == []
    assert list(sections_in({"meta": {"channels": None, "n": 1}}, (), ("meta.channels",))) == [("meta", {"n": 1})]
    assert list(sections_in({"meta": {}}, (), ("meta.channels",))) == [("meta", {})]
