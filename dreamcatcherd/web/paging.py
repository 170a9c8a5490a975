"""Pages of a list by name, and of rows by frame. What comes, goes or changes between two pages moves no other row.
Pure."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Iterable
from typing import Generic, NamedTuple, TypeVar

from dreamcatcherd.core.key_order import order_bytes
from dreamcatcherd.core.keys import sort_key
from dreamcatcherd.core.model import Json

_Row = TypeVar("_Row")


class NamedRows(Generic[_Row]):
    """Rows in the order of their names; `after` is a place in it. A name may be of any length, its place is short."""

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


class RowPage(NamedTuple, Generic[_Row]):
    """One page of rows by frame, and the parameters of the next page; None if there is none."""

    rows: list[_Row]
    more: dict[str, int] | None


def page_of_frames(rows: list[_Row], limit: int, skip: int, newest: int | None, before: int | None) -> RowPage[_Row]:
    """At most `limit` of the rows of complete frames, from the row `skip` on.

    Only the rows of one frame alone, `newest`, may be more. Then the next page goes on within it: the rows of a closed
    frame do not change. Otherwise it goes on with the frames before `before`."""
    end = skip + limit
    if newest is not None and len(rows) > end:
        return RowPage(rows[skip:end], {"before": newest + 1, "skip": end})
    return RowPage(rows[skip:end], {"before": before} if before is not None else None)
