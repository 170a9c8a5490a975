"""A command as the foreground of a terminal: what it writes there, and what is typed."""

from __future__ import annotations

import fcntl
import os
import pty
import select
import shutil
import struct
import subprocess
import termios
from collections.abc import Mapping, Sequence
from pathlib import Path

CTRL_C = b"\x03"


def in_terminal(
    command: Sequence[str],
    cwd: Path,
    env: Mapping[str, str],
    until: str = "",
    typed: bytes = b"",
    *,
    columns: int = 200,
) -> tuple[int, str]:
    """Run a command whose three streams are its own terminal; returns its exit code and what the terminal received.

    Once it has written `until`, `typed` is typed; without `typed` it is terminated then."""
    above, below = pty.openpty()
    fcntl.ioctl(below, termios.TIOCSWINSZ, struct.pack("HHHH", 50, columns, 0, 0))
    # Only a controlling terminal turns keys into signals. The command may have a PATH of its own, without setsid.
    foreground = [shutil.which("setsid") or "", "--ctty", "--wait", *command]
    process = subprocess.Popen(foreground, cwd=cwd, env=env, stdin=below, stdout=below, stderr=below)
    os.close(below)
    got = b""
    try:
        while select.select([above], [], [], 180)[0]:
            try:
                piece = os.read(above, 65536)
            except OSError:  # the last process has closed it
                break
            if not piece:
                break
            got += piece
            if until and until.encode() in got:
                if typed:
                    os.write(above, typed)
                else:
                    process.terminate()
                until = ""
        os.close(above)
        return process.wait(timeout=90), got.decode("utf-8", "surrogateescape")
    finally:
        process.kill()
        process.wait()
