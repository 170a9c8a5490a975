"""The process that checks pushes for hooks: `python -m dreamcatcherd.hook.check_server REPOSITORY`, run by the daemon.

Everything that a check needs is loaded once, and forked into a few workers. A worker checks one push after the other as
the hook itself would: with the push's environment, and in its main thread, which a time limit interrupts. A push that
needs long is given back to its hook, so that it holds nobody up. The daemon is a process of its own, and whatever is
pushed has no effect on it. All of them end when standard input does, and so with the daemon.

Owns the socket file: who binds it, when a left-over one is replaced, and how many checks run at the same time."""

from __future__ import annotations

import contextlib
import difflib  # noqa: F401 (few checks import this, json and tomllib, within functions)
import fcntl
import gc
import io
import json  # noqa: F401
import os
import resource
import select
import signal
import socket
import stat
import sys
import time
import tomllib  # noqa: F401
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NoReturn

import dreamcatcherd.git.signatures
import dreamcatcherd.hook.publication_check
import dreamcatcherd.stages.published
import dreamcatcherd.stages.settings_authority  # noqa: F401 (few checks import these four, within functions)
from dreamcatcherd.core.codec import plain
from dreamcatcherd.core.errors import DreamcatcherError
from dreamcatcherd.git.protocols import ObjectReader
from dreamcatcherd.git.quarantine import QuarantinedReader
from dreamcatcherd.hook.backpressure import must_wait
from dreamcatcherd.hook.check_socket import (
    CHECKING,
    ELSEWHERE,
    QUESTION_MOST,
    SOCKET,
    SOCKET_FOLDER,
    Question,
    decode_question,
    encode_answer,
    foreign,
    left_to_hook,
    other_account,
    this_python,
    unsafe_folder,
)
from dreamcatcherd.hook.pre_receive import OutOfTimeError, judge, outcome
from dreamcatcherd.hook.push import Offence, Update

WORKERS = 4
"""How many checks run at the same time. A hook that finds no worker within `check_socket.BEGIN_S` checks by itself."""
CHECK_S = 2.0
"""How long a check may take here, in seconds. The hook of a longer one does it, with the rest of its own limit."""
_QUEUE = 64
READ_S = 1.0
"""How long a hook may take to ask, in seconds."""
_HANGS_S = 20.0
"""After how many seconds of processor time a check is killed: where it hangs, no other limit may reach it."""
_CHECKS_MOST = 1_000
"""After how many checks a worker is replaced."""
_LONG_S = 0.5
_GROWN_KIB = 64 * 1024
"""After a check that took longer, or more memory, a worker is replaced: what it holds would stay."""
_REPLACE_S = 0.1
"""The pause before a worker that ended is replaced, in seconds."""

_OURS = (signal.SIGTERM, signal.SIGCHLD)
"""The signals that the supervisor handles."""

_SOCKET = Path(SOCKET)
_LOCK = Path(SOCKET_FOLDER, "check.lock")

Stamps = dict[Path, tuple[int, int] | None]
"""Time and inode of folders."""


def serve_hooks() -> int:
    """Serve the repository that the first argument names; returns the exit code, 0 after the end of standard input.

    One line on standard output says `ready`, or why pushes are not checked here."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the daemon, which ends this process
    try:
        os.chdir(sys.argv[1])
        lock = _lock()
        listener = _bind()
    except (OSError, DreamcatcherError) as error:
        _report(error.cause if isinstance(error, DreamcatcherError) else str(error))
        return 1
    with contextlib.suppress(OSError):
        # If memory is short, these processes go first, and hooks check pushes themselves.
        Path("/proc/self/oom_score_adj").write_text("1000")
    try:
        _warm_up()
        _report("ready")
        _supervise(listener, lock)
    finally:
        with contextlib.suppress(OSError):
            _SOCKET.unlink()
    return 0


def _report(line: str) -> None:
    """Say one line to the daemon, which reads standard output."""
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


# The socket -----------------------------------------------------------------------------------------------------------


def _lock() -> int:
    """Take the lock that one process for each repository has, as long as it lives."""
    if why := foreign(Path()):
        raise left_to_hook(why)
    with contextlib.suppress(FileExistsError):
        Path(SOCKET_FOLDER).mkdir(0o700)
    if why := unsafe_folder(Path()):
        raise left_to_hook(why)
    lock = os.open(_LOCK, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        os.close(lock)
        raise left_to_hook("another daemon checks the pushes to this repository") from error
    return lock


def _bind() -> socket.socket:
    """Listen at the socket, in place of the one that a killed process left; the lock says that it is nobody's."""
    with contextlib.suppress(FileNotFoundError):
        if not stat.S_ISSOCK(_SOCKET.lstat().st_mode):
            raise left_to_hook(f"{SOCKET} is not a socket: remove it")
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


# Workers --------------------------------------------------------------------------------------------------------------


def _warm_up() -> None:
    """Check once before forking, so that no worker has to make what the first check makes."""
    with contextlib.suppress(Exception):  # an empty or damaged repository: the checks will say what is wrong
        store = QuarantinedReader({})
        head = store.refs()[store.head_branch or ""]
        store.close()
        _judge({}, f"{head} {head} {store.head_branch}\n".encode())
    gc.collect()
    gc.freeze()  # a collection in a worker would copy every page that has objects


def _supervise(listener: socket.socket, lock: int) -> None:
    """Keep WORKERS workers until standard input ends, and end them then."""
    loaded = package_stamps()
    alive, held = os.pipe2(os.O_CLOEXEC)
    waking, wake = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    signal.set_wakeup_fd(wake, warn_on_full_buffer=False)
    workers: set[int] = set()
    try:
        while True:
            while len(workers) < WORKERS:
                # A worker that took a signal as this process does would end its siblings and remove the socket.
                signal.pthread_sigmask(signal.SIG_BLOCK, _OURS)
                child = os.fork()
                if child == 0:
                    _work(listener, alive, loaded, (lock, held, waking, wake, sys.stdin.fileno()))
                signal.pthread_sigmask(signal.SIG_UNBLOCK, _OURS)
                workers.add(child)
            ready, _, _ = select.select([sys.stdin.fileno(), waking], [], [])
            if sys.stdin.fileno() in ready and not os.read(sys.stdin.fileno(), 1):
                return
            if waking in ready:
                os.read(waking, 4096)
            ended = {child for child in workers if os.waitpid(child, os.WNOHANG)[0]}
            workers -= ended
            if ended:
                time.sleep(_REPLACE_S)  # one that cannot live is not replaced without a pause
    finally:
        for child in workers:
            os.kill(child, signal.SIGTERM)


def _work(listener: socket.socket, alive: int, loaded: Stamps, others: Sequence[int]) -> NoReturn:
    """In a fork: check pushes one after the other until the supervisor is gone, or one has left too much behind.

    `others` are the supervisor's files, which are closed."""
    try:
        signal.set_wakeup_fd(-1)
        for number in _OURS:
            signal.signal(number, signal.SIG_DFL)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, _OURS)
        for file in others:
            os.close(file)
        waiting = select.epoll()
        waiting.register(listener.fileno(), select.EPOLLIN | select.EPOLLEXCLUSIVE)  # a push wakes one worker
        waiting.register(alive, select.EPOLLIN)
        for _ in range(_CHECKS_MOST):
            if any(number == alive for number, _ in waiting.poll()):
                break
            try:
                connection, _ = listener.accept()
            except OSError:
                continue  # another worker has it, or the hook is gone
            with connection:
                if not _serve(connection, loaded):
                    break
    finally:
        os._exit(0)


def _serve(connection: socket.socket, loaded: Stamps) -> bool:
    """Answer one hook; False if this process is better replaced. Whatever fails, the hook checks the push itself."""
    begun = time.monotonic()
    signal.setitimer(signal.ITIMER_PROF, _HANGS_S)
    used_kib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    try:
        connection.settimeout(READ_S)
        if other_account(connection):
            raise left_to_hook("the hook runs under another account")
        question = decode_question(_read(connection))
        become_the_hook(question, loaded)
        connection.sendall(CHECKING)
        connection.sendall(encode_answer(*_judge(os.environ.copy(), question.updates)))
    except DreamcatcherError as error:
        _give_back(connection, error.cause)
    except OutOfTimeError:
        _give_back(connection, f"the check takes longer than {CHECK_S:g} s")
        return False
    except Exception as error:
        _give_back(connection, f"{type(error).__name__}: {error}")
        return False
    grown_kib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - used_kib
    return time.monotonic() - begun < _LONG_S and grown_kib < _GROWN_KIB


def _judge(variables: dict[str, str], updates: bytes) -> tuple[int, str]:
    """The exit code and the text of the check; ElsewhereError if it would take longer than is allowed here."""
    store = QuarantinedReader(variables)
    try:
        return outcome(judge(store, variables, io.BytesIO(updates), CHECK_S, _wait_elsewhere))
    finally:
        store.close()


def _wait_elsewhere(
    store: ObjectReader, updates: Sequence[Update], main: str, head: Callable[[], str | None]
) -> Offence | None:
    if must_wait(store, updates, main):
        raise left_to_hook("a frame is overdue, and the push waits for it")
    return None


def _give_back(connection: socket.socket, why: str) -> None:
    with contextlib.suppress(OSError):
        connection.sendall(ELSEWHERE + plain(" ".join(why.split())).encode("utf-8", "replace") + b"\n")


def _read(connection: socket.socket) -> bytes:
    until = time.monotonic() + READ_S
    raw = bytearray()
    while piece := connection.recv(65_536):
        raw += piece
        if len(raw) > QUESTION_MOST or time.monotonic() > until:
            raise left_to_hook("the push moves too many refs")
    return bytes(raw)


def become_the_hook(question: Question, loaded: Stamps) -> None:
    """Become what the hook's own process would be; ElsewhereError if that would run other code than this one."""
    if question.python != this_python():
        raise left_to_hook(f"the hook starts {question.python}, the daemon runs {this_python()}")
    if {path: _stamp(path) for path in loaded} != loaded:
        raise left_to_hook("dreamcatcherd was installed again since the daemon was started")
    os.environ.clear()
    os.environ.update(question.variables)


def package_stamps() -> Stamps:
    """What the folders of this package look like now. Whoever replaces a file of it changes its folder, too."""
    files = (module.__file__ for name, module in sys.modules.items() if name.partition(".")[0] == "dreamcatcherd")
    return {folder: _stamp(folder) for folder in sorted({Path(file).parent for file in files if file})}


def _stamp(folder: Path) -> tuple[int, int] | None:
    try:
        found = folder.stat()
    except OSError:
        return None
    return found.st_mtime_ns, found.st_ino


if __name__ == "__main__":
    sys.exit(serve_hooks())
