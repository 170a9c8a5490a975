"""A web server's answers, read from git's trace of its requests: status, headers and body.

Owns how the trace is parsed, and how a server's text is shown: on one line, escaped, cut to a length."""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import UTC
from html import unescape

from msgspec import Struct

from dreamcatcherd.core.codec import plain

HEADERS = {"GIT_TRACE_CURL": "1", "GIT_TRACE_CURL_NO_DATA": "1"}
"""Lets git write the headers of its requests to stderr, with credentials redacted."""
BODIES = {"GIT_TRACE_CURL": "1"}
"""The same with the bodies, including those that are sent."""

RETRY_MOST_S = 3600.0
"""A server is asked again after this time at the latest, even if it asked for a longer wait."""
SHOWN = 300
_BODY_MOST = 4096
_WIDTH = 60
"""Columns of git's trace of a body: a shorter line is the end of a line of the body."""

OBJECT_ID = re.compile(r"\b[0-9a-f]{7,40}\b")
"""An object id, complete or abbreviated, within a text."""

_LINE = re.compile(r"^\d\d:\d\d:\d\d\.\d+ http\.c:\d+ +(.*)$")
_STATUS = re.compile(r"HTTP/\S+ (\d{3})(?: (.*))?$")
_FIELD = "<= Recv header: "
_DATA = "<= Recv data: "


class HttpAnswer(Struct, frozen=True):
    """One answer: `fields` are its headers, their names in lower case."""

    status: int
    fields: dict[str, str]
    body: str = ""

    @property
    def retry_after(self) -> str:
        return self.fields.get("retry-after", "")

    @property
    def limits(self) -> bool:
        """Whether the server says that it is asked too often."""
        slow_down = bool(self.retry_after) or "rate limit" in self.body.lower()
        return self.status == 429 or (self.status == 403 and slow_down)


def parted(errors: str) -> tuple[str, list[HttpAnswer]]:
    """git's own messages, and the answers that its trace shows, in order. Lines of the server begin with `remote:` and
    are never taken for lines of the trace."""
    said: list[str] = []
    traced: list[str] = []
    for line in errors.split("\n"):
        match = _LINE.match(line)
        (said if match is None else traced).append(line if match is None else match[1])
    return "\n".join(said), list(_answers(traced))


def _answers(traced: list[str]) -> Iterator[HttpAnswer]:
    status = 0
    fields: dict[str, str] = {}
    body = ""
    for line in traced:
        if line.startswith(_FIELD):
            text = line.removeprefix(_FIELD).strip()
            match = _STATUS.match(text)
            if match is None:
                name, _, value = text.partition(":")
                fields[name.strip().lower()] = value.strip()
                continue
            if status > 100:
                yield HttpAnswer(status, fields, body)
            status, fields, body = int(match[1]), {}, ""
        # Beyond a few kilobytes an error page says nothing new, and a server may send any number of them.
        elif line.startswith(_DATA) and len(body) < _BODY_MOST:
            piece = line.removeprefix(_DATA)
            body += piece if len(piece) == _WIDTH else piece + " "
    if status > 100:
        yield HttpAnswer(status, fields, body)


def retry_after_s(answer: HttpAnswer, now_s: float) -> float | None:
    """How long the server asks to wait, in seconds; None if it does not say. `now_s` is the time of day."""
    value = answer.retry_after
    if value.isascii() and value.isdigit():
        return min(float(value[:9]), RETRY_MOST_S)
    from email.utils import parsedate_to_datetime  # few servers name a date, and it loads much

    try:
        at = parsedate_to_datetime(value)
        # HTTP's dates are in GMT, whatever they say; without a zone the machine's own would be taken.
        at_s = (at if at.tzinfo else at.replace(tzinfo=UTC)).timestamp()
    except (ValueError, TypeError, OverflowError):
        return None
    return min(max(0.0, at_s - now_s), RETRY_MOST_S)


def words_of(said: str, answer: HttpAnswer | None = None) -> str:
    """The server's explanation, for people: the lines that git passes on, or else the body of its answer."""
    lines = [line.removeprefix("remote:").strip() for line in said.split("\n") if line.startswith("remote:")]
    if not any(lines) and answer is not None:
        body = answer.body
        if "html" in answer.fields.get("content-type", ""):
            body = unescape(re.sub(r"(?is)<(style|script|head)\b.*?</\1>|<[^>]*>", " ", body))
            body = re.sub(r"(?<!\S)\.+(?!\S)", " ", body)  # git's trace writes line ends as dots
        lines = [body]
    return cut(one_line(" ".join(lines)))


def one_line(text: str) -> str:
    """A text on one line, with unprintable characters escaped."""
    return plain(" ".join(text.split()))


def cut(text: str) -> str:
    """A text cut to `SHOWN` characters, between two words if possible: half an object id helps nobody."""
    if len(text) <= SHOWN:
        return text
    end = text.rfind(" ", SHOWN // 2, SHOWN)
    return text[: end if end > 0 else SHOWN] + " …"
