"""Every change that a command makes to the files below a folder, and what one of them going wrong does to it.

`tracer.c` does the work; here it is compiled, run, and its log is read. Linux on x86-64 alone."""

from __future__ import annotations

import functools
import os
import platform
import re
import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Literal, NamedTuple

from tests.e2e.tools import environment

SOURCE = Path(__file__).with_name("tracer.c")

programs = ("gcc",)
"""What compiles it."""

LIMIT_S = 600.0
"""A primary waits for stale locks, for 12 s each; nothing else here takes long."""

Fault = Literal["none", "before", "after", "one", "main", "fail", "fill"]
"""See the head of `tracer.c`."""

ROOM, SYNC, CLOSE, OPEN, FOLDER = 1, 2, 4, 8, 16
"""The bits of a change, as in `tracer.c`: it takes up room, syncs, closes or opens a file, concerns a folder."""


class Change(NamedTuple):
    """One line of the log: a system call that may have altered a file or folder. The paths are absolute; `result` is
    negative for a call that failed, as the kernel returns it; `mode` is that of a file that was opened."""

    number: int
    program: str
    call: str
    result: int
    path: str
    path2: str
    bits: int
    mode: int


class Traced(NamedTuple):
    """A command that ended: its exit code (128 + the signal if one killed it), its changes and its errors."""

    code: int
    changes: list[Change]
    errors: str


def missing_parts() -> str:
    """Why no command can be traced here; empty if one can."""
    if platform.system() != "Linux" or platform.machine() != "x86_64":
        return "the tracer knows the system calls of Linux on x86-64 alone"
    if shutil.which("gcc") is None:
        return "no gcc: run make packages as root"
    with tempfile.TemporaryDirectory() as folder:
        done = subprocess.run([*_command(Path(folder), Path(folder), "none", 0, 0), "true"], check=False)
    return "" if done.returncode == 0 else "no right to trace processes (ptrace, seccomp)"


@functools.cache
def _tracer() -> Path:
    """The compiled tracer, made once for each process."""
    folder = Path(tempfile.mkdtemp(prefix="tracer-"))
    program = folder / "tracer"
    subprocess.run(["gcc", "-O1", "-Wall", "-Wextra", "-Werror", "-o", program, SOURCE], check=True)
    return program


def _command(root: Path, scratch: Path, fault: Fault, at: int, error: int) -> list[str]:
    synced = scratch / "synced"
    synced.mkdir(exist_ok=True)
    return [str(_tracer()), str(root.resolve()), str(scratch / "changes"), str(synced), fault, str(at), str(error)]


def trace(
    command: Sequence[str], root: Path, scratch: Path, fault: Fault = "none", at: int = 0, error: int = 0
) -> Traced:
    """Run a command and let its change number `at` below `root` go wrong; the log and what was synced are in
    `scratch`, in `changes` and `synced/<number>`."""
    shutil.rmtree(scratch, ignore_errors=True)
    scratch.mkdir(parents=True)
    with (scratch / "out").open("wb") as out, (scratch / "errors").open("wb") as errors:
        words = [*_command(root, scratch, fault, at, error), *command]
        env = environment() | {"PWD": "/"}
        code = subprocess.run(
            words, cwd="/", env=env, stdout=out, stderr=errors, timeout=LIMIT_S, check=False
        ).returncode
    lines = (scratch / "changes").read_text("utf-8", "surrogateescape").splitlines()
    return Traced(code, [_change(line) for line in lines], (scratch / "errors").read_text())


def _change(line: str) -> Change:
    number, _, words, call, result, path, path2, bits, mode = line.split("\t")
    return Change(
        int(number), program_of(words), call, int(result), _normal(path), _normal(path2), int(bits), int(mode)
    )


def _normal(path: str) -> str:
    return os.path.normpath(path) if path else ""


_OPTIONS = re.compile(r"(?:--git-dir \S+|-c \S+|--exec-path=\S+) ?")


def program_of(words: str) -> str:
    """Who made a change, from a command line: `git` with its command, or the primary itself."""
    name, _, rest = words.partition(" ")
    if Path(name).name.startswith("git"):
        return " ".join(["git", *_OPTIONS.sub("", rest).split()[:1]])
    return "dreamcatcherd"
