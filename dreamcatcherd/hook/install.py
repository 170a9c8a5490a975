"""Installing the server-side check as the pre-receive hook of a repository, and recognizing what is there instead."""

from __future__ import annotations

import os
import shlex
import sys
from pathlib import Path
from typing import Literal

from dreamcatcherd.git.atomic_write import write_atomically

_OURS = "# The server-side check of dreamcatcherd, installed by `dreamcatcherd init`."
_HOOK = """\
#!/bin/sh
{ours} It lets workers add deltas and push lanes,
# and refuses edits of computed files, deleted deltas, and deltas that cannot merge. A primary that works on this
# repository in place does not pass through it. `dreamcatcherd hook pre-receive` is the same check.
python={python}
gone="dreamcatcherd is gone from $python, so this push cannot be checked: install it there again, or repair or delete \
hooks/pre-receive on the server"
[ -x "$python" ] || {{ echo "$gone" >&2; exit 1; }}
exec "$python" -P -c '
import os
import sys
try:
    from dreamcatcherd.hook.pre_receive import run_hook
except ImportError as error:
    sys.exit(f"{{sys.argv[1]}} ({{error}})")
sys.exit(run_hook(os.environ, sys.stdin.buffer, sys.stderr))
' "$gone"
"""


def install_hook(repository: Path) -> Path:
    """Write the server-side check as hooks/pre-receive of a bare repository, atomically; returns its path.

    The script runs the Python that runs this. OSError if the file cannot be written."""
    path = repository / "hooks" / "pre-receive"
    path.parent.mkdir(exist_ok=True)
    write_atomically(path, _script(), 0o755)
    return path


HookKind = Literal["none", "current", "outdated", "not executable", "calls the check", "foreign"]


def kind_of_hook(path: Path) -> HookKind:
    """What is at the path of a pre-receive hook.

    `outdated` is one that another version, or another Python, installed. A script that somebody else wrote and that
    names dreamcatcherd is taken to call the check. `foreign` is everything that must not be replaced."""
    try:
        found = path.read_bytes()
    except FileNotFoundError:
        return "foreign" if path.is_symlink() else "none"
    except OSError:
        return "foreign"
    if _OURS.encode() not in found:
        return "calls the check" if b"dreamcatcherd" in found else "foreign"
    if found != _script():
        return "outdated"
    return "current" if os.access(path, os.X_OK) else "not executable"


def _script() -> bytes:
    return _HOOK.format(ours=_OURS, python=shlex.quote(sys.executable)).encode()
