"""ssh signatures of commits: made with ssh-keygen, checked by git itself.

Owns which key a commit was signed with. Which streams a key speaks for is in the settings."""

from __future__ import annotations

import os
import re
import signal
import subprocess
from collections.abc import Iterable, Mapping
from pathlib import Path

from dreamcatcherd.core.errors import RetryableError
from dreamcatcherd.git.command import NO_QUESTIONS, error_message, git, lines_of

_TIMEOUT_S = 20.0
_ONLY_SSH = tuple(
    word
    for setting in ("format=ssh", "program=false", "openpgp.program=false", "x509.program=false")
    for word in ("-c", f"gpg.{setting}")
)
"""Signatures of other kinds are ignored, and none of their programs is run."""
_UNABLE = re.compile(
    rb"cannot (?:run|fork\(\) for) (?!gpg)|could not create temporary file|failed writing|needed for ssh signature"
)
"""git's messages if it could not run ssh-keygen. gpg is never run: its keys are not known here."""


def sign(raw: bytes, key: Path) -> bytes:
    """A commit's bytes with an ssh signature by a private key (or by its public half, held by an agent)."""
    words = ["ssh-keygen", "-q", "-Y", "sign", "-n", "git", "-f", str(key)]
    environment = os.environ | NO_QUESTIONS
    try:
        done = subprocess.run(words, input=raw, capture_output=True, env=environment, timeout=_TIMEOUT_S, check=False)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise _cannot_sign(key, str(error)) from error
    if done.returncode or not done.stdout.startswith(b"-----BEGIN SSH SIGNATURE-----"):
        raise _cannot_sign(key, " ".join(done.stderr.decode("utf-8", "replace").split()))
    # git expects the signature as the last header, its lines after the first indented by one space.
    head, _, message = raw.partition(b"\n\n")
    return head + b"\ngpgsig " + done.stdout.rstrip(b"\n").replace(b"\n", b"\n ") + b"\n\n" + message


def good_signatures(
    repository: Path, commits: Iterable[str], signers: Iterable[str], variables: Mapping[str, str] | None = None
) -> dict[str, str]:
    """Commits with a good ssh signature by a key of the allowed-signers lines, with the key's fingerprint.

    `variables` are git's own, which say where a push is in quarantine. RetryableError if nothing can be checked."""
    asked = list(commits)
    if not asked:
        return {}
    import tempfile  # only fleets that sign need it

    try:
        with tempfile.NamedTemporaryFile("w", prefix="allowed-signers-") as file:
            file.writelines(f"{line}\n" for line in signers)
            file.flush()
            return _checked(repository, asked, file.name, variables)
    except OSError as error:  # no temporary folder can be written to
        raise _unable(repository, str(error)) from error


def _unable(repository: Path, why: str) -> RetryableError:
    remedy = "see to it that ssh-keygen (openssh-client) runs and that its temporary folder has room"
    return RetryableError(f"signatures cannot be checked in {repository}: {why}", remedy)


def _checked(repository: Path, asked: list[str], allowed: str, variables: Mapping[str, str] | None) -> dict[str, str]:
    """Ask git about all commits together.

    A long commit whose signature ssh-keygen refuses unread kills git (SIGPIPE). Then git checks each half separately,
    until that commit is found; it counts as unsigned. If ssh-keygen cannot run at all, git only prints a message and
    reports success: without a check of the message, every commit would count as unsigned for ever."""
    trust = (*_ONLY_SSH, "-c", f"gpg.ssh.allowedSignersFile={allowed}")
    shown = git(
        repository, *trust, "log", "--no-walk=unsorted", "--stdin", "--format=%H %G? %GF",
        stdin="".join(f"{oid}\n" for oid in asked).encode(), timeout_s=60 + len(asked), variables=variables,
    )  # fmt: skip
    unable = _UNABLE.search(shown.stderr) is not None
    if shown.returncode == -signal.SIGPIPE and not unable:
        half = len(asked) // 2
        parts = [asked[:half], asked[half:]] if half else []
        return {oid: key for part in parts for oid, key in _checked(repository, part, allowed, variables).items()}
    if shown.returncode or unable:
        raise _unable(repository, error_message(shown))
    rows = [line.split(" ") for line in lines_of(shown.stdout)]
    return {row[0]: row[2] for row in rows if len(row) == 3 and row[1] == "G" and row[2]}


def _cannot_sign(key: Path, why: str) -> RetryableError:
    remedy = "check [repository] signing_key: a private ssh key without passphrase, of mode 0600"
    return RetryableError(f"the snapshot commit cannot be signed with {key}: {why}", remedy)
