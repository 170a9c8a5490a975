"""Refs that others move back or delete: nothing is lost, and the ledger says so once (docs/protocol.md#publishing)."""

from __future__ import annotations

import pytest

from dreamcatcherd.core import paths
from dreamcatcherd.core.ledger import Ledger
from dreamcatcherd.core.tree import FILE, Entry
from dreamcatcherd.daemon.cycle import poll
from dreamcatcherd.daemon.primary import Primary
from dreamcatcherd.git.protocols import Move
from dreamcatcherd.history.verify import read_history, verify_frame
from tests.law.fleet import MAIN, commit_files
from tests.stages.tools import FOLDER, WHO, close, content, merged, other, put, text

LANE = "refs/heads/dc/s"
FRESH = "refs/heads/dc/s/1-x"


def push(primary: Primary, ref: str, name: str, number: int, *, orphan: bool = False) -> str:
    """Push one delta; an orphan commit takes the place of what the ref names, as by a forced push."""
    return commit_files(primary.store, ref, {f"{FOLDER}/1/{name}.json": text(number=number)}, orphan=orphan)


def move(primary: Primary, ref: str, new: str | None) -> None:
    assert primary.store.move_refs([Move(ref, new, primary.store.refs().get(ref))], "force")


def rewinds(ledger: Ledger) -> list[tuple[str, str, str | None, str | None]]:
    return [(row.kind, row.path, row.commit, row.author) for row in ledger.violations]


def parents(primary: Primary) -> tuple[str, ...]:
    store = primary.store
    return store.commit(store.refs()[MAIN]).parents


# Lanes ------------------------------------------------------------------------------------------------------------


def test_a_lane_forced_elsewhere_before_it_is_merged_loses_nothing(primary: Primary) -> None:
    """What was seen on it merges with what stands on it now, both heads are parents, the new head's author is named."""
    old = push(primary, LANE, "old", 1)
    poll(primary)
    new = push(primary, LANE, "new", 2, orphan=True)
    ledger = close(primary)
    assert merged(ledger) == ["new.json", "old.json"]
    assert rewinds(ledger) == [("lane-rewound", "dc/s", new, WHO)]
    assert old in ledger.violations[0].detail
    assert {old, new} <= set(parents(primary))
    assert content(primary.store, f"{FOLDER}/1/old.json") == text(number=1)
    assert rewinds(close(primary)) == []


def test_a_lane_deleted_before_it_is_merged_loses_nothing(primary: Primary) -> None:
    """What was seen on it merges under its name; there is no new head, so no commit and no author."""
    old = push(primary, FRESH, "old", 1, orphan=True)
    poll(primary)
    move(primary, FRESH, None)
    ledger = close(primary)
    assert [(row.path.rpartition("/")[2], row.source) for row in ledger.deltas] == [("old.json", "dc/s/1-x")]
    assert rewinds(ledger) == [("lane-rewound", "dc/s/1-x", None, None)]
    assert old in parents(primary)
    assert rewinds(close(primary)) == []


def test_a_lane_taken_back_one_commit_loses_nothing(primary: Primary) -> None:
    """An older head of its own is a rewind like any other: the newer commit merges."""
    first = push(primary, LANE, "first", 1)
    second = push(primary, LANE, "second", 2)
    poll(primary)
    move(primary, LANE, first)
    ledger = close(primary)
    assert merged(ledger) == ["first.json", "second.json"]
    assert rewinds(ledger) == [("lane-rewound", "dc/s", first, WHO)]
    assert second in parents(primary)


def test_a_lane_rewound_again_and_again_keeps_each_head_that_was_seen(primary: Primary) -> None:
    """Three forced pushes, one of them back to the first head, are three violations and no loss."""
    heads = []
    for number in range(3):
        heads.append(push(primary, LANE, f"d{number}", number, orphan=True))
        poll(primary)
    move(primary, LANE, heads[0])
    ledger = close(primary)
    assert merged(ledger) == ["d0.json", "d1.json", "d2.json"]
    assert [row.commit for row in ledger.violations] == [heads[1], heads[2], heads[0]]
    assert set(heads) <= set(parents(primary))
    assert (close(primary).violations, merged(close(primary))) == ([], [])


def test_a_merged_lane_that_is_forced_elsewhere_is_named_and_what_is_new_merges(primary: Primary) -> None:
    """After its merge a rewind takes nothing away, yet the lane no longer holds what it held."""
    push(primary, LANE, "old", 1)
    assert merged(close(primary)) == ["old.json"]
    poll(primary)
    new = push(primary, LANE, "new", 2, orphan=True)
    ledger = close(primary)
    assert merged(ledger) == ["new.json"]
    assert rewinds(ledger) == [("lane-rewound", "dc/s", new, WHO)]


def test_deleting_a_merged_lane_is_no_violation(primary: Primary) -> None:
    """Whoever cleans up a lane that is merged whole breaks nothing."""
    push(primary, LANE, "old", 1)
    close(primary)
    poll(primary)
    move(primary, LANE, None)
    poll(primary)
    assert close(primary).violations == []


@pytest.mark.parametrize("before", ["unmerged", "merged"])
def test_a_lane_that_grows_is_no_violation(primary: Primary, before: str) -> None:
    """A push upon what the lane holds, or upon a merge of it with main, is what lanes are for."""
    store = primary.store
    push(primary, LANE, "first", 1)
    poll(primary)
    if before == "merged":
        close(primary)
    second = push(primary, LANE, "second", 2)
    poll(primary)
    put(store, LANE, {"note": Entry(FILE, store.write("blob", b"merge"))}, (store.refs()[MAIN], second), second)
    poll(primary)
    push(primary, LANE, "third", 3)
    ledger = close(primary)
    assert (merged(ledger)[-2:], ledger.violations) == (["second.json", "third.json"], [])


def test_a_rewind_between_the_read_and_the_swap_is_in_the_next_commit(
    primary: Primary, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A lane is rewound while the frame closes: what was read merges, and the next ledger names the rewind."""
    push(primary, LANE, "old", 1)
    store, swap = primary.store, primary.store.move_refs
    new: list[str] = []

    def rewound_meanwhile(moves: list[Move], reason: str) -> bool:
        if reason.startswith("frame 1") and not new:
            pushing = other(store)
            new.append(push(pushing, LANE, "new", 2, orphan=True))
        return swap(moves, reason)

    monkeypatch.setattr(store, "move_refs", rewound_meanwhile)
    first = close(primary)
    assert (merged(first), rewinds(first)) == (["old.json"], [])
    second = close(primary)
    assert (merged(second), rewinds(second)) == (["new.json"], [("lane-rewound", "dc/s", new[0], WHO)])


def test_a_rewind_that_another_primary_told_of_is_not_told_again(primary: Primary) -> None:
    """Two primaries saw the lane rewound; the one that publishes names it, the other one's next ledger does not."""
    rival = other(primary.store)
    push(primary, LANE, "old", 1)
    for one in (primary, rival):
        poll(one)
    new = push(primary, LANE, "new", 2, orphan=True)
    for one in (primary, rival):
        poll(one)
    assert rewinds(close(primary)) == [("lane-rewound", "dc/s", new, WHO)]
    assert rewinds(close(rival)) == []


def test_lanes_under_a_prefix_that_is_no_longer_theirs_are_not_deleted(primary: Primary) -> None:
    """When the settings move the lanes elsewhere, the refs under the old prefix still stand: nobody rewound them."""
    push(primary, LANE, "old", 1)
    poll(primary)
    commit_files(primary.store, MAIN, {paths.SETTINGS: b'[lanes]\nprefix = "refs/lanes/"\n'})
    poll(primary)
    assert [row for row in close(primary).violations if row.kind == "lane-rewound"] == []


# main and the published ref ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("gone", [True, False], ids=["deleted", "moved back"])
def test_a_main_rewound_before_its_deltas_are_merged_loses_nothing(primary: Primary, gone: bool) -> None:
    """What a poll had seen on `main` is merged as pushed there, and the ledger names the rewind once."""
    store = primary.store
    push(primary, MAIN, "a", 1)
    close(primary)
    published = store.refs()[MAIN]
    old = push(primary, MAIN, "b", 2)
    poll(primary)
    move(primary, MAIN, None if gone else published)
    new = None if gone else push(primary, MAIN, "c", 3)
    ledger = close(primary)
    assert merged(ledger) == (["b.json"] if gone else ["b.json", "c.json"])
    assert {row.source for row in ledger.deltas} == {"main"}
    assert [(kind, path, commit) for kind, path, commit, _ in rewinds(ledger)] == [("main-rewound", "main", new)]
    assert parents(primary) == ((published, old) if gone else (new, old))
    assert content(store, f"{FOLDER}/1/b.json") == text(number=2)
    assert (rewinds(close(primary)), close(other(store)).violations) == ([], [])
    history = read_history(store, store.refs(), MAIN)
    assert [verify_frame(store, history, at) for at in range(len(history.links))] == [None] * 4


def test_a_deleted_main_is_put_back_with_everything(primary: Primary) -> None:
    """Deltas, other people's files, snapshot and settings stand again, upon the last publication."""
    store = primary.store
    commit_files(store, MAIN, {paths.SETTINGS: b"[limits]\ndepth = 9\n", "README": b"ours"})
    push(primary, MAIN, "a", 1)
    first = close(primary)
    published = store.refs()[MAIN]
    move(primary, MAIN, None)
    push(primary, LANE, "b", 2)
    lane = store.refs()[LANE]
    second = close(primary)
    assert rewinds(second) == [("main-rewound", "main", None, None)]
    assert (merged(second), second.previous, second.settings) == (["b.json"], first.snapshot, first.settings)
    assert second.settings_change is None
    assert parents(primary) == (published, lane)
    assert [content(store, path) for path in ("README", f"{FOLDER}/1/a.json", f"{FOLDER}/1/b.json")] == [
        b"ours",
        text(number=1),
        text(number=2),
    ]
    assert content(store, paths.SETTINGS) is not None
    assert close(other(store)).violations == []


@pytest.mark.parametrize("together", [True, False], ids=["with main", "alone"])
@pytest.mark.parametrize("gone", [True, False], ids=["deleted", "moved back"])
def test_a_published_ref_that_others_move_is_healed_by_who_saw_it(primary: Primary, together: bool, gone: bool) -> None:
    """Deleted or moved back, with or without `main`, while a primary runs: it goes on from what it saw published."""
    store = primary.store
    push(primary, MAIN, "a", 1)
    close(primary)
    earlier = store.refs()[MAIN]
    push(primary, MAIN, "b", 2)
    second = close(primary)
    published = store.refs()[MAIN]
    move(primary, paths.PUBLISHED, None if gone else earlier)
    if together:
        move(primary, MAIN, earlier)
        push(primary, MAIN, "c", 3)
    head = store.refs()[MAIN]
    third = close(primary)
    assert (third.frame, third.previous) == (3, second.snapshot)
    assert third.counts.entities == {"observations": 3 if together else 2}
    assert [row.kind for row in third.violations] == (["main-rewound"] if together else [])
    assert parents(primary) == ((head, published) if together else (published,))
    refs = store.refs()
    assert refs[paths.PUBLISHED] == refs[MAIN]
    assert content(store, f"{FOLDER}/1/b.json") == text(number=2)
    assert close(other(store)).previous == third.snapshot


def test_a_published_ref_and_main_moved_back_are_seen_at_a_mere_look(primary: Primary) -> None:
    """A look after the rewind shows the frame that is really open, not the one of the older commit."""
    store = primary.store
    earlier = store.refs()[MAIN]
    push(primary, MAIN, "a", 1)
    close(primary)
    move(primary, MAIN, earlier)
    move(primary, paths.PUBLISHED, earlier)
    report, _ = poll(primary)
    assert (report.pending.frame, report.pending.last_closed) == (2, 1)
    inbox = primary.read_inbox()
    assert inbox.arrivals == []


# Half a publication -----------------------------------------------------------------------------------------------


def test_half_a_publication_that_is_moved_back_was_never_one(primary: Primary) -> None:
    """A primary that saw a snapshot commit on `main` alone, before `main` was moved back, goes on from what another one
    published meanwhile: the chain has one commit for each frame, and every delta that was seen counts once."""
    base = primary.store.refs()[MAIN]
    push(primary, MAIN, "a", 1)
    second = other(primary.store)
    close(second)
    move(primary, paths.PUBLISHED, base)  # as where a server moves one ref after the other, and stops
    poll(primary)
    move(primary, MAIN, base)
    push(primary, LANE, "b", 2, orphan=True)
    third = other(primary.store)
    assert merged(close(third)) == ["b.json"]
    published = primary.store.refs()[paths.PUBLISHED]
    ledger = close(primary)
    assert (ledger.frame, merged(ledger)) == (2, ["a.json"])
    history = read_history(primary.store, primary.store.refs(), MAIN)
    assert [link.frame for link in history.links] == [1, 2]
    assert history.links[0].oid == published
    assert [verify_frame(primary.store, history, at) for at in range(2)] == [None, None]
