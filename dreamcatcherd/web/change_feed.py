"""Reports changes of the live status to the event loop of HTTP, and waits while a frame closes."""

from __future__ import annotations

import asyncio
import contextlib

from dreamcatcherd.web.live_status import LiveStatus

CLOSING_WAIT_S = 1.0
"""How long an answer waits for a frame that is being closed. Python runs one thread at a time, so without this wait
many requests would slow the merge down. The limit lets answers through during a merge of minutes."""


class ChangeFeed:
    """The changes for one server. `start` runs in its event loop; `_changed` runs in the daemon's thread."""

    def __init__(self, live_status: LiveStatus) -> None:
        self.live_status = live_status
        self.stopped = False
        self._loop: asyncio.AbstractEventLoop | None = None
        self._waiting: set[asyncio.Future[None]] = set()

    def start(self) -> None:
        """Subscribe to the live status. Runs in the event loop."""
        self._loop = asyncio.get_running_loop()
        self.live_status.subscribe(self._changed)

    def stop(self) -> None:
        """Wake everything that waits, so that endless answers end. Can be called from any thread, also twice."""
        if not self.stopped:
            self.stopped = True
            if self._loop is not None:
                self.live_status.unsubscribe(self._changed)
            self._changed()

    def _changed(self) -> None:
        if self._loop is not None:
            with contextlib.suppress(RuntimeError):  # the event loop has ended
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
        """Wait for this long whatever changes, or until `stop`."""
        loop = asyncio.get_running_loop()
        until = loop.time() + seconds
        while not self.stopped and (left := until - loop.time()) > 0:
            await self.wait_for_change(left)

    async def wait_while_closing(self) -> None:
        """Wait until no frame is being closed, for `CLOSING_WAIT_S` at most."""
        loop = asyncio.get_running_loop()
        until = loop.time() + CLOSING_WAIT_S
        while self.live_status.closing and not self.stopped and (left := until - loop.time()) > 0:
            await self.wait_for_change(left)
