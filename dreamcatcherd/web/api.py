"""`/api/v1`: what the commands print, as JSON, as of the last published commit (docs/protocol.md#the-api).

Owns the wiring: which handler answers which path. The handlers are in a module for each subject."""

from __future__ import annotations

from importlib import resources

from starlette.requests import Request
from starlette.responses import Response

from dreamcatcherd.web.answers import Index
from dreamcatcherd.web.bodies import Bodies
from dreamcatcherd.web.change_feed import ChangeFeed
from dreamcatcherd.web.delta_api import DeltaApi
from dreamcatcherd.web.history_api import HistoryApi
from dreamcatcherd.web.live_api import LiveApi
from dreamcatcherd.web.live_status import LiveStatus
from dreamcatcherd.web.params import NoParams, read_parameters
from dreamcatcherd.web.query_executor import QueryExecutor
from dreamcatcherd.web.responses import Handler, guarded, json_response
from dreamcatcherd.web.state_api import StateApi

API = "/api/v1"


def routes(live_status: LiveStatus, changes: ChangeFeed, executor: QueryExecutor, bodies: Bodies) -> dict[str, Handler]:
    """The handler of every path of the API."""
    live, history = LiveApi(live_status, changes), HistoryApi(executor)
    state, deltas = StateApi(executor), DeltaApi(live_status, executor, bodies)
    description = resources.files(__package__).joinpath("openapi.json").read_bytes()
    index = Index([])

    async def openapi(request: Request) -> Response:
        read_parameters(request, NoParams)
        return json_response(description)

    async def listed(request: Request) -> Response:
        read_parameters(request, NoParams)
        return json_response(index)

    found = {
        "": listed,
        "/openapi.json": openapi,
        "/status": live.status,
        "/streams": live.streams,
        "/events": live.events,
        "/log": history.log,
        "/frames/{frame}": history.frame,
        "/diff": history.diff,
        "/explain": history.explain,
        "/quarantine": history.quarantine,
        "/conflicts": history.conflicts,
        "/collections": state.collections,
        "/collections/{name:path}": state.records,
        "/entity": state.entity,
        "/search": state.search,
        "/books": state.books,
        "/receipt": deltas.receipt,
        "/validate": deltas.validate,
    }
    index.paths.extend(sorted(API + path.replace(":path", "") for path in found))
    return {API + path: guarded(handler) for path, handler in found.items()}
