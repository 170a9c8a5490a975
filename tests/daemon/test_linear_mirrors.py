"""Mirrors where `[publish] history = "linear"`: the shared branch has no merge commit, whatever they brought."""

from __future__ import annotations

from pathlib import Path

import pytest

from dreamcatcherd.core import paths
from dreamcatcherd.core.errors import RetryableError
from dreamcatcherd.hook.install import install_hooks
from tests.daemon.pairs import Pair
from tests.e2e.tools import git, try_git
from tests.law.fleet import MAIN, commit_files
from tests.stages.tools import close, merged

LINEAR = b'[publish]\nhistory = "linear"\n'


@pytest.fixture
def pair(tmp_path: Path) -> Pair:
    found = Pair(tmp_path)
    commit_files(found.store, MAIN, {paths.SETTINGS: LINEAR})
    git(found.path, "fetch", "-q", "origin", "+refs/*:refs/*")
    return found


def test_a_linear_history_is_read_from_a_mirror_and_copied_there(pair: Pair) -> None:
    """Lanes and the shared branch of the mirror are merged without a merge commit on the branch. The mirror gets the
    same branch, in place of its own commits on it, and the ref that holds all that was merged."""
    pushed = pair.push("shared", MAIN, orphan=False)
    pair.push("lane", number=1)
    assert pair.read() == [("north", "dc/s"), ("north", "main")]
    assert merged(close(pair.primary)) == ["lane.json", "shared.json"]
    pair.copy()
    assert pair.is_current()
    assert pair.listed()[paths.SEEN] == pair.store.refs()[paths.SEEN]
    assert try_git(pair.path, "merge-base", "--is-ancestor", pushed, paths.SEEN).returncode == 0
    assert git(pair.path, "rev-list", "--min-parents=2", MAIN) == ""
    pair.intake.dropping = frozenset(pair.intake.kept_heads())
    assert pair.read() == []
    pair.push("late", MAIN, 2, orphan=False)
    assert pair.read() == [("north", "main")]
    assert merged(close(pair.primary)) == ["late.json"]
    pair.copy()
    assert pair.is_current()


def test_a_mirror_that_refuses_a_forced_push_keeps_a_linear_history_behind(pair: Pair) -> None:
    """Its check does not know the primary, so its own commits on the shared branch stay; what it refuses is reported,
    and copied once they are gone. Lanes alone never lead there."""
    install_hooks(pair.path)
    pair.push("lane")
    pair.read()
    assert merged(close(pair.primary)) == ["lane.json"]
    pair.copy()
    assert pair.is_current()
    before = pair.published
    pair.push("shared", MAIN, 1, orphan=False)
    pair.read()
    assert merged(close(pair.primary)) == ["shared.json"]
    with pytest.raises(RetryableError, match="main"):
        pair.copy()
    assert pair.copier.behind_since is not None
    git(pair.path, "update-ref", MAIN, before)
    pair.copy()
    assert pair.is_current()
