"""The own clone of a remote: a cache that is made, checked and made anew, and nothing else's end.

Contract: docs/protocol.md#publishing."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from dreamcatcherd.core import paths
from dreamcatcherd.core.errors import RetryableError, UsageError
from dreamcatcherd.core.frames import Closing
from dreamcatcherd.git import clone_refs
from dreamcatcherd.git.access import Access
from dreamcatcherd.git.local import LocalStore
from dreamcatcherd.git.locks import STALE_S, maintaining
from dreamcatcherd.git.own_clone import MARK, hold, make_clone, prepare_clone
from dreamcatcherd.git.remote import KNOWN, RemoteStore
from dreamcatcherd.imports.new_repository import create
from tests.e2e.servers import Server, serve
from tests.e2e.tools import dc, primary_toml
from tests.law.fleet import MAIN, NOW, commit_files, primary_on
from tests.stages.tools import FOLDER, close, merged, text

URL = "ssh://git@example.org/fleet.git"


def listing(folder: Path) -> set[str]:
    return {entry.name for entry in folder.iterdir()}


def is_clone(folder: Path, url: str = URL) -> bool:
    return (folder / MARK).read_text() == url and LocalStore(folder).refs() == {}


# Making one -------------------------------------------------------------------------------------------------------


def test_a_fresh_clone_is_an_empty_bare_repository_with_a_mark(tmp_path: Path) -> None:
    """It is made with all folders above it, git accepts it, and nothing else is left beside it."""
    folder = tmp_path / "state" / "dreamcatcherd" / "fleet.git"
    lock = folder.with_name("lock")
    with hold(lock, 60):
        prepare_clone(folder, URL)
    assert is_clone(folder)
    assert listing(folder.parent) == {"fleet.git", "lock"}
    bare = subprocess.run(["git", "-C", str(folder), "rev-parse", "--is-bare-repository"], capture_output=True)
    assert bare.stdout == b"true\n"


def test_a_clone_that_is_whole_is_kept(tmp_path: Path) -> None:
    """What a clone of the same URL holds stays; one of another URL is made anew."""
    folder = tmp_path / "clone"
    prepare_clone(folder, URL)
    commit_files(LocalStore(folder), MAIN, {"a": b"1"})
    prepare_clone(folder, URL)
    assert MAIN in LocalStore(folder).refs()
    prepare_clone(folder, URL + "x")
    assert is_clone(folder, URL + "x")


@pytest.mark.parametrize("left", ["nothing", "objects", "no HEAD", "no HEAD, no mark", "no objects", "mark alone"])
def test_a_half_made_clone_is_made_anew(tmp_path: Path, left: str) -> None:
    """Whatever a killed process or a power cut left of one."""
    folder = tmp_path / "clone"
    if left.startswith("no "):
        make_clone(folder, URL)
        for name in left.replace("no ", "").replace("mark", MARK).split(", "):
            subprocess.run(["rm", "-r", str(folder / name)], check=True)
    else:
        folder.mkdir()
        if left == "objects":
            (folder / "objects" / "pack").mkdir(parents=True)
        elif left == "mark alone":
            (folder / MARK).write_text(URL)
    prepare_clone(folder, URL)
    assert is_clone(folder)
    assert listing(tmp_path) == {"clone"}


def test_leftovers_of_a_killed_remaking_are_removed(tmp_path: Path) -> None:
    """Whether it was killed before the old clone was put aside, or after: one clone is left, and no half ones."""
    for left in ("clone.new-12345", "clone.new-old"):
        make_clone(tmp_path / left, URL)
    (tmp_path / "clone.new-12345" / "HEAD").unlink()
    (tmp_path / "clone.newer").mkdir()
    prepare_clone(tmp_path / "clone", URL)
    assert is_clone(tmp_path / "clone")
    assert listing(tmp_path) == {"clone", "clone.newer"}
    for left in ("clone.new-12345", "clone.new-old"):
        make_clone(tmp_path / left, URL)
    make_clone(tmp_path / "clone", URL)
    assert listing(tmp_path) == {"clone", "clone.newer"}


def make_foreign(folder: Path, what: str) -> None:
    """Something that is not a clone of ours, at `folder`."""
    if what in ("bare", "work tree"):
        words = ["git", "init", "-q", *(["--bare"] if what == "bare" else []), str(folder)]
        subprocess.run(words, check=True)
        return
    folder.mkdir()
    if what == "notes":
        (folder / "notes.txt").write_text("mine")
    elif what == "notes in a clone":
        (folder / "objects").mkdir()
        (folder / "notes.txt").write_text("mine")
    else:
        for name in ("config", "logs", "home", "info"):
            (folder / name).mkdir()


@pytest.mark.parametrize("what", ["bare", "work tree", "notes", "notes in a clone", "folders of the same names"])
def test_what_we_did_not_make_is_refused_and_stays(tmp_path: Path, what: str) -> None:
    """A folder, or a repository, of somebody else's is never removed; the message says how to go on."""
    folder = tmp_path / "clone"
    make_foreign(folder, what)
    before = sorted(path.relative_to(folder) for path in folder.rglob("*"))
    with pytest.raises(UsageError, match="is not a clone that dreamcatcherd made") as caught:
        prepare_clone(folder, URL)
    assert str(folder) in caught.value.cause
    assert "[repository] clone" in caught.value.remedy
    assert sorted(path.relative_to(folder) for path in folder.rglob("*")) == before


def test_a_place_where_no_clone_can_be_is_named(tmp_path: Path) -> None:
    """A file in the folder's place, or above it, is wrong usage, told in one line."""
    file = tmp_path / "file"
    file.write_text("mine")
    for folder in (file, file / "clone"):
        with pytest.raises(UsageError, match="cannot be made"):
            prepare_clone(folder, URL)
        with pytest.raises(UsageError, match="cannot be made"), hold(file / "clone.lock", 1):
            pass
    assert file.read_text() == "mine"


@pytest.mark.parametrize("number", [errno.EIO, errno.ENOSPC, errno.EROFS])
def test_a_disk_that_fails_is_no_wrong_usage(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int) -> None:
    """A daemon outlives it: the clone's lock or folder cannot be written now, and the remedy names the disk."""

    def fails(*_: object) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(Path, "rename", fails)
    with pytest.raises(RetryableError, match=os.strerror(number)) as renamed:
        make_clone(tmp_path / "clone", URL)
    monkeypatch.setattr(Path, "open", fails)
    with pytest.raises(RetryableError, match=os.strerror(number)) as locked, hold(tmp_path / "clone.lock", 1):
        pass
    for caught in (renamed, locked):
        assert "[repository] clone" not in caught.value.remedy


def test_a_clone_that_cannot_be_put_in_place_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the folder cannot be replaced, as with a mount point, that is told as wrong usage and not as a bug."""
    folder = tmp_path / "clone"
    folder.mkdir()

    def busy(*_: object) -> None:
        raise OSError(16, "Device or resource busy")

    monkeypatch.setattr(Path, "rename", busy)
    with pytest.raises(UsageError, match="Device or resource busy"):
        prepare_clone(folder, URL)


# Sharing it -------------------------------------------------------------------------------------------------------

HOLDER = """
import sys
from pathlib import Path
from dreamcatcherd.git.own_clone import hold
with hold(Path(sys.argv[1]), 60):
    print("held", flush=True)
    sys.stdin.readline()
"""


def test_two_processes_hold_a_clone_one_after_the_other(tmp_path: Path) -> None:
    """Who comes second waits, gives up at the time limit with the lock's path, and gets it once the first has ended."""
    lock = tmp_path / "clone.lock"
    with subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(lock)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as first:
        assert first.stdin is not None
        assert first.stdout is not None
        assert first.stdout.readline() == b"held\n"
        with pytest.raises(RetryableError, match=r"holds .*clone\.lock for longer than 0\.1 s"), hold(lock, 0.1):
            pass
        first.kill()
    with hold(lock, 60):
        pass


def test_a_killed_holder_frees_the_lock_and_the_next_waits_for_it(tmp_path: Path) -> None:
    """A second process that waits is let in as soon as the first lets go."""
    lock = tmp_path / "clone.lock"
    with hold(lock, 60):
        words = [sys.executable, "-c", HOLDER, str(lock)]
        second = subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        assert second.poll() is None
    with second:
        assert second.stdout is not None
        assert second.stdout.readline() == b"held\n"
        second.communicate(b"\n", timeout=60)
    assert second.returncode == 0


# Damage -----------------------------------------------------------------------------------------------------------


@pytest.fixture
def shared(tmp_path: Path) -> LocalStore:
    return create(tmp_path / "fleet.git", 1, NOW, Closing("manual"))


def remote(shared: LocalStore, tmp_path: Path, transport: str = "pygit2") -> RemoteStore:
    access = Access(url=str(shared.folder), timeout_s=120, transport="git" if transport == "git" else "pygit2")
    return RemoteStore(access, tmp_path / "clone.git")


def spoil(file: Path, content: bytes = b"") -> None:
    """Put other bytes in a file's place; the old file stays as it is for who has it open."""
    file.unlink()
    file.write_bytes(content)


def spoil_objects(store: RemoteStore) -> None:
    files = [file for file in (store.folder / "objects").rglob("*") if file.is_file()]
    assert files
    for file in files:
        spoil(file)


@pytest.mark.parametrize("transport", ["pygit2", "git"])
def test_a_clone_with_damaged_objects_is_made_anew_in_the_middle_of_work(
    shared: LocalStore, tmp_path: Path, transport: str
) -> None:
    """Its object files are emptied between two closes, as by a power cut: the next close goes on as if nothing were."""
    close(primary_on(remote(shared, tmp_path, transport)))
    store = remote(shared, tmp_path, transport)
    spoil_objects(store)
    commit_files(shared, MAIN, {f"{FOLDER}/1/a.json": text(number=1)})
    ledger = close(primary_on(store))
    assert (ledger.frame, merged(ledger)) == (2, ["a.json"])
    assert shared.refs()[paths.PUBLISHED] == shared.refs()[MAIN]
    assert close(primary_on(store)).frame == 3
    subprocess.run(["git", "-C", str(store.folder), "fsck", "--full"], check=True, capture_output=True)


@pytest.mark.parametrize("content", [b"", b"garbage\n", b"1" * 40 + b"\n"], ids=["empty", "garbage", "dangling"])
@pytest.mark.parametrize("ref", [MAIN, paths.PUBLISHED, KNOWN])
@pytest.mark.parametrize("transport", ["pygit2", "git"])
def test_a_clone_with_a_damaged_ref_is_made_anew(
    shared: LocalStore, tmp_path: Path, transport: str, ref: str, content: bytes
) -> None:
    """A ref file that a power cut emptied, or that names nothing, is no reason to stop."""
    store = remote(shared, tmp_path, transport)
    close(primary_on(store))
    spoil(store.folder / ref, content)
    commit_files(shared, MAIN, {f"{FOLDER}/1/a.json": text(number=1)})
    ledger = close(primary_on(store))
    assert (ledger.frame, merged(ledger)) == (2, ["a.json"])


def test_a_clone_made_anew_remembers_what_was_published_and_whom_to_trust(shared: LocalStore, tmp_path: Path) -> None:
    """The last published commit that was seen, and the known hosts, outlive the clone's being made anew."""
    hosts = tmp_path / "known_hosts"
    hosts.write_text("example.org ssh-ed25519 AAAA\n")
    store = RemoteStore(Access(url=str(shared.folder), known_hosts=hosts), tmp_path / "clone.git")
    close(primary_on(store))
    seen = store.recall()
    assert seen == shared.refs()[paths.PUBLISHED]
    spoil_objects(store)
    again = RemoteStore(Access(url=str(shared.folder), known_hosts=hosts), tmp_path / "clone.git")
    assert again.commit(seen).parents
    assert again.recall() == seen
    assert (again.folder / "home" / ".ssh" / "known_hosts").read_text() == hosts.read_text()


def test_an_object_that_the_remote_lacks_too_is_missing(shared: LocalStore, tmp_path: Path) -> None:
    """The clone is made anew once for it and not at every question; what is there is read as before."""
    store = remote(shared, tmp_path)
    head = store.refs()[MAIN]
    made = store.folder.stat().st_ino
    with pytest.raises(Exception, match="1111111111 cannot be read"):
        store.read("1" * 40)
    remade = store.folder.stat().st_ino
    assert remade != made
    with pytest.raises(Exception, match="1111111111 cannot be read"):
        store.read("1" * 40)
    assert store.folder.stat().st_ino == remade
    assert store.commit(head).tree


def test_what_a_primary_has_seen_outlives_its_process(shared: LocalStore, tmp_path: Path) -> None:
    """With a clone of its own a primary that starts again sees `main` and the published ref moved back together."""
    commit_files(shared, MAIN, {f"{FOLDER}/1/a.json": text(number=1)})
    before = shared.refs()
    first = close(primary_on(remote(shared, tmp_path)))
    for ref in (MAIN, paths.PUBLISHED):
        subprocess.run(["git", "-C", str(shared.folder), "update-ref", ref, before[ref]], check=True)
    ledger = close(primary_on(remote(shared, tmp_path)))
    assert (ledger.frame, ledger.previous) == (2, first.snapshot)
    assert [row.kind for row in ledger.violations] == ["main-rewound"]


LOCKS = [f"{MAIN}.lock", f"{paths.PUBLISHED}.lock", f"{KNOWN}.lock", "HEAD.lock", "packed-refs.lock"]


def leave_lock(store: RemoteStore, name: str, age_s: float) -> Path:
    lock = store.folder / name
    lock.parent.mkdir(parents=True, exist_ok=True)
    lock.touch()
    then = time.time() - age_s
    os.utime(lock, (then, then))
    return lock


@pytest.mark.parametrize("name", LOCKS)
@pytest.mark.parametrize("transport", ["pygit2", "git"])
def test_a_lock_that_a_killed_primary_left_is_removed(
    shared: LocalStore, tmp_path: Path, transport: str, name: str
) -> None:
    """Killed while it moved a ref of its clone, it starts again, fetches and publishes as if nothing were."""
    store = remote(shared, tmp_path, transport)
    close(primary_on(store))
    leave_lock(store, name, STALE_S + 1)
    commit_files(shared, MAIN, {f"{FOLDER}/1/a.json": text(number=1)})
    again = remote(shared, tmp_path, transport)
    ledger = close(primary_on(again))
    assert (ledger.frame, merged(ledger)) == (2, ["a.json"])
    assert again.recall() == shared.refs()[paths.PUBLISHED]


@pytest.mark.parametrize("transport", ["pygit2", "git"])
def test_a_fresh_lock_of_a_dead_process_is_removed_at_once(
    shared: LocalStore, tmp_path: Path, transport: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nobody else moves refs of the own clone: without maintenance a lock there is a dead process's, however young."""
    monkeypatch.setattr(clone_refs, "LOCK_WAIT_S", 240.0)
    store = remote(shared, tmp_path, transport)
    close(primary_on(store))
    lock = leave_lock(store, f"{MAIN}.lock", -3600)
    commit_files(shared, MAIN, {f"{FOLDER}/1/a.json": text(number=1)})
    start = time.monotonic()
    assert merged(close(primary_on(store))) == ["a.json"]
    assert time.monotonic() - start < 120
    assert not lock.exists()


@pytest.mark.parametrize("transport", ["pygit2", "git"])
def test_a_lock_that_maintenance_may_hold_is_waited_for(shared: LocalStore, tmp_path: Path, transport: str) -> None:
    """A young lock stays while maintenance runs; once its owner removes it the close goes on."""
    store = remote(shared, tmp_path, transport)
    close(primary_on(store))
    lock = leave_lock(store, f"{MAIN}.lock", 0)
    commit_files(shared, MAIN, {f"{FOLDER}/1/a.json": text(number=1)})
    seen: list[bool] = []

    def finish() -> None:
        seen.append(lock.exists())
        lock.unlink()

    with maintaining(store.folder):
        timer = threading.Timer(1.0, finish)
        timer.start()
        assert merged(close(primary_on(store))) == ["a.json"]
    timer.join()
    assert seen == [True]


@pytest.mark.parametrize("ends", [".idx", ".pack"])
@pytest.mark.parametrize("transport", ["pygit2", "git"])
def test_a_pack_that_a_power_cut_left_half_written_is_fetched_again(
    shared: LocalStore, tmp_path: Path, transport: str, ends: str
) -> None:
    """A first fetch that was cut off left the name of a pack and a part of it, and no refs: the next start is not
    stopped by it, although what it fetches has the same name."""
    commit_files(shared, MAIN, {f"{FOLDER}/1/a.json": text(number=1)})
    clone = tmp_path / "clone.git"
    with serve("git", shared.folder, tmp_path / "server") as server:
        assert isinstance(server, Server)
        more = f'[repository]\nurl = "{server.url}"\nclone = "{clone}"\ntransport = "{transport}"\n'
        config = primary_toml(tmp_path, more=more)
        dc("plan", "--config", str(config))
        for path in (clone / "objects/pack").iterdir():
            if path.suffix == ends:
                path.chmod(0o644)
                os.truncate(path, path.stat().st_size // 2)
        for path in [path for path in (clone / "refs").rglob("*") if path.is_file()]:
            path.unlink()
        (clone / "packed-refs").unlink(missing_ok=True)
        dc("merge", "--config", str(config))
    shared.refresh()
    assert "frame 1: 1 delta" in shared.commit(shared.refs()[MAIN]).message
