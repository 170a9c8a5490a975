"""Malformed objects stop at git itself: what `init` sets has it look at every object of a push before it keeps any."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.e2e.primaries import config_for
from tests.e2e.servers import Served, Server
from tests.e2e.tools import clone, dc, dc_json, delta, environment, git, push, try_git

PATH = "state/stream_deltas/1/a.json"
WHO = "a <a@localhost> 1700000000 +0000"


def made(folder: Path, kind: str, raw: bytes) -> str:
    """Store an object as its bytes are; returns its id."""
    words = ["git", "hash-object", "-t", kind, "-w", "--stdin", "--literally"]
    done = subprocess.run(words, cwd=folder, env=environment(), input=raw, capture_output=True, check=True)
    return done.stdout.decode().strip()


def commit_of(folder: Path, lines: list[str], tree: str | None = None) -> str:
    """A commit upon the clone's head, of the index's tree unless another is given, with these headers."""
    first = [f"tree {tree or git(folder, 'write-tree')}", f"parent {git(folder, 'rev-parse', 'HEAD')}"]
    return made(folder, "commit", "\n".join([*first, *lines, "", "x", ""]).encode())


def without_author(folder: Path) -> str:
    return commit_of(folder, [f"committer {WHO}"])


def in_a_far_year(folder: Path) -> str:
    return commit_of(folder, [f"author a <a@localhost> {10**30} +0000", f"committer {WHO}"])


def with_a_name_twice(folder: Path) -> str:
    blobs = [bytes.fromhex(made(folder, "blob", text)) for text in (b"one", b"two")]
    above = git(folder, "ls-tree", "HEAD").split()
    tree = b"".join(b"100644 note\0" + blob for blob in blobs) + b"40000 state\0" + bytes.fromhex(above[2])
    return commit_of(folder, [f"author {WHO}", f"committer {WHO}"], made(folder, "tree", tree))


MALFORMED: dict[str, tuple[Callable[[Path], str], str]] = {
    "no author": (without_author, "missingAuthor"),
    "a date of 31 digits": (in_a_far_year, "badDateOverflow"),
    "a name twice in one tree": (with_a_name_twice, "duplicateEntries"),
}


@pytest.fixture
def worker(tmp_path: Path) -> Path:
    """A clone of what `init` made, with a delta in its index."""
    dc("init", str(tmp_path / "fleet.git"))
    folder = clone(tmp_path / "fleet.git", tmp_path / "worker")
    (folder / PATH).parent.mkdir(parents=True)
    (folder / PATH).write_text(delta(1, "a", observations=[1]))
    git(folder, "add", "state")
    return folder


@pytest.mark.parametrize("unpack_limit", ["1", "1000"], ids=["pack", "loose"])
@pytest.mark.parametrize("kind", MALFORMED)
def test_malformed_objects_are_refused_on_lane_and_branch(
    kind: str, unpack_limit: str, worker: Path, tmp_path: Path
) -> None:
    """git names what is wrong with the object, no ref moves, and the object is not kept."""
    repository = tmp_path / "fleet.git"
    git(repository, "config", "receive.unpackLimit", unpack_limit)
    before = git(repository, "for-each-ref")
    make, said = MALFORMED[kind]
    oid = make(worker)
    for target in ("refs/heads/main", "refs/heads/dc/a", "refs/heads/topic"):
        done = try_git(worker, "push", "origin", f"{oid}:{target}")
        assert done.returncode == 1
        assert said in done.stderr
    assert git(repository, "for-each-ref") == before
    assert try_git(repository, "cat-file", "-e", oid).returncode != 0


def test_good_pushes_of_workers_and_of_a_primary_pass(served: Served, tmp_path: Path) -> None:
    """By path and over each transport a worker's lane enters, and so does the frame that a primary publishes."""
    assert git(served.repository, "config", "receive.fsckObjects") == "true"
    worker = clone(served.url, tmp_path / "worker", env=served.git_env)
    push(worker, {PATH: delta(1, "a", observations=[1])}, "refs/heads/dc/a", env=served.git_env)
    config = config_for(served, tmp_path / "primary", "manual")
    (closed,) = dc_json("merge", "--config", str(config))
    assert closed["deltas"] == 1
    git(served.repository, "fsck", "--full", "--strict", "--no-dangling")


@pytest.mark.parametrize("name", ["receive.fsckObjects", "transfer.fsckObjects"])
def test_doctor_takes_either_setting_and_its_remedy_mends(name: str, tmp_path: Path) -> None:
    """Without the setting `doctor` gives the command that sets it; set there or for all transfers, it is content."""
    repository = tmp_path / "fleet.git"
    dc("init", str(repository))
    assert "transfer.fsckobjects" not in git(repository, "config", "--local", "--list")
    git(repository, "config", "--unset", "receive.fsckObjects")
    rows = {row["check"]: row for row in dc_json("doctor", "--repo", str(repository), code=1)}
    assert [row["check"] for row in rows.values() if not row["ok"]] == ["receive.fsckObjects"]
    remedy = rows["receive.fsckObjects"]["remedy"].replace("receive.fsckObjects", name)
    subprocess.run(remedy, shell=True, check=True)
    assert git(repository, "config", name) == "true"
    dc("doctor", "--repo", str(repository))
    git(repository, "config", "receive.fsckObjects", "no")
    assert "false: pushes of malformed" in dc("doctor", "--repo", str(repository), code=1)


@pytest.mark.parametrize("server", ["git", "http", "ssh"], indirect=True)
def test_of_a_remote_doctor_recommends_it_and_is_content(server: Server, tmp_path: Path) -> None:
    """What a server does with pushed objects cannot be asked: that is said, and is no fault."""
    git(server.repository, "config", "--unset", "receive.fsckObjects")
    config = config_for(server, tmp_path / "primary", "manual")
    rows = {row["check"]: row for row in dc_json("doctor", "--config", str(config))}
    assert rows["receive.fsckObjects"]["ok"]
    assert "only where the server does" in rows["receive.fsckObjects"]["detail"]
