"""Creating a shared repository that is ready for workers (`init`), with its first frame open."""

from __future__ import annotations

import shutil
from pathlib import Path

from dreamcatcherd.core.errors import FatalError, RefusedError, UsageError
from dreamcatcherd.core.frames import Closing
from dreamcatcherd.git.atomic_write import sync_all
from dreamcatcherd.git.command import error_message, git
from dreamcatcherd.git.disk_errors import disk_failure, remedy_in
from dreamcatcherd.git.local import LocalStore
from dreamcatcherd.hook.install import install_hooks
from dreamcatcherd.stages.first_frame import open_first

GIT_SETTINGS = (
    ("receive.denyNonFastForwards", "true"),
    ("receive.denyDeletes", "false"),
    ("core.logAllRefUpdates", "always"),
    ("receive.fsckObjects", "true"),  # else malformed trees, commits and tags are accepted
    ("commitGraph.generationVersion", "1"),  # else a commit dated near 2^64 keeps the server's own gc busy for ever
    ("core.fsync", "all"),  # else a power failure can take a small push that was acknowledged
    ("uploadpack.allowFilter", "true"),  # else a push without a clone fetches all of the newest tree
)
"""The git settings of a shared repository, with their values."""

_CHOOSE = "choose a path that you may write to"


def check_free(path: Path) -> None:
    """RefusedError if a path exists and is not an empty folder."""
    if path.exists() and (not path.is_dir() or any(path.iterdir())):
        cause = f"{path} exists and is not an empty folder, nor is it a git repository"
        raise RefusedError(cause, "choose another path")


def create_empty(path: Path, branch: str = "main") -> None:
    """Create a bare repository without commits, with its hooks, for a relay to copy upstream into.

    RefusedError if `path` exists and is not an empty folder; UsageError if it cannot be created."""
    check_free(path)
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UsageError(f"{path} cannot be made: {error.strerror}", _CHOOSE) from error
    try:
        _make_bare(path, branch)
        install_hooks(path)
    except BaseException:
        shutil.rmtree(path, ignore_errors=True)
        raise


def create(
    path: Path, frame: int, now: int, closing: Closing, branch: str = "main", *, hook: bool = True
) -> LocalStore:
    """Create a bare repository at `path` with `frame` open; `hook` says whether its hooks are installed.

    `now` is in microseconds UTC; `branch` has no `refs/heads/`. RefusedError if `path` exists and is not an empty
    folder; UsageError if it cannot be created, FatalError if the disk fails. Nothing is left of one that failed."""
    check_free(path)
    existed = path.exists()
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UsageError(f"{path} cannot be made: {error.strerror}", _CHOOSE) from error
    try:
        _make_bare(path, branch)
        if hook:
            install_hooks(path)
        _sync(path)
        store = LocalStore(path)
        open_first(store, frame, now, closing, f"refs/heads/{branch}")
    except BaseException:  # half a repository would be taken for a damaged one, also after Ctrl-C
        for left in list(path.iterdir()) if existed else [path]:
            shutil.rmtree(left, ignore_errors=True)
        raise
    return store


def _sync(path: Path) -> None:
    """Whatever a push is told about a repository that is new, it is there after a power cut."""
    try:
        sync_all(path)
    except OSError as error:
        raise disk_failure(f"{path} cannot be made", error, path) from error


def _make_bare(path: Path, branch: str) -> None:
    result = git(path, "init", "--quiet", "--bare", f"--initial-branch={branch}")
    for name, value in GIT_SETTINGS:
        result = result if result.returncode else git(path, "config", name, value)
    if result.returncode:
        said = error_message(result)
        remedy = remedy_in(said, path, _CHOOSE)
        raise (UsageError if remedy == _CHOOSE else FatalError)(f"{path} cannot be made: {said}", remedy)
