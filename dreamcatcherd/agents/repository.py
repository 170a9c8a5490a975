"""The shared repository as the tools read it: one store for the session, in a thread of its own, fresh at each call.

A repository on another machine is read through the clone that the daemon and the commands of this user have as well.
They share it: each operation holds the clone's lock, and a clone that another process recreated is opened again."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple, TypeVar

from dreamcatcherd.core.errors import FatalError
from dreamcatcherd.daemon.primary import Primary
from dreamcatcherd.history.listing import Listings

_T = TypeVar("_T")


class SharedView(NamedTuple):
    """What tools read: the repository, and what is kept of its collections from one page to the next."""

    primary: Primary
    listings: Listings


class SharedReader:
    """Reads the repository in one thread, which owns the store: libgit2's objects are not for several at once."""

    def __init__(self, open_primary: Callable[[], Primary]) -> None:
        self._open = open_primary
        self._thread = ThreadPoolExecutor(1, "reader")
        self._primary: Primary | None = None
        self._listings = Listings()  # by what files hold: it outlives a store

    def open(self) -> None:
        """Open the repository now, so that a wrong name shows at the start. Errors are those of `open_primary`."""
        self._thread.submit(self._opened).result()

    async def ask(self, work: Callable[[SharedView], _T]) -> _T:
        """What `work` finds in the repository as it is now."""
        return await asyncio.get_running_loop().run_in_executor(self._thread, self._work, work)

    def close(self) -> None:
        """Stop reading; a question under way is answered first."""
        self._thread.shutdown(cancel_futures=True)

    def _opened(self) -> SharedView:
        if self._primary is None:
            self._primary = self._open()
        return SharedView(self._primary, self._listings)

    def _work(self, work: Callable[[SharedView], _T]) -> _T:
        fresh = self._primary is None
        try:
            return work(self._opened())
        except FatalError:
            # The clone may have been recreated or repacked beside the open store. What a new store does not find either
            # is missing.
            self._primary = None
            if fresh:
                raise
        return work(self._opened())
