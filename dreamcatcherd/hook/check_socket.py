"""The socket by which an installed hook asks a running process for the check, instead of starting one.

Owns where the socket is, who may ask and answer on it, and the form of question and answer. Whoever answers on it
approves pushes, so both ends require the repository's owner, by the modes of the files and by SO_PEERCRED.

    question    dreamcatcherd-check 1, a line feed; three sizes in bytes, separated by spaces, a line feed; then the
                hook's Python (see `this_python`), its environment (name=value, separated by NUL) and its standard
                input; then the end
    answer      `checking`, a line feed, at once; then the exit code, a space, the size in bytes of the text for the
                pusher, a line feed, the text, and `end`, a line feed
    or          `elsewhere`, a space, the reason, a line feed: the hook has to check the push itself

Anything else, an early end, and silence mean the same as `elsewhere`. The hook's side is in `install.py`, in Perl, and
here, for `doctor` and tests."""

from __future__ import annotations

import os
import re
import socket
import stat
import struct
import sys
from collections.abc import Mapping
from pathlib import Path

from msgspec import Struct

from dreamcatcherd.core.errors import DreamcatcherError

SOCKET_FOLDER = "dreamcatcherd"
"""The folder in the repository that has the socket."""
SOCKET = f"{SOCKET_FOLDER}/check.sock"
"""The socket, relative to the repository. It is bound and reached from there, since the path of a socket has at most
107 bytes."""

QUESTION = b"dreamcatcherd-check 1\n"
CHECKING = b"checking\n"
ELSEWHERE = b"elsewhere "
_END = b"end\n"

QUESTION_MOST = 16 * 2**20
"""The longest question, in bytes: about 100,000 refs. The hook checks a longer one itself."""

BEGIN_S = 2
"""How long the hook waits for `checking`, in full seconds: the process is busy, stopped or gone."""
ANSWER_S = 3
"""How long the hook then waits for the answer, in full seconds: a check may take two here."""

_SIZES = re.compile(rb"(\d{1,9}) (\d{1,9}) (\d{1,9})\n")
_ANSWER = re.compile(rb"([01]) (\d{1,9})\n")
_PEER = struct.Struct("3i")
_OTHERS_WRITE = stat.S_IWGRP | stat.S_IWOTH
_OTHERS = stat.S_IRWXG | stat.S_IRWXO


class ElsewhereError(DreamcatcherError):
    """The push is not checked by way of the socket; the cause says why. The hook checks it itself."""


def left_to_hook(why: str) -> ElsewhereError:
    """The error that a push is not checked by way of the socket."""
    return ElsewhereError(why, "nothing needs to be done: the hook checks the push itself")


class Question(Struct, frozen=True):
    """What a hook asks: the Python that it would start, as `this_python` names it, its environment, and the ref updates
    on its standard input."""

    python: str
    variables: dict[str, str]
    updates: bytes


def this_python() -> str:
    """The Python of this process: its path, and device and inode. In a container another one may have this path."""
    found = Path(sys.executable).lstat()
    return f"{sys.executable} {found.st_dev}:{found.st_ino}"


def encode_question(question: Question) -> bytes:
    """A question's bytes."""
    variables = b"\0".join(os.fsencode(f"{name}={value}") for name, value in question.variables.items())
    parts = (os.fsencode(question.python), variables, question.updates)
    return QUESTION + " ".join(str(len(part)) for part in parts).encode() + b"\n" + b"".join(parts)


def decode_question(raw: bytes) -> Question:
    """A question from its bytes; ElsewhereError if they have another form or version, or are incomplete."""
    sizes = _SIZES.match(raw, len(QUESTION)) if raw.startswith(QUESTION) else None
    if sizes is None:
        raise left_to_hook("the question has another version")
    python, variables, updates = map(int, sizes.groups())
    at = sizes.end()
    if len(raw) != at + python + variables + updates:
        raise left_to_hook("the question is incomplete")
    named = (one.partition(b"=") for one in raw[at + python : at + python + variables].split(b"\0") if one)
    return Question(
        os.fsdecode(raw[at : at + python]),
        {os.fsdecode(name): os.fsdecode(value) for name, _, value in named},
        raw[at + python + variables :],
    )


def encode_answer(code: int, text: str) -> bytes:
    """The bytes of a decision: the hook's exit code and the text for the pusher."""
    shown = text.encode("utf-8", "backslashreplace")
    return b"%d %d\n%s%s" % (code, len(shown), shown, _END)


def decode_answer(raw: bytes) -> tuple[int, str]:
    """A decision from its bytes; ElsewhereError if it is none, or is incomplete."""
    found = _ANSWER.match(raw)
    if found is not None and len(raw) == found.end() + int(found[2]) + len(_END) and raw.endswith(_END):
        return int(found[1]), raw[found.end() : -len(_END)].decode("utf-8", "replace")
    if raw.startswith(ELSEWHERE):
        raise left_to_hook(raw.removeprefix(ELSEWHERE).decode("utf-8", "replace").strip())
    raise left_to_hook("the answer is incomplete")


def foreign(repository: Path) -> str | None:
    """Why this account serves no hooks of a repository, whatever is in it; None if it is the owner's."""
    try:
        owner = repository.stat().st_uid
    except OSError as error:
        return f"{repository} cannot be read: {error.strerror}"
    return None if owner == os.geteuid() else f"{repository.absolute()} belongs to another account"


def unsafe_folder(repository: Path) -> str | None:
    """Why no socket in this repository is to be trusted by this account; None if the folder for it is safe.

    A repository of another account is not served: who owns the socket approves pushes."""
    if why := foreign(repository):
        return why
    try:
        folder = (repository / SOCKET_FOLDER).lstat()
    except OSError as error:
        return f"{repository / SOCKET_FOLDER} cannot be read: {error.strerror}"
    if not stat.S_ISDIR(folder.st_mode):
        return f"{repository / SOCKET_FOLDER} is not a folder"
    if folder.st_uid != os.geteuid():
        return f"{repository / SOCKET_FOLDER} belongs to another account"
    if folder.st_mode & _OTHERS_WRITE:
        return f"other accounts may write to {repository / SOCKET_FOLDER}"
    return None


def unsafe_socket(repository: Path) -> str | None:
    """Why the socket of this repository is not to be trusted by this account; None if it is."""
    if not (repository / SOCKET_FOLDER).exists():
        return "no daemon serves this repository here"
    if why := unsafe_folder(repository):
        return why
    try:
        found = (repository / SOCKET).lstat()
    except OSError:
        return "no daemon serves this repository here"
    if not stat.S_ISSOCK(found.st_mode):
        return f"{repository / SOCKET} is not a socket"
    if found.st_uid != os.geteuid() or found.st_mode & _OTHERS:
        return f"{repository / SOCKET} is not for this account alone"
    return None


def other_account(connection: socket.socket) -> bool:
    """Whether the process at the other end of a connection runs under another account than this one."""
    peer = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _PEER.size)
    return bool(_PEER.unpack(peer)[1] != os.geteuid())


def ask(repository: Path, updates: bytes, variables: Mapping[str, str] = os.environ) -> tuple[int, str]:
    """Ask for a check as an installed hook does; returns the exit code and the text for the pusher.

    ElsewhereError says why the hook would check the push itself."""
    if why := unsafe_socket(repository):
        raise left_to_hook(why)
    known = {name: value for name, value in variables.items() if not name.startswith("GIT_")} | {"GIT_DIR": "."}
    asked = encode_question(Question(this_python(), known, updates))
    opened = os.open(repository, os.O_PATH | os.O_DIRECTORY)
    try:
        with socket.socket(socket.AF_UNIX) as connection:
            connection.settimeout(BEGIN_S)
            connection.connect(f"/proc/self/fd/{opened}/{SOCKET}")
            if other_account(connection):
                raise left_to_hook("the process at the socket runs under another account")
            connection.sendall(asked)
            connection.shutdown(socket.SHUT_WR)
            return decode_answer(_answer(connection))
    except OSError as error:
        raise left_to_hook(f"{repository / SOCKET} does not answer: {error}") from error
    finally:
        os.close(opened)


def _answer(connection: socket.socket) -> bytes:
    raw = b""
    while piece := connection.recv(65_536):
        raw += piece
        if raw.startswith(CHECKING):
            connection.settimeout(ANSWER_S)
    return raw.removeprefix(CHECKING)
