"""The application: every path with its handler. Owns the wiring, and the answers that need no repository."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from functools import partial
from importlib import resources

import prometheus_client as prom
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from dreamcatcherd.core.codec import plain
from dreamcatcherd.core.errors import RefusedError
from dreamcatcherd.git.protocols import QueryReader
from dreamcatcherd.web.api import routes
from dreamcatcherd.web.auth import POSTED, AuthMiddleware, AuthPolicy, CorsMiddleware
from dreamcatcherd.web.bodies import Bodies
from dreamcatcherd.web.change_feed import ChangeFeed
from dreamcatcherd.web.compression import CompressionMiddleware
from dreamcatcherd.web.hints import Hints
from dreamcatcherd.web.live_status import LiveStatus
from dreamcatcherd.web.page import Page, page_routes
from dreamcatcherd.web.query_executor import QueryExecutor
from dreamcatcherd.web.responses import Handler, error_response, guarded, json_response

_FILES = {
    "page.css": "text/css",
    "page.js": "text/javascript",
    "icon.svg": "image/svg+xml",
    "healthy.svg": "image/svg+xml",
    "attention.svg": "image/svg+xml",
    "failing.svg": "image/svg+xml",
}


class WebApp(Starlette):
    """The application. It must be stopped explicitly: it has endless answers and readers in threads."""

    def __init__(
        self,
        paths: dict[str, Handler],
        changes: ChangeFeed,
        executors: tuple[QueryExecutor, ...],
        auth_policy: AuthPolicy,
        bodies: Bodies,
        missing: Handler,
    ) -> None:
        self.bodies = bodies
        self._changes = changes
        self._executors = executors

        @asynccontextmanager
        async def lifespan(_: Starlette) -> AsyncIterator[None]:
            changes.start()
            yield
            self.stop()

        super().__init__(
            routes=[
                Route(path, answer, methods=["POST" if path in POSTED else "GET"]) for path, answer in paths.items()
            ],
            middleware=[
                *([Middleware(CorsMiddleware, auth_policy.cors_origins)] if auth_policy.cors_origins else []),
                Middleware(AuthMiddleware, changes=changes, auth_policy=auth_policy),
                Middleware(CompressionMiddleware),
            ],
            exception_handlers={HTTPException: partial(_not_there, missing)},
            lifespan=lifespan,
        )

    def stop(self) -> None:
        """End endless answers and stop the readers. Can be called from any thread, and more than once."""
        self._changes.stop()
        for executor in self._executors:
            executor.stop()


def make_app(
    registry: prom.CollectorRegistry,
    live_status: LiveStatus,
    open_store: Callable[[], QueryReader],
    auth_policy: AuthPolicy = AuthPolicy(),  # noqa: B008 (frozen)
    hints: Hints | None = None,
) -> WebApp:
    """The application over the live status. `open_store` opens a store for reading and is called in a reader's thread.

    The page has its own reader, so that it never waits behind requests to the API."""

    scrape: asyncio.Task[bytes] | None = None

    async def expose() -> bytes:
        nonlocal scrape
        # Requests of the same round of the event loop join this scrape.
        await asyncio.sleep(0)
        scrape = None  # later requests get values from after this point
        return prom.generate_latest(registry)

    async def metrics(_: Request) -> Response:
        nonlocal scrape
        scrape = scrape or asyncio.create_task(expose())  # concurrent requests share one scrape
        return Response(await asyncio.shield(scrape), media_type=prom.CONTENT_TYPE_LATEST)

    async def healthz(_: Request) -> Response:
        return PlainTextResponse("alive\n")

    async def readyz(_: Request) -> Response:
        current = live_status.current
        lines = ["ready" if current.ready else current.why]
        lines += [f"{one.what}; {one.remedy}" for one in current.troubles if one.what != current.why]
        return PlainTextResponse("".join(f"{plain(line)}\n" for line in lines), 200 if current.ready else 503)

    changes = ChangeFeed(live_status)
    executors = QueryExecutor(live_status, open_store), QueryExecutor(live_status, open_store)
    page = Page(live_status, executors[1])
    paths: dict[str, Handler] = {"/metrics": metrics, "/healthz": healthz, "/readyz": readyz}
    paths |= {f"/static/{name}": _file(name, kind) for name, kind in _FILES.items()}
    bodies = Bodies()
    paths |= page_routes(page) | routes(live_status, changes, executors[0], bodies)
    if hints is not None:
        paths["/hooks/push"] = guarded(partial(hints.answer, bodies))
    return WebApp(paths, changes, executors, auth_policy, bodies, page.missing)


def _file(name: str, kind: str) -> Handler:
    """A file of the package, kept in memory; 304 if the browser has it already."""
    raw = resources.files(__package__).joinpath(name).read_bytes()
    tag = f'"{hashlib.sha256(raw).hexdigest()[:16]}"'
    headers = {"ETag": tag, "Cache-Control": "no-cache"}

    async def answer(request: Request) -> Response:
        if request.headers.get("if-none-match") == tag:
            return Response(None, 304, headers)
        return Response(raw, 200, headers, kind)

    return answer


async def _not_there(missing: Handler, request: Request, error: Exception) -> Response:
    if isinstance(error, HTTPException) and error.status_code == 404:
        # Programs ask for JSON or anything; only a browser names HTML.
        if "text/html" in request.headers.get("accept", "") and not request.url.path.startswith("/api"):
            return await missing(request)
        return error_response(RefusedError("there is nothing at this path", "see / and /api/v1/openapi.json"))
    return json_response({"error": "this cannot be answered", "remedy": "see /api/v1/openapi.json"}, 400)
