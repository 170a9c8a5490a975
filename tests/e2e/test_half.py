"""A repository that holds, or gives, only a part of its history is named as such, and never looks like an empty one."""

from __future__ import annotations

from pathlib import Path

import pytest

from dreamcatcherd.core.frames import Closing
from dreamcatcherd.git.local import LocalStore
from dreamcatcherd.imports.new_repository import create
from tests.e2e.tools import dc, dc_json, git
from tests.git.wires import git_daemon
from tests.law.fleet import MAIN, NOW, commit_files, primary_on
from tests.stages.tools import FOLDER, close, text

READING = ("status", "plan", "log", "export", "doctor")


@pytest.fixture
def whole(tmp_path: Path) -> LocalStore:
    """A repository in which three frames are closed."""
    store = create(tmp_path / "served" / "whole.git", 1, NOW, Closing("manual"))
    primary = primary_on(store)
    for frame in range(1, 4):
        commit_files(store, MAIN, {f"{FOLDER}/{frame}/a.json": text(frame, "a", frame)})
        close(primary)
    return store


def shallow(whole: LocalStore, name: str, *words: str) -> Path:
    """A clone of depth 1 beside it."""
    folder = whole.folder.parent / name
    git(whole.folder, "clone", "-q", *words, "--depth", "1", f"file://{whole.folder}", str(folder))
    return folder


@pytest.mark.parametrize("transport", ["pygit2", "git"])
def test_a_shallow_remote_is_named_and_nothing_is_published(whole: LocalStore, tmp_path: Path, transport: str) -> None:
    """Every command says that the remote lists what it does not give; none takes it for a fleet without frames."""
    folder = shallow(whole, "shallow.git", "--bare")
    with git_daemon(folder.parent) as server:
        config = tmp_path / "primary.toml"
        config.write_text(
            f'[repository]\nurl = "{server}/shallow.git"\nclone = "{tmp_path / "clone.git"}"\n'
            f'transport = "{transport}"\n[frames]\nclose = "manual"\n'
        )
        for command in (*READING, "merge", "verify"):
            said = dc(command, "--config", str(config), code=1 if command == "doctor" else 3)
            assert "shallow repository" in said
            assert "git fetch --unshallow" in said
            assert "frame 1 is open" not in said
    assert LocalStore(folder).refs() == {MAIN: whole.refs()[MAIN]}


@pytest.mark.parametrize("bare", [True, False], ids=["bare", "checkout"])
def test_a_shallow_folder_is_named_by_every_command(whole: LocalStore, bare: bool) -> None:
    """Commands that read say so beside their answer; those that publish or compute history again refuse, with the way
    to complete it."""
    folder = shallow(whole, "clone", *(["--bare"] if bare else []))
    for command in READING:
        said = dc(command, "--repo", str(folder), code=1 if command == "doctor" else 0, both=True)
        assert "shallow repository" in said, command
    for command, code in (("merge", 3), ("close", 3), ("verify", 1), ("replay", 1)):
        said = dc(command, "--repo", str(folder), code=code)
        assert "shallow repository" in said
        assert "--unshallow" in said
    git(folder, "fetch", "-q", "--unshallow")
    git(folder, "fetch", "-q", "origin", "+refs/dreamcatcher/*:refs/dreamcatcher/*")
    assert dc_json("verify", "--repo", str(folder))["ok"]
    assert "shallow" not in dc("status", "--repo", str(folder), both=True)
