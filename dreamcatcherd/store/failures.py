"""What libgit2 and git say of a failed connection, as failures with a stable cause, a remedy, and no secret."""

from __future__ import annotations

import re

from dreamcatcherd.core.errors import RetryableError
from dreamcatcherd.store.access import CREDENTIALS_REMEDY, Access
from dreamcatcherd.store.redirects import SIGNS, elsewhere

OVERTAKEN = ("stale info", "fetch first", "cannot lock ref", "failed to update ref", "non-fast-forward")
"""What git says of a ref that another push moved, or is moving, at the same time."""

_REMEDY_URL = "check [repository] url and the account's rights"
_REMEDY_WAIT = "look at the server and the network"
_CAUSES: tuple[tuple[str, str, str], ...] = (
    (
        r"host ?key|certificate",
        "cannot be trusted: its host key or certificate is unknown or another one",
        "check known_hosts or ca_file in [repository], and that this is the right server",
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
        "look at the server and the network; raise [repository] timeout if it is only slow",
    ),
    (
        r"ssl error|handshake|banner",
        "does not speak the protocol of its URL",
        "check the scheme and the port of [repository] url",
    ),
    (
        r"resolve|look up|connect|refused|unreachable|hung up|\beof\b|reset by peer|broken pipe",
        "cannot be reached",
        _REMEDY_WAIT,
    ),
    (r"\b5[0-9][0-9]\b", "answers with an error of its own", _REMEDY_WAIT),
    (r"not found|does not exist", "is no git repository that may be read", _REMEDY_URL),
)
"""What is looked for in a message, in this order, with the cause that it tells of and the remedy."""

_NAMES = re.compile(r"(?<!\w)'[^']*'|\w+://\S+|\bhostname \S+|\bhost \S+ port|\bport \d+")
"""What a message repeats of the URL, which may hold any word or number."""

_COMMIT = re.compile(r"\b[0-9a-f]{40}\b")


class UnclearError(RetryableError):
    """What was said names no cause that is known: it may be the clone's own damage that speaks."""


class PushRefusedError(RetryableError):
    """The server's hook or branch protection declined the push."""


def failure_of(access: Access, said: str) -> RetryableError:
    """What libgit2 or git said as a failure with a stable cause and a remedy."""
    if any(sign in said for sign in ("hook declined", "protected branch", "remote rejected")) and "unpack" not in said:
        told = [line.removeprefix("remote:").strip() for line in said.splitlines() if line.startswith("remote:")]
        shown = _steady(" ".join(filter(None, told))) or "the server's hook or branch protection declined it"
        remedy = "let the primary through the server's hook or branch protection"
        return PushRefusedError(f"{access.url} refused the push: {shown}", remedy)
    plain = _NAMES.sub("", said.replace(access.url, "")).lower()
    if SIGNS.search(plain):
        return elsewhere(access.url)
    for signs, cause, remedy in _CAUSES:
        if re.search(signs, plain):
            return RetryableError(f"{access.url} {cause}", remedy)
    return UnclearError(f"{access.url} failed: {_steady(said)}", "look at the server")


def _steady(said: str) -> str:
    """A message on one line, the same at each attempt: a failure is told once for each cause, and commits are new."""
    return _COMMIT.sub("…", " ".join(said.split()))[:300]
