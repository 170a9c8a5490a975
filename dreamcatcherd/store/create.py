"""Making a shared repository that is ready for workers (`init`), and opening the first frame in one.

Owns the script of the server-side check, too: a hook of git's that calls this installation of dreamcatcherd."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path

from dreamcatcherd.core.errors import RefusedError, UsageError
from dreamcatcherd.core.frames import Closing, opened
from dreamcatcherd.core.paths import FRAME, PUBLISHED, SNAPSHOT
from dreamcatcherd.core.snapshot import close_snapshot, open_snapshot
from dreamcatcherd.core.tree import FILE, TREE, Entry, edit
from dreamcatcherd.store.atomic import write_atomically
from dreamcatcherd.store.gitcmd import AUTHOR, git, message_of
from dreamcatcherd.store.objects import GitStore
from dreamcatcherd.store.ports import Commit, Move, Store
from dreamcatcherd.store.publish import frame_file

_CONFIG = (
    ("receive.denyNonFastForwards", "true"),
    ("receive.denyDeletes", "false"),
    ("core.logAllRefUpdates", "always"),
    ("receive.fsckObjects", "true"),  # else any tree, commit or tag enters that its own id fits
    ("commitGraph.generationVersion", "1"),  # else a commit dated near 2^64 keeps the server's own gc busy for ever
)

_HOOK = """\
#!/bin/sh
# The server-side check of dreamcatcherd, made by `dreamcatcherd init`. It lets workers add deltas and push lanes, and
# refuses edits of computed files, deleted deltas, and deltas that cannot merge. A primary that works on this repository
# in place moves refs without it. `dreamcatcherd hook pre-receive` is the same check.
python={python}
gone="dreamcatcherd is gone from $python, so this push cannot be checked: install it there again, or mend or delete \
hooks/pre-receive on the server"
[ -x "$python" ] || {{ echo "$gone" >&2; exit 1; }}
exec "$python" -P -c '
import os
import sys
try:
    from dreamcatcherd.store.incoming import main
except ImportError as error:
    sys.exit(f"{{sys.argv[1]}} ({{error}})")
sys.exit(main(os.environ, sys.stdin.buffer, sys.stderr))
' "$gone"
"""


def create(path: Path, frame: int, now: int, closing: Closing, branch: str = "main", *, hook: bool = True) -> GitStore:
    """Make a bare repository at `path` with `frame` open in it; RefusedError where something stands there already.

    `hook` says whether the server-side check is installed."""
    if path.exists() and (not path.is_dir() or any(path.iterdir())):
        raise RefusedError(f"{path} exists and is not an empty folder", "choose another path, or run on it as it is")
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UsageError(f"{path} cannot be made: {error.strerror}", "choose a path that you may write to") from error
    result = git(path, "init", "--quiet", "--bare", f"--initial-branch={branch}")
    for name, value in _CONFIG:
        result = result if result.returncode else git(path, "config", name, value)
    if result.returncode:
        raise UsageError(f"{path} cannot be made: {message_of(result)}", "choose a path that you may write to")
    if hook:
        install_hook(path)
    store = GitStore(path)
    open_first(store, frame, now, closing, f"refs/heads/{branch}")
    return store


def install_hook(repository: Path) -> Path:
    """Write the server-side check as hooks/pre-receive, whole at once; returns its path."""
    path = repository / "hooks" / "pre-receive"
    path.parent.mkdir(exist_ok=True)
    write_atomically(path, _HOOK.format(python=shlex.quote(sys.executable)).encode(), 0o755)
    return path


def open_first(store: Store, frame: int, now: int, closing: Closing, main: str) -> None:
    """Commit the empty snapshot and the first open frame to a repository without commits."""
    digest = close_snapshot(store, open_snapshot(store, None))
    state = opened(frame, now, None, digest, closing)
    files = {SNAPSHOT: Entry(TREE, digest), FRAME: Entry(FILE, store.write("blob", frame_file(state)))}
    tree = edit(store, None, files)
    if tree is None:
        raise AssertionError("the first tree holds two entries")
    message = f"open frame {frame}\n"
    commit = store.write_commit(Commit(tree, (), AUTHOR, now // 1_000_000, message))
    store.flush()
    if not store.move_refs([Move(main, commit, None), Move(PUBLISHED, commit, None)], message.strip()):
        raise RefusedError(f"{store.where} has commits already", "run on it as it is")
