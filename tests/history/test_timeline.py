"""Trends and recent counts: the sums are exactly those of the ledgers, however they were read."""

from __future__ import annotations

from typing import Any

import pytest

from dreamcatcherd.core.ledger import Counts, write_ledger
from dreamcatcherd.daemon.cycle import close_frame, poll
from dreamcatcherd.daemon.primary import Primary
from dreamcatcherd.history import timeline
from dreamcatcherd.history.queries import Chain, ledger_of
from dreamcatcherd.history.timeline import Sums, Timeline, minutes_between, read_counts
from dreamcatcherd.stages.published import PublishedState
from tests.history.history import grown
from tests.law.fleet import new_primary

NOW_S = 1_767_225_600.0


def base_of(primary: Primary) -> PublishedState:
    poll(primary)
    assert primary.last is not None
    return primary.last.published


def totals(primary: Primary, frames: list[int]) -> Sums:
    """The sums of some frames, from their complete ledgers."""
    found, base = Sums(), base_of(primary)
    for frame in frames:
        one = ledger_of(primary.store, base, frame).counts
        found.add(Sums(1, one.deltas, one.late, one.conflicts, one.quarantined, one.violations))
    return found


def summed(one: Timeline) -> Sums:
    found = Sums()
    for sums in one.minutes.values():
        found.add(sums)
    return found


def clocked(frames: int, step_s: int) -> tuple[Primary, float]:
    """Frames that were closed some seconds apart, each with one delta more than the one before modulo 3."""
    primary = new_primary()
    at = [int(NOW_S) * 1_000_000]
    primary.clock = lambda: at[0]
    for _ in range(frames):
        at[0] += step_s * 1_000_000
        close_frame(primary, "test")
    return primary, at[0] / 1e6


def test_the_counts_are_read_from_their_own_line(sixty: Primary) -> None:
    """Without decoding the rows, and equal to what the complete ledger says; a ledger in another layout too."""
    base = base_of(sixty)
    for frame in range(1, 61):
        ledger = ledger_of(sixty.store, base, frame)
        raw = write_ledger(ledger)
        assert read_counts(raw) == ledger.counts
        assert read_counts(raw.replace(b"\n", b"")) == ledger.counts
    sly = b'{\n"closed_by":"\\n\\"counts\\":{}",\n"counts":' + write_ledger(ledger).split(b'"counts":')[1]
    assert isinstance(read_counts(sly), Counts)


@pytest.mark.parametrize("most", [1, 7, 1_000])
def test_the_sums_do_not_depend_on_the_steps(sixty: Primary, monkeypatch: pytest.MonkeyPatch, most: int) -> None:
    """Read in steps of one frame, of seven or at once: the same sums, and the newest frames in order."""
    monkeypatch.setattr(timeline, "STEP_FRAMES", most)
    base, one, chain = base_of(sixty), Timeline(), Chain()
    steps = 0
    while not one.complete:
        one.step(sixty.store, base, chain, NOW_S)
        steps += 1
        assert one.frames == min(60, steps * most)
    assert summed(one) == totals(sixty, list(range(1, 61)))
    assert [found.frame for found in one.newest] == list(range(60, 0, -1))
    recent = one.recent()
    assert (recent.frames, recent.deltas) == (60, summed(one).deltas)
    before = one.frames
    one.step(sixty.store, base, chain, NOW_S)
    assert one.frames == before


def test_new_frames_are_added_while_older_ones_are_still_read(monkeypatch: pytest.MonkeyPatch) -> None:
    """Frames that close between two steps count once, and the hundred newest are the newest."""
    monkeypatch.setattr(timeline, "STEP_FRAMES", 40)
    primary, now_s = clocked(130, 10)
    one, chain = Timeline(), Chain()
    for closed in range(131, 140):
        one.step(primary.store, base_of(primary), chain, now_s)
        close_frame(primary, "test")
        assert one.newest[0].frame == closed - 1
    one.step(primary.store, base_of(primary), chain, now_s)
    assert one.complete
    assert one.frames == 139
    assert [found.frame for found in one.newest] == list(range(139, 39, -1))


def test_what_is_older_than_a_week_is_left_alone_and_a_wrong_clock_does_not_end_the_walk() -> None:
    """The walk ends after ten frames in a row from before the week; one odd commit time changes nothing."""
    primary, now_s = clocked(60, 4 * 3_600)
    one = Timeline()
    one.step(primary.store, base_of(primary), Chain(), now_s)
    assert one.complete
    assert 42 <= one.frames <= 42 + 1 + timeline.OLD_IN_A_ROW
    clock = primary.clock
    primary.clock = lambda: 1_000_000_000
    close_frame(primary, "test")
    primary.clock = clock
    close_frame(primary, "test")
    again = Timeline()
    again.step(primary.store, base_of(primary), Chain(), now_s)
    assert again.frames == one.frames + 2


def test_another_history_begins_anew() -> None:
    """After the repository was swapped for another one nothing of the former is in the sums."""
    one, chain = Timeline(), Chain()
    first, second = grown(12), grown(5)
    one.step(first.store, base_of(first), chain, NOW_S)
    one.step(second.store, base_of(second), Chain(), NOW_S)
    assert summed(one) == totals(second, list(range(1, 6)))
    assert [found.frame for found in one.newest] == [5, 4, 3, 2, 1]


def test_an_empty_repository_becomes_one_with_frames() -> None:
    """The first frame counts, although nothing was there to read before."""
    primary = new_primary()
    one, chain = Timeline(), Chain()
    one.step(primary.store, base_of(primary), chain, NOW_S)
    assert one.frames == 0
    close_frame(primary, "test")
    one.step(primary.store, base_of(primary), chain, NOW_S)
    assert one.frames == 1


def test_a_step_that_is_broken_off_leaves_nothing_out(sixty: Primary) -> None:
    """The time limit may end a step at any object; the next one goes on, and every frame counts once."""

    class Failing:
        left = 0

        def __getattr__(self, name: str) -> Any:
            return getattr(sixty.store, name)

        def read(self, oid: str) -> bytes:
            self.left -= 1
            if self.left < 0:
                raise TimeoutError
            return sixty.store.read(oid)

    store, base, one, chain = Failing(), base_of(sixty), Timeline(), Chain()
    tries = 0
    while not one.complete:
        store.left = 9
        tries += 1
        try:
            one.step(store, base, chain, NOW_S)
        except TimeoutError:
            continue
    assert tries > 6
    assert summed(one) == totals(sixty, list(range(1, 61)))


def test_spans_hold_every_minute_once() -> None:
    """Spans of any width cut the same minutes: their sums are equal."""
    minutes = {minute: Sums(1, minute, 0, 1, 0, 0) for minute in range(100, 700, 7)}
    for width in (60, 1_800, 10_800):
        start, end = 100 * 60 // width * width, (700 * 60 // width + 1) * width
        total = Sums()
        spans = list(minutes_between(minutes, start, end, width))
        for _, one in spans:
            total.add(one)
        assert total.frames == len(minutes)
        assert total.deltas == sum(minutes)
        assert [begin for begin, _ in spans] == list(range(start, end, width))
