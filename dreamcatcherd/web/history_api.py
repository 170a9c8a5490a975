"""The paths about closed frames: the log, ledgers, differences, and what was lost or quarantined
(docs/protocol.md#the-api)."""

from __future__ import annotations

from typing import Literal

from starlette.requests import Request
from starlette.responses import Response

from dreamcatcherd.core.codec import MAX_FRAME, frame_number
from dreamcatcherd.core.diff import Bounds, diff_json
from dreamcatcherd.core.errors import UsageError
from dreamcatcherd.history import queries
from dreamcatcherd.web.answers import Conflicts, Quarantine
from dreamcatcherd.web.paging import page_of_frames
from dreamcatcherd.web.params import (
    DiffParams,
    ExplainParams,
    FrameParams,
    NoParams,
    RowParams,
    optional,
    read_parameters,
)
from dreamcatcherd.web.query_executor import QueryExecutor, Reading
from dreamcatcherd.web.responses import Answer, commit_tag, state_tag, tagged, within_bounds

DIFF_BYTES = 4 * 2**20

LEDGER_BYTES = 64 * 2**20
"""The largest ledger that is answered. It is sent as it is stored, so other answers' limit is not for it: a frame of
100,000 deltas has one of 30 MB."""


class HistoryApi:
    """The handlers."""

    def __init__(self, executor: QueryExecutor) -> None:
        self._executor = executor

    async def log(self, request: Request) -> Response:
        given = read_parameters(request, FrameParams)
        limit, before = given.limit, optional(given.before)

        def work(reading: Reading) -> Answer:
            rows = list(reading.chain.log(reading.store, reading.base, limit + 1, before))
            more = _before(limit, rows[limit - 1]["frame"]) if len(rows) > limit else None
            return Answer(within_bounds(rows[:limit]), commit_tag(reading.base), more)

        return tagged(request, await self._executor.ask(("log", limit, before), work))

    async def frame(self, request: Request) -> Response:
        """The ledger of a closed frame, byte for byte as it is stored. One that the client has is not read."""
        read_parameters(request, NoParams)
        frame = frame_number(request.path_params["frame"])
        if frame is None:
            raise UsageError(f"the frame in the path is not a whole number up to {MAX_FRAME}", "see /api/v1/log")

        def find(reading: Reading) -> Answer:
            found = queries.find_ledger(reading.store, reading.base, frame)
            return Answer(found.blob.encode(), f"{found.digest}-{found.blob[:12]}")

        def read(reading: Reading) -> Answer:
            if (size := reading.store.size(blob)) > LEDGER_BYTES:
                raise UsageError(f"the ledger of frame {frame} has {size} bytes", "read it from the repository")
            return Answer(reading.store.read(blob), found.tag)

        found = await self._executor.ask(("ledger", frame), find)
        blob = found.raw.decode()
        # Asked for apart from the bytes, which may be many: a client that has them pays for a look at two trees.
        known = tagged(request, found)
        if known.status_code == 304:
            return known
        return tagged(request, await self._executor.ask(("ledger bytes", blob), read))

    async def explain(self, request: Request) -> Response:
        given = read_parameters(request, ExplainParams)
        field, frame = optional(given.field), optional(given.frame)

        def work(reading: Reading) -> Answer:
            asked = (given.collection, given.key, field, frame)
            found = queries.explain_entity(reading.store, reading.base, *asked, reading.ledger_index)
            return Answer(within_bounds(found), commit_tag(reading.base))

        return tagged(request, await self._executor.ask(("explain", given), work))

    async def diff(self, request: Request) -> Response:
        given = read_parameters(request, DiffParams)
        start, end, limit = given.start, given.end, given.limit

        def work(reading: Reading) -> Answer:
            found = queries.diff_frames(reading.store, reading.base, start, end, Bounds(limit, DIFF_BYTES))
            # The settings are in the tag as well: they name the keys by which entities are compared.
            ends = [state_tag(queries.view(reading.store, reading.base, frame)) for frame in (start, end)]
            return Answer(within_bounds(diff_json(found, start, end)), "-".join(filter(None, ends)) or None)

        return tagged(request, await self._executor.ask(("diff", given), work))

    async def quarantine(self, request: Request) -> Response:
        return await self._troubles(request, "quarantined")

    async def conflicts(self, request: Request) -> Response:
        return await self._troubles(request, "conflicts")

    async def _troubles(self, request: Request, kind: Literal["quarantined", "conflicts"]) -> Response:
        given = read_parameters(request, RowParams)
        limit, before = given.limit, optional(given.before)

        def work(reading: Reading) -> Answer:
            found = queries.troubles(reading.store, reading.base, reading.chain, kind, limit, before)
            place = limit, given.skip, found.newest, found.before
            bad, lost = page_of_frames(found.quarantined, *place), page_of_frames(found.conflicts, *place)
            shape: Quarantine | Conflicts
            if kind == "quarantined":
                shape = Quarantine(bad.rows, found.before, len(found.quarantined) > limit)
            else:
                shape = Conflicts(lost.rows, found.before, len(found.conflicts) > limit)
            more = (bad if kind == "quarantined" else lost).more
            return Answer(within_bounds(shape), commit_tag(reading.base), {"limit": limit, **more} if more else None)

        return tagged(request, await self._executor.ask((kind, given), work))


def _before(limit: int, frame: int) -> dict[str, str | int]:
    return {"limit": limit, "before": frame}
