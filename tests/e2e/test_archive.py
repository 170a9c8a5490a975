"""Closed frames in a file of their own (docs/protocol.md#commands)."""

from __future__ import annotations

import subprocess
import tarfile
from pathlib import Path

import pytest

from dreamcatcherd.core.frames import Closing
from dreamcatcherd.imports.new_repository import create
from tests.e2e.tools import dc, dc_json, git
from tests.history.history import grow
from tests.law.fleet import MAIN, NOW, commit_files, primary_on
from tests.law.model import SETTINGS

FRAMES = 20


@pytest.fixture(scope="module")
def grown(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A repository with a generated history. Not to be changed."""
    path = tmp_path_factory.mktemp("archive") / "fleet.git"
    store = create(path, 1, NOW, Closing("manual"))
    commit_files(store, MAIN, {"state/dreamcatcher.toml": SETTINGS})
    grow(primary_on(store), FRAMES, seed=2)
    return path


@pytest.mark.parametrize("frames", [(1, FRAMES), (1, 7), (8, 15), (20, 20)], ids=str)
def test_an_archive_holds_its_frames_and_verifies_alone(grown: Path, tmp_path: Path, frames: tuple[int, int]) -> None:
    """Any run of frames can be written; checked alone they are as published; unpacked, the commands read them."""
    first, last = frames
    file = tmp_path / "frames.tar"
    words = ("archive", "--from", str(first), "--to", str(last), "-o", str(file))
    manifest = dc_json(*words, "--repo", str(grown))
    assert (manifest["first"], manifest["last"]) == frames
    assert manifest["base"] == (None if first == 1 else first - 1)
    verdict = dc_json("verify", "--archive", str(file), cwd=tmp_path)
    assert verdict == {"frames": last - first + 1, "ok": True, "first_bad": None, "why": None}
    there = tmp_path / "there"
    there.mkdir()
    subprocess.run(["tar", "xf", str(file)], cwd=there, check=True)
    subprocess.run(["sha256sum", "--quiet", "-c", "SHA256SUMS"], cwd=there, check=True)
    exported = dc("export", "--frame", str(last), "--repo", str(there))
    assert exported == dc("export", "--frame", str(last), "--repo", str(grown))
    closed = [row["frame"] for row in dc_json("log", "--repo", str(there))]
    assert closed[: last - first + 1] == list(range(last, first - 1, -1))
    git(there, "--git-dir", str(there), "fsck", "--full", "--strict", "--no-dangling")


def test_a_damaged_archive_is_refused_and_a_forged_one_found_out(grown: Path, tmp_path: Path) -> None:
    """A flipped byte, a file that is missing or added, or another manifest: exit 1, and the file is named."""
    file = tmp_path / "frames.tar"
    dc("archive", "-o", str(file), "--repo", str(grown))
    raw = file.read_bytes()
    damaged = tmp_path / "damaged.tar"
    for at in (len(raw) // 2, len(raw) // 3):
        damaged.write_bytes(raw[:at] + bytes([raw[at] ^ 1]) + raw[at + 1 :])
        assert "is not a complete archive" in dc("verify", "--archive", str(damaged), code=1)
    damaged.write_bytes(raw[: len(raw) // 2])
    dc("verify", "--archive", str(damaged), code=1)
    damaged.write_bytes(b"")
    dc("verify", "--archive", str(damaged), code=1)
    dc("verify", "--archive", str(tmp_path / "none.tar"), code=1)
    there = tmp_path / "there"
    there.mkdir()
    subprocess.run(["tar", "xf", str(file)], cwd=there, check=True)
    manifest = there / "manifest.json"
    manifest.write_text(manifest.read_text().replace(f'"last": {FRAMES}', '"last": 99'))
    sums = subprocess.run("find . -type f ! -name SHA256SUMS -printf '%P\\n' | xargs sha256sum", shell=True, cwd=there,
                          capture_output=True, text=True, check=True).stdout  # fmt: skip
    (there / "SHA256SUMS").write_text(sums)
    with tarfile.open(damaged, "w") as tar:
        for path in sorted(there.rglob("*")):
            if path.is_file():
                tar.add(path, path.relative_to(there).as_posix())
    assert "manifest" in dc("verify", "--archive", str(damaged), code=1)
    dc("archive", "--from", "5", "--to", "99", "-o", str(file), "--repo", str(grown), code=1)
    dc("archive", "-o", str(tmp_path / "no" / "x.tar"), "--repo", str(grown), code=2)
