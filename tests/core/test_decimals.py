"""Exact decimals: every digit counts, and the order of addends never shows (docs/protocol.md#the-merge)."""

from __future__ import annotations

from decimal import Decimal
from fractions import Fraction
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dreamcatcherd.core.codec import Exact, canonical, decode, decode_exact
from dreamcatcherd.core.decimals import (
    FRACTION_DIGITS,
    WHOLE_DIGITS,
    add,
    doubles,
    exact,
    read_exactly,
    summed_sections,
    why_no_addend,
)
from dreamcatcherd.core.model import Json
from dreamcatcherd.core.settings import DEFAULT, read_settings
from tests.core.entity_tools import ROWS
from tests.core.tools import Heap, delta, merged, state

decimals = st.one_of(
    st.integers(-(10**30), 10**30),
    st.decimals(allow_nan=False, allow_infinity=False, min_value=-(10**20), max_value=10**20, places=30).map(Exact),
    st.floats(allow_nan=False, allow_infinity=False),
)


@pytest.mark.parametrize(
    ("literal", "stored"),
    [
        ("1.0", "1"),
        ("-0.0", "0"),
        ("0.10", "0.1"),
        ("1e3", "1000"),
        ("1.5e-3", "0.0015"),
        ("-2.50", "-2.5"),
        ("123456789012345678901234567890.5", "123456789012345678901234567890.5"),
        ("1e-30", "0." + "0" * 29 + "1"),
        ("100", "100"),
    ],
)
def test_a_number_is_stored_in_its_shortest_form(literal: str, stored: str) -> None:
    """Without exponent, without zeros at the end, and as an integer where it is whole."""
    assert canonical(exact(decode_exact(literal.encode()))) == stored.encode()


def test_a_tenth_and_two_tenths_are_three_tenths() -> None:
    """Doubles would give another digit at the end."""
    assert canonical(add(Exact("0.1"), Exact("0.2"))) == b"0.3"
    assert canonical(add(0.1, 0.2)) == b"0.3"
    assert canonical(add(Exact("0.5"), Exact("0.5"))) == b"1"
    assert canonical(add(10**30, Exact("0.1"))) == b"1" + b"0" * 30 + b".1"


@settings(max_examples=200)
@given(st.lists(decimals, max_size=8), st.randoms(use_true_random=False))
def test_a_sum_is_exact_in_any_order(addends: list[Json], chance: Random) -> None:
    """No digit is lost, and each partial sum can be written and read between."""
    total: Json = 0
    chance.shuffle(addends)
    for one in addends:
        total = exact(decode_exact(canonical(add(total, exact(one)))))
    wanted = [Fraction(Decimal(repr(one) if type(one) is float else one)) for one in addends]
    assert Fraction(total) == sum(wanted, Fraction())
    assert (type(total) is int) == (Fraction(total).denominator == 1)


@pytest.mark.parametrize(
    ("value", "fits"),
    [
        (10**WHOLE_DIGITS - 1, True),
        (10**WHOLE_DIGITS, False),
        (-(10**WHOLE_DIGITS), False),
        (Exact(f"1e-{FRACTION_DIGITS}"), True),
        (Exact(f"1e-{FRACTION_DIGITS + 1}"), False),
        (1.7976931348623157e308, True),
        (5e-324, True),
        (True, False),
        (None, False),
        ("1", False),
        ([1], False),
    ],
)
def test_an_addend_is_a_number_of_so_many_digits(value: Json, fits: bool) -> None:
    """With these bounds no sum is ever too long to be read again."""
    assert (why_no_addend(value) is None) == fits


def test_other_values_are_doubles_again() -> None:
    """What is not added up is stored as any decoder gives it."""
    given_ = {"a": [Exact("1.50"), {"b": Exact("1e22")}], "c": 1, "d": "x"}
    assert canonical(doubles(given_)) == canonical({"a": [1.5, {"b": 1e22}], "c": 1, "d": "x"})


def test_rows_with_sums_are_known() -> None:
    """By their rule, or by that of a field."""
    assert {name for name, row in ROWS.items() if row.adds} == {
        name for name in ROWS if name.startswith("sum") or name.endswith(("_mixed", "_all"))
    }


SETTINGS = read_settings(
    b'[collections.channels]\nsection = ["channels", "meta.channels"]\nkey = ["id"]\nfields = {n = "sum"}'
)


@pytest.mark.parametrize(
    ("document", "expected"),
    [
        ('{"counters": {"a": 0.30000000000000000001}}', '{"counters": {"a": 0.30000000000000000001}}'),
        ('{"counters": [{"name": "a", "value": 1.0}]}', '{"counters": [{"name": "a", "value": 1.0}]}'),
        ('{"channels": [{"n": 1.10, "x": 1.10}, 1.5]}', '{"channels": [{"n": 1.10, "x": 1.1}, 1.5]}'),
        ('{"meta": {"channels": {"n": 1.10}, "n": 1.10}}', '{"meta": {"channels": {"n": 1.10}, "n": 1.1}}'),
        ('{"posts": 1.10, "channels": 1.10, "n": 1.10}', '{"channels": 1.1, "n": 1.1, "posts": 1.1}'),
        ('{"channels": [{"n": 1}], "counters": {"a": 1}}', '{"channels": [{"n": 1}], "counters": {"a": 1}}'),
    ],
)
def test_only_what_is_added_up_is_read_with_all_its_digits(document: str, expected: str) -> None:
    """Everything else stays as it was decoded."""
    found = decode(document.encode())
    read_exactly(document.encode(), found, SETTINGS.summed)
    assert canonical(found).decode() == expected.replace(" ", "")


def test_counters_are_exact_from_the_bytes_to_the_snapshot() -> None:
    """Ten tenths are one, whatever the batches."""
    assert summed_sections(DEFAULT.table)[0][0] == "counters"
    heap, tree = Heap(), None
    for utc in range(10):
        raw = b'{"a": 0.1}'
        body = {"counters": decode(raw)}
        read_exactly(b'{"counters": ' + raw + b"}", body, DEFAULT.summed)
        tree = merged(heap, [delta(1, utc, **body)], tree).tree
    assert tree is not None
    assert canonical(state(heap, tree, "counters")) == b'[{"name":"a","value":1}]'
