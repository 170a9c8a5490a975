"""A view read backwards gives the same value back, or says before anything is written why not."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dreamcatcherd.core.collections import MARKS
from dreamcatcherd.core.errors import RefusedError, UsageError
from dreamcatcherd.core.settings import DEFAULT, Settings, read_settings
from dreamcatcherd.core.view_settings import ViewFile
from dreamcatcherd.imports.planned_state import FilePlan, check_views, plan_state, refuse_differences, view_records
from dreamcatcherd.imports.platform_state import StateMap

SETTINGS = read_settings(b"""
[collections.things]
key = ["id"]
[collections.pairs]
key = ["a", "b"]
[collections.tags]
key = ["id"]
rule = "union"
[collections.loads]
key = ["id"]
fields = { n = "sum" }
""")


def planned(raw: bytes, view: ViewFile, settings: Settings = SETTINGS, *more: Any) -> FilePlan:
    mapping = StateMap(views={"v": view})
    return plan_state(mapping, [view_records("v", view, raw, settings), *more], settings).files[0]


def why(value: Any, **how: Any) -> tuple[str, str] | None:
    """Place and remedy of the first difference of a file of `things`, or of another collection."""
    view = ViewFile(**{"collection": "things", "path": "x.json", **how})
    found = planned(json.dumps(value).encode(), view).difference
    return (found.at, found.remedy) if found is not None else None


NAMES = st.text(max_size=6).filter(lambda name: name not in MARKS)
"""A field at the top of a record needs a name: without one the record is a misfit."""
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**70), 2**70) | st.floats(allow_nan=False, allow_infinity=False) | NAMES,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(NAMES, inner, max_size=3),
    max_leaves=8,
)
IDS = st.sampled_from(["7", "007", "a/b", "", "é", "-0", "-1", "*", "%41", "_meta", "a b"]) | NAMES
FIELDS = st.dictionaries(NAMES.filter(lambda name: name not in ("", "id", "agent", "a", "b")), VALUES, max_size=4)
HOW = st.fixed_dictionaries(
    {}, optional={"under": st.just("all"), "meta": st.just("about"), "rename": st.just({"x": "y", "y": "x"})}
)


def is_decimal(text: str) -> bool:
    return re.fullmatch("0|-?[1-9][0-9]*", text) is not None


@pytest.mark.parametrize("collection", ["things", "agents"])
@given(records=st.dictionaries(IDS, FIELDS, max_size=5), how=HOW)
def test_any_map_comes_back_as_it_was(collection: str, records: dict[str, Any], how: dict[str, Any]) -> None:
    """Whatever the names and the records hold; the member of `meta` is the view's own."""
    view = ViewFile(collection, "x.json", "map", **how)
    document = {"all": records} if view.under else {name: one for name, one in records.items() if name != view.meta}
    if view.meta:
        document = {**document, view.meta: {"any": "thing"}}
    found = planned(json.dumps(document).encode(), view)
    assert found.difference is None
    assert (found.same, found.misfits) == (True, [])


@pytest.mark.parametrize("shape", ["list", "lines"])
@pytest.mark.parametrize("collection", ["things", "agents", "observations"])
@given(records=st.dictionaries(IDS, FIELDS, max_size=5), rename=st.booleans())
def test_any_list_comes_back_in_key_order(collection: str, shape: Any, records: dict[str, Any], rename: bool) -> None:
    """As a list and as lines; integers that are written as texts would come back as integers, and are named."""
    field = {"things": "id", "agents": "agent", "observations": "id"}[collection]
    view = ViewFile(collection, "x.json", shape, rename={field: "named"} if rename else {})
    listed = [
        {("named" if rename else field): name, **{one: value for one, value in record.items() if one != "named"}}
        for name, record in records.items()
    ]
    raw = b"".join(json.dumps(one).encode() + b"\n" for one in listed)
    found = planned(raw if shape == "lines" else json.dumps(listed).encode(), view)
    changed = collection != "observations" and any(map(is_decimal, filter(None, records)))
    assert (found.difference is None) is not changed
    assert found.records == len(listed)


@given(
    st.dictionaries(NAMES, st.integers() | st.decimals(allow_nan=False, allow_infinity=False, places=30), max_size=5)
)
def test_an_object_of_numbers_comes_back_with_all_its_digits(numbers: dict[str, Any]) -> None:
    """Counters are numbers by name in both directions."""
    raw = ("{" + ",".join(f"{json.dumps(name)}: {value:f}" for name, value in numbers.items()) + "}").encode()
    assert planned(raw, ViewFile("counters", "x.json", "map"), DEFAULT).difference is None


def test_a_form_that_does_not_fit_is_named_with_a_remedy() -> None:
    """The first difference has a path, and says what to set."""
    assert why({"all": {}, "_meta": {}}, shape="map", under="all") == ("$._meta", 'set meta = "_meta"')
    assert why({"x": {"id": "x"}}, shape="map") == ("$.x.id", "set inside = true")
    assert why({"x": {"id": "x"}}, shape="map", inside=True) is None
    assert why({"x": {}}, shape="map", inside=True) == ("$.x.id", "leave inside out")
    at, remedy = why([{"number": 3, "t": "x"}], collection="posts") or ("", "")
    assert (at, remedy) == ("$[0].number", 'set rename = { "discussion_number" = "number" }')
    assert why([{"number": 3}], collection="posts", rename={"discussion_number": "number"}) is None


@pytest.mark.parametrize(
    ("value", "how", "at"),
    [
        ([{"id": 1, "x": ["b", "a"]}], {"collection": "tags"}, "$[0].x[0]"),
        ([{"id": 1}, {"id": "1"}], {}, "$[1]"),
        ([{"id": 1}, {"x": 1}], {}, "$[1]"),
        ([{"id": 1, "n": True}], {"collection": "loads"}, "$[0]"),
        ({"x": 5}, {"shape": "map"}, "$.x"),
        ({"a b/c": {}}, {"collection": "pairs", "shape": "map"}, '$["a b/c"]'),
        ([{"_stamp": 1}], {"collection": "observations"}, "$"),
        (["text"], {"collection": "observations"}, "$[0]"),
    ],
)
def test_what_the_rules_would_change_is_found(value: Any, how: dict[str, Any], at: str) -> None:
    """Sorted sets, records of one key, misfits, and names that a view would write otherwise."""
    assert (why(value, **how) or ("", ""))[0] == at


def test_stamps_are_the_views_own() -> None:
    """A view with stamps compares what else its records hold."""
    assert why([{"id": 1, "_stamps": {"x": [1, 2, "s", "c"]}, "x": 1}], stamps=True) is None
    assert why([{"id": 1, "x": 1}], stamps=True) is None


def test_misfits_are_counted_with_their_reasons() -> None:
    """By file: what lands in the collection, and what is kept in `extra`."""
    found = planned(b'[{"id": 1}, {"x": 2}, 5]', ViewFile("things", "x.json"))
    assert found.lands == {"extra/things": 1, "things": 2}
    assert [(one.why, one.records) for one in found.misfits] == [("no id", 1)]
    assert found.same is False


def test_the_map_must_fit_the_settings() -> None:
    """Unknown collections and bad forms are refused; views that the settings do not declare are noted."""
    with pytest.raises(UsageError, match="no collection 'none'"):
        check_views(StateMap(views={"v": ViewFile("none", "x.json")}), SETTINGS)
    with pytest.raises(RefusedError, match="no section"):
        planned(b"[]", ViewFile("library", "x.json"))
    for raw in (b"{", b"1,2", b'{"a":1,"a":2}', b"5"):
        with pytest.raises(RefusedError):
            planned(raw, ViewFile("things", "x.json"))
    (note,) = check_views(StateMap(views={"v": ViewFile("things", "x.json")}), SETTINGS)
    assert "x.json will not be written" in note
    view = ViewFile("things", "x.json")
    plan = plan_state(StateMap(views={"v": view}), [view_records("v", view, b"[5]", SETTINGS)], SETTINGS)
    refuse_differences(plan._replace(files=[]))
