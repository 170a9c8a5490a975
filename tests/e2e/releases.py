"""A release, made as docs/releasing.md says: from a copy of these sources with a history and tags of its own."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from tests.e2e.test_docs import blocks
from tests.e2e.tools import do_without, environment, git, program
from tests.wheels import build_wheel

ROOT = Path(__file__).parents[2]
FUTURE_S = 4_102_444_800
"""A time that no file of a test has, in seconds since 1970: the year 2100."""
BLOCKS = blocks("docs/releasing.md")
WHO = {"GIT_AUTHOR_NAME": "releaser", "GIT_AUTHOR_EMAIL": "releaser@localhost"} | {
    "GIT_COMMITTER_NAME": "releaser", "GIT_COMMITTER_EMAIL": "releaser@localhost",
}  # fmt: skip
_LEFT_OUT = shutil.ignore_patterns(
    ".git",
    ".venv",
    "__pycache__",
    "dist",
    "artifacts",
    "*.egg-info",
    ".*_cache",
    ".hypothesis",
    ".coverage*",
    "fleet.git",
    "mutants",
)


def run(*words: str, cwd: Path = ROOT, env: Mapping[str, str] | None = None) -> str:
    """Run a command that must succeed; returns what it wrote."""
    variables = environment() | WHO | dict(env or {})
    done = subprocess.run(words, cwd=cwd, env=variables, capture_output=True, text=True, check=False, timeout=1200)
    assert done.returncode == 0, (words, done.stdout[-2000:], done.stderr[-2000:])
    return done.stdout


def copy_sources(folder: Path) -> Path:
    """Copy these sources, as they are now, into a repository with one commit and no tag."""
    shutil.copytree(ROOT, folder, ignore=_LEFT_OUT)
    git(folder, "init", "-q", "-b", "main")
    commit_all(folder, "Copy")
    return folder


def commit_all(folder: Path, message: str) -> None:
    git(folder, "add", "-A")
    git(folder, "commit", "-q", "--allow-empty", "-m", message)


def version_of(folder: Path, env: Mapping[str, str] | None = None) -> str:
    """The version that a build in this folder has."""
    return run(sys.executable, "-m", "hatchling", "version", cwd=folder, env=env).strip()


def lend_tools(checkout: Path) -> None:
    """Give a checkout this environment as its .venv, in which make never installs anything."""
    own = Path(sys.prefix)
    lent = checkout / ".venv"
    lent.mkdir()
    shutil.copyfile(own / "pyvenv.cfg", lent / "pyvenv.cfg")
    for name in ("bin", "lib"):
        (lent / name).symlink_to(own / name)
    for name in (".runtime", ".dev"):
        (lent / name).touch()
        # Newer than every pyproject.toml: make would install the copy where this environment has the project.
        os.utime(lent / name, (FUTURE_S, FUTURE_S))


def make(folder: Path, *words: str) -> str:
    """Run make in a checkout that has tools."""
    return run("make", "--silent", *words, cwd=folder, env={"MAKEFLAGS": "", "MAKELEVEL": ""})


def follow(folder: Path, *names: str) -> str:
    """Run blocks of docs/releasing.md in a checkout that has tools; returns what they wrote."""
    script = "\n".join(["version=0.2.0", *(BLOCKS[name] for name in names)])
    return run("sh", "-eu", "-c", script, cwd=folder, env={"MAKEFLAGS": "", "MAKELEVEL": ""})


class Release(NamedTuple):
    """A checkout in which a release was made, and the folder with its artefacts."""

    checkout: Path
    dist: Path
    version: str

    @property
    def wheel(self) -> Path:
        return self.dist / f"dreamcatcherd-{self.version}-py3-none-any.whl"

    @property
    def offline(self) -> dict[str, str]:
        """What lets pip find everything in the artefacts, and nothing elsewhere."""
        return {"PIP_NO_INDEX": "1", "PIP_FIND_LINKS": f"{self.dist} {self.dist / 'wheelhouse'}"}


def make_release(folder: Path) -> Release:
    """Follow docs/releasing.md from the key to the pushed tag."""
    if missing := [name for name in ("ssh-keygen", "make") if program(name) is None]:
        do_without(f"no {', '.join(missing)}: run make packages as root")
    checkout = copy_sources(folder / "checkout")
    lend_tools(checkout)
    git(folder, "init", "-q", "--bare", "-b", "main", "origin.git")
    git(checkout, "remote", "add", "origin", str(folder / "origin.git"))
    try:
        follow(checkout, "key", "prepare", "build", "sign", "publish")
    except AssertionError as error:
        if re.search("name resolution|dns error", str(error)):
            do_without("no network: connect this machine, and the libraries are fetched")
        raise
    return Release(checkout, checkout / "dist", "0.2.0")


def wheel_of(release: Release, version: str, folder: Path) -> Path:
    """The same sources as a wheel of another version, in a folder with the release's libraries beside it."""
    wheel = build_wheel(version, folder, release.checkout)
    (folder / "requirements.txt").write_bytes((release.dist / "requirements.txt").read_bytes())
    (folder / "wheelhouse").symlink_to(release.dist / "wheelhouse")
    return wheel
