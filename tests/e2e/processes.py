"""The processes of one server, with all their descendants: found, stopped, frozen, and never left behind.

A server forks; its children start sessions and hooks of their own, and outlive a parent that dies. So its processes are
known by descent from those that the test started, and by a mark in the environment that they inherit. Linux only."""

from __future__ import annotations

import os
import secrets
import signal
import subprocess
import time
from pathlib import Path

from tests.e2e.tools import wait_for

MARK = "DREAMCATCHER_TEST_SERVER"


def read(path: Path) -> bytes:
    """A file of /proc; empty where the process is gone."""
    try:
        return path.read_bytes()
    except (FileNotFoundError, ProcessLookupError, PermissionError):
        return b""


def living() -> dict[int, tuple[int, int]]:
    """Every process that is no zombie: its parent, and when it started (a pid alone may be another's by now)."""
    found = {}
    for folder in Path("/proc").glob("[0-9]*"):
        fields = read(folder / "stat").rpartition(b")")[2].split()
        if fields and fields[0] not in b"ZX":
            found[int(folder.name)] = (int(fields[1]), int(fields[19]))
    return found


class Processes:
    """What one server runs. `mark` must reach the environment of what it starts, where it does not pass on its own."""

    def __init__(self, log: Path) -> None:
        self.log = log
        self.mark = f"{MARK}={secrets.token_hex(8)}"
        self._started: list[subprocess.Popen[bytes]] = []
        self._known: dict[int, int] = {}

    def start(self, command: list[str], cwd: Path, environment: dict[str, str]) -> subprocess.Popen[bytes]:
        name, _, value = self.mark.partition("=")
        with self.log.open("ab") as log:
            process = subprocess.Popen(
                command,
                cwd=cwd,
                env=environment | {name: value},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        self._started.append(process)
        return process

    def alive(self) -> set[int]:
        """The pids of all processes of this server that live now."""
        for process in self._started:
            process.poll()
        table = living()
        self._known = {pid: born for pid, born in self._known.items() if table.get(pid, (0, 0))[1] == born}
        mine = set(self._known) | {process.pid for process in self._started if process.returncode is None}
        mine |= {pid for pid in table if self.mark.encode() in read(Path(f"/proc/{pid}/environ")).split(b"\0")}
        while more := {pid for pid, (parent, _) in table.items() if parent in mine} - mine:
            mine |= more
        self._known |= {pid: table[pid][1] for pid in mine if pid in table}
        return mine & set(table)

    def freeze(self) -> None:
        """Stop all of them in their tracks; the kernel goes on accepting connections for them."""
        frozen: set[int] = set()
        while more := self.alive() - frozen:
            self._signal(more, signal.SIGSTOP)
            frozen |= more

    def thaw(self) -> None:
        self._signal(self.alive(), signal.SIGCONT)

    def stop(self) -> None:
        """End all of them, so that git takes its locks away; after 5 s by force. Returns when all are gone.

        What git daemon starts ignores SIGTERM, therefore SIGHUP after a second: for a server it would mean to read its
        configuration anew. SIGTERM comes before what was frozen goes on: nothing is served in between."""
        self._signal(self.alive(), signal.SIGTERM)
        self.thaw()
        begun = time.monotonic()

        def gone() -> bool:
            """None are left: seen twice, since one may begin another and end while all are counted."""
            left = self.alive() or self.alive()
            if (waited := time.monotonic() - begun) > 1:
                self._signal(left, signal.SIGHUP if waited < 5 else signal.SIGKILL)
            return not left

        wait_for(gone)
        for process in self._started:
            process.wait()
        self._started.clear()
        self._known.clear()

    @staticmethod
    def _signal(pids: set[int], number: signal.Signals) -> None:
        for pid in pids:
            try:
                os.kill(pid, number)
            except ProcessLookupError:
                continue
