"""Places in the order of keys: bytes that compare as keys do, however odd the keys are."""

from __future__ import annotations

from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from dreamcatcherd.core.key_order import ORDER_BYTES, order_bytes
from dreamcatcherd.core.keys import sort_key

TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=12) | st.text("\0\x01\xffab", max_size=6)
PARTS = st.none() | st.integers() | st.integers(-300, 300) | TEXTS | st.lists(st.integers(), max_size=2)
KEYS = PARTS | st.lists(PARTS, min_size=1, max_size=3) | st.dictionaries(TEXTS, PARTS, min_size=1, max_size=2)


@given(KEYS, KEYS)
def test_bytes_have_the_order_of_keys(one: Any, other: Any) -> None:
    """For null, integers of any sign and size, texts with zeros, and keys of several parts or of named ones."""
    first, second = sort_key(one), sort_key(other)
    assert (order_bytes(first) < order_bytes(second)) == (first < second)
    assert (order_bytes(first) == order_bytes(second)) == (first == second)


@settings(max_examples=20)
@given(st.lists(st.text("ab\0", min_size=700, max_size=900), min_size=2, max_size=5, unique=True))
def test_long_keys_are_short_places_and_never_the_same(texts: list[str]) -> None:
    """Each is at most so long that it fits a URL, and keys that differ beyond that differ still."""
    places = [order_bytes(sort_key(text)) for text in texts]
    assert len(set(places)) == len(texts)
    assert all(len(place) <= ORDER_BYTES for place in places)
    by_beginning = sorted(texts, key=lambda text: text[:300])
    assert [text[:300] for text in sorted(texts, key=lambda text: order_bytes(sort_key(text)))] == [
        text[:300] for text in by_beginning
    ]
