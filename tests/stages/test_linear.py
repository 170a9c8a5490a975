"""`[publish] history = "linear"`: snapshot commits have one parent, and merged lanes are held beside `main`."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from dreamcatcherd.cli.progress import check_frames
from dreamcatcherd.core import paths
from dreamcatcherd.core.frames import Closing
from dreamcatcherd.daemon.cycle import poll, remove_silent_lanes
from dreamcatcherd.daemon.primary import Primary
from dreamcatcherd.git.access import Access
from dreamcatcherd.git.local import LocalStore
from dreamcatcherd.git.protocols import Move
from dreamcatcherd.git.remote import RemoteStore
from dreamcatcherd.history.archive import open_archive, write_archive
from dreamcatcherd.history.verify import Verdict, read_history
from dreamcatcherd.hook.install import install_hooks
from dreamcatcherd.imports.new_repository import create
from dreamcatcherd.stages.first_frame import open_first
from dreamcatcherd.stages.mirror_copy import check_history, copied
from dreamcatcherd.testing import MemoryStore
from tests.git.wires import git_daemon
from tests.law.fleet import MAIN, NOW, commit_files, primary_on
from tests.stages.tools import FOLDER, close, merged, text

LINEAR = b'[publish]\nhistory = "linear"\n'


def git(folder: Path, *words: str) -> str:
    done = subprocess.run(["git", "-C", str(folder), *words], capture_output=True, text=True, check=True)
    return done.stdout.strip()


@pytest.fixture
def shared(tmp_path: Path) -> LocalStore:
    """A repository that has asked for a linear history."""
    store = create(tmp_path / "served" / "fleet.git", 1, NOW, Closing("manual"))
    commit_files(store, MAIN, {paths.SETTINGS: LINEAR})
    return store


def deliver(store: LocalStore, frame: int, *streams: str) -> None:
    """Each stream pushes one delta of a frame to a lane of its own."""
    for number, stream in enumerate(streams):
        files = {f"{FOLDER}/{frame}/{stream}.json": text(frame, stream, number)}
        commit_files(store, f"refs/heads/dc/{stream}/{frame}", files, orphan=True)


def merges(store: LocalStore) -> str:
    """The merge commits in the history of `main`."""
    return git(store.folder, "rev-list", "--min-parents=2", MAIN)


def wrong(store: LocalStore) -> Verdict | None:
    verdict = check_frames(store, read_history(store, store.refs(), MAIN), None)
    return None if verdict.ok else verdict


def test_main_stays_linear_and_lanes_are_held_beside_it(shared: LocalStore) -> None:
    """Lanes and pushes to `main` are merged, each once; no commit of `main` has two parents; what was merged is
    reachable from `refs/dreamcatcher/seen`, and all of it verifies."""
    primary = primary_on(shared)
    heads = []
    for frame in range(1, 5):
        deliver(shared, frame, "a", "b")
        commit_files(shared, MAIN, {f"{FOLDER}/{frame}/m.json": text(frame, "m", 9)})
        heads += [shared.refs()[f"refs/heads/dc/{one}/{frame}"] for one in "ab"]
        assert merged(close(primary)) == ["a.json", "b.json", "m.json"]
    assert merges(shared) == ""
    seen = shared.refs()[paths.SEEN]
    assert all(shared.descends(seen, head) for head in heads)
    assert not any(shared.descends(shared.refs()[MAIN], head) for head in heads)
    assert merged(close(primary)) == []
    assert wrong(shared) is None
    git(shared.folder, "fsck", "--strict", "--no-dangling")


def test_a_fresh_start_merges_nothing_twice(shared: LocalStore) -> None:
    """What is new is what neither the published commit nor the commit it names reaches, whoever looks."""
    deliver(shared, 1, "a", "b")
    close(primary_on(shared))
    for frame in (2, 3):
        deliver(shared, frame, "a")
        fresh = primary_on(LocalStore(shared.folder))
        assert poll(fresh)[0].pending.streams == {"a": 1}
        assert (merged(ledger := close(fresh)), ledger.duplicates) == (["a.json"], [])
    assert wrong(shared) is None


def test_lanes_are_removed_once_they_are_merged_and_silent(shared: LocalStore) -> None:
    """As in a history with merges; their commits stay."""
    primary = primary_on(shared)
    deliver(shared, 1, "a", "b")
    heads = [shared.refs()[f"refs/heads/dc/{one}/1"] for one in "ab"]
    close(primary)
    assert remove_silent_lanes(primary, 3600) == []
    poll(primary)
    assert remove_silent_lanes(primary, -3600) == ["refs/heads/dc/a/1", "refs/heads/dc/b/1"]
    git(shared.folder, "gc", "--quiet", "--prune=now")
    assert all(shared.descends(shared.refs()[paths.SEEN], head) for head in heads)
    assert wrong(LocalStore(shared.folder)) is None


def test_both_kinds_of_history_come_to_the_same_bytes(tmp_path: Path) -> None:
    """The same deltas give the same snapshot, however `main` looks."""
    found: list[str] = []
    for settings in (LINEAR, b'[publish]\nhistory = "merge"\n'):
        store = create(tmp_path / f"{len(found)}.git", 1, NOW, Closing("manual"))
        commit_files(store, MAIN, {paths.SETTINGS: settings})
        primary = primary_on(store)
        for frame in range(1, 4):
            deliver(store, frame, "a", "b", "c")
            ledger = close(primary)
        found.append(ledger.snapshot)
    assert found[0] == found[1]


def test_the_kind_of_history_can_change_and_change_back(shared: LocalStore) -> None:
    """From the frame after the settings have changed; nothing is merged again on either side."""
    primary = primary_on(shared)
    for frame, settings in enumerate((LINEAR, b"", LINEAR), 1):
        commit_files(shared, MAIN, {paths.SETTINGS: settings})
        deliver(shared, frame, "a", "b")
        ledger = close(primary)
        assert (merged(ledger), ledger.duplicates) == (["a.json", "b.json"], [])
    fresh = primary_on(LocalStore(shared.folder))
    assert (merged(ledger := close(fresh)), ledger.duplicates) == ([], [])
    assert merges(shared).count("\n") == 0
    assert merges(shared)
    assert wrong(shared) is None


def test_a_rewound_main_gets_one_parent_too(shared: LocalStore) -> None:
    """What was published before the rewind is held beside `main`; nothing is lost or merged twice."""
    primary = primary_on(shared)
    start = shared.refs()[MAIN]
    deliver(shared, 1, "a")
    close(primary)
    published = shared.refs()[MAIN]
    assert shared.move_refs([Move(MAIN, start, published)], "rewind")
    deliver(shared, 2, "b")
    ledger = close(primary)
    assert (merged(ledger), [row.kind for row in ledger.violations]) == (["b.json"], ["main-rewound"])
    assert merges(shared) == ""
    assert shared.descends(shared.refs()[paths.SEEN], published)
    assert wrong(shared) is None
    assert merged(close(primary_on(LocalStore(shared.folder)))) == []


@pytest.mark.parametrize("what", ["deleted", "moved away"])
def test_the_ref_alone_decides_nothing(shared: LocalStore, what: str) -> None:
    """Whoever deletes or moves `refs/dreamcatcher/seen` hides and repeats nothing: the snapshot commit names what
    counts, and the next publication puts the ref back."""
    primary = primary_on(shared)
    deliver(shared, 1, "a")
    close(primary)
    seen = shared.refs()[paths.SEEN]
    deliver(shared, 2, "a", "b")
    to = None if what == "deleted" else shared.refs()["refs/heads/dc/b/2"]
    assert shared.move_refs([Move(paths.SEEN, to, seen)], "tamper")
    ledger = close(primary_on(LocalStore(shared.folder)))
    assert (merged(ledger), ledger.duplicates) == (["a.json", "b.json"], [])
    assert shared.descends(shared.refs()[paths.SEEN], seen)
    assert wrong(shared) is None


def test_an_archive_holds_the_lanes_of_its_frames(shared: LocalStore, tmp_path: Path) -> None:
    """Frames of a linear history are archived and verified like others, from the start or from the middle."""
    primary = primary_on(shared)
    for frame in range(1, 5):
        deliver(shared, frame, "a", "b")
        close(primary)
    for first, last in ((1, 4), (2, 3)):
        file = tmp_path / f"{first}.tar"
        write_archive(shared, read_history(shared, shared.refs(), MAIN).links, first, last, MAIN, file)
        with open_archive(file) as (store, _):
            assert check_frames(store, read_history(store, store.refs(), MAIN), first).ok


@pytest.mark.parametrize("checked", [True, False], ids=["check", "no check"])
def test_primaries_at_a_distance_share_a_linear_history(shared: LocalStore, tmp_path: Path, checked: bool) -> None:
    """Two primaries over git daemon, with and without the server-side check, close frames in turn, each delta once; the
    three refs move together."""
    git(shared.folder, "config", "core.hooksPath", str(shared.folder / ("hooks" if checked else "no-hooks")))
    install_hooks(shared.folder)
    with git_daemon(shared.folder.parent) as server:
        access = Access(url=f"{server}/fleet.git", timeout_s=120)
        both: list[Primary] = [primary_on(RemoteStore(access, tmp_path / f"{number}.git")) for number in range(2)]
        for frame in range(1, 7):
            deliver(shared, frame, "a", "b")
            ledger = close(both[frame % 2])
            assert (merged(ledger), ledger.duplicates) == (["a.json", "b.json"], [])
            assert shared.refs()[MAIN] == shared.refs()[paths.PUBLISHED]
    assert merges(shared) == ""
    assert wrong(LocalStore(shared.folder)) is None


def test_nobody_but_a_publication_moves_the_ref_past_the_check(shared: LocalStore, tmp_path: Path) -> None:
    """The server-side check refuses a push of `refs/dreamcatcher/seen` alone."""
    deliver(shared, 1, "a")
    close(primary_on(shared))
    git(tmp_path, "clone", "-q", str(shared.folder), "work")
    words = ["git", "-C", str(tmp_path / "work"), "push", "origin", f"+HEAD:{paths.SEEN}"]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    assert done.returncode != 0
    assert "not-the-primary" in done.stderr


def test_a_branch_that_is_rewound_twice_forks_no_history(shared: LocalStore) -> None:
    """A primary that saw an older publication continues from the newest one, which reaches the older one through the
    commit that holds merged lanes alone."""
    before = shared.refs()[MAIN]
    one, other = primary_on(shared), primary_on(LocalStore(shared.folder))
    close(one)
    poll(other)
    git(shared.folder, "update-ref", MAIN, before)
    close(one)
    git(shared.folder, "update-ref", MAIN, before)
    assert close(other).frame == 3
    assert wrong(shared) is None


def test_a_publication_whose_merged_lanes_never_arrived_does_not_count() -> None:
    """A server that cannot move refs together moved `main` alone, and the primary's clone is lost: the frame is closed
    again, by whoever does not have the commit that holds the merged lanes."""
    store = MemoryStore()
    open_first(store, 1, NOW, Closing("manual"), MAIN)
    commit_files(store, MAIN, {paths.SETTINGS: LINEAR})
    commit_files(store, "refs/heads/dc/a", {f"{FOLDER}/1/a.json": text(1, "a", 1)}, orphan=True)
    opening = store.refs()[paths.PUBLISHED]
    close(primary_on(store))
    seen = store.heads.pop(paths.SEEN)
    store.heads[paths.PUBLISHED] = opening
    left = MemoryStore()
    left.heads.update(store.heads)
    left.objects.update({oid: found for oid, found in store.objects.items() if oid != seen})
    ledger = close(primary_on(left))
    assert ledger.frame == 1
    assert ledger.counts.deltas == 1


def test_a_mirror_follows_a_branch_that_was_rewound() -> None:
    """A publication on a rewound branch continues the one before, and a mirror with the older one gets the newer."""
    store = MemoryStore()
    open_first(store, 1, NOW, Closing("manual"), MAIN)
    before = commit_files(store, MAIN, {paths.SETTINGS: LINEAR})
    primary = primary_on(store)
    close(primary)
    old = store.heads[paths.PUBLISHED]
    store.heads[MAIN] = before
    close(primary)
    new = store.heads[paths.PUBLISHED]
    check_history(store, new, old, "second")
    assert [link.oid for link in copied(store, new, old).missing] == [new]
    assert copied(store, old, new).ahead
