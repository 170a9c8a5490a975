"""Which certificates a server over https is checked against: the same for fetch and push, by libgit2 and by git.

Owns the order in which they are looked for, and that a file that was replaced is read again."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

import pygit2
from msgspec import Struct, structs

from dreamcatcherd.core.errors import RetryableError
from dreamcatcherd.git.access import Access
from dreamcatcherd.git.command import git

SYSTEM = "the system's store"


class Trust(Struct, frozen=True):
    """A file or a folder of certificates in PEM form, and who names it; neither for the system's own."""

    file: Path | None
    folder: Path | None
    source: str


def find_trust(access: Access, clone: Path, environment: Mapping[str, str] = os.environ) -> Trust:
    """What is named in the configuration, in the environment or in git's configuration, in this order; otherwise the
    system's store."""
    if access.ca_file is not None:
        return Trust(access.ca_file, None, "[repository] ca_file")
    # The variables that OpenSSL and most programs know.
    named = {name: Path(environment[name]) for name in ("SSL_CERT_FILE", "SSL_CERT_DIR") if environment.get(name)}
    if named:
        return Trust(named.get("SSL_CERT_FILE"), named.get("SSL_CERT_DIR"), " and ".join(named))
    if access.url.startswith("https://"):
        asked = git(clone, "config", "--type=path", "--get-urlmatch", "http.sslCAInfo", access.url)
        if asked.returncode == 0 and (path := asked.stdout.decode("utf-8", "surrogateescape").strip()):
            return Trust(Path(path), None, "git's http.sslCAInfo")
    return Trust(None, None, SYSTEM)


def trusting(access: Access, clone: Path) -> Access:
    """The access with the certificates that were found for it."""
    found = find_trust(access, clone)
    return structs.replace(access, ca_file=found.file, ca_folder=found.folder, trust=found.source)


class Certificates:
    """What libgit2 trusts in this process. It reads a file once, so a file that was replaced is set again. What it has
    trusted it trusts until the process ends."""

    def __init__(self) -> None:
        self._read: object = None

    def renew(self, access: Access) -> None:
        """Let libgit2 read the certificates if they changed since then; RetryableError if they cannot be read."""
        if not access.url.startswith("https://") or (access.ca_file is None and access.ca_folder is None):
            return
        now = (access.ca_file, access.ca_folder, _stamp(access.ca_file), _stamp(access.ca_folder))
        # libgit2 adds certificates for the life of the process, so an unchanged file must not be named again.
        if now == self._read:
            return
        file, folder = (str(one) if one else None for one in (access.ca_file, access.ca_folder))
        try:
            pygit2.settings.set_ssl_cert_locations(file, folder)  # type: ignore[arg-type]  # its types leave out None
        except (pygit2.GitError, OSError, ValueError) as error:
            cause = f"the certificates in {file or folder} ({access.trust}) cannot be read: {error}"
            raise RetryableError(cause, "let it hold certificates in PEM form that this user may read") from error
        self._read = now


CERTIFICATES = Certificates()


def _stamp(path: Path | None) -> tuple[int, int, int] | None:
    try:
        found = path.stat() if path else None
    except OSError:
        return None
    return (found.st_mtime_ns, found.st_size, found.st_ino) if found else None
