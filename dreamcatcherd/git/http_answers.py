"""What a web server answered, as git's trace of its requests tells: status, headers, and what it said.

Owns how that is read, and how a server's words are shown: on one line, escaped, cut to a length."""

from __future__ import annotations

import re
from collections.abc import Iterator
from email.utils import parsedate_to_datetime
from html import unescape

from msgspec import Struct

from dreamcatcherd.core.codec import plain

HEADERS = {"GIT_TRACE_CURL": "1", "GIT_TRACE_CURL_NO_DATA": "1"}
"""Lets git write the headers of its requests to stderr, what logs in blotted out."""
WHOLE = {"GIT_TRACE_CURL": "1"}
"""The same with the bodies, also of what is sent."""

RETRY_MOST_S = 3600.0
"""A server is asked again after this time, whatever it said."""
SHOWN = 300
_BODY_MOST = 4096
_WIDTH = 60
"""Columns of git's trace of a body: a line that is shorter ends one of the body's."""

OBJECT_ID = re.compile(r"\b[0-9a-f]{7,40}\b")
"""An object id, whole or abbreviated, in somebody's words."""

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
    """What git itself said, and the answers that its trace shows, in order. A server's words have `remote:` before them
    and are none of the trace."""
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
        elif line.startswith(_DATA) and len(body) < _BODY_MOST:
            piece = line.removeprefix(_DATA)
            body += piece if len(piece) == _WIDTH else piece + " "
    if status > 100:
        yield HttpAnswer(status, fields, body)


def retry_after_s(answer: HttpAnswer, now_s: float) -> float | None:
    """How long the server wants to be left alone, in seconds; None where it does not say. `now_s` is today's time."""
    value = answer.retry_after
    if value.isdigit():
        return min(float(value[:9]), RETRY_MOST_S)
    try:
        at = parsedate_to_datetime(value).timestamp()
    except (ValueError, TypeError, OverflowError):
        return None
    return min(max(0.0, at - now_s), RETRY_MOST_S)


def words_of(said: str, answer: HttpAnswer | None = None) -> str:
    """What the server said, for people: the lines that git passes on, else the body of its answer; or nothing."""
    told = [line.removeprefix("remote:").strip() for line in said.split("\n") if line.startswith("remote:")]
    if not any(told) and answer is not None:
        body = answer.body
        if "html" in answer.fields.get("content-type", ""):
            body = unescape(re.sub(r"(?is)<(style|script|head)\b.*?</\1>|<[^>]*>", " ", body))
            body = re.sub(r"(?<!\S)\.+(?!\S)", " ", body)  # git's trace writes line ends so
        told = [body]
    return cut(one_line(" ".join(told)))


def one_line(text: str) -> str:
    """A text on one line, what cannot be printed escaped."""
    return plain(" ".join(text.split()))


def cut(text: str) -> str:
    """A text of at most so many characters; no word, such as an object id, is cut in two unless it is longer."""
    if len(text) <= SHOWN:
        return text
    end = text.rfind(" ", SHOWN // 2, SHOWN)
    return text[: end if end > 0 else SHOWN] + " …"
