"""Answers of the API as HTTP: JSON, the codes of errors, and the size that no answer exceeds.

Owns the codes: 400 wrong parameters, 404 not found, 503 not read yet, too many requests, or too slow; those of bodies
are in `bodies`."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Mapping
from typing import NamedTuple
from urllib.parse import urlencode

import structlog
from starlette.requests import Request
from starlette.responses import Response

from dreamcatcherd import __version__
from dreamcatcherd.core.codec import canonical
from dreamcatcherd.core.errors import DreamcatcherError, RefusedError, UsageError
from dreamcatcherd.history.queries import SnapshotView
from dreamcatcherd.stages.published import PublishedState
from dreamcatcherd.web.bodies import BodyError

ANSWER_BYTES = 8 * 2**20
"""The largest answer."""

Handler = Callable[[Request], Awaitable[Response]]


def code_of(error: DreamcatcherError) -> int:
    """The HTTP status code of an error."""
    if isinstance(error, BodyError):
        return error.code
    return 404 if isinstance(error, RefusedError) else 400 if isinstance(error, UsageError) else 503


def error_response(error: DreamcatcherError) -> Response:
    """An error as JSON, with its cause and its remedy."""
    code = code_of(error)
    # After a slow body the connection is of no use: the rest may never come.
    headers = {503: {"Retry-After": "1"}, 408: {"Connection": "close"}}.get(code, {})
    return json_response({"error": error.cause, "remedy": error.remedy}, code, headers)


def json_response(value: object, code: int = 200, headers: dict[str, str] | None = None) -> Response:
    """A JSON answer that no cache keeps, unless its headers say more."""
    raw = value if isinstance(value, bytes) else canonical(value)
    return Response(raw, code, {"Cache-Control": "no-store", **(headers or {})}, "application/json")


def guarded(answer: Handler) -> Handler:
    """A handler whose errors become JSON. An unexpected exception is logged; its answer shows nothing of it."""

    async def guard(request: Request) -> Response:
        try:
            return await answer(request)
        except DreamcatcherError as error:
            return error_response(error)
        except Exception as error:
            what = f"{type(error).__name__}: {error}"[:500]
            structlog.get_logger().error("request failed", path=request.url.path, cause=what)
            remedy = "report it, with the line of the log that says 'request failed'"
            return json_response({"error": "internal error", "remedy": remedy}, 500)

    return guard


class Answer(NamedTuple):
    """An answer about published commits: its JSON, what it was made from if that names it completely, and the
    parameters of the next page."""

    raw: bytes
    tag: str | None = None
    more: Mapping[str, str | int] | None = None


def tagged(request: Request, answer: Answer) -> Response:
    """An answer with its ETag, or 304 without a body if the client has it.

    A cache may keep it and must ask each time: histories can be converted, and frames reclassified. The tag is weak,
    since it is one for compressed and plain answers, and it names this version, which may write the same state
    differently than the next."""
    if answer.tag is None:
        return json_response(answer.raw, headers=next_link(answer.more))
    etag = f'W/"{answer.tag}+{__version__}"'
    headers = {"ETag": etag, "Cache-Control": "no-cache", **next_link(answer.more)}
    if has_tag(request.headers.getlist("if-none-match"), etag):
        return Response(None, 304, headers)
    return json_response(answer.raw, headers=headers)


def has_tag(wanted: list[str], etag: str) -> bool:
    """Whether If-None-Match names an ETag, by the weak comparison, or is `*`."""
    given = ",".join(wanted)
    return given.strip() == "*" or etag.removeprefix("W/") in _TAG.findall(given)


_TAG = re.compile(r'"[^"]*"')


def state_tag(seen: SnapshotView) -> str | None:
    """The tag of what follows from a snapshot and its settings alone."""
    return seen.tree and f"{seen.tree}-{(seen.settings.blob or '')[:12]}"


def commit_tag(base: PublishedState) -> str | None:
    """The tag of what also follows from ledgers and commits: an empty frame has the digest of the one before."""
    return base.commit and f"{base.snapshot}-{base.commit[:12]}"


def within_bounds(value: object, most: int | None = None) -> bytes:
    """A value as JSON; UsageError if it has more bytes than `most`, by default `ANSWER_BYTES`."""
    raw = canonical(value)
    most = ANSWER_BYTES if most is None else most
    if len(raw) > most:
        cause = f"the answer has {len(raw)} bytes, more than {most}"
        raise UsageError(cause, "ask for less (limit, field), or use the dreamcatcherd command of the same name")
    return raw


def next_link(parameters: Mapping[str, str | int] | None) -> dict[str, str]:
    """The header with the next page, if there is one."""
    return {"Link": f'<?{urlencode(parameters)}>; rel="next"'} if parameters else {}
