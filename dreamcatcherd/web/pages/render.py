"""The templates, and the pages kept. Owns the entity tag of a page, and how it reaches what is beside it."""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from collections.abc import Callable, Hashable
from typing import NamedTuple

from jinja2 import Environment, PackageLoader, StrictUndefined
from starlette.requests import Request
from starlette.responses import Response

from dreamcatcherd import __version__
from dreamcatcherd.core.codec import plain
from dreamcatcherd.core.model import Record
from dreamcatcherd.core.verdict import span_text
from dreamcatcherd.web.pages.display import (
    clip,
    duration,
    entity_link,
    link,
    number,
    plural_words,
    short_time,
    stream_link,
    time_text,
)

PAGES_KEPT = 64
PAGES_KEPT_BYTES = 8 * 2**20


class _Made(NamedTuple):
    state: Hashable
    raw: bytes
    tag: str


class Renderer:
    """Renders templates, and keeps the pages rendered last. Used in the event loop."""

    def __init__(self) -> None:
        self._made: OrderedDict[Hashable, _Made] = OrderedDict()
        self._bytes = 0
        self._environment = Environment(
            loader=PackageLoader("dreamcatcherd.web", "templates"), autoescape=True, undefined=StrictUndefined,
            trim_blocks=True, lstrip_blocks=True,
        )  # fmt: skip
        filters = {
            "moment": time_text,
            "short": short_time,
            "duration": duration,
            "number": number,
            "span": span_text,
            "plain": plain,
            "clip": clip,
            "counted": plural_words,
        }
        self._environment.filters.update(filters)
        names = {"link": link, "entity_link": entity_link, "stream_link": stream_link, "version": __version__}
        self._environment.globals.update(names)

    def answer(
        self,
        request: Request,
        what: tuple[Hashable, ...],
        state: Hashable,
        template: str,
        around: Record,
        context: Callable[[], Record],
        code: int = 200,
    ) -> Response:
        """A page as an answer: rendered if there is none of this `state`, 304 if the browser has it."""
        root = root_of(request)
        key = (root, *what)
        full = (state, around["verdict"], around["section"])
        made = self._made.get(key)
        if made is None or made.state != full:
            text = self._environment.get_template(template).render(root=root, **around, **context())
            raw = text.encode("utf-8", "replace")
            made = _Made(full, raw, f'"{hashlib.sha256(raw).hexdigest()[:20]}"')
            # Pages about errors are not kept: anybody can ask for any number of wrong addresses.
            if code == 200:
                self._keep(key, made)
        # `no-cache` allows a browser to keep the page and ask whether it is still the same.
        headers = {"Cache-Control": "private, no-cache", "ETag": made.tag} if code == 200 else {}
        if code == 200 and request.headers.get("if-none-match") == made.tag:
            return Response(None, 304, headers)
        headers |= {"Retry-After": "1"} if code == 503 else {}
        headers.setdefault("Cache-Control", "no-store")
        return Response(made.raw, code, headers, "text/html; charset=utf-8")

    def _keep(self, key: Hashable, made: _Made) -> None:
        old = self._made.pop(key, None)
        self._bytes += len(made.raw) - (len(old.raw) if old else 0)
        self._made[key] = made
        while len(self._made) > PAGES_KEPT or self._bytes > PAGES_KEPT_BYTES:
            self._bytes -= len(self._made.popitem(last=False)[1].raw)


def root_of(request: Request) -> str:
    """The way from a page to the first one: relative, so that a proxy may put the pages below any path."""
    raw = request.scope.get("raw_path") or request.scope["path"].encode()
    return "../" * (raw.count(b"/") - 1) or "./"
