"""The doorbell that sleeps until the system reports a change, and the watch that goes on without it
(docs/decisions/0047-a-doorbell-beside-the-file-watch.md)."""

from __future__ import annotations

import ctypes
import errno
import shutil
import threading
from collections.abc import Iterator, Sequence
from contextlib import closing
from pathlib import Path

import pytest

from dreamcatcherd.daemon import doorbell as module
from dreamcatcherd.daemon import file_watch
from dreamcatcherd.daemon.doorbell import Doorbell
from dreamcatcherd.daemon.file_watch import FileWatch
from tests.daemon.test_timers import LONG_S, left_running


@pytest.fixture
def bell(tmp_path: Path) -> Iterator[Doorbell]:
    """A doorbell on `refs`, in which `refs/heads/dc` is there already."""
    (tmp_path / "refs/heads/dc").mkdir(parents=True)
    with closing(Doorbell([tmp_path / "refs"])) as one:
        yield one


def rings(bell: Doorbell) -> bool:
    """Wait for the next change; False if the doorbell was stopped."""
    found: list[bool] = []
    waiting = threading.Thread(target=lambda: found.append(bell.wait()), daemon=True)
    waiting.start()
    waiting.join(LONG_S)
    return found == [True]


def drain(bell: Doorbell) -> None:
    while bell.take():
        pass


@pytest.mark.parametrize("where", ["refs/x", "refs/heads/main", "refs/heads/dc/s"])
def test_it_rings_for_a_file_that_is_written_replaced_or_removed(bell: Doorbell, tmp_path: Path, where: str) -> None:
    """At every depth, and each time."""
    path = tmp_path / where
    path.write_text("1")
    assert rings(bell)
    drain(bell)
    with path.open("r+") as file:  # as an editor does, in place
        file.write("2")
    assert rings(bell)
    drain(bell)
    (tmp_path / "other").write_text("3")
    (tmp_path / "other").rename(path)
    assert rings(bell)
    drain(bell)
    path.unlink()
    assert rings(bell)


def test_it_hears_what_happens_in_folders_that_are_new(bell: Doorbell, tmp_path: Path) -> None:
    """Also in folders of new folders, whether they were made in its sight or moved there with all that is in them."""
    (tmp_path / "refs/heads/dc/s/1").mkdir(parents=True)
    assert rings(bell)
    drain(bell)
    (tmp_path / "refs/heads/dc/s/1/x").write_text("1")
    assert rings(bell)
    drain(bell)
    (tmp_path / "new/a").mkdir(parents=True)
    (tmp_path / "new").rename(tmp_path / "refs/new")
    assert rings(bell)
    drain(bell)
    (tmp_path / "refs/new/a/x").write_text("1")
    assert rings(bell)


def test_a_lock_alone_does_not_ring(bell: Doorbell, tmp_path: Path) -> None:
    """git makes one before it moves a ref: the look that it caused would come too early."""
    (tmp_path / "refs/heads/main.lock").write_text("1")
    assert not bell.take()
    (tmp_path / "refs/heads/main.lock").rename(tmp_path / "refs/heads/main")
    assert bell.take()


def test_folders_that_came_while_the_queue_was_full_are_watched(bell: Doorbell, tmp_path: Path) -> None:
    """The system says that it dropped events: that rings, and every folder is looked for again."""
    (tmp_path / "refs/heads/dc/s").mkdir()
    assert bell._heard(-1, module._OVERFLOW, b"")
    drain(bell)
    (tmp_path / "refs/heads/dc/s/x").write_text("1")
    assert bell.take()


def test_folders_that_are_gone_are_left_out(bell: Doorbell, tmp_path: Path) -> None:
    """git removes empty folders, at any moment; a folder of the same name is watched again."""
    for _ in range(3):
        (tmp_path / "refs/heads/dc/s/1").mkdir(parents=True)
        shutil.rmtree(tmp_path / "refs/heads/dc/s")
    drain(bell)
    (tmp_path / "refs/heads/dc/s").mkdir()
    drain(bell)
    (tmp_path / "refs/heads/dc/s/x").write_text("1")
    assert bell.take()
    with closing(Doorbell([tmp_path / "nowhere"])) as other:
        assert not other.take()


def test_it_can_be_stopped_at_any_time(bell: Doorbell) -> None:
    """Before it is waited for, from another thread, and when it is closed already."""
    bell.stop()
    assert not rings(bell)
    bell.stop()
    bell.close()
    bell.stop()
    bell.close()


class Elsewhere:
    """The C library of a system without inotify."""


def test_a_system_without_inotify_has_no_doorbell(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It says so by an OSError, as at a limit."""
    monkeypatch.setattr(ctypes, "CDLL", lambda *_, **__: Elsewhere())
    with pytest.raises(OSError, match="no inotify"):
        Doorbell([tmp_path])


def test_at_the_limit_on_watches_there_is_no_doorbell(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The error is the system's, and every handle is closed."""
    found: list[Doorbell] = []

    def full(self: Doorbell, _: object) -> None:
        found.append(self)
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Doorbell, "_add", full)
    with pytest.raises(OSError, match="No space"):
        Doorbell([tmp_path])
    assert found[0]._closed


def reports_changes(woken: threading.Event, file: Path) -> bool:
    """Whether changes of a file wake the loop. It is woken twice at most because the watch begins."""
    reported = 0
    for number in range(600):  # the watch may not be there yet at the first of them
        woken.clear()
        file.write_text(str(number))
        reported += woken.wait(0.1)
        if reported > 2:
            return True
    return False


@pytest.mark.parametrize("has_one", [True, False])
def test_the_watch_reports_a_change_with_and_without_a_doorbell(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, has_one: bool
) -> None:
    """Where the system has none, watchfiles is asked often; either way the threads end with the watch."""
    if not has_one:
        monkeypatch.setattr(file_watch, "Doorbell", _refused)
    before, woken = set(threading.enumerate()), threading.Event()
    watch = FileWatch([tmp_path], woken.set)
    watch.start()
    try:
        assert reports_changes(woken, tmp_path / "a")
        assert (watch._watching.doorbell is not None) == has_one
    finally:
        watch.stop()
    assert left_running(before) == []


def test_what_comes_before_the_doorbell_hangs_is_not_left_to_the_next_poll(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The loop is woken once the doorbell is there: what was pushed after its last look, and before that, is seen."""
    began, goes_on, woken = threading.Event(), threading.Event(), threading.Event()

    class Late(Doorbell):
        def __init__(self, folders: Sequence[Path]) -> None:
            began.set()
            goes_on.wait(LONG_S)
            super().__init__(folders)

    monkeypatch.setattr(file_watch, "Doorbell", Late)
    before = set(threading.enumerate())
    watch = FileWatch([tmp_path], woken.set)
    watch.start()
    try:
        assert began.wait(LONG_S)
        (tmp_path / "a").write_text("pushed meanwhile")
        assert not woken.is_set()
        goes_on.set()
        assert woken.wait(LONG_S)
    finally:
        goes_on.set()
        watch.stop()
    assert left_running(before) == []


def test_a_doorbell_that_fails_later_degrades_the_watch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A folder that cannot be watched any more is said, since pushes to it may wait for the next poll."""
    said: list[str] = []
    degraded = threading.Event()

    def note(why: str) -> None:
        said.append(why)
        if why:
            degraded.set()

    monkeypatch.setattr(Doorbell, "wait", _refused)
    watch = FileWatch([tmp_path], lambda: None, note)
    watch.start()
    assert degraded.wait(LONG_S)
    watch.stop()
    assert said == ["", "[Errno 28] No space left on device"]


def _refused(*_: object) -> None:
    raise OSError(errno.ENOSPC, "No space left on device")


def test_a_folder_that_is_restored_is_watched_again(tmp_path: Path) -> None:
    """A repository that was replaced by a copy has another folder of that name: pushes to it wake the loop at once, and
    what was said about the watch before it is over."""
    folder, woken = tmp_path / "refs", threading.Event()
    said: list[str] = []
    folder.mkdir()
    before = set(threading.enumerate())
    watch = FileWatch([folder], woken.set, said.append)
    watch.start()
    try:
        shutil.rmtree(folder)
        watch.follow()
        folder.mkdir()
        watch.follow()
        assert reports_changes(woken, folder / "a")
        seen = watch._watching
        watch.follow()
        assert watch._watching is seen
        assert (said[0], said[-1]) == ("", "")
        assert set(said) <= {"", "No path was found."}  # if the first watch had not begun when its folder went
    finally:
        watch.stop()
    assert left_running(before) == []
