"""Deltas that are placed together give what each record gives on its own (docs/protocol.md#the-merge)."""

from __future__ import annotations

from collections import Counter
from itertools import chain
from typing import Any
from unittest.mock import patch

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import dreamcatcherd.core.fold
import dreamcatcherd.core.records
from dreamcatcherd.core.codec import canonical
from dreamcatcherd.core.fold import Fold, fold
from dreamcatcherd.core.merge import AT_ONCE, parts_of_cost
from dreamcatcherd.core.model import Delta, Json
from dreamcatcherd.core.records import is_plain, plain_keys
from dreamcatcherd.core.settings import read_settings
from tests.core.tools import delta

TABLE = read_settings(
    b'[collections.channels]\nsection = ["channels", "more_channels"]\nform = "map"\nkey = ["id"]\ndelete = "gone"\n'
    b'[collections.notes]\nkey = [["id"], ["page", "line"]]\nrule = "first"\n'
    b'[collections.scores]\nkey = ["player"]\nrule = "lww"\n[collections.scores.fields]\npoints = "sum"\n'
).table

PART: st.SearchStrategy[Json] = st.sampled_from([1, 2, -3, "a", "b", "7", "-", "01", "", None, True, 1.0, [], {}])
FIELDS = ("discussion_number", "number", "id", "comment_id", "author", "agent", "page", "line", "player", "points")
ODD = {"body": st.sampled_from(["x", "", 5, None]), "_stamp": st.just(1), "": st.just(2)}
RECORD = st.fixed_dictionaries({}, optional=dict.fromkeys(FIELDS, PART) | ODD)
PLAIN = st.fixed_dictionaries(
    {"discussion_number": st.integers(1, 3), "author": st.sampled_from("ab"), "body": st.sampled_from("xy")}
)
SECTION = st.one_of(
    st.lists(PLAIN, max_size=3), st.lists(RECORD | PART, max_size=3), RECORD, PART,
    st.dictionaries(st.text(max_size=1), RECORD),
)  # fmt: skip
NAMES = (
    "posts_created", "comments_added", "observations", "counters", "profile_updates", "reactions_added", "channels",
    "more_channels", "gone", "notes", "scores", "chapters_added", "chapters_written", "dreams",
)  # fmt: skip
BODIES = st.lists(st.dictionaries(st.sampled_from(NAMES), SECTION, max_size=4), max_size=6)


def deltas_of(bodies: list[dict[str, Json]]) -> list[Delta]:
    """A delta of one frame for each body, in order of their stamps."""
    return [delta(1, utc, f"s{utc % 3}", **body) for utc, body in enumerate(bodies)]


def told(found: Fold) -> dict[str, Any]:
    """A fold in a form in which 1, 1.0 and True differ; lines and misfits in one order, since none of theirs counts."""
    return {
        "keyed": {
            name: [
                (canonical(key), canonical(record), type(record), stamp)
                for key, record, stamp in zip(*column, strict=True)
            ]
            for name, column in found.keyed.items()
        },
        "appended": {name: sorted(lines) for name, lines in found.appended.items()},
        "misfits": Counter((one.section, one.stamp, one.why) for one in found.misfits),
        "unknown": found.unknown,
    }


@settings(max_examples=150)
@given(bodies=BODIES, together=st.sampled_from([1, 2, 64]))
def test_records_are_placed_together_as_they_are_one_by_one(bodies: list[dict[str, Json]], together: int) -> None:
    """Whatever the records are, and however many deltas are placed at a time: the same keys, records and misfits."""
    deltas = deltas_of(bodies)
    with patch.object(dreamcatcherd.core.fold, "PLACED_TOGETHER", together):
        found = told(fold(deltas, TABLE))
    never = patch.object(dreamcatcherd.core.fold, "is_plain", return_value=False)
    with never, patch.object(dreamcatcherd.core.records, "is_plain", return_value=False):
        assert told(fold(deltas, TABLE)) == found


@settings(max_examples=60)
@given(bodies=BODIES, parts=st.integers(2, 5))
def test_each_record_is_in_one_part(bodies: list[dict[str, Json]], parts: int) -> None:
    """The parts of a frame have all its records, those of one entity in one part; later parts load what they need."""
    deltas = deltas_of(bodies)
    masks = [0] * len(deltas)
    found = [told(fold(deltas, TABLE, part=part, parts=parts, masks=masks)) for part in range(parts)]
    whole = told(fold(deltas, TABLE))
    for name, rows in whole["keyed"].items():
        pieces = [piece["keyed"].get(name, []) for piece in found]
        assert sorted(chain.from_iterable(pieces), key=repr) == sorted(rows, key=repr)
        keys = [{row[0] for row in piece} for piece in pieces]
        assert sum(map(len, keys)) == len(set().union(*keys))
    for name, lines in whole["appended"].items():
        assert sorted(chain.from_iterable(piece["appended"].get(name, []) for piece in found)) == lines
    assert sum((piece["misfits"] for piece in found), Counter()) == whole["misfits"]


@pytest.mark.parametrize(
    ("name", "items", "keys"),
    [
        ("posts", [{"discussion_number": 1}, {"discussion_number": 2}], [[1], [2]]),
        ("posts", [{"discussion_number": "a"}, {"discussion_number": 2}], [["a"], [2]]),
        ("posts", [{"discussion_number": 1}, {"discussion_number": "2"}], None),
        ("posts", [{"discussion_number": 1}, {"title": "t"}], None),
        ("posts", [{"discussion_number": True}], None),
        ("notes", [{"id": 1}, {"id": 2, "page": 1, "line": 2}], [[1], [2]]),
        ("notes", [{"page": 1, "line": 2}, {"page": "p", "line": 3}], [[1, 2], ["p", 3]]),
        ("notes", [{"id": 1}, {"page": 1, "line": 2}], None),
    ],
)
def test_plain_records_are_keyed_by_column(name: str, items: list[Json], keys: Json) -> None:
    """All records have the same alternative, with key parts as they are stored; else they are read one by one."""
    assert is_plain(TABLE[name], items)
    assert plain_keys(TABLE[name], items) == keys


@pytest.mark.parametrize(
    "items", [[], [1], [{"discussion_number": 1}, None], [{"number": 1}], [{"": 1}], [{"_stamp": 1}]]
)
def test_records_that_are_stored_in_another_form_are_not_plain(items: list[Json]) -> None:
    """An alias, a bare value, a reserved or empty name: `read_record` decides."""
    assert not is_plain(TABLE["posts"], items)


@pytest.mark.parametrize(
    ("cost", "parts"), [(0, 1), (1, 1), (AT_ONCE * 3 // 2, 1), (AT_ONCE * 2, 2), (AT_ONCE * 2 + 1, 3)]
)
def test_a_frame_that_is_little_beyond_a_part_is_one(cost: int, parts: int) -> None:
    """A second part would place most deltas twice; beyond half as much more, no part has more than its bound."""
    assert parts_of_cost(cost) == parts
