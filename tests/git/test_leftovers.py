"""What killed processes left in a repository is removed once it is old, and nothing else is."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from dreamcatcherd.core.frames import Closing
from dreamcatcherd.git.leftovers import MAINTENANCE_LOCK_S, OTHER_LOCK_S, REF_LOCK_S, UNFINISHED_S, remove_leftovers
from dreamcatcherd.git.maintenance import maintain
from dreamcatcherd.git.packs import KEEP_S, write_pack
from dreamcatcherd.imports.new_repository import create
from tests.law.fleet import NOW, close, primary_on

UNFINISHED = [
    "objects/pack/tmp_pack_4711",
    "objects/pack/tmp_idx_4711",
    f"objects/pack/.tmp-4711-pack-{'2' * 40}.pack",
    "objects/pack/pack_git2_05ca9b812475e79f",
    "objects/4b/tmp_obj_A1b2C3",
    "objects/info/commit-graphs/tmp_graph_A1b2C3",
    "objects/info/packs_A1b2C3",
    "info/refs_A1b2C3",
    ".dreamcatcherd-published.4711",
    "dreamcatcherd-derived/.ledgers.4711",
]
LOCKS = ["objects/info/commit-graphs/commit-graph-chain.lock", "HEAD.lock"]
AGES = [
    *((name, UNFINISHED_S) for name in UNFINISHED),
    *((name, OTHER_LOCK_S) for name in LOCKS),
    ("refs/heads/dc/s.lock", REF_LOCK_S),
    ("refs/heads/dc/maintenance.lock", REF_LOCK_S),
    ("objects/maintenance.lock", MAINTENANCE_LOCK_S),
]


@pytest.fixture
def fleet(tmp_path: Path) -> Path:
    """A repository with a closed frame."""
    folder = tmp_path / "fleet.git"
    close(primary_on(create(folder, 1, NOW, Closing("manual"))))
    return folder


def left(path: Path, age_s: float, raw: bytes = b"left\n") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(raw)
    os.utime(path, (time.time() - age_s,) * 2)
    return path


@pytest.mark.parametrize(("name", "age_s"), AGES)
def test_what_was_being_written_goes_once_it_is_old(fleet: Path, name: str, age_s: float) -> None:
    """An unfinished file or a lock is kept up to its age and removed after it."""
    path = left(fleet / name, age_s - 60)
    remove_leftovers(fleet)
    assert path.exists()
    left(path, age_s + 60)
    remove_leftovers(fleet)
    assert not path.exists()


def test_nothing_else_is_removed_however_old_it_is(fleet: Path) -> None:
    """All files of a repository that nobody has touched for years are there afterwards."""
    everything = {path for path in fleet.rglob("*") if path.is_file()}
    for path in everything:
        os.utime(path, (0, 0))
    remove_leftovers(fleet)
    assert {path for path in fleet.rglob("*") if path.is_file()} == everything


def test_maintenance_completes_after_a_commit_graph_was_interrupted(fleet: Path) -> None:
    """The lock of a git that was killed while it wrote the graph does not stop maintenance for ever."""
    lock = left(fleet / "objects/info/commit-graphs/commit-graph-chain.lock", OTHER_LOCK_S + 60, b"")
    maintain(fleet)
    assert not lock.exists()


@pytest.mark.parametrize("content", [b"", bytes(47), b"dreamcatch"], ids=["empty", "zeros", "cut"])
def test_a_keep_that_lost_its_content_in_a_power_cut_goes_too(fleet: Path, content: bytes) -> None:
    """A `.keep` of ours is recognised without its content, and an empty one that somebody else made stays."""
    ours = write_pack(fleet, {})
    mode = ours.stat().st_mode
    ours.chmod(0o644)
    ours.write_bytes(content)
    ours.chmod(mode)
    theirs = left(fleet / f"objects/pack/pack-{'1' * 40}.keep", KEEP_S + 60, content)
    os.utime(ours, (time.time() - KEEP_S - 60,) * 2)
    remove_leftovers(fleet)
    assert (ours.exists(), theirs.exists()) == (False, True)
