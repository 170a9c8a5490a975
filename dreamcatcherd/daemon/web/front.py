"""What every request passes before it is answered: the method, the host it asked for, the token, and the loop's peace.

Owns who is let in, and the headers that every answer carries."""

from __future__ import annotations

import base64
import binascii
import hmac
import ipaddress

from msgspec import Struct
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from dreamcatcherd.daemon.web.hub import Hub

ALWAYS_OPEN = frozenset({"/healthz"})
"""Asked by those who only want to know whether the process lives, and hold no token."""

UNHURRIED = frozenset({"/healthz", "/readyz"})
"""Answered at once, also while a frame closes: whoever asks gives up soon, and restarts hang on it."""

SECURITY = [
    (
        b"content-security-policy",
        b"default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; "
        b"form-action 'self'; base-uri 'none'; frame-ancestors 'none'",
    ),
    (b"x-content-type-options", b"nosniff"),
    (b"x-frame-options", b"DENY"),
    (b"referrer-policy", b"no-referrer"),
    (b"cross-origin-opener-policy", b"same-origin"),
    (b"cross-origin-resource-policy", b"same-origin"),
]


class Door(Struct, frozen=True):
    """Who is let in: with this token, where there is one; `own_hosts` that only requests to this machine by address or
    as localhost are answered, so that a web site which makes its own name point here reads nothing."""

    token: str | None = None
    own_hosts: bool = False

    def __repr__(self) -> str:
        return "Door(…)"


class Front:
    """The middleware."""

    def __init__(self, app: ASGIApp, hub: Hub, door: Door) -> None:
        self._app = app
        self._hub = hub
        self._door = door

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return

        async def send_on(message: Message) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [*message["headers"], *SECURITY]
            await send(message)

        refused = self._refusal(scope)
        if refused is not None:
            await refused(scope, receive, send_on)
            return
        if self._hub.board.closing and scope["path"] not in UNHURRIED:
            await self._hub.calm()
        await self._app(scope, receive, send_on)

    def _refusal(self, scope: Scope) -> Response | None:
        if scope["method"] not in ("GET", "HEAD"):
            return PlainTextResponse("read-only: GET and HEAD\n", 405, {"Allow": "GET, HEAD"})
        headers = dict(scope["headers"])
        if self._door.own_hosts and not is_own_host(headers.get(b"host", b"localhost").decode("latin-1")):
            remedy = "ask for 127.0.0.1 or localhost, or set [http] token_file"
            return JSONResponse({"error": "this daemon answers its own machine only", "remedy": remedy}, 421)
        token = self._door.token
        if token is None or scope["path"] in ALWAYS_OPEN or bears(headers.get(b"authorization", b""), token):
            return None
        remedy = "send the token: Authorization: Bearer …, or as the password of any user"
        challenge = {"WWW-Authenticate": 'Basic realm="dreamcatcherd", charset="UTF-8"'}
        return JSONResponse({"error": "a token is needed", "remedy": remedy}, 401, challenge)


def bears(authorization: bytes, token: str) -> bool:
    """Whether a header brings the token, as `Bearer` or as the password of `Basic`; compared in constant time."""
    kind, _, given = authorization.partition(b" ")
    given = given.strip()
    if kind.lower() == b"basic":
        try:
            given = base64.b64decode(given, validate=True).partition(b":")[2]
        except binascii.Error:
            return False
    elif kind.lower() != b"bearer":
        return False
    return hmac.compare_digest(given, token.encode())


def is_own_host(host: str) -> bool:
    """Whether a Host header names localhost or an address; a name that can be made to point here is neither."""
    name = host.rpartition("]")[0].removeprefix("[") if host.startswith("[") else host.partition(":")[0]
    if name.lower() == "localhost":
        return True
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True
