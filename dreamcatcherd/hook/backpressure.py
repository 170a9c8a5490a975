"""Pushes to the shared branch give way to an overdue frame (docs/protocol.md#the-server-side-check).

A primary that publishes by push needs more time between its fetch and its push than a worker does, and each push that
lands in between makes it fetch again. If enough workers push without a pause, it would never publish."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

from dreamcatcherd.core.codec import utc_micros
from dreamcatcherd.git.protocols import ObjectReader
from dreamcatcherd.hook.branch_rules import PRIMARY_REFS
from dreamcatcherd.hook.push import Offence, Update
from dreamcatcherd.stages.frame_file import read_frame_file

OVERDUE_WINDOW_S = (1.0, 300.0)
"""Seconds after `closes_at` between which pushes wait. After that the primary is presumed gone, and pushes must not be
slowed down for ever."""

WAIT_S = 2.0
"""The longest wait of one push, in seconds."""
_ASK_S = 0.05


def wait_while_overdue(
    store: ObjectReader,
    updates: Sequence[Update],
    main: str,
    head: Callable[[], str | None],
    sleep: Callable[[float], None] = time.sleep,
) -> Offence | None:
    """Let a push to the shared branch wait for WAIT_S seconds if the open frame is overdue.

    `head` reads the branch's present commit. If it moves during the wait, the result is an offence: the push could not
    land any more. None if the push may go on. A push that also moves refs of the primary never waits."""
    ours = _ours(updates, main)
    if ours is None or not is_overdue(store, ours, time.time()):
        return None
    until = time.monotonic() + WAIT_S
    while time.monotonic() < until:
        sleep(_ASK_S)
        if head() != ours:
            return Offence(main, "main-moved", "a frame was due, and its publication or another push came first")
    return None


def must_wait(store: ObjectReader, updates: Sequence[Update], main: str) -> bool:
    """Whether `wait_while_overdue` would let a push wait."""
    ours = _ours(updates, main)
    return ours is not None and is_overdue(store, ours, time.time())


def _ours(updates: Sequence[Update], main: str) -> str | None:
    """The commit from which a push moves the shared branch; None if it moves it not, or is a primary's."""
    ours = next((update for update in updates if update.ref == main), None)
    publishes = any(update.ref.startswith(PRIMARY_REFS) for update in updates)
    return None if ours is None or publishes else ours.old


def is_overdue(store: ObjectReader, commit: str, now_s: float) -> bool:
    """Whether the frame that is open at a commit is overdue at `now_s` (seconds UTC), but within OVERDUE_WINDOW_S."""
    state = read_frame_file(store, store.commit(commit).tree)
    due = utc_micros(state.closes_at) if state and state.closes_at else None
    return due is not None and OVERDUE_WINDOW_S[0] < now_s - due / 1e6 < OVERDUE_WINDOW_S[1]
