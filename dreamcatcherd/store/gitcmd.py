"""Running git: the two plumbing commands that write (packs and refs), and repository creation.

Owns the environment that git runs in and the translation of its failures. No shell, no prompt, a time limit always."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

from dreamcatcherd.core.errors import FatalError, RetryableError

TIMEOUT_S = 60.0
_DURABLE = ("-c", "core.fsync=all", "-c", "core.fsyncMethod=fsync")


def git(
    repository: Path, *words: str, stdin: bytes = b"", timeout_s: float = TIMEOUT_S
) -> subprocess.CompletedProcess[bytes]:
    """Run git on a repository and return what came of it; its exit code is the caller's to judge."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}
    environment |= {"LC_ALL": "C", "GIT_TERMINAL_PROMPT": "0", "GIT_CONFIG_NOSYSTEM": "0"}
    environment |= {f"GIT_{role}_{what}": value for role in ("AUTHOR", "COMMITTER") for what, value in _IDENTITY}
    try:
        return subprocess.run(
            ["git", "--git-dir", str(repository), *_DURABLE, *words],
            input=stdin,
            capture_output=True,
            timeout=timeout_s,
            env=environment,
            start_new_session=True,
            check=False,
        )
    except FileNotFoundError as error:
        raise FatalError("git is not installed or not on the PATH", "install git 2.36 or newer") from error
    except subprocess.TimeoutExpired as error:
        cause = f"git {words[0]} took longer than {timeout_s:g} s on {repository}"
        raise RetryableError(cause, "look at the load of the disk; the next cycle tries again") from error


_IDENTITY = (("NAME", "dreamcatcherd"), ("EMAIL", "dreamcatcherd@localhost"))
AUTHOR = "dreamcatcherd <dreamcatcherd@localhost>"


def message_of(result: subprocess.CompletedProcess[bytes]) -> str:
    """What git said, on one line."""
    text = result.stderr.decode("utf-8", "replace").strip()
    return " ".join(text.split()) or f"git ended with {result.returncode}"
