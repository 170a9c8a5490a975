"""Running git: the plumbing that writes refs, pushes and repository creation.

Owns the environment that git runs in, and the end of a git that takes too long. No shell, no prompt, always a limit."""

from __future__ import annotations

import contextlib
import os
import selectors
import signal
import subprocess
import time
from collections.abc import Callable, Mapping
from pathlib import Path

from dreamcatcherd.core.errors import FatalError, RetryableError
from dreamcatcherd.git.disk_errors import disk_failure

TIMEOUT_S = 60.0
OUTPUT_MOST = 2**30
"""The most bytes of output that git may write: 25 million ids, one per line."""
ERRORS_MOST = 2**20
"""Bytes of git's errors that are kept, in addition to the last ones. Servers write here too."""
_PIECE = 2**16
_SHOWN = 2_000
SYNCS_REFS = "DREAMCATCHER_SYNCS_REFS"
"""A variable for a git that moves refs whose folders its caller syncs: our hook leaves them alone then.

Hooks are not turned off for that: the operator may have one too, which must run."""
_DURABLE = ("-c", "core.fsync=all", "-c", "core.fsyncMethod=fsync")
AS_STORED = {"GIT_NO_REPLACE_OBJECTS": "1", "GIT_GRAFT_FILE": "/dev/null"}
"""Objects are read as stored: anybody may push refs/replace/* and grafts, which change what git shows.

Contract: docs/protocol.md#the-repository."""
_PLAIN = ("-c", "core.useReplaceRefs=false", "-c", "advice.graftFileDeprecated=false", "-c", "core.fsmonitor=false")
NO_QUESTIONS = {"GIT_TERMINAL_PROMPT": "0", "GIT_ASKPASS": "", "SSH_ASKPASS_REQUIRE": "never"}
"""Nobody could answer a prompt. An empty GIT_ASKPASS overrides core.askPass and SSH_ASKPASS too."""
_PROTOCOLS = {"GIT_ALLOW_PROTOCOL": "file:git:http:https:ssh"}
"""No protocol that runs a program named in its URL, as `ext::` does, whatever git's configuration allows."""
_IDENTITY = (("NAME", "dreamcatcherd"), ("EMAIL", "dreamcatcherd@localhost"))
AUTHOR = "dreamcatcherd <dreamcatcherd@localhost>"


class _TooMuchError(Exception):
    """git wrote more than the longest possible answer."""


class GitTimeoutError(RetryableError):
    """git was stopped at its time limit. Its request to a server may have succeeded nevertheless."""


def git(
    repository: Path,
    *words: str,
    stdin: bytes = b"",
    timeout_s: float = TIMEOUT_S,
    variables: Mapping[str, str] | None = None,
    waiting: Callable[[], None] | None = None,
) -> subprocess.CompletedProcess[bytes]:
    """Run git on a repository and return its result; the caller checks its exit code.

    `waiting` is called about once a second while git runs. Of the variables that change git's behaviour, it sees only
    those that are passed. At the time limit git and all that it started are killed, and GitTimeoutError is raised."""
    environment = git_variables(variables or {})
    try:
        process = subprocess.Popen(
            ["git", "--git-dir", str(repository), *_DURABLE, *_PLAIN, *words],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=environment,
            # A group of its own: at the time limit everything that git started is ended with it.
            start_new_session=True,
        )
    except FileNotFoundError as error:
        raise FatalError("git is not installed or not on the PATH", "install git 2.36 or newer") from error
    except OSError as error:  # such as too many open files, or processes
        raise disk_failure("git cannot be started", error, repository) from error
    with process:
        try:
            out, errors = _communicate(process, stdin, timeout_s, waiting)
        except _TooMuchError as error:
            _end(process)
            cause = f"git {words[0]} wrote more than {OUTPUT_MOST >> 20} MiB on {repository}"
            raise RetryableError(cause, "look at the server that it spoke to") from error
        except subprocess.TimeoutExpired as error:
            _end(process)
            cause = f"git {words[0]} took longer than {timeout_s:g} s on {repository}"
            raise GitTimeoutError(cause, "look at the load of the machine and of its disk") from error
        except BaseException:  # a signal's exception, for example: git must not outlive its caller
            _end(process)
            raise
    return subprocess.CompletedProcess(words, process.returncode, out, errors)


def git_variables(more: Mapping[str, str]) -> dict[str, str]:
    """The environment of every git: of the variables that change its behaviour, only those in `more`."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("GIT_", "SSH_ASKPASS"))}
    environment |= {"LC_ALL": "C", "GIT_CONFIG_NOSYSTEM": "0"} | NO_QUESTIONS | _PROTOCOLS
    environment |= {f"GIT_{role}_{what}": value for role in ("AUTHOR", "COMMITTER") for what, value in _IDENTITY}
    return environment | dict(more) | AS_STORED


def _end(process: subprocess.Popen[bytes]) -> None:
    """Kill git and all that it started; the rest of its output is not read."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def _communicate(
    process: subprocess.Popen[bytes], stdin: bytes, timeout_s: float, waiting: Callable[[], None] | None
) -> tuple[bytes, bytes]:
    """Feed and read a process to its end; subprocess.TimeoutExpired if that takes too long.

    A server's output is part of it, and a hostile server never stops writing. Only the first and the last of the errors
    are kept, and _TooMuchError ends an answer that is too long."""
    if process.stdin is None or process.stdout is None or process.stderr is None:
        raise AssertionError("the process was made with pipes")
    until = time.monotonic() + timeout_s
    called = time.monotonic()
    left = memoryview(stdin)
    out, errors, last = bytearray(), bytearray(), b""
    with selectors.DefaultSelector() as ready:
        os.set_blocking(process.stdin.fileno(), False)
        ready.register(process.stdin, selectors.EVENT_WRITE)
        ready.register(process.stdout, selectors.EVENT_READ)
        ready.register(process.stderr, selectors.EVENT_READ)
        while ready.get_map():
            if (now := time.monotonic()) >= until:
                raise subprocess.TimeoutExpired(process.args, timeout_s)
            if waiting is not None and now - called >= 1.0:
                called = now
                waiting()
            for key, _ in ready.select(min(1.0, until - now)):
                if key.fileobj is process.stdin:
                    left = _feed_pipe(key.fd, left)
                    if not left:
                        ready.unregister(key.fileobj)
                        process.stdin.close()
                elif not (piece := os.read(key.fd, _PIECE)):
                    ready.unregister(key.fileobj)
                elif key.fileobj is process.stdout:
                    out += piece
                    if len(out) > OUTPUT_MOST:
                        raise _TooMuchError
                elif len(errors) < ERRORS_MOST:
                    errors += piece
                else:
                    last = (last + piece)[-_PIECE:]
    process.wait(max(0.0, until - time.monotonic()))
    return bytes(out), bytes(errors) + last


def _feed_pipe(pipe: int, left: memoryview) -> memoryview:
    """Write as much as a pipe takes now; returns the rest. Nothing is left for a pipe that nobody reads any more."""
    try:
        return left[os.write(pipe, left[:_PIECE]) :] if left else left
    except BlockingIOError:
        return left
    except BrokenPipeError:
        return left[:0]


def lines_of(raw: bytes) -> list[str]:
    """The lines of what git printed. A line feed alone ends one: names of refs may have U+0085, U+2028 and others, at
    which `str.splitlines` ends a line too."""
    return raw.decode("utf-8", "surrogateescape").removesuffix("\n").split("\n") if raw else []


def error_message(result: subprocess.CompletedProcess[bytes]) -> str:
    """git's error message on one line; of a long one, the beginning and the end."""
    text = " ".join(result.stderr.decode("utf-8", "replace").split())
    if len(text) > 2 * _SHOWN:
        text = f"{text[:_SHOWN]} … {text[-_SHOWN:]}"
    return text or f"git ended with {result.returncode}"
