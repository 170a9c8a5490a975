"""What the daemon makes of failures, of an empty repository, and of what may wait (docs/protocol.md#publishing)."""

from __future__ import annotations

import errno
import random
from collections.abc import Callable
from typing import Any

import pytest
from msgspec import structs

from dreamcatcherd.config_tables import Config, FramesConfig, HttpConfig, RepositoryConfig, RetentionConfig
from dreamcatcherd.core import merge as merging
from dreamcatcherd.core import paths
from dreamcatcherd.core.errors import FatalError, RetryableError
from dreamcatcherd.core.frames import Closing
from dreamcatcherd.core.snapshot import close_snapshot, open_snapshot
from dreamcatcherd.core.tree import FILE, Entry, edit
from dreamcatcherd.daemon import upkeep
from dreamcatcherd.git.protocols import Move
from dreamcatcherd.stages import merge as merge_stage
from dreamcatcherd.stages.first_frame import open_first
from dreamcatcherd.testing import MemoryStore
from tests.daemon.conftest import Start
from tests.daemon.tools import CONFIG, INTERVAL_S, Clock, Scripted, new_store
from tests.law.fleet import MAIN, NOW, close, commit_files, primary_on
from tests.stages.tools import FOLDER, text

POLL_S = 1.0
PORT = "127.0.0.1:0"


def failing(cause: str = "the disk is full") -> Callable[[], None]:
    def fail() -> None:
        raise RetryableError(cause, "make room")

    return fail


@pytest.fixture
def longest(monkeypatch: pytest.MonkeyPatch) -> None:
    """Chance always takes the longest wait."""
    monkeypatch.setattr(random, "uniform", lambda _, longest: longest)


# Failures ---------------------------------------------------------------------------------------------------------


@pytest.mark.usefixtures("longest")
def test_a_failing_cycle_waits_longer_each_time_and_begins_anew_once_it_went_well(start: Start) -> None:
    """The wait doubles up to its bound; one good cycle, and the next failure waits as little as the first."""
    daemon = start()
    daemon.store.at_refs = [failing()] * 7
    assert [daemon.step(1) for _ in range(7)] == [1, 2, 4, 8, 15, 15, 15]
    assert daemon.step(1) == POLL_S
    daemon.store.at_refs = [failing()]
    assert daemon.step(1) == 1


@pytest.mark.usefixtures("longest")
def test_the_longest_wait_is_as_configured(start: Start) -> None:
    """`[repository] retry` bounds the waits, also below the first one."""
    for retry, waits in ((3.0, [1, 2, 3, 3]), (0.5, [0.5, 0.5, 0.5, 0.5])):
        daemon = start(config=structs.replace(CONFIG, repository=RepositoryConfig(retry=retry)))
        daemon.store.at_refs = [failing()] * 4
        assert [daemon.step(1) for _ in range(4)] == waits


def test_chance_shortens_a_wait_by_half_at_most(start: Start) -> None:
    """Several primaries that fail together do not come back together, and none of them hammers the server."""
    daemon = start()
    daemon.store.at_refs = [failing()] * 40
    waits = [daemon.step(1) for _ in range(40)]
    assert all(7.5 <= wait <= 15 for wait in waits[4:])
    assert len(set(waits[4:])) > 1


def test_a_failure_is_told_once_and_so_is_its_end(start: Start) -> None:
    """Each cause is one line with its remedy, however often it comes; the recovery names what is over."""
    daemon = start()
    daemon.store.at_refs = [failing(), failing(), failing("main is locked"), failing(), failing("main is locked")]
    for _ in range(8):
        daemon.step(1)
    assert daemon.log.told == [
        ("error", "cycle failed", {"cause": "the disk is full", "remedy": "make room"}),
        ("error", "cycle failed", {"cause": "main is locked", "remedy": "make room"}),
        ("info", "recovered", {"after": "the disk is full, main is locked"}),
    ]
    daemon.store.at_refs = [failing()]
    daemon.step(1)
    assert daemon.log.events("error") == ["cycle failed"] * 3


def test_a_failed_poll_is_shown_until_the_next_good_one(start: Start) -> None:
    """Readiness goes with its cause, and comes back; only polls are counted as failed, no publication."""
    daemon = start()
    board = daemon.service.live_status
    assert not board.ready
    daemon.step(1)
    assert (board.ready, board.why) == (True, "")
    daemon.store.at_refs = [failing()]
    daemon.step(1)
    assert (board.ready, board.why) == (False, "the disk is full")
    assert daemon.series("polls_total", result="failed") == 1
    assert daemon.series("publishes_total", result="failed") == 0
    daemon.step(1)
    assert (board.ready, board.why) == (True, "")
    assert daemon.series("polls_total", result="ok") == 2


def test_a_failed_publication_is_counted_and_made_up_for(start: Start) -> None:
    """The frame that could not be published closes with the next good cycle, once."""
    daemon = start()
    commit_files(daemon.store, MAIN, {f"{FOLDER}/1/a.json": text()})
    daemon.store.at_move = [failing()]
    assert daemon.step(INTERVAL_S) > 0
    assert (daemon.closed(), daemon.service.live_status.ready) == ([], False)
    assert daemon.series("publishes_total", result="failed") == 1
    assert daemon.series("polls_total", result="failed") == 0
    for _ in range(3):
        daemon.step(INTERVAL_S + 1)
    assert daemon.closed() == [1]
    assert daemon.series("publishes_total", result="ok") == 1
    assert daemon.series("deltas_total", outcome="merged") == 1


def test_where_things_stand_is_shown_though_nothing_can_be_published(start: Start) -> None:
    """While closes fail from the start, frame, what waits and when the frame was due are those of the last look."""
    daemon = start()
    for number in range(1, 4):
        commit_files(daemon.store, MAIN, {f"{FOLDER}/1/{number}.json": text(number=number)})
        daemon.store.at_move = [failing()]
        daemon.step(INTERVAL_S + number)
        assert (daemon.series("frame"), daemon.series("pending_deltas")) == (1, number)
        assert daemon.series("frame_due_timestamp_seconds") == NOW / 1e6 + INTERVAL_S
        assert daemon.service.live_status.pending is not None
        assert not daemon.service.live_status.ready


def test_a_frame_that_is_over_and_empty_is_not_due(start: Start) -> None:
    """With `skip_empty` it is due when its first delta comes, and not overdue before."""
    daemon = start(config=Config(frames=FramesConfig(interval=INTERVAL_S, skip_empty=True), http=HttpConfig(PORT)))
    daemon.step(1)
    assert daemon.series("frame_due_timestamp_seconds") == NOW / 1e6 + INTERVAL_S
    daemon.step(10 * INTERVAL_S)
    assert (daemon.closed(), daemon.series("frame_due_timestamp_seconds")) == ([], 0)


def test_the_guard_that_a_close_by_hand_trips_is_shown_while_frames_close_by_hand(
    start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The looks that follow go well, and do not hide it."""
    daemon = start(config=Config(frames=FramesConfig(close="manual"), http=HttpConfig(PORT)))
    commit_files(daemon.store, MAIN, {f"{FOLDER}/1/a.json": text()})
    daemon.service._ask("close")
    daemon.step(1)
    nothing = close_snapshot(daemon.store, open_snapshot(daemon.store, None))
    with monkeypatch.context() as patch:
        patch.setattr(merge_stage, "merge", lambda *_: merging.Merged(nothing, [], [], {}, []))
        daemon.service._ask("close")
        daemon.step(2)
    daemon.step(3)
    assert (daemon.closed(), daemon.series("guard_tripped"), daemon.service.live_status.ready) == ([1], 1, True)
    daemon.service._ask("close")
    daemon.step(4)
    assert (daemon.closed(), daemon.series("guard_tripped")) == ([1, 2], 0)


def test_who_was_told_to_stop_closes_nothing_more(start: Start) -> None:
    """A frame that falls due after the signal is left to the next start."""
    daemon = start()
    daemon.service._stop.set()
    daemon.step(INTERVAL_S)
    assert daemon.closed() == []


def test_a_repository_that_cannot_be_worked_on_stops_frames_and_not_the_daemon(start: Start) -> None:
    """A fatal failure is shown with its remedy; once somebody repaired the repository the daemon goes on by itself."""
    daemon = start()

    def break_down() -> None:
        raise FatalError("the published commit is damaged", "run git fsck")

    daemon.store.at_refs = [break_down]
    assert daemon.step(INTERVAL_S) > 0
    board = daemon.service.live_status
    assert (daemon.closed(), board.ready, board.why) == ([], False, "the published commit is damaged")
    first = board.current.troubles[0]
    assert (first.what, first.remedy) == (board.why, "run git fsck")
    daemon.step(INTERVAL_S + 1)
    assert (daemon.closed(), board.ready) == ([1], True)
    assert board.current.troubles == []


def test_a_publication_that_seemed_to_fail_and_landed_is_counted_once(
    start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A push may land although its answer is lost: the look that finds it counts its deltas and logs the close."""
    daemon = start()
    commit_files(daemon.store, "refs/heads/dc/s", {f"{FOLDER}/1/d.json": text()}, orphan=True)
    move_refs = daemon.store.move_refs

    def lose_the_answer(moves: list[Move], reason: str) -> bool:
        assert move_refs(moves, reason)
        raise RetryableError("it did not answer within the time limit", "look at the server")

    with monkeypatch.context() as patch:
        patch.setattr(daemon.store, "move_refs", lose_the_answer)
        daemon.step(INTERVAL_S)
    assert (daemon.closed(), daemon.series("deltas_total", outcome="merged")) == ([], 0)
    for seconds in (1, 2, 3):
        daemon.step(INTERVAL_S + seconds)
        assert (daemon.closed(), daemon.series("deltas_total", outcome="merged")) == ([1], 1)
    daemon.step(3 * INTERVAL_S)
    assert (daemon.closed(), daemon.series("deltas_total", outcome="merged")) == ([1, 2], 1)


# The guard --------------------------------------------------------------------------------------------------------


def test_the_guard_is_shown_while_it_is_tripped_and_not_afterwards(
    start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A merge that drops an entity publishes nothing: the gauge is 1, the daemon not ready; put right, it goes on."""
    daemon = start()
    commit_files(daemon.store, MAIN, {f"{FOLDER}/1/a.json": text()})
    daemon.step(INTERVAL_S)
    assert (daemon.closed(), daemon.series("guard_tripped")) == ([1], 0)

    def broken(objects: Any, *rest: Any) -> merging.Merged:
        done = merging.merge(objects, *rest)
        less = edit(objects, done.tree, {"state/observations.jsonl": Entry(FILE, objects.write("blob", b""))})
        assert less is not None
        return done._replace(tree=less)

    before = daemon.store.refs()
    with monkeypatch.context() as patch:
        patch.setattr(merge_stage, "merge", broken)
        for _ in range(3):
            daemon.step(2 * INTERVAL_S)
            assert (daemon.series("guard_tripped"), daemon.service.live_status.ready) == (1, False)
    assert daemon.store.refs() == before
    assert "lacks" in daemon.service.live_status.why
    assert daemon.series("publishes_total", result="failed") == 3
    assert daemon.log.events("error") == ["cycle failed"]
    daemon.step(2 * INTERVAL_S)
    assert (daemon.closed(), daemon.series("guard_tripped"), daemon.service.live_status.ready) == ([1, 2], 0, True)


def test_a_plain_failure_after_the_guard_does_not_hide_it(start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    """While nobody has put things right the gauge stays, whatever else fails meanwhile."""
    daemon = start()
    commit_files(daemon.store, MAIN, {f"{FOLDER}/1/a.json": text()})
    daemon.step(INTERVAL_S)
    nothing = close_snapshot(daemon.store, open_snapshot(daemon.store, None))
    with monkeypatch.context() as patch:
        patch.setattr(merge_stage, "merge", lambda *_: merging.Merged(nothing, [], [], {}, []))
        daemon.step(2 * INTERVAL_S)
    daemon.store.at_refs = [failing()]
    daemon.step(2 * INTERVAL_S)
    assert daemon.series("guard_tripped") == 1


# Beginning and housekeeping ---------------------------------------------------------------------------------------


def test_an_empty_repository_gets_its_first_frame_opened(start: Start) -> None:
    """Without a commit there is no frame to close: frame 1 opens now, and closes after its interval."""
    daemon = start(Scripted())
    assert daemon.step(100) == POLL_S
    refs = daemon.store.refs()
    assert refs[MAIN] == refs[paths.PUBLISHED]
    assert daemon.service.live_status.pending is not None
    assert daemon.service.live_status.pending.frame == 1
    assert daemon.step(100 + INTERVAL_S - 1) == POLL_S
    daemon.step(100 + INTERVAL_S)
    assert daemon.closed() == [1]


def test_two_daemons_on_an_empty_repository_open_one_frame(start: Start) -> None:
    """The one that comes second goes on with what the first opened."""
    store = Scripted()
    rival = MemoryStore(store)
    store.at_move = [lambda: open_first(rival, 1, NOW, Closing("interval", INTERVAL_S), MAIN)]
    daemon = start(store)
    assert daemon.step(1) == POLL_S
    assert daemon.log.told == []
    daemon.step(INTERVAL_S)
    assert daemon.closed() == [1]


def test_a_repository_that_holds_other_work_is_left_as_it_is_until_the_close(start: Start) -> None:
    """Where `main` has commits but no frame yet, nothing is opened on the side: the first close makes it ours."""
    store = Scripted()
    head = commit_files(store, MAIN, {"README": b"ours"})
    daemon = start(store, Config(frames=FramesConfig(close="manual"), http=HttpConfig("127.0.0.1:0")))
    daemon.step(5)
    assert store.refs() == {MAIN: head}


def test_merged_lanes_go_once_they_are_silent(start: Start) -> None:
    """After `lanes_keep` seconds a merged lane is removed and told of; one merged lately, or not at all, stays."""
    config = Config(
        frames=FramesConfig(interval=INTERVAL_S),
        http=HttpConfig("127.0.0.1:0"),
        retention=RetentionConfig(lanes_keep=100),
    )
    daemon = start(config=config)
    lanes = [f"refs/heads/dc/s/{name}" for name in ("old", "new", "pending")]

    def push(lane: str, number: int) -> None:
        commit_files(daemon.store, lane, {f"{FOLDER}/1/d{number}.json": text(number=number)}, orphan=True)

    push(lanes[0], 1)
    daemon.step(INTERVAL_S)
    push(lanes[1], 2)
    daemon.step(100)
    assert set(lanes[:2]) <= daemon.store.refs().keys()
    push(lanes[2], 3)
    daemon.service._upkeep.ask("lanes")
    daemon.step(109)
    assert daemon.store.refs().keys() == {MAIN, paths.PUBLISHED, *lanes}
    daemon.service._upkeep.ask("lanes")
    daemon.step(111)
    assert daemon.store.refs().keys() == {MAIN, paths.PUBLISHED, *lanes[1:]}
    assert [rest["lane"] for _, event, rest in daemon.log.told if event == "lane removed"] == [lanes[0]]


def test_removing_lanes_keeps_up_with_a_fleet(start: Start) -> None:
    """Where a batch is full the next one follows with the next look, not when half a minute has passed."""
    config = Config(
        frames=FramesConfig(interval=INTERVAL_S),
        http=HttpConfig("127.0.0.1:0"),
        retention=RetentionConfig(lanes_keep=600),
    )
    daemon = start(config=config)
    for number in range(250):
        lane = f"refs/heads/dc/w{number}"
        commit_files(
            daemon.store, lane, {f"{FOLDER}/1/w{number}.json": text(1, f"w{number}", number % 60)}, orphan=True
        )
    daemon.step(INTERVAL_S)
    daemon.service._upkeep.ask("lanes")
    for number in range(3):
        daemon.step(700 + number)
    assert not [ref for ref in daemon.store.refs() if ref.startswith("refs/heads/dc/")]


def test_housekeeping_that_fails_harms_no_cycle(start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is told once for each cause, as a warning; the cycle counts as good."""
    daemon = start()

    def fail(*_: object) -> list[str]:
        raise RetryableError("the lane is locked", "wait")

    monkeypatch.setattr(upkeep, "remove_silent_lanes", fail)
    for _ in range(3):
        daemon.service._upkeep.ask("lanes")
        assert daemon.step(1) == POLL_S
    assert daemon.log.events("warning") == ["housekeeping failed"]
    assert daemon.log.events("error") == []
    assert daemon.service.live_status.ready


def test_a_change_of_settings_and_each_violation_are_told_with_who(start: Start, clock: Clock) -> None:
    """The log names the commit and the author of what changed the rules, and of what broke them."""
    store = new_store()
    daemon = start(store)
    changed = commit_files(store, MAIN, {paths.SETTINGS: b"[limits]\ndepth = 9\n"})
    daemon.step(INTERVAL_S)
    commit_files(store, "refs/heads/dc/s", {f"{FOLDER}/1/a.json": text()})
    daemon.step()
    assert store.move_refs([Move("refs/heads/dc/s", None, store.refs()["refs/heads/dc/s"])], "delete")
    daemon.step(2 * INTERVAL_S)
    warned = [(event, rest.get("kind"), rest["commit"]) for level, event, rest in daemon.log.told if level == "warning"]
    assert warned == [("settings changed", None, changed), ("violation", "lane-rewound", None)]
    assert daemon.series("violations_total", kind="lane-rewound") == 1
    assert clock.now == NOW + 2 * INTERVAL_S * 1_000_000


# Asked for by hand ------------------------------------------------------------------------------------------------

BY_HAND = Config(frames=FramesConfig(close="manual"), http=HttpConfig(PORT))


def test_a_close_by_hand_is_repeated_after_a_failure(start: Start) -> None:
    """SIGUSR1 counts until the frame is closed, whether the poll or the publication failed first, and closes one."""
    for failed in ("at_move", "at_refs"):
        daemon = start(config=BY_HAND)
        commit_files(daemon.store, MAIN, {f"{FOLDER}/1/a.json": text()})
        setattr(daemon.store, failed, [failing()])
        daemon.service._ask("close")
        for second in range(1, 6):
            daemon.step(second)
        assert daemon.closed() == [1], failed


def test_a_close_by_hand_is_of_the_frame_that_was_open(start: Start) -> None:
    """If the publication that seemed to fail had landed, or another primary closed the frame, the next one stays."""
    daemon = start(config=BY_HAND)
    commit_files(daemon.store, MAIN, {f"{FOLDER}/1/a.json": text()})
    other = primary_on(daemon.store)

    def overtaken() -> None:
        close(other)
        failing()()

    daemon.store.at_move = [overtaken]
    daemon.service._ask("close")
    for second in range(1, 6):
        daemon.step(second)
    assert daemon.store.refs()[paths.PUBLISHED] == daemon.service.primary.store.refs()[paths.PUBLISHED]
    assert daemon.closed() == []


@pytest.mark.parametrize("error", [OSError(errno.EMFILE, "Too many open files"), BlockingIOError(errno.EAGAIN, "busy")])
def test_an_error_of_the_system_stops_frames_and_not_the_daemon(start: Start, error: OSError) -> None:
    """Whatever the operating system refuses in the middle of a cycle, the daemon says why and goes on afterwards."""

    def fail() -> None:
        raise error

    daemon = start()
    commit_files(daemon.store, MAIN, {f"{FOLDER}/1/a.json": text()})
    daemon.store.at_move = [fail]
    daemon.step(INTERVAL_S + 1)
    status = daemon.service.live_status
    assert (status.ready, status.why) == (False, f"the operating system refused: {error.strerror}")
    daemon.step(INTERVAL_S + 20)
    assert daemon.closed() == [1]


def test_another_repository_has_another_watch(start: Start) -> None:
    """What was said about a watch that failed goes with it, in the status and in the metric."""
    daemon, other = start(), start()
    daemon.service._watch_degraded("no watches left")
    assert daemon.series("watch_degraded") == 1
    daemon.service._swap(other.service._runtime)
    daemon.step(1)
    assert daemon.series("watch_degraded") == 0
    assert daemon.service.live_status.current.daemon_troubles == ()


def test_a_path_that_is_no_utf_8_is_shown_escaped(start: Start) -> None:
    """The status is JSON, which cannot hold such a byte."""
    daemon = start()
    daemon.store.at_refs = [failing("/srv/\udcff is gone")]
    daemon.step(1)
    (trouble,) = daemon.service.live_status.current.daemon_troubles
    assert trouble.what == r"/srv/\udcff is gone"
