"""Refs listed from files are at every moment those that git lists, whatever the file system's clock is like."""

from __future__ import annotations

import os
import shutil
import subprocess
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dreamcatcherd.git import ref_files
from dreamcatcherd.git.integrity import DamagedRefsError
from dreamcatcherd.git.ref_files import RACY_S, RELIST_S, RefFiles
from tests.e2e.tools import git

TICK_S = 2.0
"""The coarsest clock of a file system: that of FAT."""

NAMES = ["heads/main", "heads/dc/a", "heads/dc/b", "heads/dc/c/1", "heads/dc/c/2", "heads/dc/d/e/f", "tags/t"]

CHURNING = [f"refs/heads/dc/{n}/x" for n in range(20)] + [f"refs/heads/dc/f{n}" for n in range(20)]


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bare repository with four commits and one branch."""
    folder = tmp_path_factory.mktemp("template") / "fleet.git"
    subprocess.run(["git", "init", "--quiet", "--bare", "--initial-branch=main", str(folder)], check=True)
    lines = "".join(f"commit refs/heads/main\ncommitter w <w@w> {n} +0000\ndata 1\n{n}\n" for n in range(1, 5))
    subprocess.run(["git", "-C", folder, "fast-import", "--quiet"], input=lines.encode(), check=True)
    return folder


@pytest.fixture
def fleet(template: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(template, tmp_path / "fleet.git"))


def commits(folder: Path) -> list[str]:
    return git(folder, "rev-list", "main").splitlines()


def listed(folder: Path) -> dict[str, str]:
    """What git lists, without symbolic refs."""
    shape = "--format=%(refname) %(objectname)%(if)%(symref)%(then) symbolic%(end)"
    rows = [line.split(" ") for line in git(folder, "for-each-ref", shape).splitlines()]
    return {row[0]: row[1] for row in rows if len(row) == 2}


class Clock:
    """The steady clock, by hand."""

    def __init__(self) -> None:
        self.now = 1_000.0

    def __call__(self) -> float:
        return self.now


class CoarseTimes:
    """A file system that stamps its files with a coarse clock of its own, and whose inodes say nothing.

    Real stamps and contents show what changed since the last call of `note`; those files get the present tick."""

    def __init__(self, folder: Path, clock: Clock, skew_s: float) -> None:
        self._folder = folder
        self._clock = clock
        self._skew_s = skew_s
        self._seen: dict[Path, object] = {}
        self._ticks: dict[Path, float] = {}
        self._stamps: dict[int, ref_files.FileStamp] = {}

    def note(self) -> None:
        self._stamps = {}
        for path in (self._folder / "refs", *(self._folder / "refs").rglob("*"), self._folder / "packed-refs"):
            if not path.exists():
                continue
            found = path.stat()
            inside = tuple(sorted(path.iterdir())) if path.is_dir() else path.read_bytes()
            version = (found.st_mtime_ns, found.st_ctime_ns, found.st_ino, inside)
            if self._seen.get(path) != version:
                self._seen[path] = version
                self._ticks[path] = (self._clock.now + self._skew_s) // TICK_S * TICK_S
            size = 0 if path.is_dir() else found.st_size
            self._stamps[found.st_ino] = (int(self._ticks[path]), 0, 0, size, 0)

    def stamp(self, found: os.stat_result) -> ref_files.FileStamp:
        return self._stamps[found.st_ino]


Step = tuple[str, str, int, float]
STEP = st.tuples(
    st.sampled_from(["update", "update", "create", "delete", "pack", "write", "symbolic", "both", "lock", "look"]),
    st.sampled_from(NAMES),
    st.integers(0, 3),
    st.sampled_from([0.0, 0.0, 0.4, 1.0, 1.0, 3.0, 3.0, RELIST_S]),
)


def change(folder: Path, what: str, ref: str, oid: str) -> None:
    """One change of the refs, by git where git makes such changes; what git refuses, changes nothing."""
    words: dict[str, list[str]] = {
        "update": ["update-ref", ref, oid],
        "create": ["update-ref", ref, oid, "0" * 40],
        "delete": ["update-ref", "-d", ref],
        "pack": ["pack-refs", "--all"],
        "symbolic": ["symbolic-ref", ref, "refs/heads/main"],
        "both": ["update-ref", "--stdin"],
    }
    lines = f"update {ref} {oid}\ndelete refs/heads/dc/b\n".encode()
    if what in words and (what != "symbolic" or ref != "refs/heads/main"):
        words_of = ["git", "-C", str(folder), *words[what]]
        subprocess.run(words_of, input=lines if what == "both" else b"", capture_output=True, check=False)
    path = folder / ref
    if what == "write" and path.is_file():  # as by an editor: same file, same size, and the folder's stamp stays
        with path.open("r+b") as file:
            file.write(oid.encode())
    if what == "lock" and path.parent.is_dir():  # what a running git has beside a ref
        (path.parent / f"{path.name}.lock").write_bytes(oid.encode())
        (path.parent / f"{path.name}.lock").unlink()


@settings(max_examples=30, derandomize=True)
@given(steps=st.lists(STEP, min_size=4, max_size=14), skew_s=st.sampled_from([0.0, 0.7, -3_600.0]))
def test_every_look_shows_what_git_lists(template: Path, steps: list[Step], skew_s: float) -> None:
    """Also on a file system with a clock of two seconds that is wrong by an hour, and where a second change within
    one tick, in place, leaves the same stamp."""
    with TemporaryDirectory() as name, pytest.MonkeyPatch.context() as patch:
        folder = Path(shutil.copytree(template, Path(name) / "fleet.git"))
        oids, clock = commits(folder), Clock()
        times, files = CoarseTimes(folder, clock, skew_s), RefFiles(folder, clock)
        patch.setattr(ref_files, "_stamp", times.stamp)
        for what, ref, number, seconds in steps:
            change(folder, what, f"refs/{ref}", oids[number])
            times.note()
            assert files.look() == listed(folder)
            clock.now += seconds
            if what == "look":
                assert files.look() == listed(folder)


def test_what_did_not_change_is_the_same_object_until_all_is_read_again(fleet: Path) -> None:
    """Callers see without a comparison that nothing changed, and see it anew now and then."""
    clock = Clock()
    files = RefFiles(fleet, clock)
    first = files.look()
    clock.now += RACY_S + 1
    assert files.look() is first
    clock.now += RACY_S
    assert files.look() is first
    clock.now += RELIST_S
    again = files.look()
    assert again == first
    assert again is not first
    git(fleet, "update-ref", "refs/heads/dc/a", "main")
    assert files.look() == {**first, "refs/heads/dc/a": first["refs/heads/main"]}
    assert again == first, "what was given out does not change"


def test_names_and_contents_count_as_they_do_for_git(fleet: Path) -> None:
    """Names that git ignores, symbolic refs of both kinds, links, pipes, and what follows an id; files and packed."""
    oid = commits(fleet)[0]
    lanes = fleet / "refs/heads/dc"
    lanes.mkdir()
    for name in (b"ok", b"caf\xe9", b"has space", b".dot", b"x.lock", b"tilde~1", b"end.", b"line\nfeed", b"a@{b"):
        (lanes / os.fsdecode(name)).write_text(f"{oid}\n")
    (lanes / "upper").write_text(f"{oid.upper()} and more\n")
    (lanes / "zeros").write_text("0" * 40)
    (lanes / "name").write_text("ref: refs/heads/main\n")
    (lanes / "link").symlink_to("ok")
    (lanes / "old-name").symlink_to("refs/heads/main")
    (lanes / "nowhere").symlink_to("gone")
    (fleet / "refs/heads/folder").symlink_to("dc")
    os.mkfifo(lanes / "pipe")
    files = RefFiles(fleet)
    environment = {**os.environ, "LC_ALL": "C"}
    words = ["git", "-C", str(fleet), "for-each-ref", "--format=%(refname) %(symref)"]
    (lanes / "pipe").unlink()
    lines = subprocess.run(words, env=environment, capture_output=True, check=True).stdout.splitlines()
    expected = {os.fsdecode(line.removesuffix(b" ")) for line in lines if line.endswith(b" ")}
    os.mkfifo(lanes / "pipe")
    assert files.look().keys() == expected
    assert "refs/heads/dc/pipe" in files.damaged
    assert "refs/heads/dc/zeros" in files.damaged
    with (fleet / "packed-refs").open("w") as packed:
        packed.write(f"# pack-refs with: peeled fully-peeled sorted \n{oid} refs/heads/bad..name\n{oid} refs/tags/t\n")
        packed.write(f"^{oid}\n{oid} refs/heads/dc/ok/below\n")
    assert files.look().keys() == expected | {"refs/tags/t", "refs/heads/dc/ok/below"}


@pytest.mark.parametrize("raw", [b"", b"# pack-refs with: peeled \n0123", b"nonsense\n", b"# x\n%s refs/heads/a"])
def test_damaged_packed_refs_are_never_an_empty_list(fleet: Path, raw: bytes) -> None:
    """Cut or overwritten, they fail each look until they are restored. What moved meanwhile is not forgotten then."""
    git(fleet, "pack-refs", "--all")
    files, good = RefFiles(fleet), (fleet / "packed-refs").read_bytes()
    before = files.look()
    (fleet / "packed-refs").write_bytes(raw % commits(fleet)[0].encode() if b"%s" in raw else raw)
    for looking in (files, files, RefFiles(fleet)):
        with pytest.raises(DamagedRefsError):
            looking.look()
    (fleet / "refs/heads/dc").mkdir()
    (fleet / "refs/heads/dc/a").write_text(before["refs/heads/main"])
    with pytest.raises(DamagedRefsError):
        files.look()
    (fleet / "packed-refs").write_bytes(good)
    assert files.look() == {**before, "refs/heads/dc/a": before["refs/heads/main"]} == listed(fleet)


def test_a_ref_whose_file_is_damaged_keeps_what_it_named(fleet: Path) -> None:
    """Loose or packed before, its last value stays in the list beside its name among the damaged ones."""
    git(fleet, "update-ref", "refs/heads/dc/a", "main~1")
    git(fleet, "update-ref", "refs/heads/dc/b", "main~2")
    git(fleet, "pack-refs", "--all")
    git(fleet, "update-ref", "refs/heads/dc/a", "main~3")
    files = RefFiles(fleet)
    before = files.look()
    for lane in ("a", "b", "c"):
        (fleet / "refs/heads/dc").mkdir(exist_ok=True)
        (fleet / "refs/heads/dc" / lane).write_bytes(b"")
    assert files.look() == before
    assert len(files.damaged) == 3
    for lane in ("a", "b", "c"):
        (fleet / "refs/heads/dc" / lane).unlink()
    assert files.look() == listed(fleet)
    assert not files.damaged


@pytest.fixture
def churning(fleet: Path) -> Iterator[Callable[[], bool]]:
    """Lanes that git updates, packs and locks all the time, until the fixture ends."""
    stop = threading.Event()
    oids = commits(fleet)

    def update(number: int) -> None:
        lines = "".join(f"update {name} {oids[number % 4]}\n" for name in CHURNING)
        subprocess.run(["git", "-C", fleet, "update-ref", "--stdin"], input=lines.encode(), check=True)

    def run() -> None:
        for number in range(1, 40):
            if stop.is_set():
                return
            update(number)
            subprocess.run(["git", "-C", fleet, "pack-refs", "--all"], check=True)

    update(0)
    worker = threading.Thread(target=run)
    worker.start()
    yield worker.is_alive
    stop.set()
    worker.join()


def test_no_ref_falls_between_its_file_and_the_packed_ones(fleet: Path, churning: Callable[[], bool]) -> None:
    """While git moves all lanes and packs them again and again, every look shows every lane."""
    files, looks = RefFiles(fleet), 0
    names = {"refs/heads/main", *CHURNING}
    while churning():
        assert files.look().keys() == names
        looks += 1
    assert looks
    assert files.look() == listed(fleet)
