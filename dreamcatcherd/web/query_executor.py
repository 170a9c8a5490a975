"""Reads the repository for requests over HTTP, in a separate thread, from a separate store, within bounds.

The loop's store is never used. An answer is a function of the published commit, so it is computed once for each commit,
and concurrent requests for the same answer share one computation."""

from __future__ import annotations

import asyncio
import time
from collections import OrderedDict
from collections.abc import Callable, Hashable, Iterable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any, NamedTuple, TypeVar, cast

from dreamcatcherd.core.errors import DreamcatcherError, FatalError, RefusedError, RetryableError, UsageError
from dreamcatcherd.core.model import FrameState
from dreamcatcherd.git.protocols import Commit, QueryReader
from dreamcatcherd.history.ledger_index import LINEAR, LedgerIndex, ledger_index
from dreamcatcherd.history.listing import Listings
from dreamcatcherd.history.queries import Chain
from dreamcatcherd.stages.published import PublishedState, read_published
from dreamcatcherd.web.change_feed import CLOSING_WAIT_S
from dreamcatcherd.web.live_status import LiveStatus

_T = TypeVar("_T")

QUERY_LIMIT_S = 5.0
"""How long the computation of an answer may take."""

QUEUE = 32
"""How many different answers may be in progress; further requests get 503."""

ANSWERS_KEPT = 256
ANSWERS_KEPT_BYTES = 16 * 2**20
"""The limits of kept answers: their number, and their bytes together."""

LARGEST_KEPT_BYTES = 4 * 2**20
"""A larger answer is not kept: it would push out all others."""


class BusyError(DreamcatcherError):
    """Too many different answers are in progress."""


def not_read_yet(live_status: LiveStatus) -> BusyError:
    """The answer of every path that needs the repository, before the first poll."""
    return BusyError(live_status.why, "the daemon has not read the repository yet: check its log, and ask again")


class Reading(NamedTuple):
    """What an answer is computed from: the repository at one published commit."""

    store: QueryReader
    base: PublishedState
    chain: Chain
    listings: Listings
    ledger_index: LedgerIndex


class _BoundedStore:
    """A store that raises RetryableError at the time limit, and pauses while a frame is being closed."""

    def __init__(self, store: QueryReader, live_status: LiveStatus) -> None:
        self.where = store.where
        self.cut = store.cut
        self._store = store
        self._live_status = live_status
        self._until = 0.0
        self._patience_s = 0.0

    def begin(self) -> None:
        self._until, self._patience_s = time.monotonic() + QUERY_LIMIT_S, CLOSING_WAIT_S

    def end(self) -> None:
        self._until = 0.0

    def _pause(self) -> None:
        start = time.monotonic()
        if start > self._until:
            remedy = "ask for less, or use the dreamcatcherd command of the same name, which has no time limit"
            raise RetryableError(f"the answer took longer than {QUERY_LIMIT_S:g} s", remedy)
        if self._live_status.closing and self._patience_s > 0:
            self._live_status.idle.wait(self._patience_s)
            waited = time.monotonic() - start
            self._patience_s -= waited
            if self._until:
                self._until += waited

    def read(self, oid: str) -> bytes:
        self._pause()
        return self._store.read(oid)

    def commit(self, oid: str) -> Commit:
        self._pause()
        return self._store.commit(oid)

    def size(self, oid: str) -> int:
        return self._store.size(oid)

    def through(self, oid: str) -> Commit:
        return self._store.through(oid)

    def new_commits(self, tips: Iterable[str], hidden: Iterable[str]) -> dict[str, Commit]:
        return self._store.new_commits(tips, hidden)

    def descends(self, oid: str, ancestor: str) -> bool:
        return self._store.descends(oid, ancestor)

    def resolve(self, prefix: str) -> str | None:
        return self._store.resolve(prefix)

    def refresh(self) -> None:
        self._store.refresh()


class QueryExecutor:
    """One reader thread, its queue, and the answers it keeps."""

    def __init__(self, live_status: LiveStatus, open_store: Callable[[], QueryReader]) -> None:
        self._live_status = live_status
        self._open = open_store
        self._thread = ThreadPoolExecutor(1, "reader")
        self._bounded: _BoundedStore | None = None
        self._chain = Chain()
        self._listings = Listings()
        self._index = LINEAR
        self._base: PublishedState | None = None
        self._answers: OrderedDict[Hashable, Any] = OrderedDict()
        self._bytes = 0
        self._under_way: dict[Hashable, asyncio.Future[Any]] = {}
        self._stopped = False

    async def ask(self, what: tuple[Hashable, ...], work: Callable[[Reading], _T]) -> _T:
        """The answer for the key `what`, computed by `work`; BusyError before the first poll, if too many different
        answers are in progress, and after `stop`."""
        if self._live_status.pending is None:
            raise not_read_yet(self._live_status)
        commit = self._live_status.current.published
        key = (commit, *what)
        if key in self._answers:
            self._answers.move_to_end(key)
            found = self._answers[key]
            if isinstance(found, RefusedError):
                raise found.with_traceback(None)  # one object for all: else its traceback grows with each request
            return cast(_T, found)
        # Whoever asks for the same while it is computed waits for the same answer.
        future = self._under_way.get(key)
        if future is None:
            if len(self._under_way) >= QUEUE or self._stopped:
                raise BusyError("too many different requests at once", "ask again in a moment")
            future = asyncio.get_running_loop().run_in_executor(self._thread, self._work, commit, work)
            self._under_way[key] = future
            future.add_done_callback(partial(self._done, key))
        # Shielded: a client that disconnects must not cancel the answer for which others wait.
        try:
            return cast(_T, await asyncio.shield(future))
        except asyncio.CancelledError:
            if future.cancelled():  # by `stop`, while it waited for its turn
                raise BusyError("the daemon is stopping", "ask again in a moment") from None
            raise

    def _done(self, key: Hashable, future: asyncio.Future[Any]) -> None:
        del self._under_way[key]
        if future.cancelled():
            return
        # "No" is an answer like any other, and is often the one that takes longest to find. Other failures may pass.
        error = future.exception()
        if error is not None and not isinstance(error, RefusedError):
            return
        answer = error or future.result()
        size = _size(answer)
        if size > LARGEST_KEPT_BYTES:
            return
        self._answers[key] = answer
        self._bytes += size
        while len(self._answers) > ANSWERS_KEPT or self._bytes > ANSWERS_KEPT_BYTES:
            self._bytes -= _size(self._answers.popitem(last=False)[1])

    def _work(self, commit: str | None, work: Callable[[Reading], _T]) -> _T:
        """Run in the reader's thread, with a new store if the open one fails: the clone may be recreated or
        repacked."""
        fresh = self._bounded is None
        try:
            return work(self._reading(commit))
        except FatalError:
            if fresh:
                raise
        self._bounded = None
        return work(self._reading(commit))

    def _reading(self, commit: str | None) -> Reading:
        if self._bounded is None:
            try:
                store = self._open()
            except UsageError as error:
                # No request is to blame, and whoever followed its remedy would put an empty repository in the place of
                # one that is only away.
                cause = f"the repository cannot be read at present: {error.cause}"
                raise RetryableError(cause, "do what /readyz says; the daemon goes on by itself afterwards") from error
            self._bounded, self._index = _BoundedStore(store, self._live_status), ledger_index(store)
        self._bounded.begin()
        if self._stopped:
            self._bounded.end()
        bounded = self._bounded
        # The answer is of the commit that the status showed, even if a newer one is published meanwhile.
        if self._base is None or self._base.commit != commit:
            pending = self._live_status.pending
            bare = PublishedState(None, FrameState(pending.frame if pending else 1))
            bounded.refresh()
            self._base = read_published(bounded, commit) if commit else bare
        return Reading(bounded, self._base, self._chain, self._listings, self._index)

    def stop(self) -> None:
        """Stop reading. Can be called from any thread."""
        self._stopped = True
        if self._bounded is not None:
            self._bounded.end()
        self._thread.shutdown(wait=False, cancel_futures=True)


def _size(answer: object) -> int:
    """The bytes of an answer, or of all answers in a tuple."""
    if isinstance(answer, tuple):
        return sum(map(_size, answer))
    if isinstance(answer, RefusedError):
        return len(answer.cause) + len(answer.remedy)
    return len(answer) if isinstance(answer, bytes) else 0
