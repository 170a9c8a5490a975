"""The paths that show the last poll: the status, the streams, and the events that report their changes
(docs/protocol.md#the-api)."""

from __future__ import annotations

from collections.abc import AsyncIterator
from functools import partial
from urllib.parse import quote

from msgspec import structs
from sse_starlette import EventSourceResponse, ServerSentEvent
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from dreamcatcherd.core.codec import calendar_text, canonical, utc_micros, utc_text
from dreamcatcherd.core.report import REPOSITORY_HEADER, Pending, promised, status_json
from dreamcatcherd.observe.clock import wall_clock
from dreamcatcherd.web.answers import Event, Stream
from dreamcatcherd.web.change_feed import ChangeFeed
from dreamcatcherd.web.live_status import LiveStatus
from dreamcatcherd.web.paging import NamedRows
from dreamcatcherd.web.params import NamedParams, NoParams, optional, read_parameters
from dreamcatcherd.web.query_executor import BusyError, not_read_yet
from dreamcatcherd.web.responses import json_response, next_link

EVENT_CLIENTS = 64
"""How many clients may follow the events at the same time."""

EVENT_INTERVAL_S = 0.25
"""The minimum time between two events for one client. Changes in between are reported by the later event."""

KEEP_ALIVE_S = 15.0
"""The seconds between two comments, by which both sides notice that a connection is dead."""

_NEVER = 2**63


class LiveApi:
    """The handlers, and what they keep between two requests."""

    def __init__(self, live_status: LiveStatus, changes: ChangeFeed) -> None:
        self._live_status = live_status
        self._changes = changes
        self._status: tuple[int, bytes] = (-1, b"")
        self._until = 0  # when the kept status expires: at `closes_at`
        self._rows: tuple[Pending | None, NamedRows[Stream]] = (None, NamedRows[Stream]([], lambda row: row.stream_id))
        self._clients = 0

    def _pending(self) -> Pending:
        pending = self._live_status.pending
        if pending is None:
            raise not_read_yet(self._live_status)
        return pending

    async def status(self, request: Request) -> Response:
        read_parameters(request, NoParams)
        current = self._live_status.current
        now = wall_clock()
        if self._status[0] != current.version or now >= self._until:
            closes_at = utc_micros(self._pending().closes_at or "")
            self._until = closes_at if closes_at is not None and closes_at > now else _NEVER
            self._status = (current.version, canonical(status_json(self._pending(), now, current.troubles)))
        identity = quote(self._live_status.identity, errors="surrogateescape")
        return json_response(self._status[1], headers={REPOSITORY_HEADER: identity})

    async def streams(self, request: Request) -> Response:
        given = read_parameters(request, NamedParams)
        pending = self._pending()
        if self._rows[0] is not pending:
            self._rows = (pending, NamedRows(stream_rows(pending), lambda row: row.stream_id))
        rows, more = self._rows[1].page(given.limit, optional(given.after))
        return json_response(rows, headers=next_link(more))

    async def events(self, request: Request) -> Response:
        """Server-sent events: `status` at each change, with figures only; clients ask the other paths for more."""
        read_parameters(request, NoParams)
        if self._clients >= EVENT_CLIENTS:
            raise BusyError(
                f"{EVENT_CLIENTS} clients follow the events already", "close one, or ask for /api/v1/status"
            )
        if request.method == "HEAD":  # it has no stream, so it takes no place
            headers = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}
            return Response(None, 200, headers, "text/event-stream")
        self._clients += 1
        return _CountedEvents(self, self._events())

    def client_gone(self) -> None:
        """Free the place of a client of the events."""
        self._clients -= 1

    async def _events(self) -> AsyncIterator[ServerSentEvent]:
        version = -1
        yield _sse(retry=2000)
        while not self._changes.stopped:
            current = self._live_status.current
            if current.version == version:
                await self._changes.wait_for_change()
                continue
            version = current.version
            data = canonical(status_event(self._live_status)).decode()
            yield _sse(data, id=str(version), event="status")
            await self._changes.pause(EVENT_INTERVAL_S)
            await self._changes.wait_while_closing()


_sse = partial(ServerSentEvent, sep="\n")


class _CountedEvents(EventSourceResponse):
    """An endless answer that counts as a client of the events until it ends, however it ends.

    The count is not kept by the generator: one that is cancelled before its first event never runs its `finally`."""

    def __init__(self, api: LiveApi, events: AsyncIterator[ServerSentEvent]) -> None:
        comment = partial(_sse, comment="nothing new")
        super().__init__(events, ping=KEEP_ALIVE_S, sep="\n", ping_message_factory=comment)
        self._api = api

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await super().__call__(scope, receive, send)
        finally:
            self._api.client_gone()


def status_event(live_status: LiveStatus) -> Event:
    """The data of an event."""
    current, now = live_status.current, wall_clock()
    event = Event(current.ready, current.why, utc_text(now))
    if (pending := current.pending) is None:
        return event
    return structs.replace(
        event,
        frame=pending.frame,
        opened_at=pending.opened_at,
        closes_at=promised(pending.closes_at, now),
        last_closed=pending.last_closed,
        digest=pending.digest,
        held=pending.held,
        behind_s=round(pending.behind_s, 3),
        total=sum(pending.streams.values()),
        streams=len(pending.streams),
    )


def stream_rows(pending: Pending) -> list[Stream]:
    """Every stream with pending deltas or deltas in the last 100 frames, in no order."""
    silent = set(pending.silent)
    rows = []
    for name in {**pending.seen, **pending.streams}:
        last = pending.seen.get(name)
        frame, utc = (last.frame, calendar_text(last.utc)) if last else (None, None)
        rows.append(Stream(name, name in silent, pending.streams.get(name, 0), frame, utc))
    return rows
