"""The live status's version rises with what somebody could see, and with nothing else."""

from __future__ import annotations

from msgspec import structs

from dreamcatcherd.core.report import CycleReport
from dreamcatcherd.core.troubles import Trouble
from dreamcatcherd.web.live_status import LiveStatus
from tests.observe.reports import pending

TROUBLE = Trouble("the disk is full", None, "make room")


def test_what_changes_nothing_raises_no_version_and_wakes_nobody() -> None:
    """The same look, time that passes and the same troubles raise no version; each difference raises it once."""
    live_status, woken = LiveStatus(), list[int]()
    live_status.subscribe(lambda: woken.append(live_status.current.version))
    live_status.show(CycleReport(pending()), "a" * 40)
    live_status.show(CycleReport(pending()), "a" * 40)
    live_status.show(CycleReport(structs.replace(pending(), behind_s=99.0)), "a" * 40)
    live_status.update(pending())
    live_status.note([])
    assert (live_status.current.version, woken) == (1, [1])
    live_status.note([TROUBLE])
    live_status.note([TROUBLE])
    live_status.fail("it is gone")
    live_status.fail("it is gone")
    live_status.show(CycleReport(structs.replace(pending(), held=7)), "a" * 40)
    assert (live_status.current.version, woken) == (4, [1, 2, 3, 4])
