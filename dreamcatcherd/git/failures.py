"""Errors of libgit2 and git about a connection, as failures with a stable cause, a remedy, and no secret."""

from __future__ import annotations

import re
import time
from collections.abc import Sequence

from dreamcatcherd.core.errors import PushRefusedError, RetryableError
from dreamcatcherd.git.access import CREDENTIALS_REMEDY, SLOW_REMEDY, Access
from dreamcatcherd.git.http_answers import OBJECT_ID, HttpAnswer, cut, one_line, retry_after_s, words_of
from dreamcatcherd.git.redirects import SIGNS, elsewhere, redirected
from dreamcatcherd.git.redirects import STATUSES as REDIRECTS

OVERTAKEN = ("stale info", "fetch first", "cannot lock ref", "failed to update ref", "non-fast-forward")
"""git's messages about a ref that another push moved, or is moving, at the same time."""

_REMEDY_URL = "check [repository] url and the account's rights"
_REMEDY_WAIT = "look at the server and the network"
_CAUSES: tuple[tuple[str, str, str], ...] = (
    (
        r"host ?key|certificate",
        "cannot be trusted: its host key or certificate is unknown or another one",
        "check known_hosts or ca_file in [repository], and that this is the right server",
    ),
    (
        r"object format|mismatched algorithms",
        "has SHA-256 object ids, which libgit2 does not read",
        "use a SHA-1 repository: git init --object-format=sha1",
    ),
    (
        r"not exported|service not enabled|read-only",
        "does not serve this repository to this account",
        "let its server export it, and take pushes (git daemon: --enable=receive-pack)",
    ),
    (
        r"does not appear to be a git repo|is this a git repo|content-type|\b404\b",
        "is no git repository that may be read",
        _REMEDY_URL,
    ),
    (
        r"proxy authentication|\b407\b",
        "cannot be reached: the proxy on the way asks for credentials",
        "write them into the proxy's URL, in git's http.proxy or in the variable https_proxy or http_proxy",
    ),
    (
        r"authenticat|\b40[13]\b|could not read (?:username|password)|permission denied|access denied|publickey",
        "refused the credentials",
        CREDENTIALS_REMEDY,
    ),
    (
        r"no user exists for uid|unknown user id|you don't exist",
        "cannot be asked over ssh: this uid has no entry in /etc/passwd",
        "add one for it (in a container: run as a user of the image), since ssh refuses to run without",
    ),
    (
        r"timed out|timeout|too slow|longer than|temporarily unavailable",
        "did not answer within the time limit",
        SLOW_REMEDY,
    ),
    (
        r"ssl error|handshake|banner",
        "does not speak the protocol of its URL",
        "check the scheme and the port of [repository] url",
    ),
    (
        r"resolve|look up|connect|refused|unreachable|hung up|\beof\b|reset by peer|broken pipe|ended with -13$",
        "cannot be reached",
        _REMEDY_WAIT,
    ),
    (r"not found|does not exist|no such repository", "is no git repository that may be read", _REMEDY_URL),
)
"""Patterns that are searched for in a message, in this order, each with its cause and remedy."""

_STATUSES: dict[int, tuple[str, str]] = {
    400: (
        "does not understand the request",
        "check the scheme, port and path of [repository] url, and the server's log",
    ),
    403: ("refused the credentials", CREDENTIALS_REMEDY),
    411: (
        "requires the length of a push in advance",
        "let git send each push in one piece, as the daemon's user: git config --global http.postBuffer 64m",
    ),
    413: (
        "takes no push of this size",
        "raise the server's limit on the size of a request (nginx: client_max_body_size) or of a push",
    ),
    500: ("failed by itself", "look at the server's log"),
    501: ("cannot do what it is asked for", "check that it takes pushes over this URL"),
    502: ("is behind a proxy that gets no good answer from it", "look at the server behind the proxy"),
    503: ("is not available for now", "wait, or look at the server"),
    504: ("is behind a proxy that it does not answer in time", "look at the server behind the proxy, and its load"),
}
"""Causes and remedies by the status of a web server's answer."""

_IN_TEXT = re.compile(r"(?:status code:|returned error:|HTTP) (\d{3})\b")

_NAMES = re.compile(r"(?<!\w)'[^']*'|\w+://\S+|\bhostname \S+|\bhost \S+ port|\bport \d+")
"""Parts of the URL that a message repeats: they may contain any word or number, so no pattern is searched for there."""


class UnclearError(RetryableError):
    """The message names no known cause: damage of the primary's own clone may be behind it."""


class LimitedError(RetryableError):
    """The server says that it is asked too often."""


def failure_of(access: Access, said: str, answers: Sequence[HttpAnswer] = ()) -> RetryableError:
    """The message of libgit2 or git, and a web server's answers, as a failure with a stable kind and a remedy."""
    if any(sign in said for sign in ("hook declined", "protected branch", "remote rejected")) and "unpack" not in said:
        shown = words_of(said) or "the server's hook or branch protection declined it"
        remedy = "let the primary through the server's hook or branch protection"
        cause = f"{access.url} refused the push: {shown}"
        return PushRefusedError(cause, remedy, said, kind=_steady(cause))
    plain = _NAMES.sub("", said.replace(access.url, "")).lower()
    if SIGNS.search(plain) or (answers and answers[-1].status in REDIRECTS):
        return redirected(access.url, answers) or elsewhere(access.url)
    if access.is_http:
        in_text = _IN_TEXT.search(said)
        answer = answers[-1] if answers else HttpAnswer(int(in_text[1]), {}) if in_text else None
        if answer is not None and answer.status >= 400 and (failure := _answered(access, said, answer)) is not None:
            return failure
    # The order matters: "connection refused" and "refused the credentials" share words, and the first match counts.
    for signs, cause, remedy in _CAUSES:
        if re.search(signs, plain):
            return RetryableError(f"{access.url} {cause}", remedy)
    shown = cut(one_line(said))
    return UnclearError(f"{access.url} failed: {shown}", "look at the server", kind=_steady(f"{access.url} {shown}"))


_PASSING = re.compile(r"cannot be reached|within the time limit|\((?:429|500|502|503|504)\)$")


def is_passing(failure: RetryableError) -> bool:
    """Whether the same request may succeed soon: the server or the way to it failed, not the request."""
    return isinstance(failure, (LimitedError, UnclearError)) or _PASSING.search(failure.kind) is not None


def _answered(access: Access, said: str, answer: HttpAnswer) -> RetryableError | None:
    """A web server's answer as a failure; None if git's message about it says more."""
    wait_s = retry_after_s(answer, time.time()) if answer.status in (403, 429, 503) else None
    words = words_of(said, answer)
    more = f": {words}" if words else ""
    if answer.limits:
        kind = f"{access.url} is asked too often ({answer.status})"
        when = f"leave it alone for {wait_s:.0f} s" if wait_s is not None else "leave it alone for a while"
        remedy = f"{when}; raise [repository] poll, or the limit of this account at the server"
        return LimitedError(kind + more, remedy, kind=kind, retry_after_s=wait_s)
    what = _STATUSES.get(answer.status)
    if what is None and answer.status in (401, 404, 407):
        return None
    cause, remedy = what or ("answers with an error", "look at the server's log")
    kind = f"{access.url} {cause} ({answer.status})"
    if answer.status == 413:
        return PushRefusedError(kind + more, remedy, said, kind=_steady(kind + more))
    return RetryableError(kind + more, remedy, kind=kind, retry_after_s=wait_s)


def _steady(said: str) -> str:
    """A message without the ids in it, which differ at each attempt: a failure is reported once for each cause."""
    return OBJECT_ID.sub("…", said)
