"""A push as git's pre-receive hook sees it: its objects still in quarantine, its ref updates on stdin, and who pushes.

The hook runs at every push of every worker and starts from here, without the commands and what only they need."""

from __future__ import annotations

import signal
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import NamedTuple, TextIO

from dreamcatcherd.core.codec import plain
from dreamcatcherd.core.errors import DreamcatcherError, UsageError
from dreamcatcherd.core.paths import printable
from dreamcatcherd.core.signers import lines_at
from dreamcatcherd.git.push_reader import PushReader
from dreamcatcherd.hook.backpressure import wait_while_overdue
from dreamcatcherd.hook.branch_rules import PRIMARY_REFS, judge_read_push, read_push
from dreamcatcherd.hook.push import COUNTER, OFFENCES_LISTED, Gate, Offence, Update
from dreamcatcherd.hook.warnings import open_frame_at, warnings

CHECK_LIMIT_S = 10.0
"""Seconds in which a push is judged: its sender waits, and so do others for what the server has to do meanwhile."""

USER, KEY, COUNTER_KEY = "dreamcatcher.primaryUser", "dreamcatcher.primaryKey", "dreamcatcher.counter"
"""The git settings of the repository that the check knows."""

PATH_SHOWN = 400
"""How many characters of a path are shown."""

_ACCOUNT = ("REMOTE_USER", "GL_USER", "LOGNAME", "USER")
_MAIN = "refs/heads/main"

_REMEDY_OF_DELTAS = (
    "correct the file (dreamcatcherd validate FILE says the same) in the commit that brought it (git commit --amend, "
    "git rebase -i), and push again"
)
_REMEDY_OF_EDITS = (
    "put the file back as it is on main (git fetch && git checkout origin/main -- PATH, or git rm PATH where main has "
    "none), commit, and push again"
)
_REMEDIES = {
    "snapshot-edited": _REMEDY_OF_EDITS,
    "ledger-edited": _REMEDY_OF_EDITS,
    "frame-edited": _REMEDY_OF_EDITS,
    "state-edited": _REMEDY_OF_EDITS,
    "delta-deleted": _REMEDY_OF_EDITS,
    "delta-changed": "keep that file as it is, put your delta under a name of your own, and push again",
    "wrong-stream": "push each stream's deltas to its own lane, or to the shared branch",
    "settings-refused": "correct state/dreamcatcher.toml, commit, and push again",
    "replacement": "leave it: git replace --delete removes it here; pushed commits are read as stored",
    "unreadable-commit": "make the commit again with git itself (git commit), and push that",
    "lane-blocked": (
        "push to a lane below that one or beside it (dc/<stream_id>/<anything>), or delete it if it is merged; "
        "where it is not yours, ask an operator"
    ),
    "lane-unmerged": "wait until the primary has merged the lane (dreamcatcherd status), then delete it",
    "bad-lane": "push to another ref",
    "not-a-commit": "push a commit",
    "main-deleted": "leave it",
    "main-moved": "git pull --rebase, and push again; a lane never waits",
    "not-the-primary": f"leave it to the primary, whom git config {USER} or {KEY} names on the server",
}


_EMPTY = (
    "dreamcatcherd cannot check this push: standard input is empty, so another hook has read the ref updates before; "
    "on the server, let that hook copy them (tee) to both"
)


_TOO_LONG = (
    "dreamcatcherd refused this push, nothing was changed: judging it took longer than {:g} s; push less at once, in "
    "several pushes of fewer commits or lanes"
)


def account(variables: Mapping[str, str]) -> str:
    """Who pushes, as the server says: the web server's user, gitolite's, else the account that the hook runs under."""
    return next((variables[name] for name in _ACCOUNT if variables.get(name)), "")


def read_updates(lines: Iterable[bytes]) -> list[Update]:
    """What git writes to the hook: `<old> <new> <ref>` a line, zeros for no object."""
    updates = []
    for line in lines:
        old, new, ref = line.decode("utf-8", "surrogateescape").rstrip("\n").split(" ", 2)
        updates.append(Update(ref, old if old.strip("0") else None, new if new.strip("0") else None))
    return updates


class CheckResult(NamedTuple):
    """What the check says of a push: lines that tell why it is refused (none: it may enter), and warnings."""

    refused: list[str]
    warnings: list[str]


_AGAIN_S = 0.25


class OutOfTimeError(BaseException):
    """The time limit of the check is over. No handler of ordinary errors is to take it for one."""


@contextmanager
def _limited(seconds: float) -> Iterator[None]:
    """Raise OutOfTimeError after the limit. The wait for an overdue frame (`hook/backpressure.py`) does not count.

    It is raised again and again until it arrives: Python ignores what is raised while it frees an object."""

    def over(number: int, frame: object) -> None:
        raise OutOfTimeError

    before = signal.signal(signal.SIGALRM, over)
    signal.setitimer(signal.ITIMER_REAL, seconds, _AGAIN_S)
    try:
        yield
    finally:
        while signal.getsignal(signal.SIGALRM) is over:
            with suppress(OutOfTimeError):
                signal.setitimer(signal.ITIMER_REAL, 0)
                signal.signal(signal.SIGALRM, before)


def check_push(variables: Mapping[str, str], lines: Iterable[bytes], limit_s: float = CHECK_LIMIT_S) -> CheckResult:
    """Judge a push. What cannot be judged, or not within the limit, is refused."""
    try:
        store = PushReader(variables)
        try:
            return _answer(store, variables, read_updates(lines), limit_s)
        finally:
            store.close()
    except OutOfTimeError:
        return CheckResult([_TOO_LONG.format(limit_s)], [])
    except DreamcatcherError as error:
        return CheckResult([plain(f"dreamcatcherd cannot check this push: {error}")], [])
    except (OSError, ValueError, LookupError) as error:
        what = " ".join(f"{type(error).__name__}: {error}".split())
        return CheckResult([plain(f"dreamcatcherd cannot check this push: {what}; nothing was changed, report it")], [])


def _answer(store: PushReader, variables: Mapping[str, str], updates: list[Update], limit_s: float) -> CheckResult:
    if not updates:  # git never calls the hook without any
        return CheckResult([_EMPTY], [])
    with _limited(limit_s):
        gate = _gate(store, variables, updates)
        push = read_push(store, updates, gate)
        offences = judge_read_push(push, updates, gate)
        found = [] if offences else warnings(push, updates, open_frame_at(store, store.refs().get(gate.main)))
    if not offences and (stale := wait_while_overdue(store, updates, gate.main, partial(_head, store, gate.main))):
        offences = [stale]
    if offences:
        return CheckResult([plain(line) for line in _tell(offences)], [])
    return CheckResult([], [plain(f"warning: {line}") for line in found])


def run_hook(variables: Mapping[str, str], lines: Iterable[bytes], out: TextIO) -> int:
    """The pre-receive hook: git shows the pusher what is written to `out`; 1 refuses the push."""
    answer = check_push(variables, lines)
    out.writelines(f"{line}\n" for line in (*answer.warnings, *answer.refused))
    return 1 if answer.refused else 0


def _gate(store: PushReader, variables: Mapping[str, str], updates: list[Update]) -> Gate:
    run_hook = shared_branch(store, {update.ref for update in updates})
    if not any(update.ref == run_hook or update.ref.startswith(PRIMARY_REFS) for update in updates):
        return Gate(run_hook)
    settings = store.settings("dreamcatcher")
    users, keys = settings.get(USER.lower(), []), settings.get(KEY.lower(), [])

    def is_primary(commit: str) -> bool:
        return account(variables) in users or any(_is_signed(store, commit, key) for key in keys)

    counter = settings.get(COUNTER_KEY, [COUNTER])[-1]
    return Gate(run_hook, counter, is_primary if users or keys else None)


def shared_branch(store: PushReader, pushed: set[str]) -> str:
    """The branch that HEAD names; `run_hook` where that is not there and `run_hook` is, or is being pushed."""
    if store.head_branch is not None:
        return store.head_branch
    if _MAIN in store.refs() or _MAIN in pushed:
        return _MAIN
    return store.git("symbolic-ref", "--quiet", "HEAD", may_fail=True).stdout.decode().strip() or _MAIN


def _head(store: PushReader, ref: str) -> str | None:
    """What a ref names at this moment."""
    return store.git("rev-parse", "--verify", "--quiet", ref, may_fail=True).stdout.decode().strip() or None


def _is_signed(store: PushReader, commit: str, signers: str) -> bool:
    """Whether a commit has a good ssh signature by a key of an allowed-signers file that is valid now."""
    file = store.folder / Path(signers).expanduser()
    if not file.is_file():
        raise UsageError(f"git config {KEY} names {file}, which is no file", "correct it on the server")
    try:
        lines = file.read_text("utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"git config {KEY} names {file}, which cannot be read: {error}", "correct it") from error
    return commit in store.good_signatures([commit], lines_at(lines, time.time_ns() // 1000))


def _tell(offences: list[Offence]) -> list[str]:
    if not offences:
        return []
    lines = []
    for offence in offences:
        at = f" at {offence.at}" if offence.at else ""
        path = printable(offence.path)
        shown = path if len(path) <= PATH_SHOWN else f"{path[:PATH_SHOWN]}…"
        lines.append(f"{shown}: {offence.reason}{at}: {offence.detail}")
    if len(offences) == OFFENCES_LISTED:
        lines.append(f"… and no further than these {OFFENCES_LISTED}")
    remedy = _REMEDIES.get(offences[0].reason, _REMEDY_OF_DELTAS)
    return [*lines, f"dreamcatcherd refused this push, nothing was changed: {remedy}"]
