"""When the open frame closes, as a table (Protocol §6). Time arrives as an argument; nothing here waits.

A frame is *open* from the publication of the one before it. It is *due* once its closing rule says so; a due frame is
closed by the next cycle, once, however late that comes. Closing opens the next frame. The rules:

    manual      never due by itself
    interval    due so many seconds after `opened_at`, so that several primaries close one frame an interval
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

from msgspec import Struct, structs

from dreamcatcherd.core.codec import utc_micros, utc_text
from dreamcatcherd.core.model import FrameState

CloseRule = Literal["interval", "manual"]


class Closing(Struct, frozen=True):
    """The closing rule and its numbers, in seconds."""

    rule: CloseRule = "interval"
    interval_s: float = 10.0
    grace_s: float = 0.0


def _never(state: FrameState, closing: Closing) -> int | None:
    return None


def _after_interval(state: FrameState, closing: Closing) -> int | None:
    opened = utc_micros(state.opened_at) if state.opened_at else None
    return (opened or 0) + round(closing.interval_s * 1e6)


CLOSES_AT: dict[CloseRule, Callable[[FrameState, Closing], int | None]] = {
    "manual": _never,
    "interval": _after_interval,
}


def closes_at(state: FrameState, closing: Closing) -> int | None:
    """When the open frame is over, in microseconds UTC and without grace; None where no time says so."""
    return CLOSES_AT[closing.rule](state, closing)


def due_at(state: FrameState, closing: Closing) -> int | None:
    """When the open frame is to be closed, grace included, in microseconds UTC; None where no time says so."""
    at = closes_at(state, closing)
    return at + round(closing.grace_s * 1e6) if at is not None else None


def is_due(state: FrameState, closing: Closing, now: int) -> bool:
    """Whether the open frame is to be closed now (`now` in microseconds UTC)."""
    at = due_at(state, closing)
    return at is not None and now >= at


def opened(frame: int, now: int, last_closed: int | None, snapshot: str, closing: Closing) -> FrameState:
    """The state of a frame that opens now."""
    state = FrameState(frame, utc_text(now), None, last_closed, snapshot)
    at = closes_at(state, closing)
    return structs.replace(state, closes_at=utc_text(at) if at is not None else None)
