"""The chain of snapshot commits is found whole, whatever lies nearer: on commits with the trailer and on older ones."""

from __future__ import annotations

import random
from collections.abc import Callable
from functools import partial

import pytest

from dreamcatcherd.cli.progress import check_frames
from dreamcatcherd.core import paths
from dreamcatcherd.core.errors import FatalError
from dreamcatcherd.core.ledger import Ledger
from dreamcatcherd.core.tree import FILE, Entry
from dreamcatcherd.daemon.primary import Primary
from dreamcatcherd.git.protocols import Commit, Move, Store
from dreamcatcherd.history.queries import Chain
from dreamcatcherd.history.replay import closed_frames, replay_to
from dreamcatcherd.history.verify import read_history
from dreamcatcherd.stages import snapshot
from dreamcatcherd.stages.snapshot_chain import claimed_previous, links
from tests.law.fleet import MAIN, commit_files
from tests.stages.tools import FOLDER, close, other, put, text


@pytest.fixture(params=["trailer", "older"])
def age(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Whether snapshot commits name the one before, or are of a version that did not."""
    if request.param == "older":
        message_of: Callable[[Ledger, str | None], str] = snapshot.commit_message
        monkeypatch.setattr(snapshot, "commit_message", lambda ledger, *_: message_of(ledger, None))
    return str(request.param)


def delta(store: Store, ref: str, number: int, frame: int = 1, base: str | None = None, stream: str = "s") -> str:
    """A delta pushed to a ref, on a commit of the pusher's choice."""
    entry = Entry(FILE, store.write("blob", text(frame, stream, number)))
    parents = (base,) if base else None
    return put(store, ref, {f"{FOLDER}/{frame}/{stream}-{number}.json": entry}, parents)


def assert_whole(primary: Primary, frames: int) -> None:
    """Every way to look back agrees that all frames are closed and as published."""
    store = primary.store
    refs = store.refs()
    wanted = list(range(1, frames + 1))
    chain = list(links(store, refs[paths.PUBLISHED]))[::-1]
    assert [link.frame for link in chain] == wanted
    base = other(store).load_published(refs)
    assert [row["frame"] for row in Chain().log(store, base)] == wanted[::-1]
    verdict = check_frames(store, read_history(store, refs, MAIN), None)
    assert (verdict.ok, verdict.frames, verdict.why) == (True, frames, None)
    told = list(closed_frames(store, chain))
    for frame in wanted[:: max(1, frames // 5)]:
        assert replay_to(store, told, frame).tree == told[frame - 1].ledger.snapshot


def test_a_lane_of_an_old_clone_hides_no_frame(primary: Primary, age: str) -> None:
    """Frame 1, a clone, frame 2, two commits on main, and the old clone's lane: frame 3 follows on frame 2."""
    store = primary.store
    close(primary)
    clone = store.refs()[MAIN]
    close(primary)
    commit_files(store, MAIN, {"README": b"1"})
    commit_files(store, MAIN, {"README": b"2"})
    delta(store, "refs/heads/dc/s", 1, base=clone)
    close(primary)
    assert_whole(primary, 3)


def test_a_main_that_was_rewound_and_healed_hides_no_frame(primary: Primary, age: str) -> None:
    """After a rewind by two frames the older snapshot commit is the first parent, and still not the one before."""
    store = primary.store
    close(primary)
    first = store.refs()[MAIN]
    delta(store, MAIN, 1)
    close(primary)
    close(primary)
    assert store.move_refs([Move(MAIN, first, store.refs()[MAIN])], "rewind")
    delta(store, MAIN, 2)
    close(primary)
    assert_whole(primary, 4)


def test_the_trailer_names_the_snapshot_commit_before(primary: Primary) -> None:
    """The first snapshot commit names none, each further one the one before; what opens a repository is none."""
    store = primary.store
    commits = []
    for _ in range(3):
        close(primary)
        commits.append(store.refs()[MAIN])
    assert [claimed_previous(store.commit(oid)) for oid in commits] == [None, *commits[:2]]


def test_a_copy_of_a_snapshot_commit_is_not_the_one_before(primary: Primary, age: str) -> None:
    """A worker who picks a snapshot commit onto another base, or amends one, makes no frame of it."""
    store = primary.store
    close(primary)
    delta(store, MAIN, 1)
    close(primary)
    second = store.commit(store.refs()[MAIN])
    for ref, parents in (("refs/heads/dc/s", (store.refs()[MAIN],)), ("refs/heads/dc/t", second.parents)):
        copied = store.write_commit(Commit(second.tree, parents, "w <w@x>", 5, second.message))
        store.flush()
        assert store.move_refs([Move(ref, copied, None)], "push")
    close(primary)
    assert_whole(primary, 3)


def test_a_chain_that_names_a_missing_commit_is_broken_not_short(primary: Primary) -> None:
    """Where the commit before is gone the walk fails and says where; verify names the frame that was dropped."""
    store = primary.store
    for _ in range(3):
        close(primary)
    last = store.commit(store.refs()[MAIN])
    before = claimed_previous(last)
    assert before is not None
    forged = Commit(last.tree, last.parents, last.author, last.time, last.message.replace(before, "1" * 40))
    oid = store.write_commit(forged)
    with pytest.raises(FatalError, match="broken at"):
        list(links(store, oid))
    old = store.refs()[MAIN]
    store.flush()
    assert store.move_refs([Move(MAIN, oid, old), Move(paths.PUBLISHED, oid, old)], "forge")
    fresh = other(store).store  # one that saw nothing of before
    verdict = check_frames(fresh, read_history(fresh, fresh.refs(), MAIN), None)
    assert (verdict.ok, verdict.first_bad) == (False, 2)


@pytest.mark.parametrize("seed", range(4))
def test_any_mixture_of_bases_rewinds_and_dates_verifies(primary: Primary, age: str, seed: int) -> None:
    """Old lane bases, pushes to main, merges, rewinds and clocks of any year: all frames are found and verify."""
    store, chance = primary.store, random.Random(seed)
    heads = [store.refs()[MAIN]]
    clock = primary.clock()
    for frame in range(1, 13):
        for number in range(chance.randrange(4)):
            base, stream = chance.choice(heads), chance.choice("abc")
            lane = f"refs/heads/dc/{stream}/{frame}-{number}"
            ref = MAIN if chance.random() < 0.4 else lane
            oid = delta(
                store, ref, 100 * frame + number, chance.randrange(1, frame + 2), base if ref == lane else None, stream
            )
            if ref == lane and chance.random() < 0.3:
                put(store, MAIN, {}, (store.refs()[MAIN], oid))
        if chance.random() < 0.3:
            assert store.move_refs([Move(MAIN, chance.choice(heads), store.refs()[MAIN])], "rewind")
        primary.clock = partial(int, clock + chance.choice([-(10**14), 0, 10**14]))
        close(primary)
        heads.append(store.refs()[MAIN])
    assert_whole(primary, 12)
