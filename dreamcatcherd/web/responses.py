"""Answers of the API as HTTP: JSON, the codes of errors, and the size that no answer exceeds.

Owns the codes: 400 wrong parameters, 404 not found, 503 not read yet, too many requests, or too slow; those of bodies
are in `bodies`."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from urllib.parse import urlencode

import structlog
from starlette.requests import Request
from starlette.responses import Response

from dreamcatcherd.core.codec import canonical
from dreamcatcherd.core.errors import DreamcatcherError, RefusedError, UsageError
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
    """A JSON answer that no cache keeps."""
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


def within_bounds(value: object) -> bytes:
    """A value as JSON; UsageError if that is too long."""
    raw = canonical(value)
    if len(raw) > ANSWER_BYTES:
        cause = f"the answer has {len(raw)} bytes, more than {ANSWER_BYTES}"
        raise UsageError(cause, "ask for less (limit, field), or use the dreamcatcherd command of the same name")
    return raw


def next_link(parameters: dict[str, int] | None) -> dict[str, str]:
    """The header with the next page, if there is one."""
    return {"Link": f'<?{urlencode(parameters)}>; rel="next"'} if parameters else {}
