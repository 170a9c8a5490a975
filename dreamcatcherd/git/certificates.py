"""Which certificates a server over https is checked against: the same for fetch and push, by libgit2 and by git.

Owns the order in which they are looked for, and that a file that was replaced is read again."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

from msgspec import Struct, structs

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
