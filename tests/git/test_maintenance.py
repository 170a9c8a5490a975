"""git's maintenance beside a running primary."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from dreamcatcherd.cli import invoke
from dreamcatcherd.core.errors import RetryableError
from dreamcatcherd.core.frames import Closing
from dreamcatcherd.core.tree import walk
from dreamcatcherd.git import maintenance
from dreamcatcherd.git.command import git
from dreamcatcherd.git.maintenance import maintain
from dreamcatcherd.imports.new_repository import create
from tests.hostile import plant
from tests.law.fleet import MAIN, NOW, commit_files, primary_on
from tests.stages.tools import FOLDER, close, merged, text


def test_packs_are_joined_under_a_primary_that_goes_on_reading(tmp_path: Path) -> None:
    """Each close leaves a pack; after maintenance few are left, and the same store still reads and publishes."""
    store = create(tmp_path / "fleet.git", 1, NOW, Closing("manual"))
    primary = primary_on(store)
    for frame in range(1, 13):
        commit_files(store, MAIN, {f"{FOLDER}/{frame}/a.json": text(frame, number=frame)})
        close(primary)
        if frame % 4 == 0:
            maintain(store.folder)
            assert len(list((store.folder / "objects/pack").glob("*.pack"))) < 4
    commit_files(store, MAIN, {f"{FOLDER}/13/a.json": text(13)})
    assert merged(close(primary)) == ["a.json"]
    for _, entry in walk(store, store.commit(store.refs()[MAIN]).tree):
        store.read(entry.oid)


def test_many_refs_with_files_of_their_own_are_packed(tmp_path: Path) -> None:
    """A few stay as they are; many are packed, also those in folders of their own, and every one still names one."""
    store = create(tmp_path / "fleet.git", 1, NOW, Closing("manual"))
    maintain(store.folder)
    assert not (store.folder / "packed-refs").exists()
    lines = "".join(f"create refs/heads/dc/w{n}/x {store.refs()[MAIN]}\n" for n in range(maintenance.LOOSE_MOST))
    assert git(store.folder, "update-ref", "--stdin", stdin=lines.encode()).returncode == 0
    before = dict(store.refs())
    maintain(store.folder)
    assert not (store.folder / "refs/heads/dc").exists()
    assert store.refs() == before


def test_refs_that_cannot_be_packed_are_reported_with_a_remedy(tmp_path: Path) -> None:
    """A failure of git's is retryable: the refs stay where they are."""
    with pytest.raises(RetryableError, match="could not be packed") as caught:
        maintenance.pack_refs(tmp_path)
    assert "by hand" in caught.value.remedy


@pytest.mark.parametrize("pack", [maintenance.pack_refs, maintenance.maintain])
def test_packing_refs_runs_no_hook(tmp_path: Path, pack: Callable[[Path], None]) -> None:
    """git would run the sync of pushed refs twice for each ref that it packs, though no ref moves."""
    store = create(tmp_path / "fleet.git", 1, NOW, Closing("manual"))
    head = store.refs()[MAIN]
    for number in range(maintenance.LOOSE_MOST + 1):
        (store.folder / f"refs/heads/{number}").write_text(f"{head}\n")
    hook, seen = store.folder / "hooks/reference-transaction", tmp_path / "seen"
    hook.write_text(f"#!/bin/sh\necho ran >> {seen}\n")
    hook.chmod(0o755)
    refs = store.refs()
    pack(store.folder)
    assert not [path for path in (store.folder / "refs").rglob("*") if path.is_file()]
    assert store.refs() == refs
    assert not seen.exists()


@pytest.mark.parametrize("command", ["merge", "close"])
def test_commands_that_close_frames_leave_few_packs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, command: str
) -> None:
    """However many frames a job closes one by one, the packs stay few, and everything can still be read."""
    monkeypatch.setattr(maintenance, "PACKS_JOINED", 4)
    store = create(tmp_path / "fleet.git", 1, NOW, Closing("manual"))
    for frame in range(1, 12):
        commit_files(store, MAIN, {f"{FOLDER}/{frame}/a.json": text(frame, number=frame)})
        assert invoke([command, "--repo", str(store.folder)]) == 0
        assert len(list((store.folder / "objects/pack").glob("*.pack"))) <= 4
    assert git(store.folder, "fsck", "--strict").returncode == 0


def test_few_packs_are_left_alone(tmp_path: Path) -> None:
    """A repository with a few packs is not repacked by each command that closes a frame."""
    store = create(tmp_path / "fleet.git", 1, NOW, Closing("manual"))
    packs = set((store.folder / "objects/pack").glob("*.pack"))
    assert invoke(["merge", "--repo", str(store.folder)]) == 0
    assert packs < set((store.folder / "objects/pack").glob("*.pack"))


@pytest.mark.parametrize(("age_s", "done"), [(60.0, False), (13 * 3600.0, True)])
def test_the_lock_of_a_maintenance_that_was_killed_is_removed(tmp_path: Path, age_s: float, done: bool) -> None:
    """git itself would pass maintenance over for ever, and say nothing; a lock of today may be another git's."""
    store = create(tmp_path / "fleet.git", 1, NOW, Closing("manual"))
    lock = store.folder / "objects" / "maintenance.lock"
    lock.touch()
    then = time.time() - age_s
    os.utime(lock, (then, then))
    maintain(store.folder)
    assert lock.exists() is not done


def test_maintenance_that_cannot_run_says_so(tmp_path: Path) -> None:
    """A failure of git's is retryable and names the remedy: nothing of a cycle depends on it."""
    with pytest.raises(RetryableError, match=r"maintenance of .* failed") as caught:
        maintain(tmp_path)
    assert "by hand" in caught.value.remedy


def test_maintenance_ends_on_a_commit_whose_date_git_cannot_count_with(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where one stands in the history of `main`, git's own gc and commit-graph would be written for ever."""
    monkeypatch.setattr(maintenance, "MAINTENANCE_S", 120.0)
    store = create(tmp_path / "fleet.git", 1, NOW, Closing("manual"))
    primary = primary_on(store)
    close(primary)
    head = store.refs()[MAIN]
    who = b"Mallory <mallory@localhost>"
    lines = f"tree {store.commit(head).tree}\nparent {head}\n".encode()
    tail = b"author %s 1 +0000\ncommitter %s %d +0000\n\nm\n" % (who, who, 2**64)
    plant(store.folder, MAIN, [("commit", lines + tail)])
    for number in range(3):
        commit_files(store, MAIN, {f"{FOLDER}/2/{number}.json": text(2, number=number)})
    assert len(merged(close(primary))) == 3
    git(store.folder, "config", "gc.auto", "1")
    git(store.folder, "config", "gc.autoDetach", "false")
    maintain(store.folder)
    assert (store.folder / "objects/info/commit-graphs/commit-graph-chain").exists()
    server = git(store.folder, "gc", "--quiet", timeout_s=120)
    assert server.returncode == 0
