"""The process that checks pushes for hooks: `python -m dreamcatcherd.hook.check_server REPOSITORY`, run by the daemon.

Everything that a check needs is loaded once; each push is then checked by a fork of this process, in the same way as by
the hook itself: with the push's environment, in its own main thread, which the time limit interrupts, and without any
effect on the daemon, whatever is pushed. It ends when its standard input does, and so with the daemon.

Owns the socket file: who binds it, when a left-over one is replaced, and how many checks run at the same time."""

from __future__ import annotations

import contextlib
import fcntl
import gc
import os
import select
import signal
import socket
import stat
import sys
import time
from pathlib import Path
from typing import NoReturn

import dreamcatcherd.git.signatures
import dreamcatcherd.hook.publication_check
import dreamcatcherd.stages.published
import dreamcatcherd.stages.settings_authority  # noqa: F401 (these four are imported by few checks, within functions)
from dreamcatcherd.core.codec import plain
from dreamcatcherd.core.errors import DreamcatcherError
from dreamcatcherd.git.quarantine import QuarantinedReader
from dreamcatcherd.hook.check_socket import (
    CHECKING,
    ELSEWHERE,
    FOLDER,
    QUESTION_MOST,
    SOCKET,
    Question,
    decode_question,
    elsewhere,
    encode_answer,
    other_account,
    unsafe_folder,
)
from dreamcatcherd.hook.pre_receive import judge, outcome

CHECKS_AT_ONCE = 8
"""How many checks run at the same time; further hooks wait in the queue of the socket, and then check themselves."""
_QUEUE = 64
_READ_S = 2.0
"""How long a hook may take to ask, in seconds."""
_LIFE_S = 20.0
"""After how many seconds a check is killed. Its own limits end it before, unless it hangs where it sees no signal."""
_SOCKET = Path(SOCKET)
_LOCK = Path(FOLDER, "check.lock")

Stamps = dict[str, tuple[int, int, int] | None]
"""Size, time and inode of source files, by path."""


def main() -> int:
    """Serve the repository that the first argument names; returns the exit code, 0 after the end of standard input.

    One line on standard output says `ready`, or why pushes are not checked here."""
    repository = Path(sys.argv[1])
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the daemon, which ends this process
    try:
        os.chdir(repository)
        lock = _lock()
        listener = _bind()
    except (OSError, DreamcatcherError) as error:
        why = error.cause if isinstance(error, DreamcatcherError) else str(error)
        _report(why)
        return 1
    try:
        with contextlib.suppress(OSError):
            # If memory is short, this process goes first, and hooks check pushes themselves.
            Path("/proc/self/oom_score_adj").write_text("1000")
        gc.collect()
        gc.freeze()  # what is loaded is not copied by each fork's collections
        _report("ready")
        _serve(listener, [lock])
    finally:
        with contextlib.suppress(OSError):
            _SOCKET.unlink()
    return 0


def _report(line: str) -> None:
    """Say one line to the daemon, which reads standard output."""
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


def _lock() -> int:
    """Take the lock that one process for each repository has, as long as it lives."""
    with contextlib.suppress(FileExistsError):
        Path(FOLDER).mkdir(0o700)
    if why := unsafe_folder(Path()):
        raise elsewhere(why)
    lock = os.open(_LOCK, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        os.close(lock)
        raise elsewhere("another daemon checks the pushes to this repository") from error
    return lock


def _bind() -> socket.socket:
    """Listen at the socket, in place of the one that a killed process left; the lock says that it is nobody's."""
    with contextlib.suppress(FileNotFoundError):
        if not stat.S_ISSOCK(_SOCKET.lstat().st_mode):
            raise elsewhere(f"{SOCKET} is not a socket: remove it")
        _SOCKET.unlink()
    listener = socket.socket(socket.AF_UNIX)
    before = os.umask(0o177)
    try:
        listener.bind(SOCKET)
    finally:
        os.umask(before)
    listener.listen(_QUEUE)
    listener.setblocking(False)
    return listener


def _serve(listener: socket.socket, others: list[int]) -> None:
    """Check pushes until standard input ends. `others` are files that a check must not hold open."""
    loaded = source_stamps()
    waking, wake = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
    signal.set_wakeup_fd(wake, warn_on_full_buffer=False)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    running: dict[int, float] = {}
    while True:
        wanted = [sys.stdin.fileno(), waking, *([listener.fileno()] if len(running) < CHECKS_AT_ONCE else [])]
        ready, _, _ = select.select(wanted, [], [], 1.0 if running else None)
        if sys.stdin.fileno() in ready and not os.read(sys.stdin.fileno(), 1):
            return
        if waking in ready:
            os.read(waking, 4096)
        _reap(running)
        if listener.fileno() not in ready:
            continue
        try:
            connection, _ = listener.accept()
        except OSError:  # the hook is gone, or no more files can be opened: the next one may have more luck
            time.sleep(0.01)
            continue
        with connection:
            try:
                child = os.fork()
            except OSError:
                continue  # the hook sees an early end
            if child == 0:
                signal.set_wakeup_fd(-1)
                for open_file in (listener.fileno(), waking, wake, *others):
                    os.close(open_file)
                _check(connection, loaded)
            running[child] = time.monotonic()


def _reap(running: dict[int, float]) -> None:
    """Forget the checks that have ended, and kill those that hang."""
    for child, begun in list(running.items()):
        if os.waitpid(child, os.WNOHANG)[0]:
            del running[child]
        elif time.monotonic() - begun > _LIFE_S:
            os.kill(child, signal.SIGKILL)


def _check(connection: socket.socket, loaded: Stamps) -> NoReturn:
    """In the fork: answer one hook, and end. Whatever fails, the hook checks the push itself."""
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    try:
        connection.settimeout(_READ_S)
        if other_account(connection):
            raise elsewhere("the hook runs under another account")
        question = decode_question(_read(connection))
        _like_the_hook(question, loaded)
        connection.sendall(CHECKING)
        code, text = outcome(judge(QuarantinedReader, os.environ, question.updates.splitlines(keepends=True)))
        connection.sendall(encode_answer(code, text))
    except BaseException as error:  # this process ends here: nothing above it may go on with what it is
        why = error.cause if isinstance(error, DreamcatcherError) else f"{type(error).__name__}: {error}"
        with contextlib.suppress(BaseException):
            connection.sendall(ELSEWHERE + plain(" ".join(why.split())).encode("utf-8", "replace") + b"\n")
    finally:
        os._exit(0)


def _read(connection: socket.socket) -> bytes:
    raw = bytearray()
    while piece := connection.recv(65_536):
        raw += piece
        if len(raw) > QUESTION_MOST:
            raise elsewhere("the push moves too many refs")
    return bytes(raw)


def _like_the_hook(question: Question, loaded: Stamps) -> None:
    """Become what the hook's own process would be; ElsewhereError if that would run other code than this one."""
    if question.python != sys.executable:
        raise elsewhere(f"the hook starts {question.python}, the daemon runs {sys.executable}")
    if {path: _stamp(path) for path in loaded} != loaded:
        raise elsewhere("dreamcatcherd was installed again since the daemon was started")
    os.environ.clear()
    os.environ.update(question.variables)


def source_stamps() -> Stamps:
    """What the source files of this package that are loaded look like at this moment."""
    found = (module.__file__ for name, module in sys.modules.items() if name.partition(".")[0] == "dreamcatcherd")
    return {path: _stamp(path) for path in found if path}


def _stamp(path: str) -> tuple[int, int, int] | None:
    try:
        found = Path(path).stat()
    except OSError:
        return None
    return found.st_size, found.st_mtime_ns, found.st_ino


if __name__ == "__main__":
    sys.exit(main())
