"""What end-to-end tests work with: the command as a process, git as workers use it, and a running daemon."""

from __future__ import annotations

import contextlib
import functools
import json
import os
import shutil
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, NoReturn

import pytest

from tests.e2e.warm import Warm

DREAMCATCHERD = [sys.executable, "-m", "dreamcatcherd"]


def environment() -> dict[str, str]:
    """What a process of a test finds: nothing of the user's git, and bytecode, without which each would compile all."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}
    for name in ("PYTHONDONTWRITEBYTECODE", "PYTEST_CURRENT_TEST"):
        kept.pop(name, None)
    kept |= {"no_proxy": "127.0.0.1", "NO_PROXY": "127.0.0.1"}
    return kept | {"GIT_TERMINAL_PROMPT": "0", "GIT_CONFIG_GLOBAL": "/dev/null", "COLUMNS": "200"}


def do_without(reason: str) -> NoReturn:
    """Skip the test; with CI set fail it: there a missing part is a mistake.

    The reason names what is missing and how to get it, as in `no sshd: run make packages as root`."""
    if os.environ.get("CI"):
        pytest.fail(reason)
    pytest.skip(reason)


@functools.cache
def _gits_own() -> str:
    return git(Path.cwd(), "--exec-path")


def program(name: str) -> str | None:
    """Where a program is, looking also where only root's PATH leads and where git keeps its own."""
    folders = [os.environ.get("PATH", ""), "/usr/local/sbin", "/usr/sbin", _gits_own()]
    return shutil.which(name, path=os.pathsep.join(folders))


def missing(*programs: str) -> str:
    """Which of some programs are missing, and how to get them; empty where all are there."""
    lacking = [name for name in programs if program(name) is None]
    return f"no {', '.join(lacking)}: run make packages as root" if lacking else ""


def need(*programs: str) -> None:
    """Do without the test where one of the programs is missing."""
    if reason := missing(*programs):
        do_without(reason)


def unprivileged() -> list[str]:
    """How a command begins that runs as a user other than root: empty where the tests are another user's."""
    if os.geteuid():
        return []
    begin = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"]
    if subprocess.run([*begin, *DREAMCATCHERD, "version"], capture_output=True, check=False).returncode:
        pytest.skip("no Python for other users: make the environment where every user may read")
    return begin


_AT_START = environment()
_warm: list[Warm] = []


def invoke(
    *words: str, cwd: Path | None = None, stdin: bytes = b"", timeout_s: float = 900
) -> subprocess.CompletedProcess[bytes]:
    """Run the command as a process; returns what became of it.

    It is forked from a process that has the package loaded, unless a test has changed the environment."""
    env = environment()
    if env != _AT_START:
        return subprocess.run(
            [*DREAMCATCHERD, *words], cwd=cwd, env=env, input=stdin, capture_output=True, check=False, timeout=timeout_s
        )
    if not _warm:
        _warm.append(Warm(env))
    return _warm[0].run(words, cwd or Path.cwd(), stdin, timeout_s)


def close_warm() -> None:
    """End the process that commands are forked from."""
    while _warm:
        _warm.pop().close()


def dc(*words: str, cwd: Path | None = None, code: int = 0, stdin: bytes = b"", both: bool = False) -> str:
    """Run the command, check its exit code, and return what it wrote; no traceback may ever be on stderr. With `both`
    that is returned too where the command went well."""
    done = invoke(*words, cwd=cwd, stdin=stdin)
    out, errors = (stream.decode("utf-8", "surrogateescape") for stream in (done.stdout, done.stderr))
    assert "Traceback" not in errors, errors
    assert done.returncode == code, (words, done.returncode, out, errors)
    if code in (2, 3):
        assert len(errors.strip().splitlines()) == 1, errors
    return out + errors if code or both else out


def dc_json(*words: str, cwd: Path | None = None, code: int = 0) -> Any:
    return json.loads(dc(*words, "--json", cwd=cwd, code=code))


def try_git(cwd: Path, *words: str, env: Mapping[str, str] | None = None) -> subprocess.CompletedProcess[str]:
    """Run git as a worker would, with what `env` adds, and return what became of it."""
    who = ("-c", "user.name=worker", "-c", "user.email=worker@localhost")
    return subprocess.run(
        ["git", *who, *words],
        cwd=cwd,
        env=environment() | dict(env or {}),
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )


def git(cwd: Path, *words: str, check: bool = True, env: Mapping[str, str] | None = None) -> str:
    """Run git as a worker would; returns what it wrote."""
    done = try_git(cwd, *words, env=env)
    assert not check or done.returncode == 0, (words, done.stderr)
    return done.stdout.strip()


def delta(frame: int, stream_id: str, utc: str = "2026-01-01T00:00:00Z", **sections: Any) -> str:
    return json.dumps({"frame": frame, "utc": utc, "stream_id": stream_id, **sections})


def clone(repository: Path | str, folder: Path, env: Mapping[str, str] | None = None) -> Path:
    """Clone a path or URL; `env` is what the server asks of a worker."""
    git(Path.cwd(), "clone", "-q", str(repository), str(folder), env=env)
    return folder


def push(
    clone_folder: Path,
    files: dict[str, str],
    target: str = "main",
    message: str = "add",
    env: Mapping[str, str] | None = None,
) -> str:
    """Write files, commit and push them; returns the commit."""
    for name, text in files.items():
        path = clone_folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    git(clone_folder, "add", "-A")
    git(clone_folder, "commit", "-q", "-m", message)
    git(clone_folder, "push", "-q", "origin", f"HEAD:{target}", env=env)
    return git(clone_folder, "rev-parse", "HEAD")


def export_of(repository: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(dc("export", "--repo", str(repository)))
    return found


def wait_for(what: Callable[[], Any], seconds: float = 90.0) -> Any:
    """Ask until the answer is truthy; returns it. Fails after so many seconds, which are those of a slow machine."""
    until = time.monotonic() + seconds
    while True:
        begun = time.monotonic()
        if found := what():
            return found
        if begun >= until:
            raise AssertionError(f"not so within {seconds} s")
        time.sleep(0.02)


def rewrite(path: Path, text: str) -> None:
    """Put a text in the place of a file's in one step: who reads it meanwhile has the old text or the new one."""
    new = path.with_name(f"{path.name}.new")
    new.write_text(text)
    if path.exists():
        new.chmod(path.stat().st_mode)
    new.replace(path)


class Daemon:
    """`dreamcatcherd run` as a process; stopped at the end of a `with` block.

    `within` is a command that ends by executing it."""

    def __init__(self, cwd: Path, *words: str, within: Sequence[str] = ()) -> None:
        self.log = cwd / "daemon.log"
        command = [*within, *DREAMCATCHERD, "run", *words]
        with self.log.open("ab") as log:
            self._begin = log.tell()
            self.process = subprocess.Popen(command, cwd=cwd, env=environment(), stdout=log, stderr=subprocess.STDOUT)

    def __enter__(self) -> Daemon:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()

    @property
    def text(self) -> str:
        return self.log.read_text()

    def url(self) -> str:
        """Where it answers HTTP, from the line that it logged last on starting or applying a configuration. What a
        daemon before it wrote to the same log does not count."""

        def own() -> list[dict[str, Any]]:
            own_bytes = self.log.read_bytes()[self._begin :]
            return _events_in(own_bytes.decode(), ("started", "configuration applied"))

        found: str = wait_for(own)[-1]["http"]
        return f"http://{found}"

    def logged(self, *events: str) -> list[dict[str, Any]]:
        """The lines of its log about these events; anything but JSON among the complete lines fails."""
        return _events_in(self.text, events)

    def get(self, path: str) -> str:
        with urllib.request.urlopen(self.url() + path, timeout=90) as answer:
            raw: bytes = answer.read()
        return raw.decode()

    def stop(self, number: signal.Signals = signal.SIGTERM) -> tuple[int, float]:
        """Signal it and wait; returns its exit code and the seconds that it took, without those in which it was ready
        to run and the machine had no processor for it."""
        start, before = time.monotonic(), self._queued_ns()
        late, queued = 0, dict(before)
        self.process.send_signal(number)
        while self.process.poll() is None:
            assert time.monotonic() < start + 90, "it does not end"
            queued |= self._queued_ns()
            late = sum(queued_ns - before.get(thread, 0) for thread, queued_ns in queued.items())
            time.sleep(0.01)
        took_s = time.monotonic() - start
        return self.process.returncode, max(0.0, took_s - late / 1e9)

    def _queued_ns(self) -> dict[str, int]:
        """How long each of its threads has waited for a processor so far; none where the kernel does not count it."""
        found = {}
        for task in Path(f"/proc/{self.process.pid}/task").glob("*/schedstat"):
            with contextlib.suppress(OSError, IndexError):  # a thread that ended
                found[task.parent.name] = int(task.read_text().split()[1])
        return found


def _events_in(log: str, events: Sequence[str]) -> list[dict[str, Any]]:
    """The complete lines of a log about some events."""
    lines = [json.loads(line) for line in log.splitlines(keepends=True) if line.endswith("\n")]
    return [line for line in lines if line["event"] in events]


def primary_toml(folder: Path, close: str = "manual", interval: float = 2.0, more: str = "") -> Path:
    """A primary's configuration on a free port."""
    path = folder / "primary.toml"
    lines = f'[http]\nlisten = "127.0.0.1:0"\n[frames]\nclose = "{close}"\ninterval = {interval}\n{more}'
    rewrite(path, lines)  # a running daemon reads it as soon as it changes
    return path
