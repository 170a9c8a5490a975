"""A status page in each verdict, after hours of history: for tests of the browser and for `make screenshots`."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Literal

from msgspec import structs

from dreamcatcherd.core.codec import utc_text
from dreamcatcherd.core.troubles import Trouble
from dreamcatcherd.observe.clock import wall_clock
from dreamcatcherd.web.forge_links import forge_links
from tests.law.fleet import new_primary
from tests.web.fleets import SECOND, SETTINGS, Fleet
from tests.web.served import Served

WHERE = "https://github.com/fleet/state.git"
REFUSED = f"{WHERE} refuses the push: the disk is full"
FRAMES_AFTER_HARM = 12
"""More than after which a stream that delivers nothing is silent."""

HOURS = 2.0
"""More than 100 frames, after which the librarian, who delivers once, is no silent stream any more."""

Level = Literal["healthy", "attention", "failing"]


@contextmanager
def page_in(
    level: Level, hours: float = HOURS, period_s: int = 60, closes: int = 0, left_s: int = 38
) -> Iterator[Served]:
    """A server whose page has this verdict, after so many hours of frames of a minute, or of `period_s`. Its daemon
    has closed the last `closes` of them itself, and so has merge times to show. The open frame has `left_s` seconds
    left; once it is overdue the verdict is another one."""
    primary = new_primary(SETTINGS)
    served = Served(primary)
    try:
        fleet = Fleet(primary, wall_clock(), hours, period_s)
        fleet.run()
        for _ in range(closes):
            served.close()
            fleet.frames += 1
            fleet.frame(fleet.frames)
        if level != "healthy":
            fleet.silent = set(fleet.names[:3])
            fleet.harm()
            for _ in range(FRAMES_AFTER_HARM):
                served.close()
                fleet.frames += 1
                fleet.frame(fleet.frames)
        served.look()
        served.live_status.where, served.live_status.links = WHERE, forge_links(WHERE)
        _show(served, left_s=-95 if level == "failing" else left_s)
        if level == "failing":
            since = utc_text(wall_clock() - 95 * SECOND)
            served.live_status.note([Trouble(REFUSED, since, "make room on the server: the daemon tries again")])
            served.live_status.fail(REFUSED)
        yield served
    finally:
        served.server.stop()


def _show(served: Served, left_s: int) -> None:
    """Let the open frame of a minute, or of as much as it takes, have so many seconds left."""
    pending, now = served.live_status.current.pending, wall_clock()
    assert pending is not None
    closes = now + left_s * SECOND
    length_s = max(60, left_s + 22)
    times = {"opened_at": utc_text(closes - length_s * SECOND), "closes_at": utc_text(closes), "due_at_s": closes / 1e6}
    served.live_status.update(structs.replace(pending, **times))
