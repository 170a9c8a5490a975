"""What git and libgit2 say of the network, as failures with a stable cause and a remedy; no secret is part of one."""

from __future__ import annotations

from dreamcatcherd.core.errors import RetryableError
from dreamcatcherd.store.access import CREDENTIALS_REMEDY, Access


class UnclearError(RetryableError):
    """What was said names no cause that is known: it may be the clone's own damage that speaks."""


class PushRefusedError(RetryableError):
    """The server's hook or branch protection declined the push."""


OVERTAKEN = ("stale info", "fetch first", "cannot lock ref", "failed to update ref", "non-fast-forward")
"""What git says of a ref that another push moved, or is moving, at the same time."""

_CAUSES: tuple[tuple[tuple[str, ...], str, str], ...] = (
    (
        ("host key", "certificate", "ssl error"),
        "cannot be trusted: its host key or certificate is unknown or another one",
        "check known_hosts or ca_file in [repository], and that this is the right server",
    ),
    (
        ("not exported", "service not enabled", "read-only"),
        "does not serve this repository to this account",
        "let its server export it, and take pushes (git daemon: --enable=receive-pack)",
    ),
    (
        ("authenticat", "401", "403", "could not read username", "permission denied", "access denied", "publickey"),
        "refused the credentials",
        CREDENTIALS_REMEDY,
    ),
    (
        ("timed out", "timeout", "too slow", "longer than"),
        "did not answer within the time limit",
        "look at the server and the network; raise [repository] timeout if it is only slow",
    ),
    (
        ("resolve", "connect", "refused", "unreachable", "hung up", "early eof", "reset by peer", "broken pipe"),
        "cannot be reached",
        "look at the server and the network; it is tried again",
    ),
    (
        ("not found", "does not exist", "not exported", "does not appear to be a git repository", "404"),
        "is no git repository that may be read",
        "check [repository] url and the account's rights",
    ),
)


def failure_of(access: Access, said: str) -> RetryableError:
    """What libgit2 or git said as a failure with a stable cause and a remedy."""
    if any(sign in said for sign in ("hook declined", "protected branch", "remote rejected")) and "unpack" not in said:
        told = " ".join(part for part in said.split("remote: ")[1:2] if part)
        shown = " ".join(told.split())[:300] or "the server's hook or branch protection declined it"
        remedy = "let the primary through the server's hook or branch protection; it is tried again"
        return PushRefusedError(f"{access.url} refused the push: {shown}", remedy)
    lower = said.lower()
    for signs, cause, remedy in _CAUSES:
        if any(sign in lower for sign in signs):
            return RetryableError(f"{access.url} {cause}", remedy)
    return UnclearError(f"{access.url} failed: {' '.join(said.split())[:300]}", "look at the server; it is tried again")
