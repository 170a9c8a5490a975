"""Pages of a list by name: `after` is a place in the order of names, so what comes, goes or changes between two pages
moves no other row. Pure."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Iterable
from typing import Generic, TypeVar

from dreamcatcherd.core.key_order import order_bytes
from dreamcatcherd.core.keys import sort_key
from dreamcatcherd.core.model import Json

_Row = TypeVar("_Row")


class NamedRows(Generic[_Row]):
    """Rows in the order of their names. A name may be of any length, its place is short."""

    def __init__(self, rows: Iterable[_Row], name_of: Callable[[_Row], Json]) -> None:
        placed = sorted(((order_bytes(sort_key(name_of(row))), row) for row in rows), key=lambda pair: pair[0])
        self._places = [place for place, _ in placed]
        self._rows = [row for _, row in placed]

    def page(self, limit: int, after: str | None) -> tuple[list[_Row], dict[str, str | int] | None]:
        """At most `limit` rows behind a place, and the parameters of the next page; None if there is none."""
        start = bisect_right(self._places, bytes.fromhex(after)) if after is not None else 0
        end = start + limit
        more: dict[str, str | int] | None = None
        if end < len(self._rows):
            more = {"limit": limit, "after": self._places[end - 1].hex()}
        return self._rows[start:end], more
