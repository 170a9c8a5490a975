"""Parameters of a request: strict, so that a mistyped one is told and not passed over."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any

from starlette.requests import Request

from dreamcatcherd.core.codec import MAX_FRAME
from dreamcatcherd.core.errors import UsageError

ParamReader = Callable[[str], Any]
"""Makes a value of a parameter's text, or raises ValueError with what was wanted."""

_NUMBER = re.compile(r"[0-9]{1,16}")
TEXT_LENGTH = 4_096


def number(least: int, most: int) -> ParamReader:
    """A whole number in decimal digits, from one bound to the other."""

    def read(text: str) -> int:
        if not _NUMBER.fullmatch(text) or not least <= int(text) <= most:
            raise ValueError(f"a whole number from {least} to {most}")
        return int(text)

    return read


def text(given: str) -> str:
    """A text that is not empty."""
    if not 0 < len(given) <= TEXT_LENGTH:
        raise ValueError(f"a text of 1 to {TEXT_LENGTH} characters")
    return given


frame = number(0, MAX_FRAME)


def read_parameters(request: Request, known: Mapping[str, ParamReader], *needed: str) -> dict[str, Any]:
    """The parameters by name; those that are not given are left out. UsageError says which one is wrong, and how."""
    found: dict[str, Any] = {}
    for name, given in request.query_params.multi_items():
        if name not in known:
            raise UsageError(f"there is no parameter {name[:64]!r}", f"known are {', '.join(known) or 'none'}")
        if name in found:
            raise UsageError(f"the parameter {name!r} stands twice", "give it once")
        try:
            found[name] = known[name](given)
        except ValueError as error:
            raise UsageError(f"the parameter {name!r} is not {error}", "see /api/v1/openapi.json") from error
    for name in needed:
        if name not in found:
            raise UsageError(f"the parameter {name!r} is missing", "see /api/v1/openapi.json")
    return found
