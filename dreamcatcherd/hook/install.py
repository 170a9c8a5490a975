"""Installing the server-side check as the pre-receive hook of a repository."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path

from dreamcatcherd.git.atomic_write import write_atomically

_HOOK = """\
#!/bin/sh
# The server-side check of dreamcatcherd, installed by `dreamcatcherd init`. It lets workers add deltas and push lanes,
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
    write_atomically(path, _HOOK.format(python=shlex.quote(sys.executable)).encode(), 0o755)
    return path
