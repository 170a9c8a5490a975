"""A cursor leads through every history to all that a receiver has not had (docs/protocol.md#events)."""

from __future__ import annotations

from typing import get_args

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dreamcatcherd.core import paths
from dreamcatcherd.core.errors import GuardError
from dreamcatcherd.core.events import CloudEvent, EventType, guard_tripped
from dreamcatcherd.core.tree import FILE, Entry
from dreamcatcherd.daemon.cycle import poll
from dreamcatcherd.daemon.event_backlog import Backlog, Look
from dreamcatcherd.daemon.event_cursor import Cursor
from dreamcatcherd.daemon.primary import Primary
from tests.daemon.conftest import Start
from tests.law.fleet import MAIN, commit_files, new_primary
from tests.stages.tools import FOLDER, close, put, text

TYPES: frozenset[EventType] = frozenset(get_args(EventType))


def look_of(primary: Primary) -> Look:
    inbox = primary.read_inbox()
    return Look(inbox.published.state.frame, inbox.published.commit if inbox.published.ledger else None, inbox.head)


def edit_frame_file(primary: Primary) -> None:
    put(primary.store, MAIN, {paths.FRAME: Entry(FILE, primary.store.write("blob", b"{}"))})


def fleet() -> Primary:
    """Four frames: conflicts in two, a quarantine in one, edits that a restore and a close put back in the last two."""
    primary = new_primary(b"")
    for frame in range(1, 5):
        deltas = {
            f"{FOLDER}/{frame}/{name}.json": text(frame, name, number, posts_created=[{"number": 1, "title": name}])
            for number, name in enumerate("abc" if frame % 2 else "a")
        }
        commit_files(primary.store, MAIN, deltas | ({f"{FOLDER}/2/bad.json": b"{"} if frame == 2 else {}))
        if frame == 3:
            edit_frame_file(primary)
            assert poll(primary, restore=True)[0].restored
        if frame == 4:
            edit_frame_file(primary)
        close(primary)
    return primary


FLEET = fleet()
LAST = look_of(FLEET)


def drain(backlog: Backlog, primary: Primary, look: Look, most: int = 1_000) -> list[str]:
    """Deliver so many events; the ids of those that a receiver took."""
    backlog.follow(primary.store, look)
    found: list[str] = []
    for event in backlog.events(primary.store, look):
        if len(found) == most:
            return found
        found.append(event.id)
    return found


ALL = drain(Backlog(Cursor(1), TYPES), FLEET, LAST)


def test_the_whole_history_gives_each_event_once() -> None:
    """Closes, losers, the quarantine, a restore commit and a close that restored; in order, and then nothing more."""
    backlog = Backlog(Cursor(1), TYPES)
    backlog.follow(FLEET.store, LAST)
    events = [(event.data["frame"], event.type) for event in backlog.events(FLEET.store, LAST)]
    lost = "delta.lost"
    assert events == [
        *[(1, "frame.closed"), (1, lost), (1, lost)],
        *[(2, "frame.closed"), (2, "delta.quarantined")],
        *[(3, "canonical.restored"), (3, "frame.closed"), (3, lost), (3, lost)],
        *[(4, "canonical.restored"), (4, "frame.closed")],
    ]
    assert (backlog.waiting, drain(backlog, FLEET, LAST)) == (0, [])


@given(st.lists(st.integers(0, 4), max_size=8), st.booleans())
def test_a_cursor_resumed_anywhere_gives_exactly_the_rest(pieces: list[int], counted: bool) -> None:
    """Delivered in any pieces, each with a backlog made from the cursor's bytes alone, every event comes exactly once;
    what waits is counted right at each point."""
    cursor = Cursor(1)
    found: list[str] = []
    for most in [*pieces, 1_000]:
        backlog = Backlog(msgspec.json.decode(msgspec.json.encode(cursor), type=Cursor), TYPES)
        backlog.follow(FLEET.store, LAST)
        if counted:
            assert backlog.count(FLEET.store, 1_000) is False
            assert backlog.waiting == len(ALL) - len(found)
        found += drain(backlog, FLEET, LAST, most)
        cursor = backlog.cursor
        assert backlog.moved is None
    assert found == ALL


def test_a_restore_is_an_event_at_once_and_not_again_with_the_close() -> None:
    """It is delivered while its frame is open; the close of that frame does not repeat it."""
    primary = new_primary(b"")
    close(primary)
    backlog = Backlog(Cursor(2), TYPES)
    assert drain(backlog, primary, look_of(primary)) == []
    edit_frame_file(primary)
    assert poll(primary, restore=True)[0].restored
    (restored,) = drain(backlog, primary, look_of(primary))
    assert restored.startswith("2-restored-")
    close(primary)
    assert [name.split("-")[:2] for name in drain(backlog, primary, look_of(primary))] == [["2", "0"]]


def test_a_commit_that_only_claims_to_restore_is_no_event() -> None:
    """A message with the trailer of a restore commit, over a tree that puts nothing back, reports nothing."""
    primary = new_primary(b"")
    close(primary)
    look = look_of(primary)
    head = primary.store.refs()[MAIN]
    forged = primary.store.commit(head)
    message = f"restore frame 1\n\nDreamcatcher-Restores: {look.published}\n"
    commit = primary.store.write_commit(msgspec.structs.replace(forged, parents=(head,), message=message))
    put(primary.store, MAIN, {"README": Entry(FILE, primary.store.write("blob", b"x"))}, (commit,), head)
    assert drain(Backlog(Cursor(2), TYPES), primary, look_of(primary)) == []


def test_a_cursor_of_another_history_goes_on_after_the_last_common_frame() -> None:
    """Frames that were closed again come again under other ids; where nothing is common, the open frame is the next."""
    backlog = Backlog(Cursor(1), TYPES)
    drain(backlog, FLEET, LAST)
    assert (backlog.cursor.frame, backlog.cursor.commit) == (5, LAST.published)
    shorter = Look(3, list_of_commits()[1], None)
    backlog = Backlog(backlog.cursor, TYPES)
    assert drain(backlog, FLEET, shorter) == []
    assert (backlog.cursor.frame, backlog.moved is not None) == (3, True)
    gone = Backlog(Cursor(9, commit="f" * 40), TYPES)
    assert drain(gone, FLEET, LAST) == []
    assert (gone.cursor.frame, gone.moved is not None) == (5, True)


def list_of_commits() -> list[str]:
    """The snapshot commits of the fleet, oldest first."""
    backlog = Backlog(Cursor(1), TYPES)
    backlog.follow(FLEET.store, LAST)
    return [str(e.data["commit"]) for e in backlog.events(FLEET.store, LAST) if e.type == "frame.closed"]


def test_a_trip_of_the_guard_waits_in_the_cursor_and_comes_once_in_its_place() -> None:
    """It comes before the close of its frame, survives a restart undelivered, and is not queued again once it is
    delivered in its frame."""
    trip = guard_tripped(3, "a lacks b", "look", 1.0)
    backlog = Backlog(Cursor(3, commit=list_of_commits()[1]), TYPES)
    assert backlog.queue(trip)
    assert not backlog.queue(trip)
    again = Backlog(msgspec.json.decode(msgspec.json.encode(backlog.cursor), type=Cursor), TYPES)
    assert drain(again, FLEET, LAST)[:2] == [trip.id, next(name for name in ALL if name.startswith("3-"))]
    assert again.cursor.queued == ()
    told = Backlog(Cursor(5), TYPES)
    assert told.queue(later := guard_tripped(5, "a lacks b", "look", 1.0))
    assert drain(told, FLEET, LAST) == [later.id]
    assert not told.queue(later)


def test_the_service_passes_on_what_it_finds(start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each look and each new trip of the guard reaches every delivery, the trip once for each cause and frame."""
    daemon = start()
    subscriptions = daemon.service.companions.events

    class Kept:
        def __init__(self) -> None:
            self.frames: list[int] = []
            self.causes: list[tuple[int | None, str]] = []

        def look(self, look: Look) -> None:
            self.frames.append(look.frame)

        def add(self, trip: object) -> None:
            self.causes.append((getattr(trip, "frame", None), getattr(trip, "cause", "")))

        waiting = 0

        def troubles(self) -> list[object]:
            return []

    kept = Kept()
    monkeypatch.setattr(subscriptions, "_running", {"one": kept})
    daemon.step(1)

    def trip() -> None:
        raise GuardError("a lacks b", "look")

    daemon.store.at_refs = [trip, trip]
    daemon.step(2)
    daemon.step(3)
    daemon.step(100)
    assert kept.causes == [(1, "a lacks b")]
    assert kept.frames[0] == 1
    assert kept.frames[-1] == 2


def test_an_unwanted_type_is_neither_counted_nor_queued() -> None:
    """A subscription to closes alone waits for these alone, and reads no history of the shared branch."""
    backlog = Backlog(Cursor(1), frozenset[EventType]({"frame.closed"}))
    backlog.follow(FLEET.store, LAST)
    backlog.count(FLEET.store, 1_000)
    assert backlog.waiting == 4
    assert not backlog.queue(CloudEvent("1-guard", "guard.tripped", 1.0, {"frame": 1}))
    assert drain(backlog, FLEET, LAST) == [name for name in ALL if name.split("-")[1] == "0"]
