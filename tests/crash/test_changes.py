"""The tracer sees each change that a command and its children make below a folder, and lets the right one go wrong."""

from __future__ import annotations

import errno
from collections.abc import Sequence
from pathlib import Path

import pytest

from tests.crash.changes import Fault, Traced, missing_parts, program_of, trace
from tests.e2e.tools import do_without

pytestmark = pytest.mark.needs("gcc")

SCRIPT = 'cd "$0"; echo one > a; mv a b; (ln b c; rm b); mkdir d; echo two >&2'
CALLS = ["open", "write", "rename", "link", "unlink", "mkdir"]
"""What the script does below its folder, apart from closing: the calls as every libc names them, without `at`."""


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """The folder whose changes are numbered."""
    if reason := missing_parts():
        do_without(reason)
    folder = tmp_path / "root"
    folder.mkdir()
    return folder


def run(root: Path, fault: Fault = "none", at: int = 0, error: int = 0) -> Traced:
    return trace(["sh", "-c", SCRIPT, str(root)], root, root.with_name("scratch"), fault, at, error)


def calls(done: Traced) -> list[str]:
    """The names of the changes in order, without the closing of files."""
    return [one.call.removesuffix("2").removesuffix("at") for one in done.changes if one.call != "close"]


def number_of(root: Path, call: str) -> int:
    """The number of a call in a run without a fault, after which the folder is empty again."""
    found = next(one.number for one in run(root).changes if one.call.startswith(call))
    for path in sorted(root.iterdir()):
        path.rmdir() if path.is_dir() else path.unlink()
    return found


def test_changes_of_all_processes_are_numbered_in_their_order(root: Path) -> None:
    """The shell's and its children's; what is outside of the folder is not."""
    done = run(root)
    assert (done.code, done.errors) == (0, "two\n")
    assert calls(done) == CALLS
    assert [one.number for one in done.changes] == list(range(1, len(done.changes) + 1))
    assert {Path(one.path).parent for one in done.changes} == {root}


@pytest.mark.parametrize(("fault", "left"), [("before", ["a"]), ("after", ["b"])])
def test_all_processes_are_killed_before_or_after_a_change(root: Path, fault: Fault, left: Sequence[str]) -> None:
    """Nothing happens after it."""
    done = run(root, fault, number_of(root, "rename"))
    assert (done.code, [path.name for path in root.iterdir()]) == (137, left)


def test_a_child_can_be_killed_alone(root: Path) -> None:
    """The others go on: `mv` is gone, so `b` is not there to be linked, and the folder is made all the same."""
    done = run(root, "one", number_of(root, "rename"))
    assert (done.code, sorted(path.name for path in root.iterdir())) == (0, ["a", "d"])


def test_a_change_fails_with_an_error_once(root: Path) -> None:
    """The call returns the error, nothing changes, and the next ones succeed."""
    done = run(root, "fail", number_of(root, "rename"), errno.EIO)
    assert "Input/output error" in done.errors
    assert sorted(path.name for path in root.iterdir()) == ["a", "d"]


def test_a_full_disk_stays_full(root: Path) -> None:
    """Every later change that takes up room fails too, and removing a file does not."""
    done = run(root, "fill", number_of(root, "link"), errno.ENOSPC)
    assert [one.result for one in done.changes if one.call.startswith("mkdir")] == [-errno.ENOSPC]
    assert sorted(path.name for path in root.iterdir()) == []


def test_what_was_synced_is_kept_as_it_was_then(root: Path) -> None:
    """Later writes do not change the copy."""
    script = "import os,sys;f=open(sys.argv[1]+'/f','wb',0);f.write(b'a');os.fsync(f.fileno());f.write(b'b')"
    scratch = root.with_name("scratch")
    done = trace(["python3", "-c", script, str(root)], root, scratch)
    assert [one.call for one in done.changes] == ["openat", "write", "fsync", "write", "close"]
    assert ((scratch / "synced/3").read_bytes(), (root / "f").read_bytes()) == (b"a", b"ab")


@pytest.mark.parametrize(
    ("words", "program"),
    [
        ("python -m dreamcatcherd merge --repo fleet.git", "dreamcatcherd"),
        ("git --git-dir /r/fleet.git -c core.fsync=all update-ref --stdin", "git update-ref"),
        ("/usr/lib/git-core/git repack -d", "git repack"),
    ],
)
def test_a_change_is_named_by_its_program(words: str, program: str) -> None:
    """git with its command, whatever options are between them."""
    assert program_of(words) == program
