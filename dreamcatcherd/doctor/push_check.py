"""The checks of `doctor` about the hooks of a repository on this disk: whether pushes are checked, and by whom, and
whether they are synced before they are acknowledged."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

from dreamcatcherd.core.report import Check
from dreamcatcherd.git.command import git
from dreamcatcherd.hook.check_socket import SOCKET, ElsewhereError, ask
from dreamcatcherd.hook.install import FOREIGN_REMEDIES, HookName, kind_of_hook

HOOK_TIMEOUT_S = 60.0


def check_hook(folder: Path, main: str) -> Iterator[Check]:
    """Whether the hook that git would run is this check and works: it is run with an update that moves nothing.

    `core.hooksPath` may have moved it. And whether a daemon answers it, which is no fault if not."""
    named = git(folder, "rev-parse", "--git-path", "hooks/pre-receive").stdout.decode("utf-8", "replace").strip()
    hook = folder / named
    if not hook.is_file() or "dreamcatcherd" not in hook.read_text("utf-8", "replace"):
        cause = f"no pre-receive check at {hook}: pushes are not checked"
        remedy = f"dreamcatcherd init {folder} installs it; docs/protocol.md, The server-side check, does so by hand"
        yield Check("hook", False, cause, remedy)
        return
    if not os.access(hook, os.X_OK):
        yield Check("hook", False, f"{hook} is not executable: git ignores it", f"chmod +x {hook}")
        return
    head = git(folder, "rev-parse", "--verify", "--quiet", main).stdout.decode().strip() or "0" * 40
    try:
        asked = subprocess.run(
            [hook.absolute()],
            cwd=folder,
            input=f"{head} {head} {main}\n".encode(),  # an update that moves nothing
            capture_output=True,
            timeout=HOOK_TIMEOUT_S,
            check=False,
        )
        reported = " ".join(asked.stderr.decode("utf-8", "replace").split()) or f"it ended with {asked.returncode}"
        why = reported if asked.returncode else None
    except (OSError, subprocess.TimeoutExpired) as error:
        why = str(error)
    if why is not None:
        remedy = f"make a new one: dreamcatcherd init /tmp/model.git, then cp /tmp/model.git/hooks/pre-receive {hook}"
        yield Check("hook", False, f"every push is refused: {why}", remedy)
        return
    yield Check("hook", True, "the pre-receive check is installed, and runs")
    # Not about the shared branch: while a frame is overdue, pushes to it are given back to the hook.
    yield _asked(folder, hook, f"{head} {head} refs/tags/doctor\n".encode())


def check_ref_sync(folder: Path) -> Check:
    """Whether the hook is installed that syncs the names of pushed refs (docs/crash-points.md#a-workers-push)."""
    name: HookName = "reference-transaction"
    named = git(folder, "rev-parse", "--git-path", f"hooks/{name}").stdout.decode("utf-8", "replace").strip()
    hook = folder / named
    kind = kind_of_hook(hook, name)
    loss = "a power failure can undo a push that was acknowledged"
    if kind == "foreign":
        return Check("push sync", False, f"{hook} is another hook: {loss}", FOREIGN_REMEDIES[name])
    if kind == "none":
        remedy = f"dreamcatcherd init {folder} installs it; docs/protocol.md, The server-side check, does so by hand"
        return Check("push sync", False, f"no hook at {hook} that syncs refs: {loss}", remedy)
    if not os.access(hook, os.X_OK):
        return Check("push sync", False, f"{hook} is not executable: git ignores it, and {loss}", f"chmod +x {hook}")
    if shutil.which("sync") is None:
        return Check(
            "push sync", False, f"{hook} needs the program sync: {loss}", "install coreutils on the git server"
        )
    return Check("push sync", True, "pushed refs are synced before a push is acknowledged")


def _asked(folder: Path, hook: Path, updates: bytes) -> Check:
    """Whether a daemon checks the pushes that this hook asks it about, and if not, why each push starts the check."""
    why = None
    if SOCKET not in hook.read_text("utf-8", "replace"):
        why = f"{hook} asks none: dreamcatcherd init {folder} installs one that does, unless it is your own"
    elif shutil.which("perl") is None:
        why = "perl, with which the hook asks, is not on the PATH"
    else:
        try:
            ask(folder, updates)
        except ElsewhereError as error:
            why = error.cause
    if why is None:
        return Check("push check", True, "a running daemon checks the pushes of this account")
    return Check("push check", True, f"each push starts the complete check: {why}")
