"""What the tests of the client say of a repository and ask of it."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

from dreamcatcherd.client import Pushed, push
from dreamcatcherd.config_tables import RepositoryConfig
from tests.e2e.tools import git

FOLDER = "state/stream_deltas"


def delta(frame: int = 1, stream: str = "w", second: int = 0, **sections: Any) -> dict[str, Any]:
    """A delta as an object; `second` tells deltas of one stream apart."""
    body = {"frame": frame, "utc": f"2026-01-01T00:00:{second:02}Z", "stream_id": stream}
    return {**body, **(sections or {"observations": [second]})}


def written(path: Path, value: Any) -> Path:
    """Write a JSON value into a file; returns its path."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(value))
    return path


def refs(repository: Path, prefix: str = "refs/heads/dc/") -> dict[str, str]:
    """The refs below a prefix, each with its commit."""
    listed = git(repository, "for-each-ref", "--format=%(refname) %(objectname)", prefix)
    return dict(line.split(" ") for line in listed.splitlines())


def files(repository: Path, commit: str) -> list[str]:
    """The paths of a commit's tree."""
    return git(repository, "ls-tree", "-r", "--name-only", commit).splitlines()


def stored(repository: Path, oid: str) -> bytes:
    """The bytes of a blob, or of `commit:path`."""
    return subprocess.run(["git", "cat-file", "blob", oid], cwd=repository, capture_output=True, check=True).stdout


def commit_on(repository: Path, ref: str, entries: dict[str, str], parents: tuple[str, ...] = ()) -> str:
    """Commit files on a ref, without any hook: on an empty tree, or on that of the first parent."""
    index = {"GIT_INDEX_FILE": str(repository / "test-index")}
    (repository / "test-index").unlink(missing_ok=True)
    if parents:
        git(repository, "read-tree", parents[0], env=index)
    for path, text in entries.items():
        file = repository / "test-file"
        file.write_text(text)
        blob = git(repository, "hash-object", "-w", str(file))
        git(repository, "update-index", "--add", "--cacheinfo", f"100644,{blob},{path}", env=index)
    tree = git(repository, "write-tree", env=index)
    words = [word for parent in parents for word in ("-p", parent)]
    commit = git(repository, "commit-tree", "-m", "work", *words, tree)
    git(repository, "update-ref", ref, commit)
    return commit


def one(repository: Path | str | RepositoryConfig, given: Any, **more: Any) -> Pushed:
    """Push one delta and return its row."""
    (row,) = push(repository, given, **more)
    return row
