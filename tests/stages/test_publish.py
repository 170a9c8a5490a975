"""What is published, and what never happens: races, kills, forgeries, edits (docs/protocol.md#publishing)."""

from __future__ import annotations

import json
import random
import time
from typing import Any

import pytest

import dreamcatcherd.daemon.cycle
import dreamcatcherd.stages.merge
from dreamcatcherd.cli.progress import check_frames
from dreamcatcherd.core import paths
from dreamcatcherd.core.errors import FatalError, RefusedError
from dreamcatcherd.core.frames import Closing
from dreamcatcherd.core.ledger import Ledger
from dreamcatcherd.core.merge import Merged, merge
from dreamcatcherd.core.tree import FILE, TREE, Entry, subtree
from dreamcatcherd.daemon.cycle import close_frame, poll
from dreamcatcherd.daemon.primary import Primary
from dreamcatcherd.git.protocols import Commit, Move, Store
from dreamcatcherd.history.verify import read_history
from dreamcatcherd.stages.delta_reader import versions_of
from dreamcatcherd.stages.first_frame import open_first
from dreamcatcherd.stages.published import load_ledger
from dreamcatcherd.stages.snapshot_chain import claimed_frame
from tests.law.fleet import MAIN, NOW, commit_files
from tests.stages.tools import FOLDER, WHO, close, content, merged, other, put, stands, text


def kinds(primary: Primary) -> list[tuple[str, str]]:
    return [(row.kind, row.path) for row in close(primary).violations]


def accounted_for(store: Store) -> int:
    """Check every published commit: each version that it makes reachable stands in its ledger. Returns how many."""
    versions = 0
    history = store.new_commits([store.refs()[paths.PUBLISHED]], [])
    closed = {frame: oid for oid, commit in history.items() if (frame := claimed_frame(commit)) is not None}
    before: list[str] = []
    for frame in sorted(closed):
        oid = closed[frame]
        ledger = load_ledger(store, subtree(store, history[oid].tree, paths.LEDGER), frame)
        assert ledger is not None
        judged = {(row.path, row.blob) for row in ledger.rows()}
        for new, commit in store.new_commits([oid], before).items():
            if new != oid:
                found = {(paths.printable(path), blob) for path, blob, _ in versions_of(store, commit, paths.ROOTS)}
                assert found <= judged
                versions += len(found)
        before.append(oid)
    return versions


def test_lane_deltas_are_copied_in_and_nothing_that_stands_is_replaced(primary: Primary) -> None:
    """A lane delta keeps its path; where other bytes stand it gets `~` and 8 digits, attachments along with it."""
    store = primary.store
    path, mine = f"{FOLDER}/1/same.json", text(stream="s", number=1)
    commit_files(store, MAIN, {path: mine, "README": b"ours"})
    theirs = text(stream="a", number=2, posts_created=[{"number": 1, "body_ref": "b.md"}])
    files = {path: theirs, f"{FOLDER}/1/same/b.md": b"text", f"{FOLDER}/1/free.json": text(stream="a", number=3)}
    lane = commit_files(store, "refs/heads/dc/a", files, orphan=True)
    head = store.refs()[MAIN]
    commit_files(store, "refs/heads/dc/b", {f"{FOLDER}/1/bad.json": b"{"}, orphan=True)
    ledger = close(primary)
    blob = next(row.blob for row in ledger.deltas if row.utc % 60_000_000 == 2_000_000)
    assert content(store, path) == mine
    assert content(store, f"{FOLDER}/1/same~{blob[:8]}.json") == theirs
    assert content(store, f"{FOLDER}/1/same~{blob[:8]}/b.md") == b"text"
    assert content(store, f"{FOLDER}/1/free.json") == files[f"{FOLDER}/1/free.json"]
    assert stands(store, f"{FOLDER}/1/bad.json") is None
    assert content(store, "README") == b"ours"
    parents = store.commit(store.refs()[MAIN]).parents
    assert (parents[0], set(parents[1:])) == (head, {lane, store.refs()["refs/heads/dc/b"]})


@pytest.mark.parametrize(
    ("standing", "coming"),
    [
        ("Same.json", "same.json"),
        ("same.JSON.json", "SAME.json.json"),
        ("caf\u00e9.json", "cafe\u0301.json"),
        ("stra\u00dfe.json", "STRASSE.json"),
        ("Alice/x.json", "alice/X.json"),
        ("alice/x.json", "ALICE/x.json"),
    ],
)
@pytest.mark.parametrize("where", ["main", "lane"])
def test_names_that_some_file_systems_hold_to_be_one_are_kept_apart(
    primary: Primary, standing: str, coming: str, where: str
) -> None:
    """A lane delta whose path differs from one that is there, or comes with it, only by letter case or Unicode
    normalisation gets `~` and 8 digits, so that every clone can hold both."""
    store = primary.store
    first, second = text(stream="a", number=1), text(stream="b", number=2)
    ref = MAIN if where == "main" else "refs/heads/dc/a"
    commit_files(store, ref, {f"{FOLDER}/1/{standing}": first})
    commit_files(store, "refs/heads/dc/b", {f"{FOLDER}/1/{coming}": second}, orphan=True)
    ledger = close(primary)
    blob = next(row.blob for row in ledger.deltas if row.stream_id == "b")
    assert content(store, f"{FOLDER}/1/{standing}") == first
    assert stands(store, f"{FOLDER}/1/{coming}") is None
    assert content(store, f"{FOLDER}/1/{coming.removesuffix('.json')}~{blob[:8]}.json") == second


def test_edited_canonical_files_are_put_right_and_named(primary: Primary) -> None:
    """Edits of snapshot, ledger and frame.json never count; the ledger says who made them."""
    store = primary.store
    commit_files(store, MAIN, {f"{FOLDER}/1/a.json": text()})
    first = close(primary)
    files = {"state/snapshot/state/agents.jsonl": b"{}", "state/ledger/0/1.json": b"<<<<<<<", "state/frame.json": b"{}"}
    culprit = commit_files(store, MAIN, files)
    commit_files(store, MAIN, {"README": b"innocent"})
    second = close(primary)
    assert second.snapshot == first.snapshot
    assert {(row.kind, row.commit, row.author) for row in second.violations} == {
        (kind, culprit, WHO) for kind in ("snapshot-edited", "ledger-edited", "frame-edited")
    }
    raw = content(store, "state/frame.json")
    assert raw is not None
    assert json.loads(raw)["frame"] == 3
    assert load_ledger(store, subtree(store, store.commit(store.refs()[MAIN]).tree, paths.LEDGER), 1) == first
    assert kinds(primary) == []


def test_changed_deltas_count_twice_and_deleted_ones_are_put_back(primary: Primary) -> None:
    """A change makes a second delta; a deletion takes nothing away."""
    store = primary.store
    commit_files(store, MAIN, {f"{FOLDER}/1/a.json": text(number=1), f"{FOLDER}/1/b/c.json": text(number=2)})
    close(primary)
    put(
        store,
        MAIN,
        {f"{FOLDER}/1/b/c.json": None, f"{FOLDER}/1/a.json": Entry(FILE, store.write("blob", text(number=9)))},
    )
    ledger = close(primary)
    assert {(row.kind, row.path) for row in ledger.violations} == {
        ("delta-changed", f"{FOLDER}/1/a.json"),
        ("delta-deleted", f"{FOLDER}/1/b/c.json"),
    }
    assert content(store, f"{FOLDER}/1/b/c.json") == text(number=2)
    assert (ledger.counts.deltas, ledger.counts.late, ledger.counts.entities) == (1, 1, {"observations": 3})


def test_a_rewound_main_gets_both_heads_as_parents(primary: Primary) -> None:
    """After a forced push nothing is lost: the last publication and the new head are both parents."""
    store = primary.store
    start = store.refs()[MAIN]
    commit_files(store, MAIN, {f"{FOLDER}/1/a.json": text()})
    first = close(primary)
    published = store.refs()[MAIN]
    assert store.move_refs([Move(MAIN, start, published)], "force")
    rewound = commit_files(store, MAIN, {"README": b"as if nothing had been"})
    second = close(primary)
    assert second.snapshot == first.snapshot
    assert [row.kind for row in second.violations] == ["main-rewound"]
    assert store.commit(store.refs()[MAIN]).parents == (rewound, published)
    assert content(store, f"{FOLDER}/1/a.json") == text()
    assert content(store, "README") is not None


def test_what_comes_with_a_moved_head_is_judged_before_the_rebuild(
    primary: Primary, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Workers who push between the read and the swap, three times over, have their deltas in the commit."""
    store = primary.store
    commit_files(store, MAIN, {f"{FOLDER}/1/a.json": text()})
    swap = store.move_refs
    raced: list[int] = []

    def overtaken(moves: list[Move], reason: str) -> bool:
        if len(raced) < 3 and reason.startswith("frame 1"):
            raced.append(1)
            late = text(number=10 + len(raced))
            entry = Entry(FILE, store.write("blob", late))
            pushing = other(store).store
            pushing.write("blob", late)
            put(pushing, MAIN, {f"{FOLDER}/1/race-{len(raced)}.json": entry})
        return swap(moves, reason)

    monkeypatch.setattr(store, "move_refs", overtaken)
    report = close_frame(primary, "test")
    assert report.ledger is not None
    assert (report.races, merged(report.ledger)) == (3, ["a.json", "race-1.json", "race-2.json", "race-3.json"])
    assert accounted_for(store) == 4


def test_a_branch_that_never_stands_still_keeps_no_frame_open(
    primary: Primary, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where a frame is slow to merge, a lost race is run again with what is merged: what came since is accounted for as
    held, merges with the next frame, and all of it verifies."""
    store = primary.store
    commit_files(store, MAIN, {f"{FOLDER}/1/a.json": text()})
    swap = store.move_refs
    raced: list[int] = []

    def overtaken(moves: list[Move], reason: str) -> bool:
        if len(raced) < 7 and reason.startswith("frame 1"):
            raced.append(1)
            commit_files(other(store).store, MAIN, {f"{FOLDER}/1/race-{len(raced)}.json": text(number=len(raced))})
        return swap(moves, reason)

    monkeypatch.setattr(store, "move_refs", overtaken)
    merges: list[int] = []

    def counted(*given: Any) -> Merged:
        merges.append(1)
        until = time.thread_time() + 0.05
        while time.thread_time() < until:
            pass
        return merge(*given)

    monkeypatch.setattr(dreamcatcherd.stages.merge, "merge", counted)
    monkeypatch.setattr(dreamcatcherd.daemon.cycle, "SLOW_S", 0.02)
    report = close_frame(primary, "test")
    assert report.ledger is not None
    assert (report.races, len(merges)) == (7, 1)
    assert merged(report.ledger) == ["a.json"]
    assert [row.path.rpartition("/")[2] for row in report.ledger.held] == [f"race-{n}.json" for n in range(1, 8)]
    assert sum(poll(primary)[0].pending.streams.values()) == 7
    ledger = close(primary)
    assert merged(ledger) == [f"race-{n}.json" for n in range(1, 8)]
    assert all(row.late for row in ledger.deltas)
    assert (len(ledger.ended), ledger.counts.waiting) == (7, 0)
    assert accounted_for(store) == 8
    assert check_frames(store, read_history(store, store.refs(), primary.main), None).ok


def test_two_primaries_close_a_frame_once_with_the_same_digest(
    primary: Primary, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The one that loses the swap sees that the frame is closed, and says that it lost."""
    store = primary.store
    commit_files(store, MAIN, {f"{FOLDER}/1/a.json": text()})
    rival = other(store)
    swap = store.move_refs
    won: list[Ledger] = []

    def late(moves: list[Move], reason: str) -> bool:
        if not won:
            won.append(close(rival))
        return swap(moves, reason)

    monkeypatch.setattr(store, "move_refs", late)
    report = close_frame(primary, "test")
    assert (report.lost, report.ledger, report.pending.frame) == (True, None, 2)
    assert report.pending.digest == won[0].snapshot
    assert close(primary).frame == 2
    assert close(rival).frame == 3


@pytest.mark.parametrize("lost", [True, False], ids=["lost", "stale"])
def test_a_primary_killed_between_its_two_moves_merges_nothing_twice(primary: Primary, lost: bool) -> None:
    """With the published ref gone or behind, the next start believes the whole snapshot commit on `main`."""
    store = primary.store
    before = store.refs()[paths.PUBLISHED]
    commit_files(store, MAIN, {f"{FOLDER}/1/a.json": text(), f"{FOLDER}/1/bad.json": b"{"})
    first = close(primary)
    assert store.move_refs([Move(paths.PUBLISHED, None if lost else before, store.refs()[paths.PUBLISHED])], "kill")
    again = close(other(store))
    assert (again.frame, again.previous, again.snapshot) == (2, first.snapshot, first.snapshot)
    assert (again.deltas, again.quarantined, again.duplicates) == ([], [], [])


def test_a_forged_snapshot_commit_hides_nothing(primary: Primary) -> None:
    """A commit with the right trailers whose ledger omits a delta that it reaches is not believed: the delta merges."""
    store = primary.store
    honest = other(store)
    commit_files(store, MAIN, {f"{FOLDER}/1/a.json": text(number=1)})
    published = store.refs()[paths.PUBLISHED]
    head = store.refs()[MAIN]
    close(honest)
    made = store.refs()[MAIN]
    tree = store.commit(made).tree
    assert store.move_refs([Move(MAIN, head, made), Move(paths.PUBLISHED, published, made)], "take back")
    hidden = commit_files(store, MAIN, {f"{FOLDER}/1/hidden.json": text(number=2)})
    forged = store.write_commit(Commit(tree, (hidden,), WHO, NOW // 1_000_000, store.commit(made).message))
    store.flush()
    assert store.move_refs([Move(MAIN, forged, hidden)], "forge")
    ledger = close(other(store))
    assert (ledger.frame, merged(ledger)) == (1, ["a.json", "hidden.json"])
    assert "snapshot-edited" in {row.kind for row in ledger.violations}


def test_settings_count_when_good_and_are_refused_when_not(primary: Primary) -> None:
    """A new collection takes effect at the next close; a key change of one with entities, or garbage, never does."""
    store = primary.store
    row = b'[collections.claims]\nkey = ["resource"]\nrule = "first"\n'
    claims = [{"resource": "r", "by": number} for number in range(2)]
    commit_files(store, MAIN, {"state/dreamcatcher.toml": row, f"{FOLDER}/1/a.json": text(claims=claims)})
    first = close(primary)
    assert (first.counts.entities, first.violations) == ({"claims": 1}, [])
    for broken in (row.replace(b"resource", b"other"), b"[limits", b""):
        commit_files(store, MAIN, {"state/dreamcatcher.toml": broken})
        ledger = close(primary)
        assert [kind.kind for kind in ledger.violations] == ["settings-refused"]
        assert (ledger.settings, ledger.snapshot) == (first.settings, first.snapshot)
        assert kinds(primary) == []
    commit_files(store, MAIN, {"state/dreamcatcher.toml": row + b"[limits]\ndepth = 9\n"})
    assert close(primary).settings not in (None, first.settings)


def test_nothing_is_published_from_state_that_cannot_be_read(primary: Primary) -> None:
    """A published ref to an incomplete snapshot stops publishing with a remedy; the repository stays as it was."""
    store = primary.store
    commit_files(store, MAIN, {f"{FOLDER}/1/a.json": text()})
    close(primary)
    published = store.refs()[paths.PUBLISHED]
    broken = put(store, "refs/heads/broken", {"state/snapshot": Entry(TREE, store.write("tree", b""))}, (published,))
    assert store.move_refs([Move(paths.PUBLISHED, broken, published), Move(MAIN, broken, published)], "break")
    with pytest.raises(FatalError, match="not a complete snapshot"):
        close(other(store))
    assert store.refs()[MAIN] == broken


def test_every_published_commit_accounts_for_all_that_it_reaches(primary: Primary) -> None:
    """Over random pushes, good and bad, on lanes and on `main`, each snapshot commit's ledger lists every version."""
    store, chance = primary.store, random.Random(5)
    pushed = 0
    for step in range(60):
        stream = chance.choice("abc")
        raw = chance.choice([text(chance.randrange(1, 9), stream, step), b"{", text(1, "a", 1), text(5000, stream)])
        frame = chance.randrange(1, 9)
        ref = MAIN if chance.random() < 0.5 else f"refs/heads/dc/{stream}"
        path = f"{FOLDER}/{frame}/{chance.randrange(6)}.json"
        before = content(store, path, ref) if ref in store.refs() else None
        commit_files(store, ref, {path: raw})
        pushed += before != raw
        if chance.random() < 0.2:
            close(primary if chance.random() < 0.5 else other(store))
    close(primary)
    assert accounted_for(store) >= pushed


def test_a_repository_with_commits_is_not_begun_again(primary: Primary) -> None:
    """Opening a first frame where one is open already is refused with a remedy, and moves nothing."""
    refs = primary.store.refs()
    with pytest.raises(RefusedError, match="has commits already") as refused:
        open_first(primary.store, 5, NOW, Closing("manual"), MAIN)
    assert refused.value.remedy == "run on it as it is"
    assert primary.store.refs() == refs
