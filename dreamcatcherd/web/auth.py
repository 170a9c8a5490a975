"""The checks that every request passes first: method, host, token, and the number of requests in progress.

Owns the order in which requests are answered, and the headers of every answer."""

from __future__ import annotations

import asyncio
import base64
import binascii
import hmac
import ipaddress
import re
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager

from msgspec import Struct
from starlette.middleware.cors import CORSMiddleware
from starlette.responses import JSONResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from dreamcatcherd.web.change_feed import ChangeFeed

CORS_BELOW = "/api/v1"
"""Pages of other sites never read anything else, the metrics included."""

POSTED = frozenset({"/api/v1/validate", "/hooks/push"})
"""The paths that take POST, and nothing else. All others take GET and HEAD."""

WITHOUT_TOKEN = frozenset({"/healthz", "/hooks/push"})
"""Answered without the token: a liveness probe has none, and a hint has a signature of its own that its handler
checks."""

NEVER_DELAYED = frozenset({"/healthz", "/readyz"})
"""Answered immediately, also while a frame closes: a probe has a short time limit, and a failed one may restart
the daemon."""

NEVER_REFUSED = NEVER_DELAYED | {"/metrics"}
"""Answered however many other requests are in progress."""

REQUESTS_AT_ONCE = 192
REQUESTS_PER_CLIENT = 96
"""How many other requests are answered at the same time, events included, and how many of them from one address.
Further requests get 503. The remaining connections are for `NEVER_REFUSED`. All clients of a proxy have its address."""

SECURITY_HEADERS = [
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


class AuthPolicy(Struct, frozen=True):
    """Which requests are answered: those with the token, if there is one.

    With `local_names_only`, the Host header must be an address or localhost, so that a web site that makes its own name
    point here reads nothing. Pages of `cors_origins` may read the API and post to it; `*` is any."""

    token: str | None = None
    local_names_only: bool = False
    cors_origins: tuple[str, ...] = ()

    def __repr__(self) -> str:
        return "AuthPolicy(…)"


class AuthMiddleware:
    """Refuses requests, or delays them while a frame closes, and adds the security headers."""

    def __init__(self, app: ASGIApp, changes: ChangeFeed, auth_policy: AuthPolicy) -> None:
        self._app = app
        self._changes = changes
        self._policy = auth_policy
        self._answered = Counter[str]()
        self._turn = asyncio.Lock()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return

        async def send_on(message: Message) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [*message["headers"], *SECURITY_HEADERS]
            await send(message)

        client = scope["client"][0] if scope["client"] else ""
        refused = self._refusal(scope) or self._too_much(scope["path"], client)
        if refused is not None:
            await refused(scope, receive, send_on)
            # Health and metrics are never refused: an operator needs them most when there is too much to answer.
        elif scope["path"] in NEVER_REFUSED:
            if scope["path"] not in NEVER_DELAYED:
                await self._wait_while_closing()
            await self._app(scope, receive, send_on)
        else:
            with self._counted(client):
                await self._wait_while_closing()
                await self._take_turn()
                await self._app(scope, receive, send_on)

    async def _wait_while_closing(self) -> None:
        if self._changes.live_status.closing:
            await self._changes.wait_while_closing()

    async def _take_turn(self) -> None:
        """Start one request in each round of the event loop, so that a probe waits for a few requests only."""
        async with self._turn:
            await asyncio.sleep(0)

    @contextmanager
    def _counted(self, client: str) -> Iterator[None]:
        self._answered[client] += 1
        try:
            yield
        finally:
            self._answered[client] -= 1
            if not self._answered[client]:
                del self._answered[client]

    def _too_much(self, path: str, client: str) -> Response | None:
        if path in NEVER_REFUSED or (
            self._answered.total() < REQUESTS_AT_ONCE and self._answered[client] < REQUESTS_PER_CLIENT
        ):
            return None
        error = {"error": "too many requests at once", "remedy": "ask again in a moment"}
        return JSONResponse(error, 503, {"Retry-After": "1"})

    def _refusal(self, scope: Scope) -> Response | None:
        posted = scope["path"] in POSTED
        allowed = ("POST",) if posted else ("GET", "HEAD")
        if scope["method"] not in allowed:
            cause = "this path takes POST alone" if posted else "nothing can be changed here: this path is only read"
            error = {"error": cause, "remedy": f"ask with {' or '.join(allowed)}"}
            return JSONResponse(error, 405, {"Allow": ", ".join(allowed)})
        headers = dict(scope["headers"])
        hosts = [value for name, value in scope["headers"] if name == b"host"]
        # A stranger's page can make a browser ask this address under the stranger's name, which is then in the Host
        # header (DNS rebinding).
        if self._policy.local_names_only and not all(is_address_or_localhost(host.decode("latin-1")) for host in hosts):
            remedy = "ask for 127.0.0.1 or localhost, or set [http] token_file"
            return JSONResponse({"error": "this daemon answers its own machine only", "remedy": remedy}, 421)
        # A browser sends some POSTs for any page without asking first. Only it sends Origin, and no page can change it.
        if posted and (origin := headers.get(b"origin")) is not None and not self._may_post(scope, origin, hosts):
            remedy = "send it from a program, or from a page of this daemon"
            return JSONResponse({"error": "a page of another site may not post here", "remedy": remedy}, 403)
        token = self._policy.token
        if token is None or scope["path"] in WITHOUT_TOKEN or has_token(headers.get(b"authorization", b""), token):
            return None
        remedy = "send the token: Authorization: Bearer …, or as the password of any user"
        challenge = {"WWW-Authenticate": 'Basic realm="dreamcatcherd", charset="UTF-8"'}
        return JSONResponse({"error": "a token is needed", "remedy": remedy}, 401, challenge)

    def _may_post(self, scope: Scope, origin: bytes, hosts: list[bytes]) -> bool:
        allowed = self._policy.cors_origins if scope["path"].startswith(CORS_BELOW) else ()
        return "*" in allowed or origin.decode("latin-1") in allowed or _is_own(origin, hosts)


class CorsMiddleware:
    """Answers pages of other sites (CORS): those below `CORS_BELOW` alone, and only where origins are configured.

    It comes before the checks, since a browser asks for leave without the token. `cross-origin-resource-policy` stays
    as it is: it counts for what a page embeds, and not for what it reads in this way."""

    def __init__(self, app: ASGIApp, origins: tuple[str, ...]) -> None:
        self._app = app
        self._cors = CORSMiddleware(
            app,
            allow_origins=origins,
            allow_methods=("GET", "HEAD", "POST"),
            allow_headers=("Authorization", "Content-Type", "If-None-Match", "Last-Event-ID"),
            expose_headers=("ETag", "Link", "Retry-After"),
        )

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        here = scope["type"] == "http" and scope["path"].startswith(CORS_BELOW)
        await (self._cors if here else self._app)(scope, receive, send)


def _is_own(origin: bytes, hosts: list[bytes]) -> bool:
    """Whether a page of this origin was loaded from the host that it asks now."""
    return origin.partition(b"://")[2].lower() in [host.lower() for host in hosts]


def has_token(authorization: bytes, token: str) -> bool:
    """Whether a header has the token, as `Bearer` or as the password of `Basic`; compared in constant time."""
    kind, _, given = authorization.partition(b" ")
    given = given.strip()
    if kind.lower() == b"basic":
        try:
            given = base64.b64decode(given, validate=True).partition(b":")[2]
        except binascii.Error:
            return False
    elif kind.lower() != b"bearer":
        return False
    # In constant time, so that the time of an answer says nothing about how much of a guess was right.
    return hmac.compare_digest(given, token.encode())


def is_address_or_localhost(host: str) -> bool:
    """Whether a Host header is localhost or an IP address, with or without a port, and nothing else.

    Any other name can be made to point to this machine by whoever owns it (DNS rebinding)."""
    found = _HOST.fullmatch(host)
    if found is None or found["name"]:
        return found is not None
    try:
        if found["v6"]:
            ipaddress.IPv6Address(found["v6"])
        else:
            ipaddress.IPv4Address(found["v4"])
    except ValueError:
        return False
    return True


_HOST = re.compile(
    r"(?:(?P<name>localhost)|(?P<v4>[0-9.]+)|\[(?P<v6>[0-9a-f:.]+)\])(?::[0-9]{1,5})?", re.ASCII | re.IGNORECASE
)
