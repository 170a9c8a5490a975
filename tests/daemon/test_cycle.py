"""When frames close: once each, by whoever is first, however clocks run (docs/protocol.md#frames)."""

from __future__ import annotations

import pytest

from dreamcatcherd.config_tables import Config, FramesConfig, HttpConfig
from dreamcatcherd.core.codec import utc_text
from dreamcatcherd.core.frames import Closing
from dreamcatcherd.daemon.cycle import close_frame, poll
from dreamcatcherd.daemon.primary import Primary
from dreamcatcherd.observe.families import PHASES
from tests.daemon.conftest import Start
from tests.daemon.tools import INTERVAL_S, Clock, Scripted, new_store
from tests.law.fleet import MAIN, NOW, commit_files
from tests.stages.tools import FOLDER, text

HOUR_S = 3600


def test_an_interval_counts_from_when_the_frame_opened(start: Start) -> None:
    """Not due a moment before; due at the interval; one closed late gives the next frame its whole interval.

    The loop rests no longer than until then."""
    daemon = start()
    assert daemon.step(1) == daemon.service._runtime.config.repository.poll
    assert 0 < daemon.step(INTERVAL_S - 0.001) <= 0.001
    assert daemon.closed() == []
    assert daemon.step(INTERVAL_S + 3) == 0
    daemon.step()
    daemon.step(2 * INTERVAL_S + 2.999)
    assert daemon.closed() == [1]
    daemon.step(2 * INTERVAL_S + 3)
    assert daemon.closed() == [1, 2]


def test_grace_waits_for_stragglers(start: Start) -> None:
    """With a grace the frame closes so much later than it says."""
    daemon = start(config=Config(frames=FramesConfig(interval=10, grace=5), http=HttpConfig("127.0.0.1:0")))
    daemon.step(14.9)
    assert daemon.closed() == []
    daemon.step(15)
    assert daemon.closed() == [1]


@pytest.mark.parametrize(("interval", "promised_s"), [(3600, None), (10, None), (10, 3600)])
def test_a_daemon_reports_when_it_closes_the_frame(start: Start, interval: int, promised_s: int | None) -> None:
    """The repository may name no time, or a later one, as after `init` and at a reload: the daemon knows it."""
    first = Closing("manual") if promised_s is None else Closing("interval", promised_s)
    daemon = start(new_store(first), Config(frames=FramesConfig(interval=interval, grace=5)))
    daemon.step(1)
    assert daemon.service.live_status.pending is not None
    assert daemon.service.live_status.pending.closes_at == utc_text(NOW + interval * 1_000_000)
    assert daemon.service.live_status.pending.due_at_s == NOW / 1e6 + interval + 5


def test_a_frame_that_two_primaries_see_due_closes_once(start: Start) -> None:
    """The second has merged frame 1 when the first publishes it: nothing of its own counts, and it leaves frame 2 open
    for its interval."""
    store = new_store()
    one, two = start(store), start(Scripted(store))
    two.store.at_move = [lambda: [one.step()].clear()]
    commit_files(store, MAIN, {f"{FOLDER}/1/a.json": text()})
    two.step(INTERVAL_S)
    assert (one.closed(), two.closed()) == ([1], [])
    assert two.series("publishes_total", result="lost") == 1
    assert two.service.live_status.pending is not None
    assert two.service.live_status.pending.frame == 2
    for seconds in (INTERVAL_S, INTERVAL_S + 1, 2 * INTERVAL_S - 0.001):
        assert all(daemon.step(seconds) > 0 for daemon in (two, one))
    two.step(2 * INTERVAL_S)
    one.step()
    assert (one.closed(), two.closed()) == ([1], [2])


def test_a_close_looks_at_the_refs_once(start: Start) -> None:
    """The look that finds a frame due serves its close as well, as long as nobody else moves `main`."""
    daemon = start()
    commit_files(daemon.store, MAIN, {f"{FOLDER}/1/a.json": text()})
    looks: list[None] = []
    daemon.store.at_refs = [lambda: looks.append(None)] * 10
    daemon.step(INTERVAL_S)
    assert daemon.closed() == [1]
    assert len(looks) == 1


def test_every_stage_of_a_close_is_timed(start: Start) -> None:
    """The look that a close is made from counts for it as well: all six phases have one sample."""
    daemon = start()
    commit_files(daemon.store, MAIN, {f"{FOLDER}/1/a.json": text()})
    daemon.step(INTERVAL_S)
    counted = [daemon.series("phase_duration_seconds_count", phase=phase) for phase in PHASES]
    assert counted == [1.0] * 6
    assert all((daemon.series("phase_duration_seconds_sum", phase=phase) or 0) > 0 for phase in PHASES)


def test_only_the_frame_that_was_asked_for_is_closed() -> None:
    """A close of a frame that is closed, or not open yet, changes nothing and says so."""
    store = new_store()
    primary = Primary(store, "main", Closing("manual"), lambda: NOW)
    assert close_frame(primary, "test", 1).ledger is not None
    before = store.refs()
    for frame in (0, 1, 3):
        report = close_frame(primary, "test", frame)
        assert (report.lost, report.ledger, report.commit, report.pending.frame) == (True, None, None, 2)
    assert store.refs() == before
    assert poll(primary)[0].pending.frame == 2


@pytest.mark.parametrize("step_s", [HOUR_S, 24 * HOUR_S])
def test_a_clock_that_is_set_forward_closes_one_frame_once(start: Start, clock: Clock, step_s: int) -> None:
    """However many intervals seem to have passed, one frame closes, and the next has its whole interval."""
    daemon = start()
    daemon.step(5)
    clock.step(step_s)
    for _ in range(5):
        daemon.step()
    assert daemon.closed() == [1]
    clock.go_on(INTERVAL_S - 0.1)
    daemon.step()
    assert daemon.closed() == [1]
    clock.go_on(0.2)
    daemon.step()
    assert daemon.closed() == [1, 2]


@pytest.mark.parametrize("after_s", [5, 0])
def test_a_clock_that_is_set_back_skips_and_doubles_nothing(start: Start, clock: Clock, after_s: int) -> None:
    """The open frame closes once its interval has gone by, whatever the wall's clock says; and so do the next."""
    daemon = start()
    daemon.step(0)
    daemon.step(after_s)
    clock.step(-HOUR_S)
    daemon.step()
    clock.go_on(INTERVAL_S - after_s - 0.1)
    daemon.step()
    assert daemon.closed() == []
    for frames in ([1], [1, 2], [1, 2, 3]):
        clock.go_on(0.2)
        for _ in range(3):
            daemon.step()
        assert daemon.closed() == frames
        clock.go_on(INTERVAL_S - 0.3)
        daemon.step()
        assert daemon.closed() == frames
        clock.go_on(0.2)


def test_a_clock_that_is_set_forward_and_back_doubles_nothing(start: Start, clock: Clock) -> None:
    """A frame that a step forward closed stays closed, and the next one has its interval after the step back too."""
    daemon = start()
    daemon.step(5)
    clock.step(HOUR_S)
    daemon.step()
    clock.step(-HOUR_S)
    for _ in range(3):
        daemon.step()
    clock.go_on(INTERVAL_S - 0.1)
    daemon.step()
    assert daemon.closed() == [1]
    clock.go_on(0.2)
    daemon.step()
    assert daemon.closed() == [1, 2]


def test_a_restart_goes_on_with_what_the_repository_says(start: Start, clock: Clock) -> None:
    """A daemon that was away for an hour closes the open frame once, at its start; a quick restart closes nothing."""
    store = new_store()
    start(store).step(5)
    quick = start(Scripted(store))
    quick.step(6)
    assert quick.closed() == []
    late = start(Scripted(store))
    for _ in range(3):
        late.step(HOUR_S)
    assert late.closed() == [1]
    assert clock.now == NOW + HOUR_S * 1_000_000
