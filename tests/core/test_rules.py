"""The rules by name: what each makes of contributions, in any order (docs/protocol.md#the-merge)."""

from __future__ import annotations

from collections.abc import Callable
from random import Random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dreamcatcherd.core.codec import Exact, canonical
from dreamcatcherd.core.collections import RuleName
from dreamcatcherd.core.model import Json, Record, Stamp
from dreamcatcherd.core.rules import BY_FIELD, FOLDS, MERGE_RULES, Entity, value_order

KEYS = frozenset({"id"})
Contribution = tuple[Stamp, Record]


def stamp(frame: int, utc: int = 0, stream: str = "s", content: str = "c") -> Stamp:
    return Stamp(frame, utc, stream, content)


def fold(rule: RuleName, contributions: list[Contribution]) -> Entity:
    entity: Entity | None = None
    for at, record in contributions:
        entity = MERGE_RULES[rule](entity, record, at, KEYS)
    assert entity is not None
    return entity


def told(entity: Entity) -> bytes:
    """An entity as bytes, since 1, 1.0 and true are equal in Python and are not the same value."""
    return canonical([entity.record, entity.stamps])


def same(left: Any, right: Any) -> bool:
    return canonical(left) == canonical(right)


stamps = st.builds(Stamp, st.integers(1, 3), st.integers(0, 2), st.sampled_from("ab"), st.sampled_from("cd"))
numbers = st.sampled_from([0, -0.0, 0.0, 1, 1.0, 2**53, 2**53 + 1, 2.0**53, -3, 0.5, 10**40, 1e40])
scalars = st.one_of(numbers, st.none(), st.booleans(), st.sampled_from(["", "1", "a", "é"]))
values = st.one_of(scalars, st.lists(scalars, max_size=3), st.dictionaries(st.sampled_from("pq"), scalars, max_size=2))
FIELD_NAMES = ["x", "y", "z"]


def contributions(of: st.SearchStrategy[Json]) -> st.SearchStrategy[list[Contribution]]:
    """Records for one entity, each with a stamp of its own."""
    record = st.dictionaries(st.sampled_from(FIELD_NAMES), of, max_size=3).map(lambda fields: {"id": 1, **fields})
    return st.lists(st.tuples(stamps, record), min_size=1, max_size=6, unique_by=lambda one: one[0])


integers = st.one_of(st.integers(-5, 5), st.integers(-(2**70), 2**70))
addends = st.one_of(integers, st.sampled_from(["0.1", "-0.1", "0.25", "1e-30", "12345678901234567890.5"]).map(Exact))


def brought(rule: RuleName) -> st.SearchStrategy[list[Contribution]]:
    return contributions(addends if rule == "sum" else values)


@pytest.mark.parametrize("rule", MERGE_RULES)
@settings(max_examples=40)
@given(data=st.data())
def test_the_order_of_arrival_never_shows(rule: RuleName, data: st.DataObject) -> None:
    """Contributions with distinct stamps give the same entity, byte for byte, in any order."""
    given_ = data.draw(brought(rule))
    shuffled = list(given_)
    data.draw(st.randoms(use_true_random=False)).shuffle(shuffled)
    before = canonical([record for _, record in given_])
    assert told(fold(rule, given_)) == told(fold(rule, shuffled))
    assert canonical([record for _, record in given_]) == before, "the records themselves are left as they were"


@pytest.mark.parametrize("rule", [rule for rule in MERGE_RULES if rule != "sum"])
@settings(max_examples=40)
@given(data=st.data())
def test_a_contribution_that_comes_again_changes_nothing(rule: RuleName, data: st.DataObject) -> None:
    """Every rule but the sum, whose deltas are told apart before, can take the same contribution twice."""
    given_ = data.draw(brought(rule))
    again = data.draw(st.sampled_from(given_))
    assert told(fold(rule, [*given_, again])) == told(fold(rule, given_))


@pytest.mark.parametrize("rule", MERGE_RULES)
@settings(max_examples=40)
@given(data=st.data())
def test_key_fields_stay_and_stamps_have_the_rules_form(rule: RuleName, data: st.DataObject) -> None:
    """Rules by field have a stamp for each field but the key, and under the name "" the latest of nothing but the key;
    the others have one stamp of those given."""
    given_ = data.draw(brought(rule))
    entity = fold(rule, given_)
    assert entity.record["id"] == 1
    if rule in BY_FIELD:
        assert isinstance(entity.stamps, dict)
        bare = [at for at, record in given_ if len(record) == 1]
        assert set(entity.stamps) == set(entity.record) - KEYS | ({""} if bare else set())
        assert entity.stamps.get("") == max(bare, default=None)
    else:
        assert entity.stamps in [at for at, _ in given_]


# What each rule is, said once more in the simplest way ------------------------------------------------------------


@settings(max_examples=60)
@given(contributions(values))
def test_last_write_wins_field_by_field(given_: list[Contribution]) -> None:
    """Each field has the value and the stamp of the latest record that sets it."""
    entity = fold("lww", given_)
    fields, by_field = {"id": 1}, {}
    for at, record in sorted(given_, key=lambda one: one[0]):
        fields.update(record)
        by_field.update({name: at for name in record if name != "id"} if len(record) > 1 else {"": at})
    assert same(entity.record, fields)
    assert entity.stamps == by_field


def test_a_later_frame_wins_over_a_faster_clock() -> None:
    """Inside a frame the later time wins; no time reaches beyond its frame."""
    fast: Contribution = (stamp(1, 10**18), {"id": 1, "x": "fast"})
    slow: Contribution = (stamp(2, 0), {"id": 1, "x": "slow"})
    assert fold("lww", [fast, slow]).record == fold("lww", [slow, fast]).record == {"id": 1, "x": "slow"}


def test_equal_times_are_settled_by_stream_and_content() -> None:
    """Where two machines tie, the stream's name decides, then the content id."""
    ties: list[Contribution] = [
        (stamp(1, 5, "b", "c"), {"id": 1, "x": "b"}),
        (stamp(1, 5, "a", "d"), {"id": 1, "x": "a"}),
    ]
    assert fold("lww", ties).record["x"] == "b"
    same_stream: list[Contribution] = [
        (stamp(1, 5, "a", "d"), {"id": 1, "x": "d"}),
        (stamp(1, 5, "a", "c"), {"id": 1, "x": "c"}),
    ]
    assert fold("lww", same_stream).record["x"] == "d"


def test_null_is_a_value_that_can_win() -> None:
    """Setting a field to null is a write like any other."""
    given_: list[Contribution] = [(stamp(1), {"id": 1, "x": "a"}), (stamp(2), {"id": 1, "x": None})]
    assert fold("lww", given_) == Entity({"id": 1, "x": None}, {"x": stamp(2)})


@pytest.mark.parametrize("rule", ["dedup", "first"])
@settings(max_examples=60)
@given(given_=contributions(values))
def test_the_earliest_record_stands_whole(rule: RuleName, given_: list[Contribution]) -> None:
    """The record of the earliest stamp is kept as it is, nothing of later ones is mixed in."""
    at, record = min(given_, key=lambda one: one[0])
    assert told(fold(rule, given_)) == told(Entity(record, at))


@settings(max_examples=60)
@given(contributions(integers))
def test_a_sum_adds_every_delta(given_: list[Contribution]) -> None:
    """Each field is the exact sum of all that set it, with the latest stamp."""
    entity = fold("sum", given_)
    names = {name for _, record in given_ for name in record} - KEYS
    sums = {name: sum(record.get(name, 0) for _, record in given_) for name in names}
    assert same(entity.record, {"id": 1, **sums})
    assert entity.stamps == max(at for at, _ in given_)


def test_equal_contributions_of_two_deltas_both_count() -> None:
    """A sum is over deltas, not over distinct values."""
    given_ = [(stamp(1, content=name), {"id": 1, "value": 2}) for name in "abc"]
    assert fold("sum", given_).record == {"id": 1, "value": 6}


@pytest.mark.parametrize(("rule", "best_of"), [("max", max), ("min", min)])
@settings(max_examples=60)
@given(given_=contributions(values))
def test_the_best_value_stands_with_the_stamp_that_brought_it_first(
    rule: RuleName, best_of: Callable[..., Json], given_: list[Contribution]
) -> None:
    """Each field has the largest, or the smallest, of its values, and the earliest stamp that set exactly that."""
    entity = fold(rule, given_)
    assert isinstance(entity.stamps, dict)
    for name in {name for _, record in given_ for name in record} - KEYS:
        claims = [(at, record[name]) for at, record in given_ if name in record]
        best = best_of((value for _, value in claims), key=value_order)
        assert same(entity.record[name], best)
        assert entity.stamps[name] == min(at for at, value in claims if same(value, best))


@pytest.mark.parametrize(
    ("small", "large"),
    [
        (None, False),
        (False, True),
        (True, 0),
        (-1, 0),
        (9, 10),
        (10**20 - 1, 10**20),
        (1, 1.5),
        (2**53, 2**53 + 1),
        (2.0**53, 2**53 + 1),
        (10**400, ""),
        (1e308, 10**400),
        ("10", "9"),
        ("a", "é"),
        ("é", "😀"),
        ("z", []),
        ([9], {}),
    ],
)
def test_values_are_ordered_by_kind_and_then_by_size(small: Json, large: Json) -> None:
    """Null, booleans, numbers by exact size, strings by code point, lists, objects."""
    assert value_order(small) < value_order(large)
    given_ = [(stamp(1), {"id": 1, "x": large}), (stamp(2), {"id": 1, "x": small})]
    assert same(fold("max", given_).record["x"], large)
    assert same(fold("min", given_).record["x"], small)


@settings(max_examples=100)
@given(st.lists(values, max_size=5), st.randoms(use_true_random=False))
def test_the_order_of_values_is_total(some: list[Json], random: Random) -> None:
    """Any values sort the same way from any order, and only the same value is equal."""
    shuffled = list(some)
    random.shuffle(shuffled)
    assert same(sorted(some, key=value_order), sorted(shuffled, key=value_order))
    assert all((value_order(a) == value_order(b)) == same(a, b) for a in some for b in some)


@settings(max_examples=60)
@given(contributions(values))
def test_a_union_holds_every_value_once(given_: list[Contribution]) -> None:
    """Each field is the list of all distinct values brought, a list counting as its items, in canonical order."""
    entity = fold("union", given_)
    wanted: dict[str, dict[bytes, Json]] = {}
    for _, record in given_:
        for name, value in record.items():
            if name != "id":
                members = value if isinstance(value, list) else [value]
                wanted.setdefault(name, {}).update({canonical(member): member for member in members})
    fields = {name: [found[raw] for raw in sorted(found)] for name, found in wanted.items()}
    assert same(entity.record, {"id": 1, **fields})
    assert entity.stamps == max(at for at, _ in given_)


def test_a_union_tells_true_from_one() -> None:
    """Values are the same by their bytes, not by Python's equality."""
    given_ = [(stamp(1), {"id": 1, "x": [1, True]}), (stamp(2), {"id": 1, "x": [1.0, "1", 1]})]
    assert canonical(fold("union", given_).record["x"]) == b'["1",1,1.0,true]'


@pytest.mark.parametrize(
    ("rule", "kept"),
    [("lww", "later"), ("dedup", "earlier"), ("first", "earlier"), ("max", "later"), ("min", "earlier")],
)
def test_within_one_delta_position_decides(rule: RuleName, kept: str) -> None:
    """Of records with one stamp the later wins, and for dedup and first the earlier."""
    given_ = [(stamp(1), {"id": 1, "x": "earlier"}), (stamp(1), {"id": 1, "x": "later"})]
    assert fold(rule, given_).record == {"id": 1, "x": kept}


def test_fields_that_a_later_record_lacks_stay() -> None:
    """Losing is localised to one field: last write wins takes nothing else away."""
    given_ = [(stamp(1), {"id": 1, "x": 1, "y": 1}), (stamp(2), {"id": 1, "y": 2})]
    assert fold("lww", given_) == Entity({"id": 1, "x": 1, "y": 2}, {"x": stamp(1), "y": stamp(2)})


@pytest.mark.parametrize("rule", list(MERGE_RULES))
@given(data=st.data())
@settings(max_examples=80)
def test_all_records_at_once_are_as_one_by_one(rule: RuleName, data: st.DataObject) -> None:
    """Folded in one go, in any two parts, or record by record: the same entity, and no record is changed."""
    given = sorted(data.draw(brought(rule)), key=lambda one: one[0])
    before = canonical([record for _, record in given])
    cut = data.draw(st.integers(0, len(given)))
    parts: Entity | None = None
    for part in (given[:cut], given[cut:]):
        parts = FOLDS[rule](parts, part, KEYS) if part else parts
    assert parts is not None
    assert told(FOLDS[rule](None, given, KEYS)) == told(parts) == told(fold(rule, given))
    assert canonical([record for _, record in given]) == before
