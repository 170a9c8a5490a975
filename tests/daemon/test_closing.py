"""Frames through sleep, clock steps, restarts and two primaries: none skipped, none closed twice.

Contract: docs/protocol.md#frames."""

from __future__ import annotations

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from dreamcatcherd.core import paths
from dreamcatcherd.core.frames import Closing
from dreamcatcherd.core.ledger import Ledger
from dreamcatcherd.core.tree import subtree
from dreamcatcherd.daemon.cycle import close_frame, poll
from dreamcatcherd.daemon.primary import Primary
from dreamcatcherd.stages.first_frame import open_first
from dreamcatcherd.stages.published import load_ledger
from dreamcatcherd.stages.snapshot_chain import claimed_frame
from dreamcatcherd.testing import MemoryStore
from tests.law.fleet import MAIN, NOW, commit_files
from tests.stages.tools import FOLDER, text

INTERVAL_S, GRACE_S = 10.0, 2.0
RULES = {
    "interval": Closing("interval", INTERVAL_S, GRACE_S),
    "skip_empty": Closing("interval", INTERVAL_S, GRACE_S, skip_empty=True),
    "cron": Closing("cron", next_fire=lambda after: (after // 10_000_000 + 1) * 10_000_000),
    "quorum": Closing("quorum", deadline_s=30.0, streams=("a", "b")),
    "counter": Closing("counter", deadline_s=30.0),
    "next": Closing("next", deadline_s=30.0),
}


def deliver(world: World, frame: int, stream: str) -> None:
    """Push one delta of a stream for a frame."""
    files = {f"{FOLDER}/{frame}/{stream}.json": text(frame, stream, frame)}
    commit_files(world.store, f"refs/heads/dc/{stream}/{frame}", files, orphan=True)


class World:
    """One repository in memory, a wall clock that can step, a steady one that cannot, primaries that come and go."""

    def __init__(self, closing: Closing) -> None:
        self.closing = closing
        self.wall = NOW
        self.steady_s = 0.0
        self.store = MemoryStore()
        open_first(self.store, 1, NOW, closing, MAIN)
        self.primaries = [self.start(), self.start()]

    def start(self) -> Primary:
        return Primary(MemoryStore(self.store), "main", self.closing, lambda: self.wall, lambda: self.steady_s)

    def sleep(self, seconds: float) -> None:
        self.wall += round(seconds * 1e6)
        self.steady_s += seconds

    @property
    def closed(self) -> list[int]:
        """The frames along the first parents of `main`, oldest first."""
        found = []
        at: str | None = self.store.heads[MAIN]
        while at is not None:
            commit = self.store.commit(at)
            frame = claimed_frame(commit)
            if frame is not None:
                found.append(frame)
            at = commit.parents[0] if commit.parents else None
        return found[::-1]

    def ledger(self, frame: int) -> Ledger:
        tree = self.store.commit(self.store.heads[paths.PUBLISHED]).tree
        ledger = load_ledger(self.store, subtree(self.store, tree, paths.LEDGER), frame)
        assert ledger is not None
        return ledger


class Frames(RuleBasedStateMachine):
    """Looks, closes that come late, restarts, steps and pushes in any order."""

    @initialize(name=st.sampled_from(sorted(RULES)))
    def begin(self, name: str) -> None:
        self.world = World(RULES[name])
        self.seen: list[dict[int, float]] = [{}, {}]
        self.asked: list[tuple[int, str] | None] = [None, None]
        self.opened_s = 0.0
        self.stepped = False
        self.pushed: list[int] = []

    @rule(seconds=st.sampled_from([0.3, 1.0, 4.0, 12.0, 31.0, 40_000.0]))
    def sleep(self, seconds: float) -> None:
        self.world.sleep(seconds)

    @rule(hours=st.sampled_from([-1, 1, -25]))
    def step(self, hours: int) -> None:
        self.world.wall += hours * 3_600_000_000
        self.stepped = True

    @rule(which=st.integers(0, 1))
    def restart(self, which: int) -> None:
        self.world.primaries[which] = self.world.start()
        self.seen[which] = {}
        self.asked[which] = None

    @rule(which=st.integers(0, 1))
    def look(self, which: int) -> None:
        world = self.world
        report, decision = poll(world.primaries[which])
        frame = report.pending.frame
        first_s = self.seen[which].setdefault(frame, world.steady_s)
        if world.closing.rule == "interval" and not world.closing.skip_empty:
            if world.steady_s - first_s >= INTERVAL_S + GRACE_S:
                assert decision.due
            if decision.due and not self.stepped:
                assert world.steady_s - self.opened_s >= INTERVAL_S + GRACE_S - 0.001
        self.asked[which] = (frame, decision.closed_by) if decision.due else None

    @rule(which=st.integers(0, 1))
    def close(self, which: int) -> None:
        """Close what was due at the last look, however stale that is by now."""
        asked = self.asked[which]
        if asked is None:
            return
        frame, closed_by = asked
        self.asked[which] = None
        before = self.world.closed
        report = close_frame(self.world.primaries[which], closed_by, frame)
        if report.lost:
            assert frame in before
            assert self.world.closed == before
        else:
            assert self.world.closed == [*before, frame]
            self.opened_s, self.stepped = self.world.steady_s, False

    @rule(stream=st.sampled_from("ab"), ahead=st.integers(-2, 2))
    def push(self, stream: str, ahead: int) -> None:
        frame = max(1, len(self.world.closed) + 1 + ahead)
        number = len(self.pushed)
        self.pushed.append(number)
        raw = text(frame, stream, observations=[number])
        commit_files(self.world.store, f"refs/heads/dc/{stream}/{number}", {f"{FOLDER}/{frame}/{number}.json": raw})

    @rule(by=st.integers(0, 3))
    def count(self, by: int) -> None:
        frame = len(self.world.closed) + 1 + by
        commit_files(self.world.store, MAIN, {"state/frame_counter.json": b'{"frame": %d}' % frame})

    @invariant()
    def frames_run_on_by_one(self) -> None:
        if hasattr(self, "world"):
            assert self.world.closed == list(range(1, len(self.world.closed) + 1))

    def teardown(self) -> None:
        """Whatever happened, every delta is merged exactly once when enough frames have closed."""
        if hasattr(self, "world"):
            primary = self.world.start()
            for _ in range(4):
                close_frame(primary, "manual")
            merged = [row.blob for frame in self.world.closed for row in self.world.ledger(frame).deltas]
            assert len(merged) == len(set(merged)) == len(self.pushed)


TestFrames = Frames.TestCase
TestFrames.settings = settings(max_examples=60, stateful_step_count=40)


def test_a_day_of_frames_in_simulated_time() -> None:
    """24 hours at a frame a minute: every frame closes on its minute, once, with the deltas that came for it."""
    world = World(Closing("interval", 60.0))
    primary = world.primaries[0]
    minutes = 24 * 60
    for minute in range(1, minutes + 1):
        if minute % 7 == 0:
            raw = text(minute, "s", minute % 60)
            commit_files(world.store, f"refs/heads/dc/s/{minute}", {f"{FOLDER}/{minute}/s.json": raw}, orphan=True)
        world.sleep(59.0)
        assert not poll(primary)[1].due
        world.sleep(1.0)
        decision = poll(primary)[1]
        assert decision.due
        report = close_frame(primary, decision.closed_by, minute)
        assert report.ledger is not None
        assert (report.ledger.frame, report.ledger.counts.deltas) == (minute, int(minute % 7 == 0))
    assert primary.last is not None
    assert primary.last.published.state.frame == minutes + 1
    assert report.pending.entities == {"observations": minutes // 7}


def test_a_quorum_names_who_was_missing() -> None:
    """A frame that its deadline closed lists the streams that it waited for in vain; a whole one lists none."""
    world = World(RULES["quorum"])
    primary = world.primaries[0]
    deliver(world, 1, "a")
    assert not poll(primary)[1].due
    world.sleep(30.0)
    decision = poll(primary)[1]
    assert (decision.due, decision.closed_by) == (True, "deadline")
    close_frame(primary, decision.closed_by, 1)
    assert (world.ledger(1).closed_by, world.ledger(1).missing) == ("deadline", ["b"])
    for stream in "ab":
        deliver(world, 2, stream)
    decision = poll(primary)[1]
    assert (decision.due, decision.closed_by) == (True, "quorum")
    close_frame(primary, decision.closed_by, 2)
    assert (world.ledger(2).closed_by, world.ledger(2).missing) == ("quorum", [])


def test_a_quorum_of_recent_streams_learns_who_delivers() -> None:
    """With a number, all streams of the last so many frames are waited for; one that left is forgotten after them."""
    world = World(Closing("quorum", deadline_s=30.0, streams=2))
    primary = world.primaries[0]
    for stream in "ab":
        commit_files(
            world.store, f"refs/heads/dc/{stream}/1", {f"{FOLDER}/1/{stream}.json": text(1, stream)}, orphan=True
        )
    assert not poll(primary)[1].due
    world.sleep(30.0)
    close_frame(primary, poll(primary)[1].closed_by, 1)
    for frame, expected in ((2, ["b"]), (3, ["b"]), (4, [])):
        deliver(world, frame, "a")
        assert poll(primary)[1].due == (not expected)
        world.sleep(30.0)
        close_frame(primary, poll(primary)[1].closed_by, frame)
        assert world.ledger(frame).missing == expected


def test_a_counter_closes_every_frame_before_it() -> None:
    """An external driver that jumps ahead closes one frame a look until the open one is its number."""
    world = World(RULES["counter"])
    primary = world.primaries[0]
    commit_files(world.store, MAIN, {"state/frame_counter.json": b'{"frame": "4"}'})
    while (decision := poll(primary)[1]).due:
        close_frame(primary, decision.closed_by)
    assert world.closed == [1, 2, 3]
    for broken in (b"[", b"{}", b'{"frame": -1}', b"\xff", b"[" * 3000):
        commit_files(world.store, MAIN, {"state/frame_counter.json": broken})
        assert not poll(primary)[1].due


def test_clocks_that_cannot_be_right_are_flagged_and_merge_all_the_same() -> None:
    """A delta from the future and a stream that runs backwards are flagged in the ledger and counted; all merge."""
    world = World(Closing("manual"))
    primary = world.primaries[0]
    commit_files(world.store, MAIN, {"state/dreamcatcher.toml": b"[limits]\nmax_skew = 60\n"})

    def push(stream: str, number: int, utc: str) -> None:
        raw = text(1, stream, observations=[number]).replace(b"2026-01-01T00:00:00Z", utc.encode())
        commit_files(
            world.store, f"refs/heads/dc/{stream}/{number}", {f"{FOLDER}/1/{stream}{number}.json": raw}, orphan=True
        )

    push("ahead", 1, "2026-01-01T01:00:00Z")
    push("fine", 1, "2026-01-01T00:00:59Z")
    push("back", 1, "2025-12-31T23:59:59Z")
    poll(primary)
    world.sleep(1)
    push("back", 2, "2025-12-31T23:00:00Z")
    poll(primary)
    close_frame(primary, "manual")
    ledger = world.ledger(1)
    flags = {row.path.rpartition("/")[2]: (row.ahead_s, row.backward) for row in ledger.deltas}
    assert flags == {
        "ahead1.json": (3600, False),
        "fine1.json": (None, False),
        "back1.json": (None, False),
        "back2.json": (None, True),
    }
    assert (ledger.counts.clocks, ledger.counts.deltas) == (2, 4)
