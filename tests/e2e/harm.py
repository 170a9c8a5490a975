"""What goes wrong with a repository or a machine: done here on purpose, for tests of who notices."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path

import pygit2

from dreamcatcherd.core import paths
from dreamcatcherd.git.local import LocalStore
from dreamcatcherd.git.protocols import Move
from tests.e2e.tools import DREAMCATCHERD, do_without, environment, git, need, wait_for
from tests.law.fleet import MAIN
from tests.stages.test_never_less import craft, snapshot_of


def trip_guard(repository: Path) -> None:
    """Publish a consistent snapshot that has less than the one before, as no primary would."""
    store = LocalStore(repository)
    first = next(
        oid
        for oid in git(repository, "rev-list", "--first-parent", "--reverse", "main").split()
        if snapshot_of(store, oid)
    )

    def forged() -> bool:
        head = store.refs()[MAIN]
        frame = json.loads(git(repository, "show", f"{head}:{paths.FRAME}"))["frame"]
        less = craft(store, head, snapshot_of(store, first), frame, snapshot_of(store, head))
        return store.move_refs([Move(ref, less, head) for ref in (MAIN, paths.PUBLISHED)], "force")

    wait_for(forged)


def many_packs(repository: Path, count: int) -> None:
    """What is left where maintenance does not get done: each push that is large enough leaves a pack."""
    repo = pygit2.Repository(str(repository))
    for number in range(count):
        builder = pygit2.PackBuilder(repo)
        builder.add(repo.create_blob(b"%d" % number))
        builder.write(str(repository / "objects" / "pack"))
    repo.free()


def close_in_the_future(repository: Path) -> None:
    """What a primary does whose clock is an hour ahead."""
    need("faketime")
    close = ["faketime", "-f", "+1h", *DREAMCATCHERD, "merge", "--repo", str(repository)]
    subprocess.run(close, env=environment(), check=True, capture_output=True, timeout=300)


def on_a_disk_of(size: str, folder: Path) -> list[str]:
    """A command that mounts a small disk on a folder, for what it executes there alone. Skips where none may mount."""
    need("unshare")
    own = ["--mount"] if os.getuid() == 0 else ["--mount", "--map-root-user"]
    mount = ["unshare", *own, "mount", "-t", "tmpfs", "none", str(folder)]
    if subprocess.run(mount, capture_output=True, check=False).returncode:
        do_without("no right to mount: run as root, or allow user namespaces")
    return ["unshare", *own, "sh", "-ec", f'mount -t tmpfs -o size={size} none "$0"; cd "$0"; exec "$@"', str(folder)]
