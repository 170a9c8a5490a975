"""A push that was acknowledged by a repository that `init` prepared, and a publication, are there after a power cut."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path
from random import Random

import pytest

from tests.crash.changes import SYNC, missing_parts, trace
from tests.crash.power import REMAINS, Disk
from tests.crash.scenes import SCENES, Place
from tests.e2e.servers import Server, serve
from tests.e2e.tools import DREAMCATCHERD, clone, dc, delta, do_without, git, primary_toml

LANE = "refs/heads/dc/alice/1"


@pytest.mark.needs("gcc")
def test_the_name_of_a_pushed_ref_is_synced_before_the_push_is_acknowledged(tmp_path: Path) -> None:
    """With the hooks that `init` installs, a power cut after the answer leaves the ref in every model of a disk, with
    the folders that the push made; without them, not in each."""
    if reason := missing_parts():
        do_without(reason)
    for hooks in ("installed", "removed"):
        place = tmp_path / hooks
        place.mkdir()
        fleet = place / "fleet.git"
        dc("init", str(fleet))
        if hooks == "removed":
            (fleet / "hooks/reference-transaction").unlink()
        worker = clone(fleet, place / "worker")
        (worker / "state/stream_deltas/1").mkdir(parents=True)
        (worker / "state/stream_deltas/1/a.json").write_text(delta(1, "alice", observations=[1]))
        git(worker, "add", "-A")
        git(worker, "commit", "-q", "-m", "add")
        disk = Disk(place)
        run = trace(["git", "-C", str(worker), "push", "-q", "origin", f"HEAD:{LANE}"], place, tmp_path / "scratch")
        assert run.code == 0, run.errors
        # The worker notes the ref in its clone once the server has answered.
        answered = next(one.number for one in run.changes if "refs/remotes/origin/dc" in one.path)
        before = [one for one in run.changes if one.number < answered]
        disk.follow(before, tmp_path / "scratch/synced")
        kept = {which: f"fleet.git/{LANE}" in disk.remains(which, Random(1)) for which in REMAINS}
        synced = {Path(one.path).relative_to(fleet).as_posix() for one in before if _is_sync(one.bits, one.path, fleet)}
        folders = {"refs/heads/dc/alice", "refs/heads/dc", "refs/heads", "refs", "."}
        if hooks == "installed":
            assert folders <= synced
            assert all(kept.values()), kept
        else:
            assert not folders & synced
            assert not kept["neither"]


@pytest.mark.needs("gcc")
def test_the_names_of_published_refs_are_synced_before_a_close_ends(tmp_path: Path) -> None:
    """The first publication of a repository makes the published ref and its folder: both refs are there after a power
    cut, in every model of a disk."""
    if reason := missing_parts():
        do_without(reason)
    place = Place(next(one for one in SCENES if one.name == "adopted"), tmp_path / "place")
    try:
        disk = Disk(place.root)
        run = trace(place.interrupted(), place.root, place.scratch)
        assert run.code == 0, run.errors
        disk.follow(run.changes, place.scratch / "synced")
        for which in REMAINS:
            remains = disk.remains(which, Random(1))
            assert {"fleet.git/refs/heads/main", "fleet.git/refs/dreamcatcher/published"} <= set(remains), which
    finally:
        place.close()


@pytest.mark.needs("gcc")
@pytest.mark.parametrize("made", ["init", "clone"])
def test_a_new_repository_is_on_the_disk_with_all_its_files(tmp_path: Path, made: str) -> None:
    """After `init`, or the first look at a remote, a power cut leaves the repository with the files that git made, and
    with what they hold, in every model of a disk."""
    if reason := missing_parts():
        do_without(reason)
    root, scratch = tmp_path / "root", tmp_path / "scratch"
    root.mkdir()
    words, folder = ["init", str(root / "fleet.git")], "fleet.git"
    with ExitStack() as stack:
        if made == "clone":
            dc("init", str(tmp_path / "fleet.git"))
            server = stack.enter_context(serve("git", tmp_path / "fleet.git", tmp_path / "server"))
            assert isinstance(server, Server)
            more = f'[repository]\nurl = "{server.url}"\nclone = "{root / "clone"}"\n'
            words, folder = ["plan", "--config", str(primary_toml(tmp_path, more=more))], "clone"
        disk = Disk(root)
        run = trace([*DREAMCATCHERD, *words], root, scratch)
    assert run.code == 0, run.errors
    disk.follow(run.changes, scratch / "synced")
    disk.see()
    for name in ("HEAD", "config"):
        held = (root / folder / name).read_bytes()
        assert held
        for which in REMAINS:
            assert disk.remains(which, Random(1))[f"{folder}/{name}"][0] == held, which


def _is_sync(bits: int, path: str, fleet: Path) -> bool:
    return bool(bits & SYNC) and Path(path).is_relative_to(fleet)
