"""Exact decimals for sums: the numbers that a delta's text says, not the nearest doubles (docs/protocol.md#the-merge).

A JSON decoder gives doubles, and adding these rounds, so that the result would depend on the order. The sections that
are summed are therefore read with all their digits."""

from __future__ import annotations

from collections.abc import Container
from decimal import ROUND_HALF_EVEN, Context, Decimal

from dreamcatcherd.core.codec import Exact, decode_exact
from dreamcatcherd.core.collections import Collection, Table
from dreamcatcherd.core.delta_sections import named_value
from dreamcatcherd.core.model import Json, Record

WHOLE_DIGITS, FRACTION_DIGITS = 4_000, 1_000
"""How many digits an addend may have before and after the point. JSON here carries integers of 4,300 digits: with
addends below that, no possible number of deltas makes a sum too long."""

_TOO_LARGE = 10**WHOLE_DIGITS
_EXACT = Context(prec=2 * (WHOLE_DIGITS + FRACTION_DIGITS), rounding=ROUND_HALF_EVEN)
"""More digits than any sum has, so that nothing is ever rounded."""


def why_no_addend(value: Json) -> str | None:
    """Why a value cannot be added up, or None."""
    if type(value) is int:
        return None if -_TOO_LARGE < value < _TOO_LARGE else f"a sum takes numbers of up to {WHOLE_DIGITS} digits"
    if type(value) not in (float, Exact):
        return "a sum takes numbers only"
    number = _decimal(value)
    if not abs(number.adjusted()) < WHOLE_DIGITS or -int(number.as_tuple().exponent) > FRACTION_DIGITS:
        return f"a sum takes numbers of up to {WHOLE_DIGITS} digits, {FRACTION_DIGITS} of them after the point"
    return None


def add(one: Json, other: Json) -> Json:
    """The exact sum of two addends: an integer where it is whole, else an `Exact`."""
    if type(one) is int and type(other) is int:
        return one + other
    return exact(_EXACT.add(_decimal(one), _decimal(other)))


def exact(value: Json) -> Json:
    """An addend in the only form that it is stored in: an integer where it is whole, else an `Exact` without zeros at
    its end."""
    if type(value) is int:
        return value
    number = _decimal(value)
    if number == number.to_integral_value(context=_EXACT):
        return int(number)
    return Exact(_EXACT.create_decimal(number).normalize(_EXACT))


def _decimal(value: Json) -> Decimal:
    return Decimal(repr(value)) if type(value) is float else Decimal(value)


def doubles(value: Json) -> Json:
    """A value as JSON decoders give it: with doubles in place of exact decimals."""
    if type(value) is Exact:
        return float(value)
    if type(value) is dict:
        return {name: doubles(inner) for name, inner in value.items()}
    return [doubles(inner) for inner in value] if type(value) is list else value


def doubles_but_sums(row: Collection, record: Record) -> Record:
    """A record with exact decimals in the fields that its collection adds up, and with doubles elsewhere."""
    rules = row.rules
    return {name: one if rules.get(name, row.rule) == "sum" else doubles(one) for name, one in record.items()}


class _Every(Container[str]):
    def __contains__(self, name: object) -> bool:
        return True


def _summed(row: Collection) -> Container[str]:
    """The fields of a row that are added up."""
    if row.rule == "sum":
        return _Every()
    return frozenset(name for name, rule in row.fields if rule == "sum")


SummedSections = tuple[tuple[str, Container[str]], ...]
"""Sections in which numbers are added up, each with the names of the fields."""


def summed_sections(table: Table) -> SummedSections:
    """The sections of a table in which numbers are added up."""
    return tuple((section, _summed(row)) for row in table.values() if row.adds for section in row.sections)


def read_exactly(raw: bytes, document: Record, summed: SummedSections) -> None:
    """Put exact decimals in place of the doubles that are added up, in a decoded document; `raw` are its bytes."""
    found = [
        (section, names)
        for section, names in summed
        if (section in document or "." in section) and _has_double(named_value(document, section), names)
    ]
    if not found:
        return
    digits = decode_exact(raw)
    for section, names in found:
        _swap(named_value(document, section), named_value(digits, section), names)


def _has_double(value: Json, names: Container[str]) -> bool:
    if type(value) is dict:
        return any(
            (type(inner) is float and name in names) or _has_double(inner, names) for name, inner in value.items()
        )
    return type(value) is list and any(_has_double(inner, names) for inner in value)


def _swap(value: Json, digits: Json, names: Container[str]) -> None:
    if type(value) is dict:
        for name, inner in value.items():
            if type(inner) is float and name in names:
                value[name] = digits[name]
            else:
                _swap(inner, digits[name], names)
    elif type(value) is list:
        for inner, other in zip(value, digits, strict=True):
            _swap(inner, other, names)
