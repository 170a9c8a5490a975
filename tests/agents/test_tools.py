"""The arguments of tools: read strictly, described for models, and nothing changed on the way to a delta's bytes."""

from __future__ import annotations

import json
from typing import Any

import jsonschema_rs
import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dreamcatcherd.agents.reading import delta_bytes
from dreamcatcherd.agents.tools import READING, WRITING, answer_schema, read_arguments, schema_of
from dreamcatcherd.agents.writing import TRUE_WAIT_S, ClaimArguments, PushArguments, seconds_of
from dreamcatcherd.core.errors import UsageError

TOOLS = (*READING, *WRITING)
VALUES: dict[str, list[Any]] = {
    "delta": [{"frame": 1}, "{}", "x", "", 1, None, []],
    "collection": ["posts", "", "x" * 5_000, 1, None],
    "key": ["1", "a/b", "", None, 7],
    "after": ["1:2", "", None, 3],
    "resource": ["x", "", 3],
    "stream_id": ["a", "", "x" * 129, None],
    "wait": [True, False, 0, 1.5, 600, 601, -1, "1", None],
    "op": ["claim", "renew", "release", "steal", None],
    "frame": [1],
}


@pytest.mark.parametrize("tool", TOOLS, ids=lambda tool: tool.name)
@given(data=st.data())
def test_the_schema_that_a_model_sees_is_what_is_accepted(tool: Any, data: st.DataObject) -> None:
    """Whatever the arguments: they are taken if, and only if, the listed schema allows them."""
    names = data.draw(st.sets(st.sampled_from(sorted(VALUES))))
    arguments = {name: data.draw(st.sampled_from(VALUES[name])) for name in sorted(names)}
    allowed = jsonschema_rs.is_valid(schema_of(tool.shape), arguments)
    if allowed:
        assert read_arguments(tool.shape, arguments) is not None
    else:
        with pytest.raises(UsageError):
            read_arguments(tool.shape, arguments)


def test_a_wrong_argument_is_named_with_those_that_there_are() -> None:
    """The error says which argument is wrong, and the remedy lists all."""
    with pytest.raises(UsageError, match="unknown field `tail`") as caught:
        read_arguments(PushArguments, {"delta": {}, "tail": 1})
    assert "delta, wait" in caught.value.remedy


def test_schemas_have_no_references_and_no_names_of_classes() -> None:
    """A client needs no resolver, and a model reads nothing that means something in the source alone."""
    for schema in (answer_schema(), *(schema_of(tool.shape) for tool in TOOLS)):
        text = json.dumps(schema)
        assert "$ref" not in text
        assert "Arguments" not in text
        assert schema["type"] == "object"
        jsonschema_rs.validator_for(schema)


@given(
    st.dictionaries(
        st.text(), st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.lists(st.text())
    )
)
def test_the_bytes_of_a_delta_hold_what_was_given_or_nothing(value: dict[str, Any]) -> None:
    """An object comes back from its bytes as it was, and one that JSON cannot hold is refused."""
    try:
        raw = delta_bytes(value)
    except UsageError:
        assert any(one != one or one in (float("inf"), float("-inf")) for one in value.values() if type(one) is float)
    else:
        assert json.loads(raw) == value
        assert delta_bytes(dict(reversed(value.items()))) == raw
    assert delta_bytes(json.dumps(value)) == json.dumps(value).encode()


def test_half_of_a_character_is_no_delta() -> None:
    """A lone surrogate, which a client can send as an escape, is an error and not a crash."""
    for value in ({"a": "\ud800"}, "\ud800", {"\ud800": 1}):
        with pytest.raises(UsageError, match="not JSON"):
            delta_bytes(value)


def test_what_wait_means() -> None:
    """True is the time that most clients allow; no and 0 do not wait; a number is seconds."""
    waits = [msgspec.convert({"delta": {}, "wait": wait}, PushArguments).wait for wait in (True, False, 0, 2, 0.5)]
    assert [seconds_of(wait) for wait in waits] == [TRUE_WAIT_S, None, None, 2.0, 0.5]
    assert seconds_of(PushArguments({}).wait) is None
    assert seconds_of(ClaimArguments("x", "a").wait) == TRUE_WAIT_S
