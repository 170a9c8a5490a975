"""Running git: what it is given and says comes through whole, and nothing that it says outgrows memory or time."""

from __future__ import annotations

import errno
import os
import subprocess
import time
import tracemalloc
from pathlib import Path

import pytest

from dreamcatcherd.core.errors import RetryableError
from dreamcatcherd.git import command
from dreamcatcherd.git.command import ERRORS_MOST, GitTimeoutError, error_message, git


def stand_in(folder: Path, monkeypatch: pytest.MonkeyPatch, script: str) -> None:
    """Put a script in git's place."""
    (folder / "bin").mkdir()
    (folder / "bin" / "git").write_text(f"#!/bin/sh\n{script}\n")
    (folder / "bin" / "git").chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}/bin{os.pathsep}{os.environ['PATH']}")


def test_input_and_output_of_any_size_come_through_whole(tmp_path: Path) -> None:
    """Ten megabytes that git stores as an object and shows again are the same bytes."""
    git(tmp_path / "r.git", "init", "--quiet", "--bare")
    raw = os.urandom(10 * 2**20)
    oid = git(tmp_path / "r.git", "hash-object", "-w", "--stdin", stdin=raw).stdout.decode().strip()
    assert git(tmp_path / "r.git", "cat-file", "blob", oid).stdout == raw
    missing = git(tmp_path / "r.git", "cat-file", "blob", "0" * 40)
    assert missing.returncode == 128
    assert error_message(missing).startswith("fatal: ")


def test_a_process_that_reads_nothing_is_no_failure(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What it leaves unread is let go, as in a pipe whose reader ends; its answer counts."""
    stand_in(tmp_path, monkeypatch, "echo done")
    assert git(tmp_path, "anything", stdin=b"x" * 2**22).stdout == b"done\n"


def test_errors_without_end_cost_neither_memory_nor_more_than_the_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A server that sends progress for ever is cut off at the time limit, and of what it said little was kept."""
    stand_in(tmp_path, monkeypatch, "exec yes remote: working >&2")
    calls: list[None] = []
    tracemalloc.start()
    try:
        start = time.monotonic()
        with pytest.raises(GitTimeoutError):
            git(tmp_path, "fetch", timeout_s=4.0, waiting=lambda: calls.append(None))
        assert time.monotonic() - start < 60
        assert tracemalloc.get_traced_memory()[1] < 8 * ERRORS_MOST
    finally:
        tracemalloc.stop()
    assert 1 <= len(calls) <= 4


def test_the_last_of_many_errors_is_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """git says last why it ended: that is told, with the beginning and without the rest."""
    script = "echo first >&2; head -c 5000000 /dev/zero | tr '\\0' x >&2; echo ' fatal: last' >&2; exit 3"
    stand_in(tmp_path, monkeypatch, script)
    said = error_message(git(tmp_path, "fetch"))
    assert said.startswith("first xxx")
    assert said.endswith("x fatal: last")
    assert len(said) < 5_000


def test_an_answer_beyond_all_measure_is_cut_off(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A server that lists refs for ever is a failure that may pass, told long before the time limit."""
    stand_in(tmp_path, monkeypatch, "exec yes refs/heads/dc/x")
    monkeypatch.setattr(command, "OUTPUT_MOST", 2**22)
    start = time.monotonic()
    with pytest.raises(RetryableError, match="git ls-remote wrote more than 4 MiB"):
        git(tmp_path, "ls-remote", timeout_s=600)
    assert time.monotonic() - start < 300


@pytest.mark.parametrize(("number", "remedy"), [(errno.EAGAIN, "TasksMax="), (errno.EMFILE, "LimitNOFILE=")])
def test_a_git_that_the_system_does_not_start_is_a_failure_with_a_remedy(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int, remedy: str
) -> None:
    """A machine without room for another process or file stops what needs git, and nothing else."""

    def refused(*_: object, **__: object) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(subprocess, "Popen", refused)
    with pytest.raises(RetryableError, match="git cannot be started") as caught:
        git(tmp_path, "version")
    assert remedy in caught.value.remedy
