"""The pre-receive hook: the ref updates on stdin, the objects still in git's quarantine, and the account that pushes.

The hook starts a new process at every push of every worker, so it imports only what loads quickly."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import NamedTuple, TextIO

from dreamcatcherd.core.codec import plain
from dreamcatcherd.core.errors import DreamcatcherError, UsageError
from dreamcatcherd.core.paths import is_copy, printable, short_ref
from dreamcatcherd.core.signers import lines_at
from dreamcatcherd.git.protocols import PushStore
from dreamcatcherd.git.push_reader import PushReader
from dreamcatcherd.hook.backpressure import wait_while_overdue
from dreamcatcherd.hook.branch_rules import PRIMARY_REFS, judge_read_push, read_push
from dreamcatcherd.hook.push import COUNTER, OFFENCES_LISTED, Gate, Offence, Update
from dreamcatcherd.hook.warnings import open_frame_at, warnings

CHECK_LIMIT_S = 10.0
"""The time limit of a check, in seconds: the pusher waits for it, and it takes the server's processor from others."""

USER, KEY, COUNTER_KEY = "dreamcatcher.primaryUser", "dreamcatcher.primaryKey", "dreamcatcher.counter"
"""The git settings of the repository that configure the check."""

PATH_SHOWN = 400
"""How many characters of a path are shown; longer ones are cut."""

_ACCOUNT = ("REMOTE_USER", "GL_USER", "LOGNAME", "USER")
_MAIN = "refs/heads/main"

_REMEDY_OF_DELTAS = (
    "correct the file (dreamcatcherd validate FILE says the same) in the commit that added it (git commit --amend, "
    "git rebase -i), and push again"
)
_REMEDY_OF_EDITS = (
    "put the file back as it is on main (git fetch && git checkout origin/main -- PATH, or git rm PATH if main has "
    "none), commit, and push again"
)
_REMEDIES = {
    "snapshot-edited": _REMEDY_OF_EDITS,
    "ledger-edited": _REMEDY_OF_EDITS,
    "frame-edited": _REMEDY_OF_EDITS,
    "state-edited": f"{_REMEDY_OF_EDITS}; or name it in [intake] pass of state/dreamcatcher.toml, for all to write",
    "delta-deleted": _REMEDY_OF_EDITS,
    "delta-changed": "keep that file as it is, put your delta under a name of your own, and push again",
    "wrong-stream": "push each stream's deltas to its own lane, or to the shared branch",
    "settings-refused": "correct state/dreamcatcher.toml, commit, and push again",
    "replacement": "leave it: git replace --delete removes it here; pushed commits are read as stored",
    "unreadable-commit": "make the commit again with git itself (git commit), and push that",
    "lane-blocked": (
        "push to a lane below that one or next to it (dc/<stream_id>/<anything>), or delete it if it is merged; "
        "if it is not yours, ask an operator"
    ),
    "lane-unmerged": "wait until the primary has merged the lane (dreamcatcherd status), then delete it",
    "bad-lane": "push to another ref",
    "not-a-commit": "push a commit",
    "main-deleted": "keep the shared branch",
    "main-moved": "git pull --rebase, and push again; a lane never waits",
    "not-a-relay": (
        "let an operator list the relay in state/dreamcatcher.toml ([lanes] relays), with a key of the principal "
        "dc-relay/<name> where signers are set"
    ),
    "relay-copy": "push it to the repository upstream, from where it is copied here",
    "not-the-primary": f"leave it to the primary, whom git config {USER} or {KEY} names on the server",
}


_EMPTY = (
    "dreamcatcherd cannot check this push: standard input is empty, so another hook has read the ref updates before; "
    "on the server, let that hook copy them (tee) to both"
)


_TOO_LONG = (
    "dreamcatcherd refused this push, nothing was changed: checking it took longer than {:g} s; push less at once, in "
    "several pushes of fewer commits or lanes"
)


def account(variables: Mapping[str, str]) -> str:
    """Who pushes, according to the server: the web server's user, else gitolite's, else the account of this process.

    Empty if no variable names anybody."""
    return next((variables[name] for name in _ACCOUNT if variables.get(name)), "")


def read_updates(lines: Iterable[bytes]) -> list[Update]:
    """Parse the lines that git writes to the hook: `<old> <new> <ref>`, with zeros for no object.

    ValueError if a line has another form."""
    updates = []
    for line in lines:
        old, new, ref = line.decode("utf-8", "surrogateescape").rstrip("\n").split(" ", 2)
        updates.append(Update(ref, old if old.strip("0") else None, new if new.strip("0") else None))
    return updates


class CheckResult(NamedTuple):
    """The result of a check: lines that say why the push is refused (none: it is accepted), and warning lines."""

    refused: list[str]
    warnings: list[str]


_LEAST_S = 1.0
"""How long a check may take at least, in seconds, whatever was spent before it."""

_AGAIN_S = 0.25
"""The interval at which the alarm is repeated after the time limit, in seconds."""


class OutOfTimeError(BaseException):
    """The time limit of the check is over.

    Not an Exception: a handler of ordinary errors anywhere below must not swallow it and continue."""


@contextmanager
def _limited(seconds: float) -> Iterator[None]:
    """Raise OutOfTimeError in the block after so many seconds."""

    # A signal, since nothing else interrupts a read from a git process or a long loop. It is repeated until it arrives:
    # Python drops an exception that is raised while it frees an object.
    def over(number: int, frame: object) -> None:
        raise OutOfTimeError

    before = signal.signal(signal.SIGALRM, over)
    signal.setitimer(signal.ITIMER_REAL, seconds, _AGAIN_S)
    try:
        yield
    finally:
        # An alarm can come between any two of these statements, too. The handler is ours until the last one is done.
        while signal.getsignal(signal.SIGALRM) is over:
            with suppress(OutOfTimeError):
                signal.setitimer(signal.ITIMER_REAL, 0)
                signal.signal(signal.SIGALRM, before)


def check_push(variables: Mapping[str, str], lines: Iterable[bytes], limit_s: float = CHECK_LIMIT_S) -> CheckResult:
    """Check the push whose updates are in `lines`, in the repository that git's `variables` name.

    A push that cannot be checked, or not within `limit_s` seconds, is refused, since accepted history
    counts as checked. Errors in reading the repository are refusals, too."""
    try:
        store = PushReader(variables)
        try:
            return judge(store, variables, lines, limit_s, wait_while_overdue)
        finally:
            store.close()
    except OutOfTimeError:
        return CheckResult([_TOO_LONG.format(limit_s)], [])
    except DreamcatcherError as error:
        return CheckResult([plain(f"dreamcatcherd cannot check this push: {error}")], [])
    except (OSError, ValueError, LookupError) as error:
        what = " ".join(f"{type(error).__name__}: {error}".split())
        return CheckResult([plain(f"dreamcatcherd cannot check this push: {what}; nothing was changed, report it")], [])


Wait = Callable[[PushStore, Sequence[Update], str, Callable[[], str | None]], Offence | None]
"""What an accepted push does before it lands: `wait_while_overdue`, with its first four parameters."""


def judge(
    store: PushStore, variables: Mapping[str, str], lines: Iterable[bytes], limit_s: float, wait: Wait
) -> CheckResult:
    """Check the push whose updates are in `lines`, by an account that `variables` name.

    OutOfTimeError if that takes longer than `limit_s` seconds, without `wait`; DreamcatcherError, OSError, ValueError
    or LookupError if it cannot be checked."""
    updates = read_updates(lines)
    if not updates:  # git never calls the hook without any
        return CheckResult([_EMPTY], [])
    with _limited(limit_s):
        gate = _gate(store, variables, updates)
        push = read_push(store, updates, gate)
        offences = judge_read_push(push, updates, gate)
        found = [] if offences else warnings(push, updates, open_frame_at(store, store.refs().get(gate.main)))
    # Outside the limit: this wait for an overdue frame costs no processor time.
    # A relay copies frames within milliseconds, so pushes to its repository need not give way.
    waits = not offences and not is_copy(push.refs)
    if waits and (stale := wait(store, updates, gate.main, partial(_head, store, gate.main))):
        offences = [stale]
    if offences:
        return CheckResult([plain(line) for line in _report(offences)], [])
    return CheckResult([], [plain(f"warning: {line}") for line in found])


def run_hook(variables: Mapping[str, str], lines: Iterable[bytes], out: TextIO, spent_s: float = 0.0) -> int:
    """The pre-receive hook: returns its exit code, 1 to refuse the push. git shows the pusher what `out` gets.

    `spent_s` seconds of the time limit were spent already, on asking a daemon that did not answer."""
    code, text = outcome(check_push(variables, lines, max(_LEAST_S, CHECK_LIMIT_S - spent_s)))
    out.write(text)
    return code


def outcome(answer: CheckResult) -> tuple[int, str]:
    """A hook's exit code for the result of a check, and the text that the pusher is shown."""
    return (1 if answer.refused else 0), "".join(f"{line}\n" for line in (*answer.warnings, *answer.refused))


def _gate(store: PushStore, variables: Mapping[str, str], updates: list[Update]) -> Gate:
    main = shared_branch(store, {update.ref for update in updates})
    # Most pushes are of lanes alone; they are spared a git process that reads settings they do not need.
    if not any(update.ref == main or update.ref.startswith(PRIMARY_REFS) for update in updates):
        return Gate(main)
    settings = store.settings("dreamcatcher")
    users, keys = settings.get(USER.lower(), []), settings.get(KEY.lower(), [])

    def is_primary(commit: str) -> bool:
        return account(variables) in users or any(_is_signed(store, commit, key) for key in keys)

    counter = settings.get(COUNTER_KEY, [COUNTER])[-1]
    return Gate(main, counter, is_primary if users or keys else None)


def shared_branch(store: PushStore, pushed: set[str]) -> str:
    """The branch that HEAD names; `main` if that branch does not exist and `main` does or is being pushed."""
    if store.head_branch is not None:
        return store.head_branch
    if _MAIN in store.refs() or _MAIN in pushed:
        return _MAIN
    return store.git("symbolic-ref", "--quiet", "HEAD", may_fail=True).stdout.decode().strip() or _MAIN


def _head(store: PushStore, ref: str) -> str | None:
    """The commit of a ref at this moment, not at the start of the check; None if there is none."""
    return store.git("rev-parse", "--verify", "--quiet", ref, may_fail=True).stdout.decode().strip() or None


def _is_signed(store: PushStore, commit: str, signers: str) -> bool:
    """Whether a commit has a good ssh signature by a key of an allowed-signers file that is valid now."""
    file = store.folder / Path(signers).expanduser()
    if not file.is_file():
        raise UsageError(f"git config {KEY} names {file}, which is not a file", "correct it on the server")
    try:
        lines = file.read_text("utf-8").split("\n")
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"git config {KEY} names {file}, which cannot be read: {error}", "correct it") from error
    return commit in store.good_signatures([commit], lines_at(lines, time.time_ns() // 1000))


def _blocked_from_above(offence: Offence) -> str | None:
    """What to do about a lane that is below another ref, which is there; None for all else."""
    other = offence.detail.partition(" is there, ")[0]
    if offence.reason != "lane-blocked" or not short_ref(offence.path).startswith(f"{other}/"):
        return None
    if "/" not in other:
        return f"ask an operator to delete or rename {other}: no lane has room below it"
    return f"push to {other} itself, or delete it if it is merged; if it is not yours, ask an operator"


def _report(offences: list[Offence]) -> list[str]:
    if not offences:
        return []
    lines = []
    for offence in offences:
        at = f" at {offence.at}" if offence.at else ""
        path = printable(offence.path)
        shown = path if len(path) <= PATH_SHOWN else f"{path[:PATH_SHOWN]}…"
        lines.append(f"{shown}: {offence.reason}{at}: {offence.detail}")
    if len(offences) == OFFENCES_LISTED:
        lines.append(f"… only the first {OFFENCES_LISTED} are listed")
    remedy = _blocked_from_above(offences[0]) or _REMEDIES.get(offences[0].reason, _REMEDY_OF_DELTAS)
    return [*lines, f"dreamcatcherd refused this push, nothing was changed: {remedy}"]
