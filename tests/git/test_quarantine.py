"""A push's objects are read from git's quarantine, if everything is as git itself makes it, and new commits are found
without reading the history behind them."""

from __future__ import annotations

import hashlib
import os
import subprocess
import zlib
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from dreamcatcherd.git.commits import format_commit
from dreamcatcherd.git.protocols import Commit
from dreamcatcherd.git.push_reader import PushReader
from dreamcatcherd.git.quarantine import QuarantinedReader, UnclearPushError, quarantine_of
from tests.git.test_reachability import EMPTY, History, expected, histories

INCOMING = "tmp_objdir-incoming-abc123"


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    """A bare repository with the folder of a push that nothing was pushed to."""
    folder = tmp_path / "fleet.git"
    subprocess.run(["git", "init", "-q", "--bare", str(folder)], check=True)
    (folder / "objects" / INCOMING).mkdir()
    return folder


def variables(folder: Path) -> dict[str, str]:
    """git's variables during a push, as its hook gets them."""
    incoming = str(folder / "objects" / INCOMING)
    return {
        "GIT_DIR": str(folder),
        "GIT_QUARANTINE_PATH": incoming,
        "GIT_OBJECT_DIRECTORY": incoming,
        "GIT_ALTERNATE_OBJECT_DIRECTORIES": str(folder / "objects"),
    }


def put(folder: Path, kind: str, raw: bytes) -> str:
    """Write an object into a folder of objects, as a loose one; returns its id."""
    raw = f"{kind} {len(raw)}\0".encode() + raw
    oid = hashlib.sha1(raw, usedforsecurity=False).hexdigest()
    file = folder / oid[:2] / oid[2:]
    file.parent.mkdir(exist_ok=True)
    file.write_bytes(zlib.compress(raw))
    return oid


def test_the_quarantine_of_a_push_is_found(repository: Path) -> None:
    """With git's own variables it is the folder that git made; a push that only deletes has none."""
    assert quarantine_of(repository, variables(repository)) == repository / "objects" / INCOMING
    assert quarantine_of(repository, {"GIT_DIR": ".", "GIT_TRACE": "1", "GIT_SSL_CAINFO": "x"}) is None
    (repository / "objects/incoming-Xy").mkdir()
    old = {name: value.replace(INCOMING, "incoming-Xy") for name, value in variables(repository).items()}
    assert quarantine_of(repository, old) == repository / "objects/incoming-Xy"


@pytest.mark.parametrize(
    ("changed", "why"),
    [
        ({"GIT_QUARANTINE_PATH": "{}/objects/pack"}, "GIT_OBJECT_DIRECTORY does not name the quarantine"),
        ({"GIT_OBJECT_DIRECTORY": "{}/objects"}, "does not name the quarantine"),
        ({"GIT_ALTERNATE_OBJECT_DIRECTORIES": ""}, "does not name the quarantine"),
        ({"GIT_ALTERNATE_OBJECT_DIRECTORIES": "{}/objects:/elsewhere"}, "names other objects"),
        ({"GIT_QUARANTINE_PATH": ""}, "GIT_OBJECT_DIRECTORY is set without a quarantine"),
        ({"GIT_DIR": "/elsewhere"}, "GIT_DIR names another repository"),
        ({"GIT_NAMESPACE": "x"}, "GIT_NAMESPACE is set"),
        ({"GIT_SHALLOW_FILE": "x"}, "GIT_SHALLOW_FILE is set"),
        ({"GIT_COMMON_DIR": "x"}, "GIT_COMMON_DIR is set"),
    ],
)
def test_other_variables_than_a_push_has_are_left_to_git(repository: Path, changed: dict[str, str], why: str) -> None:
    """Whatever may make git read other objects, refs or history than are read here is not guessed at."""
    given_ = variables(repository) | {name: value.format(repository) for name, value in changed.items()}
    with pytest.raises(UnclearPushError, match=why):
        quarantine_of(repository, given_)


@pytest.mark.parametrize(
    "path",
    [
        "objects/pack",
        "objects/../objects/pack",
        "objects/link-incoming",
        "objects/incoming-link",
        "incoming-out",
        "/tmp",
    ],
)
def test_no_other_folder_is_read_as_a_quarantine(repository: Path, path: str) -> None:
    """Neither other folders of the repository, nor folders outside `objects`, nor symbolic links to any."""
    (repository / "incoming-out").mkdir()
    for name in ("link-incoming", "incoming-link"):
        (repository / "objects" / name).symlink_to(repository / "objects" / INCOMING)
    named = {"GIT_QUARANTINE_PATH": str(repository / path), "GIT_OBJECT_DIRECTORY": str(repository / path)}
    with pytest.raises(UnclearPushError, match="quarantine"):
        quarantine_of(repository, variables(repository) | named)


def test_a_shallow_repository_is_left_to_git(repository: Path) -> None:
    """Its history ends where only git knows."""
    (repository / "shallow").write_text("")
    with pytest.raises(UnclearPushError, match="shallow"):
        quarantine_of(repository, variables(repository))


@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(history=histories(), data=st.data())
def test_new_commits_of_a_push_are_the_difference_of_sets(
    repository: Path, history: History, data: st.DataObject
) -> None:
    """Whatever was pushed on whatever base, with known commits that no ref reaches: both readers give set difference,
    in the same order."""
    index = st.integers(0, len(history) - 1)
    tips, hidden = data.draw(st.sets(index, min_size=1, max_size=2)), data.draw(st.sets(index, max_size=3))
    stored = data.draw(st.sets(index, max_size=3))
    known = set(range(len(history))) - expected(history, set(range(len(history))), hidden | stored)
    objects = repository / "objects"
    for folder in (objects, objects / INCOMING):
        for file in folder.glob("??/*"):
            file.unlink()
    put(objects, "tree", b"")
    ids: list[str] = []
    for i, (parents, date) in enumerate(history):
        raw = format_commit(Commit(EMPTY, tuple(ids[p] for p in parents), "w <w@x>", date, f"{i}\n"))
        ids.append(put(objects if i in known else objects / INCOMING, "commit", raw))
    asked = [ids[i] for i in sorted(tips)], [ids[i] for i in sorted(hidden)]
    found = []
    for reader in (PushReader, QuarantinedReader):
        store = reader({**os.environ, **variables(repository)})
        try:
            found.append(list(store.new_commits(*asked)))
        finally:
            store.close()
    assert found[0] == found[1]
    assert {ids.index(oid) for oid in found[1]} == expected(history, tips, hidden)
