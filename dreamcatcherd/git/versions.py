"""The versions of what this installation uses: Python, git, libgit2 and the libraries."""

from __future__ import annotations

import platform
import re
import subprocess
from importlib import metadata

import pygit2

NOT_FOUND = "not found"
_NAME = re.compile(r"[A-Za-z0-9._-]+")


def tool_versions() -> dict[str, str]:
    """The versions of the interpreter, of libgit2 and of the git on the PATH."""
    return {"python": platform.python_version(), "libgit2": pygit2.LIBGIT2_VERSION, "git": _git_version()}


def library_versions() -> dict[str, str]:
    """The installed versions of the libraries that the package requires, in alphabetical order."""
    named = [line for line in metadata.requires("dreamcatcherd") or () if "extra ==" not in line]
    found = sorted({match[0].lower() for line in named if (match := _NAME.match(line))})
    return {name: _version(name) for name in found}


def _version(name: str) -> str:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return NOT_FOUND


def _git_version() -> str:
    try:
        said = subprocess.run(["git", "--version"], capture_output=True, text=True, timeout=10, check=True).stdout
    except (OSError, subprocess.SubprocessError):
        return NOT_FOUND
    return said.strip().removeprefix("git version ")
