"""JSON values of the simple model: numbers with their literals, one way to write a value, and an order of all values.

Shares no code with the package."""

from __future__ import annotations

import json
from decimal import Context, Decimal, Inexact
from typing import Any

EXACT = Context(prec=20_000, traps=[Inexact])


class Number(float):
    """A number with a point or an exponent that remembers how it was written."""

    literal: str

    def __new__(cls, literal: str) -> Number:
        number = super().__new__(cls, literal)
        number.literal = literal
        return number


def read(raw: bytes | str) -> Any:
    """JSON as plain values, in which numbers that are not integers remember their literals."""
    return json.loads(raw, parse_float=Number)


def plain(value: Any) -> Any:
    """The same value with plain floats, which do not know how they were written."""
    if isinstance(value, dict):
        return {name: plain(inner) for name, inner in value.items()}
    if isinstance(value, list):
        return [plain(inner) for inner in value]
    return float(value) if isinstance(value, Number) else value


def text(value: Any) -> str:
    """A value as compact JSON with sorted keys: floats in their shortest form, decimals without an exponent, and a
    number that remembers its literal as that literal."""
    if isinstance(value, dict):
        return "{" + ",".join(f"{text(name)}:{text(value[name])}" for name in sorted(value)) + "}"
    if isinstance(value, list | tuple):
        return "[" + ",".join(map(text, value)) + "]"
    if isinstance(value, Number):
        return value.literal
    if isinstance(value, Decimal):
        return format(value, "f")
    if isinstance(value, float):
        return _shortest(value)
    return json.dumps(value, ensure_ascii=False)


def _shortest(value: float) -> str:
    """`1e22` and `1e-7` for what Python writes `1e+22` and `1e-07`, and no exponent down to 0.00001."""
    mantissa, e, exponent = repr(value).partition("e")
    if not e:
        return mantissa
    return format(Decimal(repr(value)), "f") if int(exponent) == -5 else f"{mantissa}e{int(exponent)}"


def is_number(value: Any) -> bool:
    """Whether a value is a number; a boolean is none."""
    return isinstance(value, int | float) and not isinstance(value, bool)


def total(values: list[Any]) -> int | Decimal:
    """The exact sum of numbers as they were written: an integer where it is whole."""
    found = Decimal(0)
    for value in values:
        found = EXACT.add(found, Decimal(value.literal if isinstance(value, Number) else repr(value)))
    whole = int(found)
    return whole if whole == found else found.normalize(EXACT)


def rank(value: Any) -> tuple[Any, ...]:
    """The place of a value among all: null, false, true, numbers by size, strings, lists, objects."""
    if value is None or isinstance(value, bool):
        return (0 if value is None else 1, bool(value))
    if is_number(value):
        return (2, value, text(value))
    if isinstance(value, str):
        return (3, value)
    return (4 if isinstance(value, list) else 5, text(value))
