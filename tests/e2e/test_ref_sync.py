"""The hook that makes pushes survive a power failure: who installs it, who misses it, and that none is replaced."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from dreamcatcherd.imports.new_repository import create_empty
from tests.e2e.tools import clone, dc, dc_json, delta, environment, git, push

NAME = "hooks/reference-transaction"


def foreign(repository: Path, text: str = "") -> Path:
    """A hook of the operator's, which notes each state that it is called with."""
    hook = repository / NAME
    hook.write_text(f'#!/bin/sh\necho "$1" >>"{repository}/called"\n{text}')
    hook.chmod(0o755)
    return hook


def push_sync(repository: Path, code: int) -> dict[str, str]:
    """What `doctor` says of the hook."""
    checks = dc_json("doctor", "--repo", str(repository), code=code)
    return next(one for one in checks if one["check"] == "push sync")


def test_init_installs_it_wherever_it_installs_the_check(tmp_path: Path) -> None:
    """In a new repository, in one with only the check, and in a relay's; with --no-hook in none."""
    new, bare = tmp_path / "new.git", tmp_path / "bare.git"
    dc("init", str(new))
    dc("init", "--no-hook", str(bare))
    create_empty(tmp_path / "region.git")
    script = (new / NAME).read_bytes()
    assert (tmp_path / "region.git" / NAME).read_bytes() == script
    assert not (bare / NAME).exists()
    (new / NAME).unlink()
    assert f"{NAME}: none → the sync of refs\n" in dc("init", str(new))
    assert (new / NAME).read_bytes() == script
    (new / NAME).chmod(0o644)
    assert "the sync of refs, not executable → the sync of refs" in dc("init", str(new))
    (new / NAME).write_bytes(script + b"# edited\n")
    assert "the sync of refs of another version → the sync of refs" in dc("init", str(new))
    assert (new / f"{NAME}.old").read_bytes() == script + b"# edited\n"
    assert "nothing to change" in dc("init", str(new))


def test_a_hook_of_the_operator_stays_and_can_call_ours(tmp_path: Path) -> None:
    """`init` refuses before any change; with what the error says, both hooks run, and `init` and `doctor` are content.
    The operator's is also called when the primary publishes."""
    repository, model = tmp_path / "fleet.git", tmp_path / "model.git"
    git(tmp_path, "init", "-q", "--bare", "-b", "main", str(repository))
    hook = foreign(repository)
    said = dc("init", str(repository), code=1)
    assert f"{hook} is another hook, which is not replaced; make the hook of dreamcatcherd with" in said
    assert "or leave hooks out with --no-hook" in said
    assert not (repository / "hooks/pre-receive").exists()
    dc("init", str(model))
    shutil.copy(model / NAME, repository / "hooks/dreamcatcherd-sync")
    calls = 'updates=$(cat)\nprintf \'%s\\n\' "$updates" | hooks/dreamcatcherd-sync "$1"\n'
    text = foreign(repository, calls.replace("hooks/", f"{repository}/hooks/")).read_text()
    dc("init", str(repository))
    assert hook.read_text() == text
    assert push_sync(repository, 0)["ok"]
    synced, bin_folder = tmp_path / "synced", tmp_path / "bin"
    bin_folder.mkdir()
    (bin_folder / "sync").write_text(f'#!/bin/sh\necho "$@" >>"{synced}"\n')
    (bin_folder / "sync").chmod(0o755)
    worker = clone(repository, tmp_path / "worker")
    files = {"state/stream_deltas/1/a.json": delta(1, "a", observations=[1])}
    push(worker, files, "refs/heads/dc/a", env={"PATH": f"{bin_folder}:{environment()['PATH']}"})
    assert synced.read_text() == "-- ./refs/heads/dc ./refs/heads ./refs .\n"
    (repository / "called").unlink()
    dc("merge", "--repo", str(repository))
    assert "committed" in (repository / "called").read_text().split()


BROKEN: dict[str, tuple[Callable[[Path], object], str, str]] = {
    "none": (lambda repo: (repo / NAME).unlink(), "no hook at", "installs it"),
    "not executable": (lambda repo: (repo / NAME).chmod(0o644), "is not executable", "chmod +x"),
    "another": (foreign, "is another hook", "hooks/dreamcatcherd-sync"),
}


@pytest.mark.parametrize("broken", BROKEN)
def test_doctor_says_that_pushes_are_not_synced(broken: str, tmp_path: Path) -> None:
    """What is missing, what that can do, and the remedy."""
    repository = tmp_path / "fleet.git"
    dc("init", str(repository))
    assert push_sync(repository, 0)["ok"]
    harm, detail, remedy = BROKEN[broken]
    harm(repository)
    found = push_sync(repository, 1)
    assert detail in found["detail"]
    assert "can undo a push that was acknowledged" in found["detail"]
    assert remedy in found["remedy"]
