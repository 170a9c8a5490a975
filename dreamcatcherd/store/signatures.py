"""ssh signatures of commits: made with ssh-keygen, checked by git itself.

Owns which key a commit was signed with; whom a key speaks for is the settings' to say."""

from __future__ import annotations

import subprocess
from pathlib import Path

from dreamcatcherd.core.errors import RetryableError

_TIMEOUT_S = 20.0


def sign(raw: bytes, key: Path) -> bytes:
    """A commit's bytes with an ssh signature by a private key (or by its public half, held by an agent)."""
    words = ["ssh-keygen", "-q", "-Y", "sign", "-n", "git", "-f", str(key)]
    try:
        done = subprocess.run(words, input=raw, capture_output=True, timeout=_TIMEOUT_S, check=False)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise _cannot_sign(key, str(error)) from error
    if done.returncode or not done.stdout.startswith(b"-----BEGIN SSH SIGNATURE-----"):
        raise _cannot_sign(key, " ".join(done.stderr.decode("utf-8", "replace").split()))
    head, _, message = raw.partition(b"\n\n")
    return head + b"\ngpgsig " + done.stdout.rstrip(b"\n").replace(b"\n", b"\n ") + b"\n\n" + message


def _cannot_sign(key: Path, why: str) -> RetryableError:
    remedy = "check [repository] signing_key: a private ssh key without passphrase, of mode 0600"
    return RetryableError(f"the snapshot commit cannot be signed with {key}: {why}", remedy)
