"""What a cycle tells people: `status`, and a row of `log` (docs/protocol.md#commands)."""

from __future__ import annotations

import pytest
from msgspec import structs

from dreamcatcherd.core.ledger import Counts, Ledger
from dreamcatcherd.core.report import LastDelta, Pending, status_json, status_line
from dreamcatcherd.core.summary import frame_summary
from dreamcatcherd.core.troubles import Trouble

PENDING = Pending(
    frame=7,
    opened_at="2026-01-01T00:00:00.000000Z",
    closes_at=None,
    last_closed=6,
    closed_at_s=1_767_225_600.0,
    digest="d" * 40,
    streams={"a": 2, "b": 1},
    held=1,
    behind_s=1.23456,
    entities={"posts": 3},
    seen={"a": LastDelta(6, 1_500_000)},
    silent=["a"],
)
LEDGER = Ledger(6, "d" * 40, None, "interval", None, counts=Counts(5, 3, 1, 2, 9, 4, 8, 6, 7, {"posts": 3}))


def test_status_has_the_keys_of_the_protocol() -> None:
    """Frame, times, digest, what waits in all and by stream, what is held, and the lag in milliseconds' precision."""
    assert status_json(PENDING, 0, [Trouble("x", None, "y")]) == {
        "frame": 7,
        "opened_at": "2026-01-01T00:00:00.000000Z",
        "closes_at": None,
        "last_closed": 6,
        "digest": "d" * 40,
        "pending": {"total": 3, "streams": {"a": 2, "b": 1}},
        "held": 1,
        "behind_s": 1.235,
        "seen": {"a": {"frame": 6, "utc": "1970-01-01T00:00:01.500000Z"}},
        "silent": ["a"],
        "troubles": [Trouble("x", None, "y")],
    }


def test_status_before_the_first_close() -> None:
    """Nothing waits and nothing was closed: the keys are there all the same."""
    fresh = structs.replace(PENDING, last_closed=None, digest=None, streams={}, held=0, behind_s=0.0)
    found = status_json(fresh, 0, [])
    assert found.keys() == status_json(PENDING, 0, []).keys()
    assert (found["pending"], found["last_closed"], found["digest"]) == ({"total": 0, "streams": {}}, None, None)


def test_a_closing_time_that_has_passed_is_no_promise() -> None:
    """`closes_at` is given while it lies ahead; then it is null, and the line for people says since when it was due."""
    timed = structs.replace(PENDING, closes_at="1970-01-01T00:00:10.000000Z")
    assert [status_json(timed, now, [])["closes_at"] for now in (9_999_999, 10_000_000)] == [timed.closes_at, None]
    lines = [status_line(timed, now * 1_000_000).rpartition(", ")[2] for now in (2, 10, 70)]
    assert lines == ["closes in 8 s", "is due", "was due 60 s ago"]


def test_a_row_of_the_log_has_the_keys_of_the_protocol() -> None:
    """One closed frame in a few numbers, each its own count, and the commit that published it."""
    assert frame_summary(LEDGER, "c" * 40, 1_767_225_600.25) == {
        "frame": 6,
        "digest": "d" * 40,
        "commit": "c" * 40,
        "closed_at": "2026-01-01T00:00:00.250000Z",
        "deltas": 5,
        "streams": 3,
        "late": 1,
        "conflicts": 6,
        "quarantined": 4,
    }


@pytest.mark.parametrize(("closed_at_s", "told"), [(None, None), (0.0, "1970-01-01T00:00:00.000000Z")])
def test_a_row_says_when_only_where_that_is_known(closed_at_s: float | None, told: str | None) -> None:
    """Without a time there is none; the first second of 1970 is one."""
    row = frame_summary(LEDGER, None, closed_at_s)
    assert (row["closed_at"], row["commit"]) == (told, None)
