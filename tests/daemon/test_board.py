"""The board's version rises with what somebody could see, and with nothing else."""

from __future__ import annotations

from msgspec import structs

from dreamcatcherd.core.report import CycleReport
from dreamcatcherd.core.troubles import Trouble
from dreamcatcherd.web.live_status import LiveStatus
from tests.observe.reports import pending

TROUBLE = Trouble("the disk is full", None, "make room")


def test_what_changes_nothing_raises_no_version_and_wakes_nobody() -> None:
    """The same look, time that passes and the same troubles raise no version; each difference raises it once."""
    board, woken = LiveStatus(), list[int]()
    board.listen(lambda: woken.append(board.shown.version))
    board.show(CycleReport(pending()), "a" * 40)
    board.show(CycleReport(pending()), "a" * 40)
    board.show(CycleReport(structs.replace(pending(), behind_s=99.0)), "a" * 40)
    board.update(pending())
    board.note([])
    assert (board.shown.version, woken) == (1, [1])
    board.note([TROUBLE])
    board.note([TROUBLE])
    board.fail("it is gone")
    board.fail("it is gone")
    board.show(CycleReport(structs.replace(pending(), held=7)), "a" * 40)
    assert (board.shown.version, woken) == (4, [1, 2, 3, 4])
