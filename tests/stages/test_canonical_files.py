"""Canonical files that somebody edited are put back by a commit of its own, which changes nothing else."""

from __future__ import annotations

import pytest

from dreamcatcherd.core import paths
from dreamcatcherd.core.ledger import Violation
from dreamcatcherd.core.tree import FILE, Entry, differences, lookup, walk
from dreamcatcherd.daemon.cycle import poll
from dreamcatcherd.daemon.primary import Primary
from dreamcatcherd.git.protocols import Commit, Move, Store
from dreamcatcherd.hook.branch_rules import judge_push
from dreamcatcherd.hook.push import Gate, Update
from dreamcatcherd.stages.restore_pace import LONGEST_S, RESET_AFTER_S, RestorePace
from tests.law.fleet import MAIN, commit_files
from tests.stages.tools import FOLDER, WHO, close, content, merged, other, put, text

STATE = "state/frame.json"


def edited(store: Store, path: str = STATE, raw: bytes = b"{}") -> str:
    return commit_files(store, MAIN, {path: raw})


def kinds(rows: list[Violation]) -> list[tuple[str, str, str | None]]:
    return [(row.kind, row.path, row.commit) for row in rows]


@pytest.fixture
def published(primary: Primary) -> Primary:
    """A primary with one closed frame that merged a delta."""
    commit_files(primary.store, MAIN, {f"{FOLDER}/1/d.json": text()})
    close(primary)
    return primary


def test_a_restore_commit_changes_the_canonical_files_and_nothing_else(published: Primary) -> None:
    """Edits of frame.json, ledger and snapshot are put back; what else the pusher brought stays, and is read later."""
    store = published.store
    before = store.refs()
    tree = store.commit(before[MAIN]).tree
    snapshot = lookup(store, tree, paths.SNAPSHOT)
    files: dict[str, Entry | None] = {
        path: Entry(FILE, store.write("blob", raw))
        for path, raw in {
            STATE: b"{}",
            "README": b"hello",
            f"{FOLDER}/2/new.json": text(2, number=5),
            "state/ledger/9/9999.json": b"",
        }.items()
    }
    rogue = put(store, MAIN, {**files, paths.SNAPSHOT: None})
    report, _ = poll(published, restore=True)
    refs = store.refs()
    assert report.restored == refs[MAIN]
    commit = store.commit(refs[MAIN])
    assert commit.parents == (rogue,)
    assert commit.message == f"restore frame 1\n\nDreamcatcher-Restores: {before[MAIN]}\n"
    assert refs[paths.PUBLISHED] == before[paths.PUBLISHED]
    changed = {path for path, *_ in differences(store, store.commit(rogue).tree, commit.tree)}
    assert {path.partition("/")[2].partition("/")[0] for path in changed} == {"frame.json", "ledger", "snapshot"}
    assert lookup(store, commit.tree, paths.SNAPSHOT) == snapshot
    assert content(store, "README") == b"hello"
    after, _ = poll(published, restore=True)
    assert (after.restored, after.pending.streams) == (None, {"s": 1})
    ledger = close(published)
    assert merged(ledger) == ["new.json"]
    assert {(row.kind, row.commit, row.author) for row in ledger.violations} == {
        (kind, rogue, WHO) for kind in ("snapshot-edited", "ledger-edited", "frame-edited")
    }
    assert close(published).violations == []


def test_an_edit_is_reported_from_the_look_to_the_close(published: Primary) -> None:
    """Its trouble names kind, file, author and commit, before and after it is put back; after the close it is over."""
    rogue = edited(published.store)
    for _ in range(3):
        pending = poll(published, restore=True)[0].pending
        assert kinds(pending.violations) == [("frame-edited", STATE, rogue)]
        assert [one.what for one in pending.troubles] == [f"frame-edited: {STATE} by {WHO} in commit {rogue}"]
    close(published)
    assert poll(published)[0].pending.troubles == []


def test_a_merge_that_takes_old_canonical_files_is_an_edit(published: Primary) -> None:
    """`git merge -s ours` from an old clone turns the files back, although they equal a parent's."""
    store = published.store
    old = store.refs()[MAIN]
    close(published)
    head = store.refs()[MAIN]
    merge = store.write_commit(Commit(store.commit(old).tree, (old, head), WHO, 5, "merge\n"))
    store.flush()
    assert store.move_refs([Move(MAIN, merge, head)], "push")
    assert poll(published, restore=True)[0].restored
    rows = kinds(close(published).violations)
    assert {kind for kind, *_ in rows} == {"ledger-edited", "frame-edited"}  # the frame in between was empty
    assert {commit for *_, commit in rows} == {merge}


def test_an_edit_names_the_files_that_it_changed_and_no_others(published: Primary) -> None:
    """Of the many files of a snapshot, only the edited one is named, also if somebody edits it a second time."""
    store = published.store
    tree = store.commit(store.refs()[MAIN]).tree
    names = [name for name, _ in walk(store, tree) if name.startswith(paths.SNAPSHOT)]
    assert len(names) > 1
    rogues = [edited(store, names[0], raw) for raw in (b"one", b"two")]
    assert kinds(close(published).violations) == [("snapshot-edited", names[0], rogue) for rogue in rogues]


def test_an_honest_merge_from_an_old_clone_is_no_edit(published: Primary) -> None:
    """Commits on an old base show old files on no branch; merged the right way nothing is restored or reported."""
    store = published.store
    old = store.refs()[MAIN]
    close(published)
    head = store.refs()[MAIN]
    own = put(
        store, "refs/heads/work", {f"{FOLDER}/1/own.json": Entry(FILE, store.write("blob", text(number=9)))}, (old,)
    )
    put(store, MAIN, {f"{FOLDER}/1/own.json": Entry(FILE, store.write("blob", text(number=9)))}, (head, own))
    report, _ = poll(published, restore=True)
    assert (report.restored, report.pending.violations) == (None, [])
    assert close(published).violations == []


def test_several_primaries_make_one_restore_commit(published: Primary) -> None:
    """The one whose compare-and-swap loses makes none."""
    second = other(published.store)
    edited(published.store)
    assert poll(second, restore=True)[0].restored == published.store.refs()[MAIN]
    assert poll(published, restore=True)[0].restored is None


def test_whoever_repeats_an_edit_is_answered_less_and_less_often(published: Primary) -> None:
    """After each restore the next one waits longer; the close restores in any case, and names every edit."""
    seconds = 1000.0
    published._steady = lambda: seconds
    rogues, restored = [], 0
    for _ in range(40):
        rogues.append(edited(published.store, raw=str(seconds).encode()))
        restored += poll(published, restore=True)[0].restored is not None
        seconds += 1
    assert 4 <= restored <= 7
    ledger = close(published)
    assert [row.commit for row in ledger.violations] == rogues
    assert poll(published)[0].pending.troubles == []


def test_the_pace_doubles_to_a_bound_and_calms_down() -> None:
    """0, then 1, 2, 4 s and so on up to 300 s; after 15 minutes of calm at once again."""
    pace, now, waits = RestorePace(), 5.0, []
    for _ in range(12):
        waits.append(pace.wait_s(now))
        pace.restored(now)
    assert waits == [0, 1, 2, 4, 8, 16, 32, 64, 128, 256, LONGEST_S, LONGEST_S]
    assert pace.wait_s(now + RESET_AFTER_S + 1) == 0


def test_nothing_is_restored_before_the_close_where_so_configured(published: Primary) -> None:
    """With `restore = "close"` the edit is reported, and stays until the frame closes."""
    published.restores = False
    edited(published.store)
    report, _ = poll(published, restore=True)
    assert (report.restored, len(report.pending.troubles)) == (None, 1)
    assert content(published.store, STATE) == b"{}"
    close(published)
    assert content(published.store, STATE) != b"{}"


def test_a_rewound_main_waits_for_the_close(published: Primary) -> None:
    """A rewind is put right by the next snapshot commit, with both heads as parents, not by a restore commit."""
    store = published.store
    old = store.refs()[MAIN]
    close(published)
    assert store.move_refs([Move(MAIN, old, store.refs()[MAIN])], "rewind")
    report, _ = poll(published, restore=True)
    assert (report.restored, [row.kind for row in report.pending.violations]) == (None, ["main-rewound"])


def test_views_are_restored_like_other_canonical_files(published: Primary) -> None:
    """A view file that was published is put back, and its edit is a violation of its own kind."""
    view = b'[views.seen]\ncollection = "observations"\npath = "api/seen.json"\n'
    commit_files(published.store, MAIN, {paths.SETTINGS: view})
    close(published)
    rogue = edited(published.store, "api/seen.json")
    assert poll(published, restore=True)[0].restored
    assert kinds(close(published).violations) == [("view-edited", "api/seen.json", rogue)]


def test_the_check_lets_files_be_put_back_and_nothing_else(published: Primary) -> None:
    """A push that makes canonical files what was published enters; one that leaves another byte is refused."""
    store = published.store
    good = store.refs()[MAIN]
    rogue = edited(store)
    right = lookup(store, store.commit(good).tree, STATE)
    for entry, allowed in ((right, True), (Entry(FILE, store.write("blob", b"[]")), False)):
        new = put(store, "refs/heads/try", {STATE: entry}, (rogue,))
        offences = judge_push(store, [Update(MAIN, rogue, new)], Gate(MAIN))
        assert [one.reason for one in offences] == ([] if allowed else ["frame-edited"])
