"""How the event loop of HTTP learns of changes of the live status, and waits while a frame closes."""

from __future__ import annotations

import asyncio
import contextlib

from dreamcatcherd.web.live_status import LiveStatus

CLOSING_WAIT_S = 1.0
"""How long an answer waits for a frame that is being closed. Python runs one thread at a time: without this, many
requests would make the merge wait; and with it a merge of minutes still lets an answer through now and then."""


class ChangeFeed:
    """One server's ears. `start` and `stop` belong to its event loop, `_changed` to the daemon's."""

    def __init__(self, live_status: LiveStatus) -> None:
        self.live_status = live_status
        self.stopped = False
        self._loop: asyncio.AbstractEventLoop | None = None
        self._waiting: set[asyncio.Future[None]] = set()

    def start(self) -> None:
        self._loop = asyncio.get_running_loop()
        self.live_status.subscribe(self._changed)

    def stop(self) -> None:
        """Let everybody who waits go, so that endless answers end. May be called from any thread, also twice."""
        if not self.stopped:
            self.stopped = True
            if self._loop is not None:
                self.live_status.unsubscribe(self._changed)
            self._changed()

    def _changed(self) -> None:
        if self._loop is not None:
            with contextlib.suppress(RuntimeError):  # the event loop is closed already
                self._loop.call_soon_threadsafe(self._wake)

    def _wake(self) -> None:
        waiting, self._waiting = self._waiting, set()
        for one in waiting:
            if not one.done():
                one.set_result(None)

    async def wait_for_change(self, longest_s: float | None = None) -> None:
        """Wait for the next change, or for this long."""
        if self.stopped:
            return
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.add(future)
        try:
            await asyncio.wait((future,), timeout=longest_s)
        finally:
            self._waiting.discard(future)

    async def pause(self, seconds: float) -> None:
        """Let so much time go by, whatever changes; but not where all are to stop."""
        loop = asyncio.get_running_loop()
        until = loop.time() + seconds
        while not self.stopped and (left := until - loop.time()) > 0:
            await self.wait_for_change(left)

    async def wait_while_closing(self) -> None:
        """Wait until no frame is being closed, for a while."""
        loop = asyncio.get_running_loop()
        until = loop.time() + CLOSING_WAIT_S
        while self.live_status.closing and not self.stopped and (left := until - loop.time()) > 0:
            await self.wait_for_change(left)
