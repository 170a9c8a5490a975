"""Pushes to the shared branch give way to a frame that is overdue (Protocol §7: frames close while others push).

A primary that publishes by push needs longer from its look to its push than a worker does, and each push that lands in
between sends it back to its look. Where enough workers push without a pause it would never come through."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

import msgspec

from dreamcatcherd.core import paths
from dreamcatcherd.core.codec import read_as, utc_micros
from dreamcatcherd.core.model import FrameState
from dreamcatcherd.core.tree import lookup
from dreamcatcherd.git.protocols import ObjectReader
from dreamcatcherd.hook.branch_rules import PRIMARY_REFS
from dreamcatcherd.hook.push import Offence, Update

OVERDUE_WINDOW_S = (1.0, 300.0)
"""From when on a frame is waited for, and when no longer: a primary that is gone must not slow pushes down for good."""

WAIT_S = 2.0
_ASK_S = 0.05


def wait_while_overdue(
    store: ObjectReader,
    updates: Sequence[Update],
    main: str,
    head: Callable[[], str | None],
    sleep: Callable[[float], None] = time.sleep,
) -> Offence | None:
    """Let a push to the shared branch wait for WAY_S seconds while the open frame is overdue.

    `head` asks for the branch's commit. An offence tells that it moved meanwhile: the push could not land any more. A
    push that moves refs of the primary's, too, never waits."""
    ours = next((update for update in updates if update.ref == main), None)
    if ours is None or ours.old is None or any(update.ref.startswith(PRIMARY_REFS) for update in updates):
        return None
    if not is_overdue(store, ours.old, time.time()):
        return None
    until = time.monotonic() + WAIT_S
    while time.monotonic() < until:
        sleep(_ASK_S)
        if head() != ours.old:
            return Offence(main, "main-moved", "a frame was due, and what closed it or another push came first")
    return None


def is_overdue(store: ObjectReader, commit: str, now_s: float) -> bool:
    """Whether the frame that is open at a commit should have been closed by a time, but not too long before."""
    entry = lookup(store, store.commit(commit).tree, paths.FRAME)
    try:
        state = read_as(store.read(entry.oid), FrameState) if entry else None
    except msgspec.MsgspecError:
        return False  # somebody edited it: the next publication puts it right
    due = utc_micros(state.closes_at) if state and state.closes_at else None
    return due is not None and OVERDUE_WINDOW_S[0] < now_s - due / 1e6 < OVERDUE_WINDOW_S[1]
