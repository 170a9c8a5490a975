"""Objects merged leaf by leaf, by small examples (docs/protocol.md#the-merge)."""

from __future__ import annotations

from typing import Any

import pytest

from tests.law.deep import deep, stamped_leaves, stamps_in

GONE = (None, None)


def merged(*writes: tuple[int, Any], deleted: int | None = None) -> tuple[Any, Any]:
    """The value and the stamps of a field, with a single number for each stamp."""
    found = deep([((stamp,), value) for stamp, value in writes], None if deleted is None else (deleted,))
    return GONE if found is None else (found[0], _numbers(found[1]))


def _numbers(stamps: Any) -> Any:
    if isinstance(stamps, dict):
        return {name: _numbers(inner) for name, inner in stamps.items()}
    if len(stamps) == 1:
        return stamps[0]
    return [one if one is None else _numbers(one) for one in stamps]


@pytest.mark.parametrize(
    ("writes", "value", "stamps"),
    [
        ([(1, 5)], 5, 1),
        ([(1, 5), (2, None)], None, 2),
        ([(1, {"p": 1}), (2, {"q": 2})], {"p": 1, "q": 2}, {"p": 1, "q": 2}),
        ([(1, {"p": 1}), (2, {"p": 2})], {"p": 2}, {"p": 2}),
        ([(1, {"p": [1]}), (2, {"p": [2]})], {"p": [2]}, {"p": 2}),
        # A value hides what was written below it before, and stands behind what is written below it later.
        ([(1, {"p": 1, "q": 1}), (2, 5)], 5, 2),
        ([(1, 5), (2, {"p": 1})], {"p": 1}, [1, {"p": 2}]),
        ([(1, {"q": 1}), (2, 5), (3, {"p": 1})], {"p": 1}, [2, {"p": 3}]),
        ([(1, {"p": {"q": 1}}), (2, {"p": 5}), (3, {"p": {"r": 1}})], {"p": {"r": 1}}, {"p": [2, {"r": 3}]}),
        ([(1, 5), (2, {"p": 5}), (3, {"p": {"q": 1}})], {"p": {"q": 1}}, [1, {"p": [2, {"q": 3}]}]),
        ([(1, {"p": 5}), (2, {"p": {"q": 1}}), (3, 7), (4, {"r": 1})], {"r": 1}, [3, {"r": 4}]),
        # Within one delta the later record wins.
        ([(1, 5), (1, {"p": 1})], {"p": 1}, [1, {"p": 1}]),
        ([(1, {"p": 1}), (1, 5)], 5, 1),
        ([(1, {"p": 1}), (1, {"p": 2})], {"p": 2}, {"p": 1}),
        # An empty object is a value that hides nothing below it.
        ([(1, {}), (2, {})], {}, 2),
        ([(1, {}), (2, {"p": 1})], {"p": 1}, {"p": 2}),
        ([(1, {"p": 1}), (2, {})], {"p": 1}, [None, {"p": 1}, 2]),
        ([(1, {"p": 1}), (2, {}), (3, {"q": 1})], {"p": 1, "q": 1}, {"p": 1, "q": 3}),
        ([(1, 5), (2, {})], {}, [1, {}, 2]),
        ([(1, {}), (2, 5)], 5, 2),
        ([(1, {"p": {}})], {"p": {}}, {"p": 1}),
        ([(1, {"p": {}, "q": 1}), (2, {"p": {}})], {"p": {}, "q": 1}, {"p": 2, "q": 1}),
        ([(1, {"p": {}}), (2, {})], {"p": {}}, [None, {"p": 1}, 2]),
        ([(1, {"p": {"q": 1}}), (2, {"p": {}})], {"p": {"q": 1}}, {"p": [None, {"q": 1}, 2]}),
        ([(1, 5), (2, {"p": {}})], {"p": {}}, [1, {"p": 2}]),
        ([(1, {"p": {"q": 1}}), (2, 5), (3, {"p": {}})], {"p": {}}, [2, {"p": 3}]),
    ],
)
def test_leaves_and_barriers(writes: list[tuple[int, Any]], value: Any, stamps: Any) -> None:
    """Each path has its latest write; a write hides those below it that are not later, and no others."""
    assert merged(*writes) == (value, stamps)


@pytest.mark.parametrize(
    ("writes", "deleted", "expected"),
    [
        ([(1, {"p": 1}), (3, {"q": 1})], 2, ({"q": 1}, {"q": 3})),
        ([(1, {"p": 1})], 1, GONE),
        ([(1, 5), (3, {"p": 1})], 2, ({"p": 1}, {"p": 3})),
        ([(1, {"p": 1}), (3, 5), (4, {"q": 1})], 2, ({"q": 1}, [3, {"q": 4}])),
        ([(3, {})], 2, ({}, 3)),
        ([(1, {})], 2, GONE),
    ],
)
def test_deletions_take_leaves_and_barriers(writes: list[tuple[int, Any]], deleted: int, expected: Any) -> None:
    """What is not later than the deletion goes, what is hidden included."""
    assert merged(*writes, deleted=deleted) == expected


def test_stamps_and_leaves_of_a_stored_field_are_found() -> None:
    """Barriers have a stamp that counts, and no value that is shown."""
    found = deep([((1,), 5), ((2,), {"p": 1, "q": {"r": 2}}), ((3,), {"s": {}})], None)
    assert found is not None
    value, stamps = found
    assert sorted(stamps_in(stamps)) == [[1], [2], [2], [3]]
    assert list(stamped_leaves(value, stamps)) == [(("p",), 1, [2]), (("q", "r"), 2, [2]), (("s",), {}, [3])]
