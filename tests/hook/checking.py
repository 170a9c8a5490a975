"""The process that answers hooks, for tests that need no daemon around it."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from dreamcatcherd.hook.check_server import WORKERS
from dreamcatcherd.hook.check_socket import ANSWER_S, BEGIN_S, SOCKET
from tests.e2e.tools import wait_for

FELL_BACK = "fell-back"


_PATIENT = """
import sys
import dreamcatcherd.hook.check_server as server
server.CHECK_S = server.READ_S = 60.0
if sys.argv[2] == "no waiting":
    server.must_wait = lambda *_: False
sys.exit(server.serve_hooks())
"""


@contextmanager
def serving(repository: Path, *, waits: bool = False, begin: Sequence[str] = ()) -> Iterator[subprocess.Popen[str]]:
    """A process that checks the pushes to a repository, ready to be asked. Its limits are those of a busy machine.

    Only if it `waits`, a push that has to wait for an overdue frame is given back to its hook. Its command `begin`s
    with these words, which may change the account."""
    words = [*begin, sys.executable, "-P", "-c", _PATIENT, str(repository), "waits" if waits else "no waiting"]
    with subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        wait_for(lambda: len(workers_of(process)) == WORKERS)
        yield process


def note_complete_checks(repository: Path, patience_s: int = 60) -> Path:
    """Let the installed hook write a letter to a file whenever it starts the complete check; returns that file.

    The hook waits `patience_s` seconds for each part of an answer, and takes none of it off the time of that check."""
    hook, note = repository / "hooks/pre-receive", repository / FELL_BACK
    text = hook.read_text()
    assert SOCKET in text
    for old, new in (
        ("full='\n", f'full=\'\nopen("{note}", "a").write("x")\n'),
        (f"alarm {BEGIN_S};", f"alarm {patience_s};"),
        (f"alarm {ANSWER_S};", f"alarm {patience_s};"),
        ("time - $begun", "0"),
    ):
        assert text.count(old) == 1
        text = text.replace(old, new)
    hook.write_text(text)
    return note


def complete_checks(repository: Path) -> int:
    """How often the hook has started the complete check since `note_complete_checks`."""
    try:
        return len((repository / FELL_BACK).read_text())
    except FileNotFoundError:
        return 0


def workers_of(process: subprocess.Popen[str]) -> list[int]:
    """The process ids of the workers of a process that checks pushes."""
    found = []
    for name in os.listdir("/proc"):  # noqa: PTH208 (names alone are needed)
        try:
            fields = Path(f"/proc/{name}/stat").read_text().rpartition(")")[2].split() if name.isdecimal() else []
        except OSError:
            continue
        if len(fields) > 1 and int(fields[1]) == process.pid:
            found.append(int(name))
    return found
