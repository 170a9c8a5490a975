"""Every page but the first: its address, its parameters, its template, and what it reads.

Numbers are in the path; text that deltas bring is in parameters, since browsers resolve `..` in a path, and servers
decode a slash in it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Generic, NamedTuple, TypeVar

from msgspec import Struct

from dreamcatcherd.core.errors import UsageError
from dreamcatcherd.core.model import Record
from dreamcatcherd.web.live_status import StatusValue
from dreamcatcherd.web.pages import entities, frames, lists, search, start, streams
from dreamcatcherd.web.pages.display import clip, link, stream_link
from dreamcatcherd.web.params import (
    BookPageParams,
    CollectionPageParams,
    DiffPageParams,
    EntityPageParams,
    FramePageParams,
    FramesPageParams,
    NoParams,
    OffsetParams,
    RowsPageParams,
    SearchPageParams,
    StreamPageParams,
    StreamsPageParams,
    optional,
)
from dreamcatcherd.web.query_executor import Reading

ROWS_A_PAGE = 50
TROUBLES = 200

_Params = TypeVar("_Params", bound=Struct)


class PageView(NamedTuple, Generic[_Params]):
    """One kind of page. `read` is what it shows of the published commit, `live` what it shows of the live status,
    given what was read; None if it shows nothing of it."""

    template: str
    section: str
    read: Callable[[Reading, _Params], Record] | None
    live: Callable[[StatusValue, _Params, Record], Record] | None = None


def _frames(reading: Reading, given: FramesPageParams) -> Record:
    kind = optional(given.kind)
    found = frames.read_frames(reading, ROWS_A_PAGE, optional(given.before), kind)
    older = link("frames", {"kind": kind, "before": found["before"]}) if found["before"] is not None else ""
    return found | {"kind": kind, "older": older}


def _quarantine(reading: Reading, given: RowsPageParams) -> Record:
    before = optional(given.before)
    return _paged(reading, "quarantine", lists.read_quarantined(reading, ROWS_A_PAGE, before, given.skip), before)


def _conflicts(reading: Reading, given: RowsPageParams) -> Record:
    before = optional(given.before)
    return _paged(reading, "conflicts", lists.read_conflicts(reading, ROWS_A_PAGE, before, given.skip), before)


def _paged(reading: Reading, path: str, found: Record, before: int | None) -> Record:
    empty = lists.empty_text(found, before, reading.base.state.last_closed)
    return found | {"empty": empty, "older": link(path, found["next"]) if found["next"] else ""}


def _claims(reading: Reading, given: OffsetParams) -> Record:
    rows, total = lists.read_claims(reading, ROWS_A_PAGE, given.offset)
    return {"rows": rows, "total": total} | _offsets("claims", {}, given.offset, total)


def _books(reading: Reading, given: OffsetParams) -> Record:
    rows, total = lists.read_books(reading, ROWS_A_PAGE, given.offset)
    return {"rows": rows, "total": total} | _offsets("books", {}, given.offset, total)


def _offsets(path: str, parameters: Record, offset: int, total: int) -> Record:
    """The links to the rows before and after."""
    newer = link(path, {**parameters, "offset": max(0, offset - ROWS_A_PAGE)}) if offset else ""
    older = link(path, {**parameters, "offset": offset + ROWS_A_PAGE}) if offset + ROWS_A_PAGE < total else ""
    return {"newer": newer, "older": older}


def _streams(current: StatusValue, given: StreamsPageParams, found: Record) -> Record:
    if current.pending is None:
        raise AssertionError("pages are shown only after the first poll")
    state = optional(given.state)
    rows = start.stream_list(current.pending, state, ROWS_A_PAGE, given.offset)
    return {"streams": rows, "state": state} | _offsets("streams", {"state": state}, given.offset, rows["total"])


def _stream(reading: Reading, given: StreamPageParams) -> Record:
    found = streams.read_stream(reading, given.id, optional(given.before), given.skip)
    return found | {"older": link("stream", {"id": given.id, **found["next"]}) if found["next"] else ""}


def _stream_now(current: StatusValue, given: StreamPageParams, found: Record) -> Record:
    now = streams.stream_now(current.pending, given.id)
    streams.check_known(found, now)
    return {"now": now, "page": stream_link(given.id)}


def _collection(reading: Reading, given: CollectionPageParams) -> Record:
    return entities.read_collection(reading, given.name, optional(given.after))


def _entity(reading: Reading, given: EntityPageParams) -> Record:
    found = entities.entity_page(reading, given.collection, given.key, optional(given.before))
    older = link("entity", {**found["named"], "before": found["before"]}) if found["before"] is not None else ""
    return found | {"older": older}


def _frame(reading: Reading, given: FramePageParams) -> Record:
    return frames.read_frame(reading, given.frame)


def _collections(reading: Reading, given: NoParams) -> Record:
    return entities.read_collections(reading)


def _book(reading: Reading, given: BookPageParams) -> Record:
    return entities.read_book(reading, given.key)


def _search(reading: Reading, given: SearchPageParams) -> Record:
    return search.read_search(reading, given.q, optional(given.after), optional(given.frame))


def _diff(reading: Reading, given: DiffPageParams) -> Record:
    first, second = optional(given.start), optional(given.end)
    last = reading.base.state.last_closed
    if first is None and second is None:
        return {
            "from": max(0, last - 1) if last is not None else "",
            "to": last if last is not None else "",
            "rows": None,
        }
    if first is None or second is None:
        raise UsageError(f"the parameter {'from' if first is None else 'to'!r} is missing", "name two closed frames")
    return frames.read_changes(reading, first, second)


def _troubles(current: StatusValue, given: NoParams, found: Record) -> Record:
    rows = [
        {"what": clip(one.what, 500), "since": one.since, "remedy": clip(one.remedy, 500)}
        for one in current.troubles[:TROUBLES]
    ]
    return {"rows": rows, "more": max(0, len(current.troubles) - TROUBLES), "why": "" if current.ready else current.why}


def _search_live(current: StatusValue, given: SearchPageParams, found: Record) -> Record:
    return {"streams": search.streams_like(current.pending, given.q)}


VIEWS: dict[str, tuple[type[Any], PageView[Any]]] = {
    "/frames": (FramesPageParams, PageView("frames.html", "frames", _frames)),
    "/frames/{frame}": (FramePageParams, PageView("frame.html", "frames", _frame)),
    "/streams": (StreamsPageParams, PageView("streams.html", "streams", None, _streams)),
    "/stream": (StreamPageParams, PageView("stream.html", "streams", _stream, _stream_now)),
    "/collections": (NoParams, PageView("collections.html", "collections", _collections)),
    "/collection": (CollectionPageParams, PageView("collection.html", "collections", _collection)),
    "/entity": (EntityPageParams, PageView("entity.html", "collections", _entity)),
    "/conflicts": (RowsPageParams, PageView("conflicts.html", "conflicts", _conflicts)),
    "/quarantine": (RowsPageParams, PageView("quarantine.html", "quarantine", _quarantine)),
    "/claims": (OffsetParams, PageView("claims.html", "claims", _claims)),
    "/books": (OffsetParams, PageView("books.html", "books", _books)),
    "/book": (BookPageParams, PageView("book.html", "books", _book)),
    "/diff": (DiffPageParams, PageView("diff.html", "frames", _diff)),
    "/troubles": (NoParams, PageView("troubles.html", "", None, _troubles)),
    "/search": (SearchPageParams, PageView("search.html", "", _search, _search_live)),
}
"""The pages by path."""
