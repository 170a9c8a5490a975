"""The process that answers hooks, for tests that need no daemon around it."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from dreamcatcherd.daemon.push_checks import start_process
from dreamcatcherd.hook.check_socket import SOCKET

FELL_BACK = "fell-back"


@contextmanager
def serving(repository: Path) -> Iterator[subprocess.Popen[str]]:
    """A process that checks the pushes to a repository, ready to be asked."""
    with start_process(repository) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        yield process


def note_complete_checks(repository: Path) -> Path:
    """Let the installed hook write a letter to a file whenever it starts the complete check; returns that file."""
    hook, note = repository / "hooks/pre-receive", repository / FELL_BACK
    text = hook.read_text()
    assert SOCKET in text
    hook.write_text(text.replace("full='\n", f'full=\'\nopen("{note}", "a").write("x\\\\n")\n', 1))
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
