"""The pages for people, rendered on the server from the live status and the last published commit.

Owns the addresses of the pages, what each needs, and the verdict that all of them show. All text from deltas is clipped
by `pages`, escaped by the templates and isolated by `<bdi>`, so that neither markup nor a right-to-left mark affects
the rest of a page."""

from __future__ import annotations

import contextlib
from functools import partial
from typing import TypeVar

from msgspec import Struct
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from dreamcatcherd.core.errors import DreamcatcherError, RefusedError
from dreamcatcherd.core.model import Record
from dreamcatcherd.core.verdict import FleetVerdict, HealthSigns, Recent, verdict
from dreamcatcherd.history.timeline import Timeline
from dreamcatcherd.observe.clock import wall_clock
from dreamcatcherd.web.live_status import LiveStatus
from dreamcatcherd.web.pages import start
from dreamcatcherd.web.pages.display import clip
from dreamcatcherd.web.pages.render import Renderer
from dreamcatcherd.web.pages.trends import read_trends
from dreamcatcherd.web.pages.views import VIEWS, PageView
from dreamcatcherd.web.params import StartParams, optional, read_parameters
from dreamcatcherd.web.query_executor import BusyError, QueryExecutor, Reading
from dreamcatcherd.web.responses import Handler, code_of

_Params = TypeVar("_Params", bound=Struct)


class Page:
    """Answers with pages. Each is rendered once for the same state, however many clients ask for it."""

    def __init__(self, live_status: LiveStatus, executor: QueryExecutor) -> None:
        self._live_status = live_status
        self._executor = executor
        self._renderer = Renderer()
        self._timeline = Timeline()  # used by the reader's thread alone
        self._recent = Recent()

    async def _verdict(self, now: int) -> FleetVerdict:
        """The verdict now. What the newest frames hold is as of the last time that they could be read."""
        current = self._live_status.current
        if current.pending is not None:
            # What cannot be read must not take the verdict away: the live status says why it cannot.
            with contextlib.suppress(DreamcatcherError):
                self._recent = await self._executor.ask(("recent",), self._read_recent)
        signs = HealthSigns(
            current.pending,
            current.ready,
            current.why,
            current.daemon_troubles,
            self._live_status.closing,
            self._recent,
        )
        return verdict(signs, now)

    def _read_recent(self, reading: Reading) -> Recent:
        self._timeline.step(reading.store, reading.base, reading.chain, wall_clock() / 1e6)
        return self._timeline.recent()

    async def start(self, request: Request) -> Response:
        """The first page."""
        if "from" in request.query_params:  # where the comparison of frames was before it had a page of its own
            return RedirectResponse(f"diff?{request.url.query}", 301)
        try:
            chosen = optional(read_parameters(request, StartParams).range)
        except DreamcatcherError as error:
            return await self.error(request, error)
        now = wall_clock()
        seen = await self._verdict(now)
        current = self._live_status.current
        parts = trends = None
        trouble = ""
        if current.pending is not None:
            try:
                parts = await self._executor.ask(("start",), start.read_parts)
                # A new answer for each minute, and for each step that found more.
                key = ("trends", chosen, now // 60_000_000, self._timeline.frames, len(current.phases))
                read = partial(
                    read_trends, timeline=self._timeline, wanted=chosen, phases=current.phases, now_s=now / 1e6
                )
                trends = await self._executor.ask(key, read)
            except DreamcatcherError as error:
                trouble = str(error)
        state = (current.version, id(parts), id(trends), trouble, now // 1_000_000)

        def context() -> Record:
            pending = current.pending
            return {
                "current": current,
                "pending": pending,
                "filling": start.open_frame(pending) if pending else None,
                "streams": start.stream_list(pending, None, start.ROWS_SHOWN) if pending else None,
                "parts": parts,
                "trends": trends,
                "trouble": trouble,
            }

        return self._renderer.answer(
            request, ("start", chosen), state, "start.html", self._around(seen, "start"), context
        )

    def _around(self, seen: FleetVerdict, section: str) -> Record:
        """What every page shows around its content."""
        return {
            "verdict": seen,
            "section": section,
            "where": clip(self._live_status.where, 200),
            "forge": self._live_status.links,
        }

    async def view(self, request: Request, shape: type[_Params], view: PageView[_Params]) -> Response:
        """A page of the published commit, with what it shows of the live status."""
        try:
            given = read_parameters(request, shape, request.path_params)
            current = self._live_status.current
            if current.pending is None:
                raise BusyError(current.why, "the daemon has not read the repository yet: reload in a moment")
            read = view.read
            found: Record = {}
            if read is not None:
                found = await self._executor.ask((view.template, given), lambda reading: read(reading, given))
            live = view.live(current, given, found) if view.live is not None else {}
        except DreamcatcherError as error:
            return await self.error(request, error)
        seen = await self._verdict(wall_clock())
        # A page without live parts is the same as long as its answer is; only the verdict's word may change.
        state = (id(found), current.version if view.live is not None else None, seen.level)
        # The page keeps what it was made from, so that its id stays its own.
        context = found | live | {"phases": current.phases, "given": given, "keep": found}
        around = self._around(seen, view.section)
        return self._renderer.answer(request, (view.template, given), state, view.template, around, lambda: context)

    async def error(self, request: Request, error: DreamcatcherError) -> Response:
        """A page that says what went wrong, and what to do."""
        seen = await self._verdict(wall_clock())
        code = code_of(error)

        def context() -> Record:
            return {"cause": clip(error.cause, 500), "remedy": clip(error.remedy, 500), "code": code}

        around = self._around(seen, "")
        return self._renderer.answer(request, ("error",), object(), "error.html", around, context, code)

    async def missing(self, request: Request) -> Response:
        """The page for an address that is none."""
        return await self.error(request, RefusedError("there is no page at this address", "begin at the first page"))


def page_routes(page: Page) -> dict[str, Handler]:
    """The handler of each page."""
    found: dict[str, Handler] = {"/": page.start}
    for path, (shape, view) in VIEWS.items():
        found[path] = partial(page.view, shape=shape, view=view)
    return found
