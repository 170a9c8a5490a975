"""Metrics and health over HTTP, read-only (Protocol §10). Serves what the last cycle left; reads no repository."""

from __future__ import annotations

import socket
import threading

import prometheus_client as prom
import uvicorn
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp, Receive, Scope, Send

from dreamcatcherd.core.errors import UsageError
from dreamcatcherd.core.report import Pending, status_json


class Board:
    """What the loop shows to the outside: replaced whole after each cycle, read by any thread."""

    def __init__(self) -> None:
        self.pending: Pending | None = None
        self.ready = False
        self.why = "no poll yet"


class ReadOnly:
    """Refuses every method but GET and HEAD."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and scope["method"] not in ("GET", "HEAD"):
            refusal = PlainTextResponse("read-only: GET and HEAD\n", 405, {"Allow": "GET, HEAD"})
            await refusal(scope, receive, send)
        else:
            await self._app(scope, receive, send)


def make_app(registry: prom.CollectorRegistry, board: Board) -> Starlette:
    """The routes."""

    def metrics(_: Request) -> Response:
        return Response(prom.generate_latest(registry), media_type=prom.CONTENT_TYPE_LATEST)

    def healthz(_: Request) -> Response:
        return PlainTextResponse("alive\n")

    def readyz(_: Request) -> Response:
        return PlainTextResponse("ready\n") if board.ready else PlainTextResponse(f"{board.why}\n", 503)

    def status(_: Request) -> Response:
        pending = board.pending
        return JSONResponse(status_json(pending)) if pending else JSONResponse({"error": board.why}, 503)

    routes = {"/metrics": metrics, "/healthz": healthz, "/readyz": readyz, "/api/v1/status": status}
    return Starlette(
        routes=[Route(path, answer, methods=["GET"]) for path, answer in routes.items()],
        middleware=[Middleware(ReadOnly)],
    )


class HttpServer:
    """The app on a socket of its own, in a thread of its own."""

    def __init__(self, app: Starlette, host: str, port: int) -> None:
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        try:
            self._socket = socket.create_server((host, port), family=family)
        except OSError as error:
            remedy = "stop what uses it, or set [http] listen to another port"
            raise UsageError(f"{host}:{port} cannot be listened on: {error.strerror}", remedy) from error
        config = uvicorn.Config(app, log_config=None, access_log=False, lifespan="off", timeout_graceful_shutdown=1)
        self._server = uvicorn.Server(config)
        self._thread = threading.Thread(target=self._server.run, args=([self._socket],), name="http", daemon=True)

    @property
    def address(self) -> str:
        host, port = self._socket.getsockname()[:2]
        return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self._server.should_exit = True
        self._thread.join(timeout=0.5)
        self._socket.close()
