"""The status page: one template, rendered from the live status and the last published commit.

All text from deltas is clipped here, escaped by the template and isolated by `<bdi>`, so that neither markup nor a
right-to-left mark affects the rest of the page."""

from __future__ import annotations

from typing import Any, NamedTuple

from jinja2 import Environment, PackageLoader, StrictUndefined
from msgspec import structs
from starlette.requests import Request
from starlette.responses import Response

from dreamcatcherd import __version__
from dreamcatcherd.core.books.shelf import ShelfEntry
from dreamcatcherd.core.codec import calendar_text, canonical, utc_micros
from dreamcatcherd.core.diff import Bounds, Changed
from dreamcatcherd.core.errors import DreamcatcherError
from dreamcatcherd.core.model import Json, Record
from dreamcatcherd.core.report import Pending
from dreamcatcherd.core.snapshot import Item
from dreamcatcherd.history import queries
from dreamcatcherd.observe.clock import wall_clock
from dreamcatcherd.stages.held_claims import HeldClaim, held_claims
from dreamcatcherd.web.chart import chart_of
from dreamcatcherd.web.live_api import stream_rows
from dreamcatcherd.web.live_status import LiveStatus, StatusValue
from dreamcatcherd.web.params import PageParams, read_parameters
from dreamcatcherd.web.query_executor import QueryExecutor, Reading
from dreamcatcherd.web.responses import code_of
from dreamcatcherd.web.state_api import read_shelf

FRAMES = 60
PAGE_ROWS = 50
STREAMS_SHOWN = 20
BOOKS_SHOWN = 60
PAGE_DIFF_ROWS = 200
PAGE_DIFF_BYTES = 2**20
FIELDS = 12
CLIP = 140
TROUBLES = 50
NOTHING = "\N{EN DASH}"


class Parts(NamedTuple):
    """What the page shows of one published commit, clipped for display."""

    log: list[Record]
    quarantined: list[Record]
    conflicts: list[Record]
    claims: list[Record]
    more_claims: int
    books: list[Record]
    more_books: int


class Page:
    """Renders the page once for each version of the live status, however many clients ask for it.

    A page with a difference between frames shares the rest of the page; the last such page is kept."""

    def __init__(self, live_status: LiveStatus, executor: QueryExecutor) -> None:
        self._live_status = live_status
        self._executor = executor
        self._common: tuple[object, dict[str, Any]] = (None, {})
        self._made: dict[bool, tuple[object, bytes]] = {}
        self._environment = Environment(
            loader=PackageLoader(__package__, "."), autoescape=True, undefined=StrictUndefined, trim_blocks=True,
            lstrip_blocks=True,
        )  # fmt: skip
        self._environment.filters["moment"] = time_text
        self._environment.filters["duration"] = duration
        self._template = self._environment.get_template("page.html")

    async def answer(self, request: Request) -> Response:
        current = self._live_status.current
        difference, code = await self._difference(request)
        parts, trouble = None, ""
        try:
            parts = await self._executor.ask(("page",), read_parts) if current.pending else None
        except DreamcatcherError as error:
            trouble = str(error)
        key = (current.version, id(parts), trouble)
        if self._common[0] != key:
            self._common = (key, self._context(current, parts, trouble))
        made = self._made.get(difference is None)
        if made is None or made[0] != (key, difference):
            text = self._template.render(self._common[1], difference=difference or {})
            made = self._made[difference is None] = ((key, difference), text.encode("utf-8", "replace"))
        return _html(made[1], code)

    def _context(self, current: StatusValue, parts: Parts | None, trouble: str) -> dict[str, Any]:
        pending = current.pending
        return {
            "version": __version__,
            "where": clip(self._live_status.where, 200),
            "current": current,
            "pending": pending,
            "troubles": [
                {"what": clip(one.what, 300), "since": one.since, "remedy": clip(one.remedy, 300)}
                for one in current.troubles[:TROUBLES]
            ],
            "filling": filling(pending) if pending else None,
            "streams": streams(pending) if pending else [],
            "parts": parts,
            "trouble": trouble,
            "chart": chart_of(parts.log, current.phases) if parts else None,
        }

    async def _difference(self, request: Request) -> tuple[Record | None, int]:
        """The difference that the form asks for, or the error, or None if there is no query; and the page's status
        code."""
        start, end = request.query_params.get("from", ""), request.query_params.get("to", "")
        asked: Record = {"from": clip(start, 16), "to": clip(end, 16)}
        if not request.query_params:
            return None, 200
        try:
            frames = read_parameters(request, PageParams)
            first, second = frames.start, frames.end
            found = await self._executor.ask(("page", first, second), lambda reading: read_diff(reading, first, second))
        except DreamcatcherError as error:
            return asked | {"error": f"{error.cause}; {error.remedy}"}, code_of(error)
        return asked | found, 200


def _html(raw: bytes, code: int) -> Response:
    return Response(raw, code, {"Cache-Control": "no-store"}, "text/html; charset=utf-8")


# What is shown ----------------------------------------------------------------------------------------------------


def clip(value: Json, most: int = CLIP) -> str:
    """A value as text for people, of at most `most` characters."""
    text = value if isinstance(value, str) else canonical(value).decode()
    return text if len(text) <= most else text[: most - 1] + "…"


def time_text(text: str | None) -> str:
    """An RFC 3339 time in UTC for people: `2026-01-31 12:00:00`."""
    return text[:19].replace("T", " ") if text else NOTHING


def duration(seconds: float | None) -> str:
    """Seconds for people: `250 ms`, `1.5 s`, `3 min`."""
    if seconds is None:
        return NOTHING
    if seconds < 1:
        return f"{1000 * seconds:.0f} ms"
    return f"{seconds:.1f} s" if seconds < 120 else f"{seconds / 60:.0f} min"


def filling(pending: Pending) -> Record:
    """The open frame: its deltas by stream, the largest first, and the elapsed part of its time."""
    counts = sorted(pending.streams.items(), key=lambda one: (-one[1], one[0]))
    most = counts[0][1] if counts else 1
    bars = [{"name": clip(name), "count": count, "share": 100 * count / most} for name, count in counts[:STREAMS_SHOWN]]
    opened, closes = (utc_micros(text) if text else None for text in (pending.opened_at, pending.closes_at))
    timed = opened is not None and closes is not None and closes > opened
    return {
        "total": sum(pending.streams.values()),
        "streams": bars,
        "more": max(0, len(counts) - STREAMS_SHOWN),
        "span_s": (closes - opened) / 1e6 if timed and closes and opened else None,
        "gone_s": max(0.0, (wall_clock() - opened) / 1e6) if timed and opened else None,
        "entities": sorted(pending.entities.items(), key=lambda one: -one[1]),
    }


def streams(pending: Pending) -> Record:
    """The silent streams, and those that delivered last."""
    rows = stream_rows(pending)
    silent_rows, others = [row for row in rows if row.silent], [row for row in rows if not row.silent]
    visible = silent_rows[:PAGE_ROWS] + others[:PAGE_ROWS]
    return {
        "rows": [structs.replace(row, stream_id=clip(row.stream_id, 64)) for row in visible],
        "total": len(rows),
        "silent": len(silent_rows),
        "more": len(rows) - len(visible),
    }


def read_parts(reading: Reading) -> Parts:
    """Everything on the page that depends on the published commit alone."""
    store, base, chain = reading.store, reading.base, reading.chain
    bad = queries.troubles(store, base, chain, "quarantined", PAGE_ROWS, None).quarantined
    lost = queries.troubles(store, base, chain, "conflicts", PAGE_ROWS, None).conflicts
    books = read_shelf(reading)
    held = list(held_claims(store, base))
    return Parts(
        log=list(chain.log(store, base, FRAMES)),
        quarantined=[
            {
                "frame": row.since, "path": clip(row.path, 200), "reason": row.reason, "detail": clip(row.detail),
                "at": clip(row.at) if row.at else "", "source": clip(row.source), "commit": row.commit[:12],
            }
            for row in bad
        ],
        conflicts=[_conflict(row) for row in lost],
        claims=[
            {"collection": clip(one.collection), "key": clip(one.key), "holder": clip(one.holder, 64), **_term(one)}
            for one in held[:PAGE_ROWS]
        ],
        more_claims=max(0, len(held) - PAGE_ROWS),
        books=[_book(book) for book in books[:BOOKS_SHOWN]],
        more_books=max(0, len(books) - BOOKS_SHOWN),
    )  # fmt: skip


def _term(claim: HeldClaim) -> Record:
    return {"since": claim.since, "until": claim.until}


def _conflict(row: queries.LostConflict) -> Record:
    return {
        "frame": row.frame,
        "collection": clip(row.collection),
        "key": clip(row.key),
        "field": clip(row.field),
        "value": clip(row.value),
        "winner": clip(row.winner.stream_id),
        "winner_at": time_text(calendar_text(row.winner.utc)),
        "loser": clip(row.loser.stream_id),
        "loser_at": time_text(calendar_text(row.loser.utc)),
    }


def _book(book: ShelfEntry) -> Record:
    authors = [clip(author, 60) for author in book.authors[:6]]
    missing = ", ".join(str(one) for one in book.missing[:12])
    return {
        "title": clip(book.title or book.book),
        "key": clip(book.book),
        "published": book.published,
        "published_at": book.published_at,
        "frame": book.frame,
        "chapters": book.chapters,
        "target": book.target,
        "share": 100 if book.published else min(100, 100 * book.chapters // book.target) if book.target else 0,
        "missing": missing + (f" and {book.missing_total - 12} more" if book.missing_total > 12 else ""),
        "authors": authors,
        "more_authors": max(0, len(book.authors) - 6),
        "words": book.word_count,
        "fingerprint": book.fingerprint,
    }


def read_diff(reading: Reading, start: int, end: int) -> Record:
    """The difference between two frames as rows for display."""
    found = queries.diff_frames(reading.store, reading.base, start, end, Bounds(PAGE_DIFF_ROWS, PAGE_DIFF_BYTES))
    rows = [_entity("added", item) for items in found.added.values() for item in items]
    rows += [_entity("removed", item) for items in found.removed.values() for item in items]
    rows += [_changed(name, one) for name, ones in found.changed.items() for one in ones]
    return {"rows": rows, "truncated": found.truncated}


def _entity(kind: str, item: Item) -> Record:
    fields = [{"name": clip(name, 60), "new": clip(value)} for name, value in list(item.record.items())[:FIELDS]]
    more = max(0, len(item.record) - FIELDS)
    return {"kind": kind, "collection": clip(item.collection), "key": "", "fields": fields, "more": more}


def _changed(collection: str, one: Changed) -> Record:
    first = list(one.fields.items())[:FIELDS]
    fields = [{"name": clip(name, 60), "old": clip(old), "new": clip(new)} for name, (old, new) in first]
    more = max(0, len(one.fields) - FIELDS)
    return {"kind": "changed", "collection": clip(collection), "key": clip(one.key), "fields": fields, "more": more}
