"""Commands without the start of an interpreter: a process that has the package loaded, and forks one for each command.

A forked command is a process like any other, with its own directory, streams and exit code. What it shares with the
others is what Python and the package do before they read the command line, which takes most of a short command's time.
It has the environment of the process that it is forked from. A test that changes the environment starts a new
interpreter instead: `tests.e2e.tools.invoke` decides."""

from __future__ import annotations

import importlib
import json
import os
import select
import signal
import socket
import subprocess
import sys
import tempfile
import threading
from collections.abc import Mapping, Sequence
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]


class Warm:
    """The process that commands are forked from, with the environment that it was made with."""

    def __init__(self, environment: Mapping[str, str]) -> None:
        self._requests, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "tests.e2e.warm", str(theirs.fileno())],
                cwd=ROOT, env=environment, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
                pass_fds=[theirs.fileno()],
            )  # fmt: skip

    def close(self) -> None:
        self._requests.close()
        self._process.wait()

    def run(
        self, words: Sequence[str], cwd: Path, stdin: bytes, timeout_s: float
    ) -> subprocess.CompletedProcess[bytes]:
        """What `subprocess.run([*DREAMCATCHERD, *words], capture_output=True, …)` returns."""
        with ExitStack() as stack:
            ours, theirs = (stack.enter_context(one) for one in socket.socketpair())
            given, out, err = (stack.enter_context(tempfile.TemporaryFile()) for _ in range(3))
            given.write(stdin)
            given.seek(0)
            files = [one.fileno() for one in (theirs, given, out, err)]
            socket.send_fds(self._requests, [json.dumps([str(cwd), *words]).encode()], files)
            theirs.close()
            lines = stack.enter_context(ours.makefile("rb"))
            pid = int(lines.readline())
            if not select.select([ours], [], [], timeout_s)[0]:
                os.kill(pid, signal.SIGKILL)
                raise subprocess.TimeoutExpired(list(words), timeout_s)
            code = os.waitstatus_to_exitcode(int(lines.readline()))
            out.seek(0)
            err.seek(0)
            return subprocess.CompletedProcess(list(words), code, out.read(), err.read())


def serve(requests: socket.socket) -> list[str]:
    """Fork a process for each request. Returns in such a process, with the words of its command line."""
    while True:
        raw, files, _, _ = socket.recv_fds(requests, 2**20, 4)
        if not raw:
            sys.exit()
        if os.fork():
            for file in files:
                os.close(file)
            with suppress(ChildProcessError):
                while os.waitpid(-1, os.WNOHANG)[0]:
                    pass
            continue
        requests.close()
        answer, *streams = files
        # A second fork: this process waits for the command and reports, while the first one takes the next request.
        if pid := os.fork():
            os.write(answer, b"%d\n" % pid)
            os.write(answer, b"%d\n" % os.waitpid(pid, 0)[1])
            os._exit(0)
        os.close(answer)
        for number, file in enumerate(streams):
            os.dup2(file, number)
            os.close(file)
        words: list[str] = json.loads(raw)
        os.chdir(words.pop(0))
        return words


def main() -> None:
    """Load what the commands load, and serve; in a forked process, run its command."""
    from dreamcatcherd import cli

    commands: dict[str, Any] = vars(cli)["_COMMANDS"]
    for place in {place.partition(":")[0] for place in commands.values()} - {"agents"}:  # the SDK takes seconds
        importlib.import_module(f"dreamcatcherd.cli.{place}")
    assert threading.active_count() == 1, "a process with threads cannot be forked"
    with socket.socket(fileno=int(sys.argv[1])) as requests:
        sys.argv[1:] = serve(requests)
    cli.main()


if __name__ == "__main__":
    main()
