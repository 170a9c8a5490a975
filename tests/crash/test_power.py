"""What the model of a power cut leaves, compared with what POSIX promises."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from random import Random

import pytest

from tests.crash.changes import OPEN, SYNC, Change
from tests.crash.power import Disk, Remains


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A folder with a file and a folder, which are on the disk."""
    folder = tmp_path / "root"
    (folder / "refs").mkdir(parents=True)
    (folder / "refs/main").write_bytes(b"old\n")
    (tmp_path / "synced").mkdir()
    return folder


def lines(root: Path, changes: Sequence[tuple[str, str, str, int]]) -> list[Change]:
    """The log of some changes: call, path, second path, bits."""
    return [
        Change(number, "git", call, 0, str(root / path), str(root / path2) if path2 else "", bits, 0o644)
        for number, (call, path, path2, bits) in enumerate(changes, 1)
    ]


def now(root: Path, raw: bytes) -> None:
    (root / "refs/main").write_bytes(raw)


REPLACED = [("openat", "refs/main.lock", "", OPEN), ("rename", "refs/main.lock", "refs/main", 0)]
SYNCED = [REPLACED[0], ("fsync", "refs/main.lock", "", SYNC), REPLACED[1]]
DURABLE = [*SYNCED, ("fsync", "refs", "", SYNC)]


@pytest.mark.parametrize(
    ("changes", "which", "left"),
    [
        ([], "neither", b"old\n"),
        (REPLACED, "neither", b"old\n"),
        (REPLACED, "names", b""),
        (REPLACED, "data", b"old\n"),
        (SYNCED, "neither", b"old\n"),
        (SYNCED, "names", b"new\n"),
        (DURABLE, "neither", b"new\n"),
        (DURABLE, "data", b"new\n"),
    ],
)
def test_a_file_that_is_replaced_is_old_new_or_empty(
    root: Path, changes: Sequence[tuple[str, str, str, int]], which: Remains, left: bytes
) -> None:
    """Empty only if the name was kept and the content was not; old until the folder was synced; new after it."""
    (root.with_name("synced") / "2").write_bytes(b"new\n")
    disk = Disk(root)
    now(root, b"new\n")
    disk.follow(lines(root, changes), root.with_name("synced"))
    if changes:
        disk.see()
    assert disk.remains(which, Random(1))["refs/main"][0] == left


def test_a_journal_keeps_what_was_before_its_last_sync(root: Path) -> None:
    """A rename that was followed by a sync of another file is there; one after it may be or not."""
    synced = root.with_name("synced")
    for number in (2, 5):
        (synced / str(number)).write_bytes(b"new\n")
    other = [("openat", "f", "", OPEN), ("fsync", "f", "", SYNC), ("rename", "f", "g", 0)]
    disk = Disk(root)
    disk.follow(lines(root, [*SYNCED, *other]), synced)
    found = [disk.remains("journal", Random(seed)) for seed in range(20)]
    assert all(set(one) in ({"refs/main", "f"}, {"refs/main", "g"}) for one in found)
    assert {frozenset(one) for one in found} == {frozenset({"refs/main", "f"}), frozenset({"refs/main", "g"})}


def test_what_was_added_to_a_file_may_be_there_in_part(root: Path) -> None:
    """A reflog that was appended to keeps its synced lines, and any part of the others."""
    disk = Disk(root)
    now(root, b"old\nnew line\n")
    disk.follow([Change(1, "git", "write", 9, str(root / "refs/main"), "", 0, 0)], root)
    disk.see()
    found = {disk.remains("journal", Random(seed))["refs/main"][0] for seed in range(60)}
    assert all(b"old\nnew line\n".startswith(one) and one.startswith(b"old\n") for one in found)
    assert {b"old\n", b"old\nnew line\n"} < found


def test_a_call_that_failed_changes_nothing(root: Path) -> None:
    """The names are those of before."""
    disk = Disk(root)
    disk.follow([Change(1, "git", "unlink", -2, str(root / "refs/main"), "", 0, 0)], root)
    assert set(disk.remains("names", Random(1))) == {"refs/main"}


def test_a_synced_file_that_is_deleted_may_come_back_with_what_it_held(root: Path) -> None:
    """Its name was synced with the folder, and the deletion was not."""
    made = [("openat", "refs/new", "", OPEN), ("fsync", "refs/new", "", SYNC), ("fsync", "refs", "", SYNC)]
    (root.with_name("synced") / "2").write_bytes(b"new\n")
    disk = Disk(root)
    disk.follow(lines(root, [*made, ("unlink", "refs/new", "", 0)]), root.with_name("synced"))
    disk.see()
    for which in ("neither", "data"):
        assert disk.remains(which, Random(1))["refs/new"][0] == b"new\n"
    assert "refs/new" not in disk.remains("names", Random(1))
