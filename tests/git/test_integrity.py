"""A repository that is damaged or gone never looks new, and what is being written is never repacked away."""

from __future__ import annotations

import errno
import gc
import os
import re
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from dreamcatcherd.core import paths
from dreamcatcherd.core.errors import DreamcatcherError, FatalError, RetryableError, UsageError
from dreamcatcherd.core.frames import Closing
from dreamcatcherd.daemon.cycle import close_frame, poll
from dreamcatcherd.daemon.primary import Primary
from dreamcatcherd.git import local
from dreamcatcherd.git.disk_errors import remedy_for, remedy_in
from dreamcatcherd.git.integrity import MARKER, DamagedRefsError
from dreamcatcherd.git.local import LocalStore
from dreamcatcherd.git.maintenance import maintain
from dreamcatcherd.git.packs import KEEP_MARK, KEEP_S, forget_keeps
from dreamcatcherd.git.protocols import Move
from dreamcatcherd.imports.new_repository import create
from tests.law.fleet import MAIN, NOW, commit_files, primary_on
from tests.stages.tools import FOLDER, close, merged, text


def git(folder: Path, *words: str) -> str:
    done = subprocess.run(["git", "-C", str(folder), *words], capture_output=True, text=True, check=True)
    return done.stdout.strip()


@pytest.fixture
def fleet(tmp_path: Path) -> Path:
    """A repository with two closed frames, and a lane that waits."""
    folder = tmp_path / "fleet.git"
    primary = primary_on(create(folder, 1, NOW, Closing("manual")))
    close(primary)
    close(primary)
    commit_files(primary.store, "refs/heads/dc/s", {f"{FOLDER}/3/d.json": text(3)}, orphan=True)
    return folder


def fresh(folder: Path) -> Primary:
    return primary_on(LocalStore(folder))


def empty_packed_refs(folder: Path) -> None:
    git(folder, "pack-refs", "--all")
    (folder / "packed-refs").write_bytes(b"")


def lose_packed_refs(folder: Path) -> None:
    git(folder, "pack-refs", "--all")
    (folder / "packed-refs").unlink()


def cut_packed_refs(folder: Path) -> None:
    git(folder, "pack-refs", "--all")
    (folder / "packed-refs").write_bytes((folder / "packed-refs").read_bytes()[:70])


def empty_main(folder: Path) -> None:
    (folder / MAIN).write_bytes(b"")


def empty_published(folder: Path) -> None:
    (folder / paths.PUBLISHED).write_bytes(b"")


def zero_published(folder: Path) -> None:
    (folder / paths.PUBLISHED).write_bytes(bytes(41))


DAMAGES = [empty_packed_refs, lose_packed_refs, cut_packed_refs, empty_main, empty_published, zero_published]


@pytest.mark.parametrize("logs", [True, False], ids=["reflogs", "no reflogs"])
@pytest.mark.parametrize("damage", DAMAGES)
def test_lost_refs_stop_publishing_and_never_begin_anew(
    fleet: Path, damage: Callable[[Path], None], logs: bool
) -> None:
    """A one-shot primary, which remembers nothing, publishes nothing and says what is damaged and how to restore it."""
    before = git(fleet, "rev-parse", paths.PUBLISHED)
    if not logs:
        shutil.rmtree(fleet / "logs")
    damage(fleet)
    running = fresh(fleet)
    with pytest.raises(FatalError) as caught:
        close_frame(running, "test")
    assert caught.value.remedy
    if logs and damage is not cut_packed_refs:
        assert before in caught.value.remedy
    with pytest.raises(FatalError):
        poll(fresh(fleet))
    assert not (fleet / MAIN).exists() or (fleet / MAIN).stat().st_size in (0, 41)


def test_the_remedy_for_a_damaged_published_ref_works_as_it_is_written(fleet: Path) -> None:
    """The commands in the message, run by a shell, restore the repository."""
    empty_published(fleet)
    with pytest.raises(DamagedRefsError) as caught:
        poll(fresh(fleet))
    commands = caught.value.remedy.partition(": ")[2].partition(", which")[0]
    subprocess.run(commands, shell=True, check=True)
    assert merged(close(fresh(fleet))) == ["d.json"]


def test_a_damaged_lane_is_reported_and_stops_nobody(fleet: Path) -> None:
    """Its trouble names the ref and the commit that its reflog knows; frames go on, and restored it is merged."""
    tip = git(fleet, "rev-parse", "refs/heads/dc/s")
    lane = fleet / "refs/heads/dc/s"
    lane.write_bytes(b"")
    primary = fresh(fleet)
    troubles = poll(primary)[0].pending.troubles
    assert ["refs/heads/dc/s" in one.what and tip in one.remedy for one in troubles] == [True]
    assert merged(close(primary)) == []
    lane.write_text(f"{tip}\n")
    assert poll(primary)[0].pending.troubles == []
    assert merged(close(primary)) == ["d.json"]


def test_a_lane_that_is_damaged_while_the_primary_runs_is_noticed(fleet: Path) -> None:
    """A ref that vanishes from the listing while its file is there was not deleted: what it named is merged."""
    primary = fresh(fleet)
    assert poll(primary)[0].pending.troubles == []
    (fleet / "refs/heads/dc/s").write_bytes(b"")
    for _ in range(2):
        pending = poll(primary)[0].pending
        assert ([len(pending.troubles), pending.violations], pending.streams) == ([1, []], {"s": 1})
    assert merged(close(primary)) == ["d.json"]


def test_a_repository_that_disappears_is_waited_for(fleet: Path, tmp_path: Path) -> None:
    """Moved away, or with an empty mount point in its place, it is said to be gone; put back, the primary goes on."""
    primary = fresh(fleet)
    poll(primary)
    away = tmp_path / "away.git"
    fleet.rename(away)
    for mounted in (False, True):
        if mounted:
            fleet.mkdir()
        with pytest.raises(FatalError, match="is gone"):
            poll(primary)
    fleet.rmdir()
    away.rename(fleet)
    assert merged(close(primary)) == ["d.json"]


def test_a_repository_that_disappears_while_its_refs_are_listed_is_gone(
    fleet: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Moved away after the look has begun, it is said to be gone too, not to have damaged refs."""
    store = LocalStore(fleet)
    monkeypatch.setattr(type(store), "refresh", lambda self: None)
    fleet.rename(tmp_path / "away.git")
    with pytest.raises(FatalError, match="is gone"):
        store.refs()


def test_a_copy_in_its_place_is_opened_anew(fleet: Path, tmp_path: Path) -> None:
    """A remounted repository has other files under the same names: none of the old ones are read any more."""
    primary = fresh(fleet)
    poll(primary)
    shutil.copytree(fleet, tmp_path / "copy.git")
    shutil.rmtree(fleet)
    (tmp_path / "copy.git").rename(fleet)
    assert merged(close(primary)) == ["d.json"]


def test_what_is_written_survives_a_repack_before_the_refs_move(fleet: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`git repack -a -d` and `git gc --prune=now` between the pack and the move of the refs delete nothing of it."""
    store = LocalStore(fleet)
    primary = primary_on(store)
    move_refs = store.move_refs

    def repacked(moves: list[Move], reason: str) -> bool:
        git(fleet, "repack", "-a", "-d", "-q")
        git(fleet, "gc", "-q", "--prune=now")
        assert len(list((fleet / "objects/pack").glob("*.keep"))) == 1
        return move_refs(moves, reason)

    monkeypatch.setattr(store, "move_refs", repacked)
    assert merged(close(primary)) == ["d.json"]
    git(fleet, "fsck", "--full", "--strict")
    assert list((fleet / "objects/pack").glob("*.keep")) == []


def test_keeps_of_killed_primaries_go_and_those_of_others_stay(fleet: Path) -> None:
    """An old `.keep` with our mark is removed by maintenance; a young one, or one that somebody else made, is not."""
    folder = fleet / "objects" / "pack"
    old, young, foreign = (folder / f"pack-{digit * 40}.keep" for digit in "123")
    old.write_text(f"{KEEP_MARK} 1\n")
    young.write_text(f"{KEEP_MARK} 2\n")
    foreign.write_text("mine\n")
    past = old.stat().st_mtime - KEEP_S - 10
    os.utime(old, (past, past))
    os.utime(foreign, (past, past))
    forget_keeps(fleet)
    assert sorted(path.name[5] for path in folder.glob("*.keep")) == ["2", "3"]


def test_deleted_packs_are_let_go(fleet: Path) -> None:
    """After maintenance no descriptor of this process holds a pack that is gone."""
    primary = fresh(fleet)
    for _ in range(4):
        close(primary)
    maintain(fleet)
    poll(primary)
    gc.collect()  # the store that made the repository
    held = subprocess.run(["ls", "-l", f"/proc/{os.getpid()}/fd"], capture_output=True, text=True, check=False).stdout
    lines = held.splitlines() + Path("/proc/self/maps").read_text().splitlines()
    assert [line for line in lines if str(fleet) in line and line.endswith("(deleted)")] == []


def test_a_partial_clone_is_named_as_such_with_the_way_to_complete_it(fleet: Path, tmp_path: Path) -> None:
    """Where a blob was left out the error says why, and its commands complete the repository."""
    git(fleet, "config", "uploadpack.allowFilter", "true")
    partial = tmp_path / "partial.git"
    git(tmp_path, "clone", "-q", "--mirror", "--filter=blob:none", f"file://{fleet}", str(partial))
    with pytest.raises(FatalError, match="partial clone") as caught:
        poll(fresh(partial))
    subprocess.run(caught.value.remedy.removeprefix("complete it: ").partition("; or ")[0], shell=True, check=True)
    assert merged(close(fresh(partial))) == ["d.json"]


@pytest.mark.parametrize(
    ("setting", "cause"),
    [
        ("extensions.refStorage=reftable", "reftable"),
        ("extensions.objectFormat=sha256", "SHA-256"),
    ],
)
def test_repositories_that_libgit2_does_not_read_are_named_by_their_kind(fleet: Path, setting: str, cause: str) -> None:
    """Reftable, SHA-256 and others are no reason to look for another path."""
    git(fleet, "config", "core.repositoryFormatVersion", "1")
    git(fleet, "config", *setting.split("="))
    with pytest.raises(UsageError, match=cause):
        LocalStore(fleet)


@pytest.mark.parametrize(
    ("number", "word"),
    [
        (errno.ENOSPC, "make room"),
        (errno.EACCES, "uid"),
        (errno.EROFS, "read-write"),
        (errno.EIO, "errors"),
        (errno.EINVAL, "does not support"),
        (errno.EMFILE, "LimitNOFILE"),
        (errno.ENOTEMPTY, "kernel's log"),
    ],
)
def test_the_remedy_fits_what_the_system_refused(number: int, word: str) -> None:
    """No room, no right, read-only, broken, unsupported and too many files each have a remedy of their own."""
    error = OSError(number, os.strerror(number))
    assert word in remedy_for(error, Path("/srv"))
    if word != "kernel's log":
        assert word in remedy_in(f"fatal: cannot lock ref: {os.strerror(number)}", Path("/srv"), "else")
    assert "Room" not in remedy_for(error, Path("/srv"))


def test_no_remedy_promises_to_try_again() -> None:
    """A one-shot command tries once; what a daemon does next is in its log, not in a remedy."""
    package = Path(__file__).parents[2] / "dreamcatcherd"
    said = [path for path in package.rglob("*.py") if re.search("(tries|tried) again", path.read_text())]
    assert [path.name for path in said] == ["errors.py"]  # the docstring of RetryableError


def test_an_extension_that_git_does_not_know_is_named_with_what_to_do(fleet: Path) -> None:
    """libgit2 may read what an older git does not: then nothing is published, and the remedy is no fsck."""
    primary = fresh(fleet)
    git(fleet, "config", "core.repositoryFormatVersion", "1")
    with (fleet / "config").open("a") as config:
        config.write("[extensions]\n\tnoSuchThing = true\n")
    with pytest.raises(DreamcatcherError, match=r"(?i)unknown repository extension|nosuchthing") as caught:
        close_frame(primary, "test")
    assert "git that knows it" in caught.value.remedy


def test_a_published_ref_that_was_never_made_is_not_lost(tmp_path: Path) -> None:
    """A git that is killed between the reflog and the ref, at the first publication, stops nobody."""
    folder = tmp_path / "fleet.git"
    store = create(folder, 1, NOW, Closing("manual"))
    first = store.refs()[paths.PUBLISHED]
    close(primary_on(store))
    git(folder, "update-ref", "-d", paths.PUBLISHED)
    (folder / MARKER).unlink()
    log = folder / "logs" / paths.PUBLISHED
    log.parent.mkdir(exist_ok=True)
    log.write_text(f"{'0' * 40} {first} d <d@localhost> 1767225600 +0000\tframe 1\n")
    (folder / f"{paths.PUBLISHED}.lock").write_text(f"{first}\n")
    os.utime(folder / f"{paths.PUBLISHED}.lock", (0, 0))
    commit_files(store, "refs/heads/dc/s", {f"{FOLDER}/2/d.json": text(2)}, orphan=True)
    assert merged(close(fresh(folder))) == ["d.json"]
    assert paths.PUBLISHED in fresh(folder).store.refs()


def test_the_marker_goes_with_the_published_ref(fleet: Path) -> None:
    """It is written by every publication; deleting the published ref through the store removes it."""
    store = LocalStore(fleet)
    assert (fleet / MARKER).read_text().strip() == store.refs()[paths.PUBLISHED]
    assert store.move_refs([Move(paths.PUBLISHED, None, store.refs()[paths.PUBLISHED])], "away")
    assert not (fleet / MARKER).exists()


def test_an_error_has_a_cause_and_a_remedy_on_one_line() -> None:
    """Both are shown together."""
    assert str(DreamcatcherError("it is gone", "mount it")) == "it is gone; mount it"


def test_refs_that_moved_and_could_not_be_synced_are_found_at_the_next_look(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A disk error right after a publication fails that cycle; the publication is there, marked, and counts once."""
    store = create(tmp_path / "fleet.git", 1, NOW, Closing("manual"))
    primary = primary_on(store)
    commit_files(store, MAIN, {f"{FOLDER}/1/a.json": text()})
    with monkeypatch.context() as patch:
        patch.setattr(local, "sync_folder", _refused)
        with pytest.raises(RetryableError, match="moved and could not be synced") as caught:
            close(primary)
    assert "dmesg" in caught.value.remedy
    assert (store.folder / MARKER).read_text().strip() == store.refs()[paths.PUBLISHED]
    report, _ = poll(primary)
    assert report.ledger is not None
    assert [row.path for row in report.ledger.deltas] == [f"{FOLDER}/1/a.json"]


def _refused(_: Path) -> None:
    raise OSError(errno.EIO, os.strerror(errno.EIO))
