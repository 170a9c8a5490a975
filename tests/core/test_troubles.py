"""The words of troubles, and when something is trouble."""

from __future__ import annotations

from dreamcatcherd.core.errors import FatalError
from dreamcatcherd.core.ledger import Violation
from dreamcatcherd.core.troubles import FREE_BYTES, disk_full, failing, overdue, violated


def test_a_frame_is_overdue_some_seconds_after_its_time() -> None:
    """Five seconds are given; then it is trouble since the time at which it should have been closed."""
    assert overdue(7, 100.0, 105_000_000) is None
    late = overdue(7, 100.0, 105_000_001)
    assert late is not None
    assert (late.what, late.since) == ("frame 7 is overdue", "1970-01-01T00:01:40.000000Z")


def test_little_room_is_trouble_before_there_is_none() -> None:
    """Less than the reserve is trouble; the reserve itself is not."""
    assert disk_full(FREE_BYTES, "/srv") is None
    assert disk_full(FREE_BYTES - 1, "/srv") is not None


def test_a_failure_keeps_its_cause_remedy_and_beginning() -> None:
    """What is shown is what the error says."""
    found = failing(FatalError("it is gone", "mount it"), 1_000_000)
    assert (found.what, found.since, found.remedy) == ("it is gone", "1970-01-01T00:00:01.000000Z", "mount it")


def test_violations_are_grouped_by_commit_and_bounded() -> None:
    """One trouble for each kind and commit, with how many files more; a flood of them ends in a count."""
    rows = [Violation("snapshot-edited", f"state/snapshot/{i}", "c" * 40, "w <w@x>") for i in range(3)]
    (one,) = violated(rows)
    assert one.what == f"snapshot-edited: state/snapshot/0 and 2 more by w <w@x> in commit {'c' * 40}"
    many = violated([Violation("frame-edited", "state/frame.json", str(i), "w <w@x>") for i in range(50)])
    assert (len(many), many[-1].what) == (21, "30 more violations since the last frame")
