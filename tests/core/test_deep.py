"""Objects that are merged leaf by leaf (docs/protocol.md#fields)."""

from __future__ import annotations

from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dreamcatcherd.core.codec import canonical, decode
from dreamcatcherd.core.deep import (
    all_stamps,
    deep,
    has_form_of,
    leaves,
    leaves_written,
    stamps_from,
    uniform,
    without,
)
from dreamcatcherd.core.model import Json, Stamp
from tests.core.entity_tools import deep_values


def at(utc: int) -> Stamp:
    return Stamp(1, utc, "s", "c")


def fold(*writes: tuple[int, Json]) -> tuple[Json, Json]:
    """Writes by their times, joined one by one with what an entity's line would have kept of those before."""
    found: tuple[Json, Json] | None = None
    for utc, value in writes:
        value_so_far, stamps = deep(found, [(value, at(utc))])
        found = (decode(canonical(value_so_far)), stamps_from(decode(canonical(stamps))))
    assert found is not None
    return found


def told(found: Json) -> bytes:
    return canonical(found)


# Examples ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("writes", "value", "stamps"),
    [
        ([(1, {"a": 1}), (2, {"b": 2})], {"a": 1, "b": 2}, {"a": at(1), "b": at(2)}),
        (
            [(1, {"a": {"b": 1, "c": 1}}), (2, {"a": {"b": 2}})],
            {"a": {"b": 2, "c": 1}},
            {"a": {"b": at(2), "c": at(1)}},
        ),
        ([(1, {"a": [1]}), (2, {"a": [2]})], {"a": [2]}, {"a": at(2)}),
        ([(1, {"a": 1}), (2, None)], None, at(2)),
        ([(1, {"a": 1}), (3, {"b": 1}), (2, 5)], {"b": 1}, [at(2), {"b": at(3)}]),
        ([(1, 5), (2, {"a": 1})], {"a": 1}, [at(1), {"a": at(2)}]),
        ([(1, {"a": {"b": 1}}), (2, {"a": 7})], {"a": 7}, {"a": at(2)}),
        ([(2, {"a": 7}), (1, {"a": {"b": 1}})], {"a": 7}, {"a": at(2)}),
        ([(1, {})], {}, at(1)),
        ([(1, {}), (2, {"a": 1})], {"a": 1}, {"a": at(2)}),
        ([(1, {"a": 1}), (2, {})], {"a": 1}, [None, {"a": at(1)}, at(2)]),
        ([(1, 5), (2, {})], {}, [at(1), {}, at(2)]),
        ([(1, {}), (2, 5)], 5, at(2)),
        ([(1, {"a": {}})], {"a": {}}, {"a": at(1)}),
        ([(1, {"": 1, "a.b": 2})], {"": 1, "a.b": 2}, {"": at(1), "a.b": at(1)}),
    ],
)
def test_each_path_has_its_latest_write(writes: list[tuple[int, Json]], value: Json, stamps: Json) -> None:
    """A value that is no object hides what is older below it; an empty object hides nothing."""
    assert fold(*writes) == (value, stamps)


def test_within_one_delta_the_later_write_wins() -> None:
    """Whichever of the two is the object."""
    assert deep(None, [({"a": 1}, at(1)), (5, at(1))]) == (5, at(1))
    assert deep(None, [(5, at(1)), ({"a": 1}, at(1))])[0] == {"a": 1}
    assert deep(None, [({"a": 1}, at(1)), ({"a": 2}, at(1))]) == ({"a": 2}, {"a": at(1)})


def test_a_deletion_ends_what_is_not_later() -> None:
    """Leaves and barriers up to its stamp are gone; None if nothing is left."""
    value, stamps = fold((1, {"a": 1}), (2, {"b": {"c": 1}}), (3, {"d": 1}))
    assert without(value, stamps, at(2)) == ({"d": 1}, {"d": at(3)})
    assert without(value, stamps, at(0)) == (value, stamps)
    assert without(value, stamps, at(3)) is None
    assert without(*fold((1, 5), (3, {"a": 1})), at(2)) == ({"a": 1}, {"a": at(3)})
    assert without(*fold((1, {"a": 1}), (2, {})), at(1)) == ({}, at(2))


def test_leaves_have_paths_with_dots() -> None:
    """Those that are shown with their stamps, and those that a write brings."""
    value, stamps = fold((1, 5), (2, {"a": {"b": 1}}), (3, {"c": {}}))
    assert list(leaves(value, stamps, "f")) == [("f.a.b", 1, at(2)), ("f.c", {}, at(3))]
    assert list(leaves(*fold((1, 5), (2, {})), "f")) == [("f", {}, at(2))]
    assert list(leaves(5, at(1), "f")) == [("f", 5, at(1))]
    assert list(leaves_written({"a": {"b": 1}, "c": {}}, "f")) == [("f.a.b", 1), ("f.c", {})]
    assert list(leaves_written({}, "f")) == [("f", {})]


# Any order --------------------------------------------------------------------------------------------------------

writes_of = st.dictionaries(st.integers(0, 6), deep_values, min_size=1, max_size=6).map(lambda by: list(by.items()))


@settings(max_examples=500)
@given(writes_of, st.randoms(use_true_random=False))
def test_the_order_of_writes_never_shows(writes: list[tuple[int, Json]], chance: Random) -> None:
    """Values and stamps are the same bytes in any order, one by one or all at once."""
    whole = told(deep(None, [(value, at(utc)) for utc, value in sorted(writes, key=lambda one: one[0])]))
    assert told(fold(*sorted(writes, key=lambda one: one[0]))) == whole
    chance.shuffle(writes)
    assert told(fold(*writes)) == whole
    assert told(fold(*writes, chance.choice(writes))) == whole, "what comes again changes nothing"


Path = tuple[str, ...]


def paths(value: Json, path: Path = ()) -> list[tuple[Path, Json]]:
    """Each leaf of a write with its path."""
    if isinstance(value, dict) and value:
        return [one for name, inner in value.items() for one in paths(inner, (*path, name))]
    return [(path, value)]


def shown_at(written: dict[Path, list[tuple[int, Json]]], path: Path, hidden: int) -> Json:
    """What a path shows, said in the simplest way; `...` if nothing. Writes up to `hidden` are hidden from above."""
    here = [one for one in written.get(path, []) if one[0] > hidden]
    barrier = max((utc for utc, value in here if value != {}), default=hidden)
    names = {other[len(path)] for other in written if len(other) > len(path) and other[: len(path)] == path}
    members = {name: shown_at(written, (*path, name), barrier) for name in sorted(names)}
    members = {name: value for name, value in members.items() if value is not ...}
    return members or (max(here, key=lambda one: one[0])[1] if here else ...)


@settings(max_examples=500)
@given(writes_of)
def test_what_is_shown_is_what_the_rule_says(writes: list[tuple[int, Json]]) -> None:
    """The latest write at each path, without those that a later value above hides."""
    written: dict[Path, list[tuple[int, Json]]] = {}
    for utc, value in writes:
        for path, leaf in paths(value):
            written.setdefault(path, []).append((utc, leaf))
    assert told(fold(*writes)[0]) == told(shown_at(written, (), -1))


@settings(max_examples=300)
@given(writes_of, st.integers(-1, 7), st.integers(0, 6))
def test_a_deletion_does_not_depend_on_when_it_comes(writes: list[tuple[int, Json]], until: int, cut: int) -> None:
    """Applied once at the end, or after some writes and at the end again, it leaves the same."""
    whole = without(*fold(*writes), at(until))
    state: tuple[Json, Json] | None = without(*fold(*writes[:cut]), at(until)) if writes[:cut] else None
    rest = [(value, at(utc)) for utc, value in sorted(writes[cut:], key=lambda one: one[0])]
    found = deep(state, rest) if rest else state
    found = without(*found, at(until)) if found is not None else None
    assert told(found) == told(whole)


@settings(max_examples=200)
@given(writes_of)
def test_the_stamps_have_the_form_of_the_value(writes: list[tuple[int, Json]]) -> None:
    """One stamp for each leaf that is shown, and the latest of all is the latest write's."""
    value, stamps = fold(*writes)
    assert max(all_stamps(stamps)) == at(max(utc for utc, _ in writes))
    found = list(leaves(value, stamps, "f"))
    assert canonical([one[:2] for one in found]) == canonical(list(leaves_written(value, "f")))
    if has_form_of(value, stamps):
        assert sorted(all_stamps(stamps)) == sorted(stamp for _, _, stamp in found)


@settings(max_examples=100)
@given(deep_values)
def test_one_write_has_one_stamp_everywhere(value: Json) -> None:
    """So its line need not say it leaf by leaf."""
    assert deep(None, [(value, at(1))]) == (value, uniform(value, at(1)))
    assert has_form_of(value, uniform(value, at(1)))
