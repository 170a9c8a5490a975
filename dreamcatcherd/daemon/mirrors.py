"""All mirrors of the running daemon: which are looked at, what the loop reports to them, and what it gets from them.

Every function returns at once: the loop calls them between the steps of a cycle (docs/protocol.md#mirrors)."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterable, Iterator
from itertools import chain

from dreamcatcherd.core import paths
from dreamcatcherd.core.errors import DreamcatcherError
from dreamcatcherd.core.troubles import Trouble
from dreamcatcherd.daemon.mirror_config import MirrorSite
from dreamcatcherd.daemon.mirror_keeper import MirrorBase, MirrorKeeper, MirrorTask
from dreamcatcherd.observe.logs import EventLogger
from dreamcatcherd.stages.inbox import Inbox
from dreamcatcherd.stages.mirrored import droppable, mirrored_heads

MIRRORS_END_S = 1.1
"""How long the end of the threads is waited for: git, where it runs, is ended within a second."""


class Mirrors:
    """The mirrors of the configuration in force."""

    def __init__(self, came: Callable[[], None]) -> None:
        """`came` is called, in any thread, when a mirror brought something or its trouble changed."""
        self._came = came
        self._running: dict[str, MirrorKeeper] = {}
        self._started = False
        self._base: MirrorBase | None = None
        self._left: dict[str, str] = {}  # heads that are kept, of mirrors that are not configured any more
        self._task: MirrorTask | None = None
        self._looked: Inbox | None = None  # what the last task was made of

    def take_over(
        self, wanted: Iterable[MirrorSite], base: MirrorBase, recall: Callable[[], str | None], logger: EventLogger
    ) -> None:
        """Look at these mirrors and no others; one that is as it was goes on. `recall` gives the last publication that
        is known before the first poll, if any."""
        here = {one.table.name: one for one in wanted}
        for name, keeper in list(self._running.items()):
            if here.get(name) != keeper.mirror or base != keeper.base:
                self._running.pop(name).stop()
        self._base, self._task, self._looked = base, None, None
        with contextlib.suppress(DreamcatcherError):  # the first poll says what is wrong
            if here and (published := recall()) is not None:
                self._task = MirrorTask(published)
        for name, one in here.items():
            if name in self._running:
                self._running[name].logger = logger
                continue
            self._running[name] = MirrorKeeper(one, base, logger, self._came)
            if self._task is not None:
                self._running[name].look(self._task)
            if self._started:
                self._running[name].start()
        self._read_left()

    def _read_left(self) -> None:
        """What was read from a mirror counts, although it was taken out of the configuration since."""
        self._left = {}
        if self._base is None or not self._started:
            return
        with contextlib.suppress(DreamcatcherError):
            kept = self._base.kept.read()
            named = {ref: paths.mirrored_branch(ref) for ref in kept}
            self._left = {ref: kept[ref] for ref, one in named.items() if one and one[0] not in self._running}

    def start(self) -> None:
        """Start the threads."""
        self._started = True
        self._read_left()
        for keeper in self._running.values():
            keeper.start()

    def look(self, inbox: Inbox | None) -> None:
        """Pass on what the primary found. What shows the same as before costs nothing for each ref."""
        if inbox is None or inbox.published.commit is None or not (self._running or self._left):
            return
        before, self._looked = self._looked, inbox
        if before is not None and inbox.shows_the_same(before):
            return
        blocked = frozenset(one.ref for one in inbox.unreadable if one.ref.startswith(paths.MIRRORS))
        heads = mirrored_heads(inbox.refs, inbox.settings, inbox.main)
        dropping = frozenset(droppable(inbox.commits, heads, blocked))
        task = MirrorTask(inbox.published.commit, dropping, blocked)
        if task == self._task:
            return
        self._task = task
        self._drop_left(dropping)
        for keeper in self._running.values():
            keeper.look(task)

    def _drop_left(self, dropping: frozenset[str]) -> None:
        gone = dropping & self._left.keys()
        if not gone or self._base is None:
            return
        with contextlib.suppress(DreamcatcherError):  # they are in nobody's way until the next change
            self._base.kept.change({}, gone)
            self._left = {ref: oid for ref, oid in self._left.items() if ref not in gone}

    def beside(self) -> dict[str, str]:
        """The refs of all heads that are kept, with their commits."""
        return dict(chain(self._left.items(), *(one.heads.items() for one in self._running.values())))

    def troubles(self) -> Iterator[Trouble]:
        """The troubles of all mirrors."""
        return chain.from_iterable(one.troubles() for one in tuple(self._running.values()))

    def states(self) -> dict[str, tuple[float, bool]]:
        """For each mirror its lag in seconds and whether the last look succeeded. Can be called from any thread."""
        return {name: (one.lag_s(), one.is_up) for name, one in tuple(self._running.items())}

    def has_ended(self) -> bool:
        """Whether no thread runs any more."""
        return not any(keeper.is_running() for keeper in self._running.values())

    def stop(self) -> None:
        """End all threads; what git is doing is broken off."""
        for keeper in self._running.values():
            keeper.stop()
        until = time.monotonic() + MIRRORS_END_S
        for keeper in self._running.values():
            keeper.join(max(0.0, until - time.monotonic()))
