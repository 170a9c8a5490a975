"""Files of a snapshot are bounded in bytes, and what grows beyond what servers take is shown before they refuse it."""

from __future__ import annotations

from pathlib import Path

import pytest

import dreamcatcherd.core.snapshot
import dreamcatcherd.doctor.sizes
from dreamcatcherd.core.frames import Closing
from dreamcatcherd.core.snapshot import FILE_BYTES
from dreamcatcherd.daemon.cycle import close_frame
from dreamcatcherd.doctor.sizes import check_largest
from dreamcatcherd.git.local import LocalStore
from dreamcatcherd.imports.new_repository import create
from tests.e2e.primaries import metric
from tests.e2e.tools import Daemon, clone, dc, delta, git, primary_toml, push, wait_for
from tests.law.fleet import MAIN, NOW, commit_files, primary_on

TEXT = "x" * 400_000


def largest(repository: Path) -> int:
    listed = git(repository, "ls-tree", "-r", "-l", "main", "state/snapshot").splitlines()
    return max(int(line.split()[3]) for line in listed)


def test_no_file_of_several_records_grows_beyond_its_bound(tmp_path: Path) -> None:
    """Six observations of 400 KB from three workers lie in files of one each; verify and an import agree."""
    repository = tmp_path / "fleet.git"
    dc("init", str(repository))
    for name in ("a", "b", "c"):
        push(
            clone(repository, tmp_path / name),
            {f"state/stream_deltas/1/{name}.json": delta(1, name, observations=[TEXT + name, TEXT])},
            f"refs/heads/dc/{name}",
        )
    dc("merge", "--repo", str(repository))
    assert len(TEXT) < largest(repository) < FILE_BYTES
    dc("verify", "--repo", str(repository))
    dc("export", "--repo", str(repository), "-o", str(tmp_path / "snapshot.json"))
    dc("init", str(tmp_path / "other.git"))
    dc("import", str(tmp_path / "snapshot.json"), "--repo", str(tmp_path / "other.git"))
    digests = {git(one, "rev-parse", "main:state/snapshot") for one in (repository, tmp_path / "other.git")}
    assert len(digests) == 1


def test_the_gauge_shows_the_largest_file_that_a_frame_brought(tmp_path: Path) -> None:
    """It stays while that file does, whatever other frames bring, and tells of a larger one."""
    repository = tmp_path / "fleet.git"
    dc("init", str(repository))
    worker = clone(repository, tmp_path / "worker")
    config = primary_toml(tmp_path, "interval", 0.3)
    with Daemon(tmp_path, "--config", str(config), "--repo", str(repository)) as daemon:
        push(worker, {"state/stream_deltas/1/a.json": delta(1, "a", observations=[TEXT])}, "refs/heads/dc/a")
        wait_for(lambda: metric(daemon, "largest_blob_bytes") > len(TEXT))
        push(worker, {"state/stream_deltas/1/b.json": delta(1, "b", posts_created=[7])}, "refs/heads/dc/b")
        wait_for(lambda: metric(daemon, 'entities{collection="posts"}') == 1)
        assert len(TEXT) < metric(daemon, "largest_blob_bytes") < 2 * len(TEXT)
        push(worker, {"state/stream_deltas/1/c.json": delta(1, "c", observations=[TEXT * 2])}, "refs/heads/dc/c")
        wait_for(lambda: metric(daemon, "largest_blob_bytes") > 2 * len(TEXT))


def test_a_daemon_measures_its_folder_from_the_start(tmp_path: Path) -> None:
    """Packs, their bytes and the disk's room are shown as they are."""
    repository = tmp_path / "fleet.git"
    dc("init", str(repository))
    config = primary_toml(tmp_path, "manual")
    with Daemon(tmp_path, "--config", str(config), "--repo", str(repository)) as daemon:
        wait_for(lambda: metric(daemon, "repository_packed_bytes") > 0)
        packs = list((repository / "objects" / "pack").glob("*.pack"))
        assert metric(daemon, "repository_packs") == len(packs)
        assert metric(daemon, "disk_free_bytes") > 2**20


def test_doctor_warns_before_servers_refuse_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file over the limit is named with its bytes; below it, it is told."""
    store = create(tmp_path / "fleet.git", 1, NOW, Closing("manual"))
    commit_files(store, MAIN, {"state/stream_deltas/1/a.json": delta(1, "a", observations=[TEXT]).encode()})
    commit = close_frame(primary_on(LocalStore(tmp_path / "fleet.git")), "test").commit
    assert commit is not None
    fine = check_largest(store, commit)
    assert fine.ok
    assert fine.detail.endswith("bytes: state/snapshot/state/observations.jsonl")
    monkeypatch.setattr(dreamcatcherd.doctor.sizes, "LARGE_BYTES", 300_000)
    found = check_largest(store, commit)
    assert not found.ok
    assert found.detail == fine.detail
    assert "servers refuse files over 100 MB" in str(found.remedy)
