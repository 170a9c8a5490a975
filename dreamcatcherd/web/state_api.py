"""The paths about the state: collections, their records, one entity, the shelf of books, and search
(docs/protocol.md#the-api)."""

from __future__ import annotations

from itertools import islice

from starlette.requests import Request
from starlette.responses import Response

from dreamcatcherd.core.books.shelf import ShelfEntry, shelf
from dreamcatcherd.core.collections import EXTRA, Collection
from dreamcatcherd.core.errors import RefusedError, UsageError
from dreamcatcherd.core.export import public_record
from dreamcatcherd.core.snapshot import open_snapshot
from dreamcatcherd.history import queries
from dreamcatcherd.history.search import search_texts
from dreamcatcherd.web.answers import CollectionRow, Records
from dreamcatcherd.web.paging import NamedRows
from dreamcatcherd.web.params import (
    TEXT_CHARACTERS,
    CollectionParams,
    EntityParams,
    NamedParams,
    SearchParams,
    optional,
    read_parameters,
)
from dreamcatcherd.web.query_executor import QueryExecutor, Reading
from dreamcatcherd.web.responses import ANSWER_BYTES, Answer, commit_tag, state_tag, tagged, within_bounds

PAGE_BYTES = ANSWER_BYTES // 2
"""About the largest page of a collection: one that would have more has fewer records than it may."""

RECORD_BYTES = 64 * 2**20
"""The largest record that is answered: a page of it alone."""


class StateApi:
    """The handlers."""

    def __init__(self, executor: QueryExecutor) -> None:
        self._executor = executor

    async def collections(self, request: Request) -> Response:
        given = read_parameters(request, NamedParams)
        limit, after = given.limit, optional(given.after)

        def work(reading: Reading) -> Answer:
            rows, more = NamedRows(collection_rows(reading), lambda row: row.name).page(limit, after)
            return Answer(within_bounds(rows), commit_tag(reading.base), more)

        return tagged(request, await self._executor.ask(("collections", limit, after), work))

    async def records(self, request: Request) -> Response:
        """A page of a collection in key order. The place of `after` is a key's, so it fits every snapshot."""
        given = read_parameters(request, CollectionParams)
        name = request.path_params["name"]
        if len(name) > TEXT_CHARACTERS:
            raise RefusedError("there is no collection with so long a name", "see /api/v1/collections")
        limit, after, frame = given.limit, optional(given.after), optional(given.frame)
        place = bytes.fromhex(after) if after is not None else None

        def work(reading: Reading) -> Answer:
            seen = queries.view(reading.store, reading.base, frame)
            page = reading.listings.page(reading.store, seen, name, limit, place, PAGE_BYTES)
            following = page.after.hex() if page.after is not None else None
            # A record may be larger than a page; it must not end the way through the collection.
            raw = within_bounds(Records([public_record(item) for item in page.items], following), RECORD_BYTES)
            pinned: dict[str, str | int] = {"frame": frame} if frame is not None else {}
            return Answer(raw, state_tag(seen), {**_after(limit, following), **pinned} if following else None)

        return tagged(request, await self._executor.ask(("records", name, limit, after, frame), work))

    async def entity(self, request: Request) -> Response:
        given = read_parameters(request, EntityParams)
        collection, key, frame = given.collection, given.key, optional(given.frame)

        def work(reading: Reading) -> Answer:
            seen = queries.view(reading.store, reading.base, frame)
            found = queries.entities(reading.store, seen, collection, key)
            if not found:
                raise RefusedError(f"{collection} has no {key!r}", f"list them: /api/v1/collections/{collection}")
            if len(found) > 1:
                cause = f"{len(found)} entities of {collection} have keys that begin with {key!r}"
                raise UsageError(cause, "name all parts of the key, joined by /, each percent-encoded")
            return Answer(within_bounds(public_record(found[0]), RECORD_BYTES), state_tag(seen))

        return tagged(request, await self._executor.ask(("entity", given), work))

    async def search(self, request: Request) -> Response:
        """Hits in the newest snapshot. Further pages are of the same one: their link names its frame."""
        given = read_parameters(request, SearchParams)
        text, limit, after, frame = given.q, given.limit, optional(given.after), optional(given.frame)

        def work(reading: Reading) -> Answer:
            seen = queries.view(reading.store, reading.base, frame)
            found = search_texts(reading.store, seen, text, limit, after)
            more = None
            if found.after is not None:
                # A place in files means nothing in another snapshot.
                pinned = frame if frame is not None else reading.base.state.last_closed
                more = {"q": text, **_after(limit, found.after), "frame": pinned if pinned is not None else 0}
            return Answer(within_bounds(found.hits), state_tag(seen), more)

        return tagged(request, await self._executor.ask(("search", given), work))

    async def books(self, request: Request) -> Response:
        given = read_parameters(request, NamedParams)
        limit, after = given.limit, optional(given.after)

        def work(reading: Reading) -> Answer:
            rows, more = NamedRows(read_shelf(reading), lambda row: row.book).page(limit, after)
            return Answer(within_bounds(rows), commit_tag(reading.base), more)

        return tagged(request, await self._executor.ask(("books", limit, after), work))


def read_shelf(reading: Reading, most: int | None = None) -> list[ShelfEntry]:
    """The shelf of the newest snapshot."""
    base = reading.base
    found = shelf(reading.store, open_snapshot(reading.store, base.snapshot).state, base.settings.table)
    return list(islice(found, most))


def collection_rows(reading: Reading) -> list[CollectionRow]:
    """Every collection of the newest snapshot, sorted by name, and every section of `extra` as one of its own."""
    base = reading.base
    counts = base.ledger.counts.entities if base.ledger is not None else {}
    found = [
        CollectionRow(name, row.rule, _keys(row), list(row.sections), counts.get(name, 0))
        for name, row in base.settings.table.items()
    ]
    sections = reading.listings.sections(reading.store, queries.view(reading.store, base))
    found += [CollectionRow(f"{EXTRA}/{name}", "append", [], [name], count) for name, count in sections.items()]
    return sorted(found, key=lambda row: row.name)


def _keys(row: Collection) -> list[list[str]]:
    """The fields of each alternative of a key, the text that is the last part among them."""
    choices = [[*choice.names, *([choice.content] if choice.content else [])] for choice in row.choices]
    return [names for names in choices if names]


def _after(limit: int, place: str) -> dict[str, str | int]:
    return {"limit": limit, "after": place}
