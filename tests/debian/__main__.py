"""`python -m tests.debian VERSION FOLDER`: build the Debian package of a version into a folder, with debhelper.

debhelper wants one folder, with `debian/` in it. It is made here of config/debian, of what the package contains, and of
what depends on the version; debian/rules makes the virtual environment."""

from __future__ import annotations

import argparse
import os
import platform
import shutil
import subprocess
import sys
import tempfile
import time
import zipfile
from collections.abc import Sequence
from email.utils import formatdate
from pathlib import Path

from tests.debian.version import debian_version
from tests.wheels import build_wheel

ROOT = Path(__file__).parents[2]
MAINTAINER = "dreamcatcherd developers <dreamcatcherd@users.noreply.invalid>"
"""Who answers for a package. Set DEBFULLNAME and DEBEMAIL to name yourself."""

NEEDED = {"debhelper": "dh", "dpkg-dev": "dpkg-buildpackage", "python3.11": "/usr/bin/python3.11"}
"""Debian's packages that the build needs, each with one of its programs."""

COMPLETIONS = {"bash": "dreamcatcherd", "zsh": "_dreamcatcherd", "fish": "dreamcatcherd.fish"}
"""By shell, the name of the file where the shell looks for it."""


def main() -> int:
    """Build the package; returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m tests.debian", description="Build the Debian package.")
    parser.add_argument("version", help="the version of the project")
    parser.add_argument("folder", type=Path, help="where the package is written")
    words = parser.parse_args()
    if problem := why_not_here():
        print(f"make deb: {problem}", file=sys.stderr)
        return 2
    words.folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as work:
        tree = Path(work) / "dreamcatcherd"
        prepare(tree, words.version)
        build(tree)
        for package in Path(work).glob("*.deb"):
            shutil.copy(package, words.folder)
            print(words.folder / package.name)
    return 0


def why_not_here() -> str | None:
    """Why this machine cannot build the package, with what to do; None if it can."""
    release = platform.freedesktop_os_release()
    if (release.get("ID"), release.get("VERSION_ID")) != ("debian", "12"):
        here = release.get("PRETTY_NAME", "unknown")
        return f"the package is for Debian 12, and this is {here}: build it on Debian 12, for example in a container"
    missing = [name for name, program in NEEDED.items() if shutil.which(program) is None]
    return f"not installed: {', '.join(missing)}; as root: apt-get install {' '.join(missing)}" if missing else None


def prepare(tree: Path, version: str) -> None:
    """Make the folder that debhelper works in."""
    shutil.copytree(ROOT / "config/debian", tree / "debian")
    for unit in (ROOT / "systemd").glob("*.service"):
        shutil.copy(unit, tree / "debian")
    for name in ("README.md", "CHANGELOG.md"):
        shutil.copy(ROOT / name, tree)
    for name in ("config", "docs", "requirements"):
        shutil.copytree(ROOT / name, tree / name)
    wheel = build_wheel(version, tree / "wheel")
    generate(wheel, version, tree)
    fill(tree / "debian/control", "@MAINTAINER@", maintainer())
    fill(tree / "debian/copyright", "@COPYRIGHT@", copyright_notice())
    (tree / "debian/changelog").write_text(
        f"dreamcatcherd ({debian_version(version)}) bookworm; urgency=medium\n\n"
        f"  * dreamcatcherd {version}. What changed is in changelog.gz.\n\n"
        f" -- {maintainer()}  {formatdate(build_time())}\n"
    )


def generate(wheel: Path, version: str, tree: Path) -> None:
    """Write the manual pages and the completion scripts of a wheel."""
    with tempfile.TemporaryDirectory() as work:
        with zipfile.ZipFile(wheel) as packed:
            packed.extractall(work)
        shutil.copytree(ROOT / "tests/manual", Path(work) / "tests/manual")
        for name in ("man", "completion"):
            (tree / name).mkdir()
        run([sys.executable, "-m", "tests.manual", str(tree / "man"), version], Path(work))
        for shell, name in COMPLETIONS.items():
            script = run([sys.executable, "-m", "dreamcatcherd", "completion", shell], Path(work))
            (tree / "completion" / name).write_text(script)


def fill(path: Path, mark: str, text: str) -> None:
    """Replace a mark in a file."""
    path.write_text(path.read_text().replace(mark, text))


def maintainer() -> str:
    """Who answers for the package, from the environment that Debian's tools read."""
    name, address = (os.environ.get(variable) for variable in ("DEBFULLNAME", "DEBEMAIL"))
    return f"{name} <{address}>" if name and address else MAINTAINER


def copyright_notice() -> str:
    """LICENSE as a paragraph of Debian's copyright file."""
    _, holder, text = (ROOT / "LICENSE").read_text().split("\n\n", 2)
    lines = [f" {line}" if line else " ." for line in text.strip().splitlines()]
    return "\n".join([f"Copyright: {holder.removeprefix('Copyright (c) ')}", "License: Expat", *lines])


def build_time() -> int:
    """The time of the package, in seconds since 1970: as given, else that of the last commit, else now."""
    if given := os.environ.get("SOURCE_DATE_EPOCH"):
        return int(given)
    asked = ["git", "-C", str(ROOT), "log", "-1", "--format=%ct"]
    done = subprocess.run(asked, capture_output=True, text=True, check=False)
    return int(done.stdout) if done.returncode == 0 and done.stdout.strip() else int(time.time())


def build(tree: Path) -> None:
    """Run debhelper in the folder; the package is written beside it."""
    run(["dpkg-buildpackage", "--build=binary", "--no-sign"], tree)


def run(command: Sequence[str], cwd: Path, **more: str) -> str:
    """Run a program in a folder with the time of the package; returns what it wrote, or ends with all of it."""
    environ = os.environ | {"SOURCE_DATE_EPOCH": str(build_time()), "PIP": f"{sys.executable} -m pip", **more}
    done = subprocess.run(command, cwd=cwd, env=environ, capture_output=True, text=True, check=False)
    if done.returncode:
        sys.exit(f"{done.stdout}{done.stderr}\nmake deb: {command[0]} failed with {done.returncode}, see above")
    return done.stdout


if __name__ == "__main__":
    sys.exit(main())
