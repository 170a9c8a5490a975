"""Which lanes are left out of a publication that a server refuses, held against servers of every kind.

Contract: docs/protocol.md#publishing."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from dreamcatcherd.core.refused_lanes import (
    ATTEMPTS,
    LaneAttempt,
    Refusal,
    attempts,
    read_refusals,
    settled,
    still_there,
    write_refusals,
)


class Fleet:
    """Lanes, some of which a server refuses, and a primary that closes frame after frame."""

    def __init__(self, lanes: int, offenders: set[int], names: bool = False) -> None:
        self.lanes = {f"lane-{number:03}" for number in range(lanes)}
        self.offenders = {f"lane-{number:03}" for number in offenders}
        self.names = names
        self.known: dict[str, Refusal] = {}
        self.frame = 0
        self.pushes: list[int] = []

    def close(self) -> LaneAttempt | None:
        """Close one frame: what is published leaves the fleet; None where the server took nothing at all."""
        self.frame += 1
        self.known = still_there(self.known, self.lanes)
        named = self.offenders if self.names else set[str]()
        for number, attempt in enumerate(attempts(self.known, self.lanes, self.frame, lambda: named), 1):
            if self.takes(attempt):
                self.pushes.append(number)
                self.known = settled(self.known, self.lanes, attempt, self.frame, 0, "no")
                self.lanes &= attempt.left_out
                return attempt
        return None

    def takes(self, attempt: LaneAttempt) -> bool:
        return not (self.lanes - attempt.left_out) & self.offenders


@given(st.integers(1, 60), st.sets(st.integers(0, 59), max_size=6), st.booleans())
def test_whoever_is_no_cause_is_published_in_the_end(lanes: int, offenders: set[int], names: bool) -> None:
    """For any fleet and any offenders every frame closes, all others are published after a few, and offenders never."""
    fleet = Fleet(lanes, {one for one in offenders if one < lanes}, names)
    for _ in range(60):
        assert fleet.close() is not None
    assert fleet.lanes == fleet.offenders
    assert fleet.known.keys() == fleet.offenders
    assert max(fleet.pushes) <= ATTEMPTS + 1


@given(st.integers(0, 19))
def test_one_offender_among_twenty_costs_the_others_one_frame(offender: int) -> None:
    """The frame in which it is met goes out without lanes, and the next one has all 19."""
    fleet = Fleet(20, {offender})
    fleet.close()
    fleet.close()
    assert fleet.lanes == fleet.offenders
    assert fleet.known.keys() == fleet.offenders


@given(st.integers(2, 300), st.integers(0, 299))
def test_where_the_server_names_the_offender_nobody_waits(lanes: int, offender: int) -> None:
    """One more push, and only the offender stays behind."""
    fleet = Fleet(lanes, {offender % lanes}, names=True)
    fleet.close()
    assert fleet.lanes == fleet.offenders
    assert fleet.pushes == [2]


def test_a_server_that_takes_nothing_costs_two_pushes_a_close() -> None:
    """Where lanes are not the cause that is found out at once, and none is blamed."""
    fleet = Fleet(20, set())
    tried = list(attempts({}, fleet.lanes, 1, lambda: ()))
    assert [len(one.left_out) for one in tried] == [0, 20]


def test_an_offender_is_tried_again_less_and_less_often() -> None:
    """It is left out for 2 frames, then 4, 8 and so on; each time that costs one push more."""
    fleet = Fleet(1, {0})
    for _ in range(64):
        fleet.close()
    tried = [frame for frame, pushes in enumerate(fleet.pushes, 1) if pushes > 1]
    assert tried == [1, 3, 7, 15, 31, 63]


def test_a_new_head_is_tried_at_once() -> None:
    """An owner who pushes another history is not held to the old one."""
    fleet = Fleet(3, {1}, names=True)
    fleet.close()
    fleet.lanes = {"lane-001 with another head"}
    attempt = fleet.close()
    assert attempt == LaneAttempt(frozenset())
    assert fleet.known == {}


def test_refusals_are_read_as_they_were_written() -> None:
    """A restart goes on from what is known; what does not read is found out again."""
    known = {"refs/heads/dc/é 1": Refusal(5, "nö", 3, 9)}
    assert read_refusals(write_refusals(known)) == known
    assert read_refusals(b"{") == {}
    assert read_refusals(b'{"a": 1}') == {}
