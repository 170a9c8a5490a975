"""Whom a key speaks for: git's allowed-signers lines as data (docs/protocol.md#signers; format: ssh-keygen(1), ALLOWED
SIGNERS).

Owns parsing and matching. git decides whether a signature is good."""

from __future__ import annotations

import binascii
import hashlib
import re
from collections.abc import Iterable
from datetime import UTC, datetime
from fnmatch import fnmatchcase

from msgspec import Struct

_OPTION = r"(?:cert-authority|(?:namespaces|valid-after|valid-before)=\"[^\"]*\")"
_LINE = re.compile(
    r"(?P<names>\"[^\"]+\"|[^\s\"]+)\s+"
    rf"(?:(?i:{_OPTION}(?:,{_OPTION})*)\s+)?"
    r"(?P<kind>(?:sk-)?(?:ssh-|ecdsa-)\S+)\s+(?P<key>[A-Za-z0-9+/=]+)(?:\s.*)?"
)

_TIMES_OF = re.compile(r"(?i:(valid-after|valid-before))=\"([^\"]*)\"")
_TIMES = re.compile(
    r"(?i:(?:,(?:valid-after|valid-before)=\"[^\"]*\")|(?:(?:valid-after|valid-before)=\"[^\"]*\"(?:,|\s+)))"
)


class Signer(Struct, frozen=True):
    """One line: the names that a key speaks for (`*` and `?` match, `!` excludes), and its SHA-256 fingerprint."""

    names: tuple[str, ...]
    fingerprint: str


class Signers(Struct, frozen=True):
    """Who may sign: the lines as git reads them, parsed; and which of them may change the settings."""

    lines: tuple[str, ...] = ()
    signers: tuple[Signer, ...] = ()
    operators: tuple[str, ...] = ()

    def __bool__(self) -> bool:
        return bool(self.signers)


def read_signers(lines: list[str], operators: list[str]) -> Signers:
    """Signers from their lines; ValueError names the line that cannot be read."""
    kept = tuple(line.strip() for line in lines if line.strip() and not line.lstrip().startswith("#"))
    return Signers(kept, tuple(map(_signer, kept)), tuple(operators))


def lines_at(lines: Iterable[str], now: int | None) -> list[str]:
    """The lines whose `valid-after` and `valid-before` hold at a time (microseconds UTC; None: at any time), without
    these options.

    ssh-keygen would compare them with the date in the commit, which its author chooses. Here the time counts at which
    the commit was first seen."""
    held = [
        line for line in lines if now is None or all(_holds(name, text, now) for name, text in _TIMES_OF.findall(line))
    ]
    return [_TIMES.sub("", line) for line in held]


def has_times(lines: Iterable[str]) -> bool:
    """Whether a key of these lines is limited in time."""
    return any(_TIMES_OF.search(line) for line in lines)


def _holds(name: str, text: str, now: int) -> bool:
    """Whether one such option holds. A time without `Z` is local; a time that cannot be read never holds."""
    digits = text.removesuffix("Z")
    layout = {8: "%Y%m%d", 12: "%Y%m%d%H%M", 14: "%Y%m%d%H%M%S"}.get(len(digits))
    try:
        moment = datetime.strptime(digits, layout) if layout else None
        at = (moment.replace(tzinfo=UTC) if text.endswith("Z") else moment).timestamp() * 1e6 if moment else None
    except (ValueError, OverflowError):
        at = None
    if at is None:
        return False
    return now >= at if name.lower() == "valid-after" else now < at


def speaks_for(signers: Signers, fingerprint: str | None, name: str) -> bool:
    """Whether a key may speak for a name."""
    return any(signer.fingerprint == fingerprint and _names(signer, name) for signer in signers.signers)


def speaks_for_operator(signers: Signers, fingerprint: str | None) -> bool:
    """Whether a key is an operator's."""
    return any(speaks_for(signers, fingerprint, name) for name in signers.operators)


def _signer(line: str) -> Signer:
    import base64  # few fleets have signers, and every command loads this module

    match = _LINE.fullmatch(line)
    try:
        raw = base64.b64decode(match["key"], validate=True) if match else b""
    except binascii.Error:
        raw = b""
    if match is None or not _is_key(raw, match["kind"]):
        raise ValueError(f"{line[:60]!r} is no line of git's allowed-signers format: name(s), key type, key")
    digest = base64.b64encode(hashlib.sha256(raw).digest()).decode().rstrip("=")
    return Signer(tuple(match["names"].strip('"').split(",")), f"SHA256:{digest}")


def _is_key(raw: bytes, kind: str) -> bool:
    """Whether bytes are a public key of this kind: strings, each after its length (RFC 4253, section 6.6).

    ssh-keygen skips a line whose key is cut short, so the streams that it names could never sign."""
    parts = []
    while raw:
        length = int.from_bytes(raw[:4], "big")
        if len(raw) < 4 + length:
            return False
        parts.append(raw[4 : 4 + length])
        raw = raw[4 + length :]
    return len(parts) > 1 and parts[0] == kind.encode() and all(parts)


def _names(signer: Signer, name: str) -> bool:
    if any(_matches(name, pattern[1:]) for pattern in signer.names if pattern.startswith("!")):
        return False
    return any(_matches(name, pattern) for pattern in signer.names)


def _matches(name: str, pattern: str) -> bool:
    return fnmatchcase(name, pattern.replace("[", "[[]"))  # ssh's patterns have no character classes
