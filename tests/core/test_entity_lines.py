"""The lines of keyed entities in a snapshot (design: docs/architecture.md, "The snapshot")."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dreamcatcherd.core.codec import canonical
from dreamcatcherd.core.collections import Collection
from dreamcatcherd.core.entity_lines import FIELDS_APART, entity_line, fresh_lines, key_fields, read_entity
from dreamcatcherd.core.model import Json, Record, Stamp
from dreamcatcherd.core.rules import Entity
from dreamcatcherd.core.settings import read_settings
from dreamcatcherd.core.shards import parts_of
from tests.core.entity_tools import RAW_KEY, ROWS, contributions, joined, line_after, records, stamps, told

ONE, TWO = Stamp(1, 0, "s", "c"), Stamp(2, 0, "s", "d")


@pytest.mark.parametrize("row", ROWS.values(), ids=ROWS)
@settings(max_examples=60)
@given(data=st.data())
def test_the_short_way_to_a_line_gives_the_same_line(row: Collection, data: st.DataObject) -> None:
    """What one record makes of nothing has the same bytes whether its line was known beforehand or joined."""
    record, stamp = data.draw(records(row)), data.draw(stamps)
    (fresh,) = fresh_lines(row, [RAW_KEY], [record], [canonical(stamp)])
    assert fresh in (b"", line_after(row, None, [(stamp, record)]))


def test_most_rows_have_the_short_way() -> None:
    """Sets must be sorted, claims decided, and deletions may need a stamp more; all others are stored as they come."""
    short = {name for name, row in ROWS.items() if fresh_lines(row, [RAW_KEY], [{"id": 1}], [canonical(ONE)]) != [b""]}
    assert short >= {"lww", "sum", "max", "min", "dedup", "first", "lww_deleted", "sum_deleted", "dedup_deleted"}
    assert not short & {"union", "union_deleted", "max_deleted", "lww_mixed", "lww_all"}
    claims = read_settings(b'[collections.tasks]\nkey = ["id"]\nrule = "claim"').table["tasks"]
    assert fresh_lines(claims, [RAW_KEY], [{"id": 1}], [canonical(ONE)]) == [b""]


@pytest.mark.parametrize("row", ROWS.values(), ids=ROWS)
@settings(max_examples=60)
@given(data=st.data())
def test_an_entity_is_read_as_it_was_written(row: Collection, data: st.DataObject) -> None:
    """Record, stamps, deletion and last write survive their line, byte for byte."""
    entity = joined(row, [data.draw(contributions(row))])
    assert told(read_entity(row, entity_line(RAW_KEY, entity))) == told(entity)


def parts(entity: Entity) -> list[bytes]:
    return parts_of(entity_line(RAW_KEY, entity))[1:]


@pytest.mark.parametrize(
    ("entity", "expected"),
    [
        (Entity({"id": 1, "x": 2, "y": 3}, {"x": ONE, "y": ONE}), [ONE]),
        (Entity({"id": 1, "x": 2, "y": 3}, {"x": ONE, "y": TWO}), [{"x": ONE, "y": TWO}]),
        (Entity({"id": 1}, {"": ONE}), [ONE]),
        (Entity({"id": 1, "x": 2}, {"x": ONE, "": ONE}), [{"x": ONE, "": ONE}]),
        (Entity({"id": 1}, {}), [{}]),
        (Entity({"id": 1}, {}, TWO), [{}, TWO]),
        (Entity({"id": 1, "x": 2}, {"x": TWO}, ONE), [TWO, ONE]),
        (Entity({"id": 1}, None, TWO), [None, TWO]),
        (Entity({"id": 1}, ONE, None, TWO), [ONE, None, TWO]),
        (Entity({"id": 1, "d": {"a": {}}}, {"d": {"a": ONE}}), [ONE]),
        (Entity({"id": 1, "d": {"a": 1}}, {"d": [ONE, {"a": TWO}]}), [{"d": [ONE, {"a": TWO}]}]),
        (Entity({"id": 1, "d": {}}, {"d": [ONE, {}, TWO]}), [{"d": [ONE, {}, TWO]}]),
    ],
)
def test_a_line_says_each_thing_once(entity: Entity, expected: list[Json]) -> None:
    """Stamps that are all equal are one; a deletion, and a last write that is not the record's, follow where they
    are."""
    assert parts(entity)[1:] == [canonical(one) for one in expected]


def test_very_many_fields_are_grouped_by_stamp() -> None:
    """Each stamp is written once with the names that have it, and the stamps inside objects follow."""
    row = ROWS["lww_mixed"]
    record: Record = {"id": 1, "deep": {"a": 1, "b": 2}, **{f"f{n:03}": n for n in range(FIELDS_APART)}}
    by_name: dict[str, Json] = {name: ONE if record[name] % 2 else TWO for name in record if name.startswith("f")}
    for inside in ({"a": ONE, "b": TWO}, [ONE, {"a": TWO, "b": TWO}]):
        entity = Entity(record, {**by_name, "": TWO, "deep": inside})
        line = entity_line(RAW_KEY, entity)
        assert line.count(canonical(ONE)) == 2
        assert told(read_entity(row, line)) == told(entity)


def test_very_many_deep_fields_are_read_again() -> None:
    """Also where no field has a stamp outside an object."""
    names = [f"f{n}" for n in range(FIELDS_APART + 1)]
    rules = ", ".join(f'{name} = "deep"' for name in names)
    row = read_settings(f'[collections.x]\nkey = ["id"]\nfields = {{{rules}}}'.encode()).table["x"]
    record: Record = {"id": 1, **{name: {"a": 1, "b": 2} for name in names}}
    entity = Entity(record, {name: {"a": ONE, "b": TWO} for name in names})
    assert told(read_entity(row, entity_line(RAW_KEY, entity))) == told(entity)


def test_the_fields_of_a_key_follow_from_the_key() -> None:
    """Fields of other alternatives are fields like any others, with stamps of their own."""
    row = read_settings(b'[collections.x]\nkey = [["id"], ["node", "agent"], ["agent", "type"]]').table["x"]
    assert key_fields(row, b"[1]") == {"id"}
    assert key_fields(row, b'[1,2,["agent","type"]]') == {"agent", "type"}
    read = read_entity(row, b'[[1],\t{"agent":2,"id":1,"node":3},\t' + canonical(ONE) + b"]")
    assert read.stamps == {"agent": ONE, "node": ONE}
