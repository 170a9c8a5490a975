"""The repositories in which a close is interrupted, the commands that close and go on, and what must hold afterwards.

Every scene has the same pushes: on lanes and on the shared branch, late, early, twice, with an attachment, and one that
cannot be read. Owns the folders of a scene: `root` is what the primary writes to and what a fault strikes."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from dreamcatcherd.core.frames import Closing
from dreamcatcherd.git.local import LocalStore
from dreamcatcherd.git.maintenance import PACKS_JOINED
from dreamcatcherd.imports.new_repository import create
from tests.e2e.servers import GitServer
from tests.e2e.tools import DREAMCATCHERD, clone, git, invoke, primary_toml, push
from tests.law.fleet import MAIN, NOW, close, commit_files, primary_on
from tests.stages.tools import FOLDER, text

FRAME = 3
"""The frame whose close is interrupted. The next one is closed after it, to see that the repository goes on."""


class Scene(NamedTuple):
    """What is interrupted: `build` makes the folder of the shared repository; `near` says that the primary works on it,
    `cloned` that it has its own clone of it already. `frame` is closed by the interrupted command."""

    name: str
    about: str
    build: Callable[[Path], None]
    near: bool = True
    cloned: bool = False
    frame: int = FRAME


def _fleet(folder: Path) -> None:
    """Two closed frames, and pushes of every kind that wait for the close of the third."""
    store = create(folder, 1, NOW, Closing("manual"), hook=False)
    primary = primary_on(store)
    commit_files(store, "refs/heads/dc/alice", {f"{FOLDER}/1/a.json": text(1, "alice", 1)}, orphan=True)
    close(primary, 2)
    _pushes(store)


def _pushes(store: LocalStore) -> None:
    twice = text(3, "bob", 2)
    body = text(3, "carol", 3, posts_created=[{"number": 7, "title": "t", "body_ref": "body.md"}])
    lanes = {
        "alice": {f"{FOLDER}/3/a.json": text(3, "alice", 4), f"{FOLDER}/1/late.json": text(1, "alice", 5)},
        "bob": {f"{FOLDER}/3/b.json": twice, f"{FOLDER}/3/again.json": twice},
        "carol": {f"{FOLDER}/3/c.json": body, f"{FOLDER}/3/c/body.md": b"words\n"},
        "dave": {f"{FOLDER}/9/early.json": text(9, "dave", 6), f"{FOLDER}/3/bad.json": b"{"},
    }
    for stream, files in lanes.items():
        commit_files(store, f"refs/heads/dc/{stream}", files, orphan=True)
    commit_files(store, MAIN, {f"{FOLDER}/3/e.json": text(3, "erin", 7)})


def _linear(folder: Path) -> None:
    """The same with a linear history: a close moves three refs."""
    store = create(folder, 1, NOW, Closing("manual"), hook=False)
    commit_files(store, MAIN, {"state/dreamcatcher.toml": b'[publish]\nhistory = "linear"\n'})
    close(primary_on(store), 2)
    _pushes(store)


def _packs(folder: Path) -> None:
    """The same with so many packs that the command joins them, deletes those, and packs the refs."""
    _fleet(folder)
    store = LocalStore(folder)
    for number in range(PACKS_JOINED):
        commit_files(store, "refs/heads/dc/frank", {f"{FOLDER}/3/f{number}.json": text(3, "frank", number)})


def _adopted(folder: Path) -> None:
    """A repository with a history of its own that `init` prepares: its first close makes the published ref."""
    git(folder.parent, "init", "-q", "--bare", "--initial-branch=main", str(folder))
    work = clone(folder, folder.with_name("work"))
    push(work, {"README": "ours\n"})
    assert invoke("init", str(folder), "--frame", str(FRAME), "--no-hook").returncode == 0
    _pushes(LocalStore(folder))
    shutil.rmtree(work)


SCENES = (
    Scene("path", "a repository on a path", _fleet),
    Scene("linear", "the same, with a linear history", _linear),
    Scene("adopted", "the first close in a repository with a history of its own", _adopted),
    Scene("packs", "a repository on a path with 39 packs, which the command joins", _packs),
    Scene("clone", "an own clone of a remote", _fleet, near=False, cloned=True),
    Scene("new clone", "a remote that is cloned first", _fleet, near=False),
)


class Place:
    """A scene in a folder, made again for each trial from a copy of its beginning.

    `root` is what the primary writes to: the repository, or the folder of its clone; `fleet` is the repository."""

    def __init__(self, scene: Scene, folder: Path) -> None:
        self.scene = scene
        self.root, self.scratch, self._start = (folder / one for one in ("root", "scratch", "start"))
        self._served = folder / "served"
        self.fleet = (self.root if scene.near else self._served) / "fleet.git"
        for one in (self.root, self._served):
            one.mkdir(parents=True, exist_ok=True)
        scene.build(self.fleet)
        self._server = None if scene.near else GitServer(self.fleet, folder / "server")
        self._where = ["--repo", str(self.fleet)]
        if self._server is not None:
            self._server.start()
            more = f'[repository]\nurl = "{self._server.url}"\nclone = "{self.root / "clone"}"\n'
            self._where = ["--config", str(primary_toml(folder, more=more))]
            if scene.cloned:
                assert invoke("plan", *self._where).returncode == 0
        self.save(self._start)

    def close(self) -> None:
        """End the server."""
        if self._server is not None:
            self._server.close()

    def reset(self) -> None:
        """Put everything back as it was before the close."""
        self.restore(self._start)

    def save(self, copy: Path) -> None:
        """Copy everything as it is now to a folder, in place of what is there. A link of git's, which tests for links,
        leads nowhere."""
        shutil.rmtree(copy, ignore_errors=True)
        for one in (self.root, self._served):
            shutil.copytree(one, copy / one.name, symlinks=True)

    def restore(self, copy: Path) -> None:
        """Put everything back as it is in a copy. The folders themselves stay: one may be where a disk is mounted."""
        for one in (self.root, self._served):
            clear(one)
            shutil.copytree(copy / one.name, one, symlinks=True, dirs_exist_ok=True)

    def command(self, frame: int | None = None) -> list[str]:
        """The words that close all frames up to one, by default the one that is interrupted."""
        return ["merge", "--frame", str(frame or self.scene.frame), *self._where]

    def interrupted(self) -> list[str]:
        """The complete command that is interrupted."""
        return [*DREAMCATCHERD, *self.command()]

    def repositories(self) -> list[Path]:
        """The shared repository, and the primary's own clone of it if there is one."""
        clone_folder = self.root / "clone"
        return [self.fleet, *([clone_folder] if clone_folder.is_dir() else [])]

    def published(self) -> str:
        """Ids of all that the closes have published, apart from times: snapshot, deltas and ledgers."""
        names = (f"state/snapshot state/stream_deltas state/ledger/0/{self.scene.frame}.json").split()
        words = [f"{MAIN}:{name}" for name in names]
        done = subprocess.run(["git", "-C", str(self.fleet), "rev-parse", *words], capture_output=True, check=False)
        return done.stdout.decode() if done.returncode == 0 else f"unreadable: {done.stderr.decode()}"


def clear(folder: Path) -> None:
    """Remove all that is in a folder. What a server is still writing there may need a second try."""
    for entry in os.scandir(folder):
        if entry.is_dir(follow_symlinks=False):
            shutil.rmtree(entry.path, ignore_errors=True)
        else:
            Path(entry.path).unlink(missing_ok=True)
