"""How records and deletions join an entity, in any order and any batches (docs/protocol.md#the-merge)."""

from __future__ import annotations

from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dreamcatcherd.core.codec import canonical
from dreamcatcherd.core.collections import Collection
from dreamcatcherd.core.entities import is_alive, last_write, leaf_entity, leaf_record
from dreamcatcherd.core.model import Deletion, Json, Record, Stamp
from dreamcatcherd.core.rules import Contributions, Entity
from tests.core.entity_tools import ROWS, contributions, joined, line_after, told


def at(frame: int) -> Stamp:
    return Stamp(frame, 0, "s", "c")


def wrote(frame: int, **fields: Json) -> tuple[Stamp, Record]:
    return at(frame), {"id": 1, **fields}


def gone(frame: int) -> tuple[Stamp, Record]:
    return at(frame), Deletion(id=1)


def batches(given_: Contributions, chance: Random) -> list[Contributions]:
    """The deltas in random batches; within a batch they are in order of stamps, as a merge gives them."""
    deltas = list(dict.fromkeys(stamp for stamp, _ in given_))
    chance.shuffle(deltas)
    found: list[Contributions] = []
    while deltas:
        size = chance.randint(1, len(deltas))
        batch, deltas = set(deltas[:size]), deltas[size:]
        found.append([one for one in given_ if one[0] in batch])
    return found


@pytest.mark.parametrize("row", ROWS.values(), ids=ROWS)
@settings(max_examples=50)
@given(data=st.data(), chance=st.randoms(use_true_random=False))
def test_any_order_and_any_batches_give_the_same_bytes(row: Collection, data: st.DataObject, chance: Random) -> None:
    """Between batches the entity is written and read; deletions and deep values take part like any others."""
    given_ = data.draw(contributions(row))
    before = canonical([record for _, record in given_])
    whole = line_after(row, None, given_)
    line: bytes | None = None
    for batch in batches(given_, chance):
        line = line_after(row, line, batch)
    assert line == whole
    assert canonical([record for _, record in given_]) == before, "the records themselves are left as they were"


@pytest.mark.parametrize("row", [row for row in ROWS.values() if row.delete], ids=lambda row: row.name)
@settings(max_examples=40)
@given(data=st.data())
def test_an_entity_lives_while_its_latest_write_is_later_than_its_deletion(
    row: Collection, data: st.DataObject
) -> None:
    """Whatever rules its fields have, and with equal stamps the deletion wins."""
    given_ = data.draw(contributions(row))
    entity = joined(row, [given_])
    deleted = max((stamp for stamp, record in given_ if type(record) is Deletion), default=None)
    written = max((stamp for stamp, record in given_ if type(record) is not Deletion), default=None)
    assert entity.deleted == deleted
    assert is_alive(entity) == (deleted is None or (written is not None and written > deleted))
    assert entity.record["id"] == 1


# Examples of the contract -----------------------------------------------------------------------------------------


def test_fields_that_are_written_later_than_the_deletion_live_on() -> None:
    """The others are gone, and the deletion is remembered."""
    entity = joined(ROWS["lww_deleted"], [[wrote(1, x=1, y=1), gone(2), wrote(3, x=2)]])
    assert entity == Entity({"id": 1, "x": 2}, {"x": at(3)}, at(2))
    assert is_alive(entity)


def test_an_entity_without_a_later_write_is_a_tombstone() -> None:
    """It has its key and its deletion, also if it never existed."""
    row = ROWS["lww_deleted"]
    assert joined(row, [[wrote(1, x=1), gone(2)]]) == joined(row, [[gone(2)]]) == Entity({"id": 1}, {}, at(2))
    assert not is_alive(joined(row, [[gone(2)], [wrote(1, x=1)]]))


def test_a_write_of_nothing_but_the_key_brings_an_entity_back() -> None:
    """Its stamp has the empty name, and is the latest such."""
    entity = joined(ROWS["lww_deleted"], [[wrote(1, x=1), gone(2)], [wrote(4)], [wrote(3)]])
    assert entity == Entity({"id": 1}, {"": at(4)}, at(2))
    assert is_alive(entity)


@pytest.mark.parametrize(
    ("rule", "value", "stamp"), [("sum", 3, 2), ("max", 2, 2), ("min", 1, 1), ("union", [1, 2], 2), ("first", 1, 1)]
)
def test_sums_extremes_sets_and_first_values_ignore_deletions(rule: str, value: Json, stamp: int) -> None:
    """They keep what they have, whatever was deleted."""
    given_ = [wrote(1, **{rule: 1}), wrote(2, **{rule: 2}), gone(3)]
    entity = joined(ROWS["lww_all"], [given_])
    assert entity == Entity({"id": 1, rule: value}, {rule: at(stamp)}, at(3))
    assert not is_alive(entity)


@pytest.mark.parametrize("rule", ["max", "min", "first"])
def test_a_write_that_leaves_no_stamp_of_its_own_is_a_write_all_the_same(rule: str) -> None:
    """An extreme or first value keeps an earlier stamp, and so the write has one under the empty name."""
    entity = joined(ROWS["lww_all"], [[wrote(1, **{rule: 1}), gone(2), wrote(3, **{rule: 1})]])
    assert entity.stamps == {rule: at(1), "": at(3)}
    assert is_alive(entity)
    without = joined(ROWS["lww_mixed"], [[wrote(1, **{rule: 1}), wrote(3, **{rule: 1})]])
    assert without.stamps == {rule: at(1)}


def test_leaves_of_a_deep_field_end_one_by_one() -> None:
    """Those that are written later stay, with the objects around them."""
    deep = {"a": {"b": 1, "c": 1}, "d": 1}
    entity = joined(ROWS["lww_all"], [[wrote(1, deep=deep), gone(2), wrote(3, deep={"a": {"b": 2}})]])
    assert entity == Entity({"id": 1, "deep": {"a": {"b": 2}}}, {"deep": {"a": {"b": at(3)}}}, at(2))


@pytest.mark.parametrize("rule", ["dedup", "first"])
def test_the_earliest_record_lives_by_the_latest_write(rule: str) -> None:
    """The record stays that of the earliest stamp ever, and the latest write is remembered beside it."""
    row = ROWS[f"{rule}_deleted"]
    entity = joined(row, [[wrote(1, x=1), gone(2), wrote(3, x=3)]])
    assert entity == Entity({"id": 1, "x": 1}, at(1), at(2), at(3))
    assert (is_alive(entity), last_write(entity)) == (True, at(3))
    assert joined(row, [[wrote(1, x=1), gone(2)]]) == Entity({"id": 1, "x": 1}, at(1), at(2))
    assert joined(row, [[gone(2)]]) == Entity({"id": 1}, None, at(2))
    assert last_write(joined(row, [[gone(2)]])) is None


@pytest.mark.parametrize(("rule", "value"), [("sum", 3), ("union", [1, 2])])
def test_a_sum_or_set_lives_by_its_latest_stamp(rule: str, value: Json) -> None:
    """It has one stamp for all of it."""
    row = ROWS[f"{rule}_deleted"]
    alive = joined(row, [[wrote(1, x=1), gone(2), wrote(3, x=2)]])
    dead = joined(row, [[wrote(1, x=1), wrote(2, x=2), gone(2)]])
    assert alive == Entity({"id": 1, "x": value}, at(3), at(2))
    assert dead == Entity({"id": 1, "x": value}, at(2), at(2))
    assert (is_alive(alive), is_alive(dead)) == (True, False)


def test_a_deletion_stays_when_the_settings_have_no_section_for_it_any_more() -> None:
    """What was deleted stays deleted under the row without deletions."""
    line = line_after(ROWS["lww_deleted"], None, [wrote(1, x=1), gone(2)])
    assert line_after(ROWS["lww"], line, [wrote(1, y=1)]) == line


# Leaves as fields -------------------------------------------------------------------------------------------------


def test_leaves_are_fields_named_by_their_paths() -> None:
    """So that what streams lost to each other is found leaf by leaf."""
    rules = ROWS["lww_mixed"].rules
    record: Record = {"id": 1, "deep": {"a": {"b": 1}, "c": {}}, "lww": {"d": 1}}
    assert leaf_record(record, rules) == {"id": 1, "deep.a.b": 1, "deep.c": {}, "lww": {"d": 1}}
    entity = leaf_entity(joined(ROWS["lww_mixed"], [[(at(1), record)]]), rules)
    assert entity.record == leaf_record(record, rules)
    assert entity.stamps == dict.fromkeys(["deep.a.b", "deep.c", "lww"], at(1))


def test_without_deep_fields_a_record_is_its_own_leaves() -> None:
    """Nothing is copied for rows that need nothing of it."""
    record: Record = {"id": 1, "x": {"a": 1}}
    entity = Entity(record, {"x": at(1)})
    assert leaf_record(record, {}) is record
    assert leaf_entity(entity, {}) is entity
    assert told(entity) == told(leaf_entity(entity, ROWS["lww"].rules))
