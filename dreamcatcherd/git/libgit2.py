"""libgit2's side of a connection: its callbacks, its process-wide settings, and the certificates that it trusts.

Apart from `access`, since the check of a push and a worker's push do without libgit2."""

from __future__ import annotations

import math
import os
import time
from collections.abc import Callable
from pathlib import Path
from urllib.parse import urlsplit

import pygit2
from pygit2.enums import CredentialType

from dreamcatcherd.core.errors import RetryableError
from dreamcatcherd.git.access import CREDENTIALS_REMEDY, SLOW_REMEDY, Access, secret_of
from dreamcatcherd.git.redirects import led_to

_REPORTS_HOST = (1, 9, 5)
"""The first libgit2 that reports which URL asks for credentials. Older ones report the repository's URL even after a
redirect."""

SAID_MOST = 2**20
"""The most characters of a server's progress messages that one fetch accepts."""


def libgit2_version() -> tuple[int, int, int]:
    """The version of the libgit2 that is in use."""
    return pygit2.LIBGIT2_VER_MAJOR, pygit2.LIBGIT2_VER_MINOR, pygit2.LIBGIT2_VER_REVISION


def read_by_git(access: Access) -> bool:
    """Whether git lists and fetches: as configured, or if libgit2 would not report who asks for credentials.

    It leaves out the brackets of an IPv6 address, and decodes what follows a question mark."""
    unclear = libgit2_version() < _REPORTS_HOST or any(sign in access.url for sign in "[?")
    return access.transport == "git" or (access.is_http and unclear)


class Callbacks(pygit2.RemoteCallbacks):
    """libgit2's callbacks of one connection. Credentials are offered once: if it asks again, they were refused."""

    def __init__(
        self, access: Access, progress: Callable[[], None] = lambda: None, limit_s: float | None = None
    ) -> None:
        """`progress` is called whenever data has arrived: a first fetch may take longer than any other step.

        After `limit_s` seconds in total the connection is closed when more data arrives. libgit2's own limit only ends
        silence, and a server may send byte after byte for ever."""
        super().__init__()
        self._progress = progress
        self._until = time.monotonic() + limit_s if limit_s is not None else math.inf
        self._said = 0
        self._access = access
        self._offered = False

    def credentials(
        self, url: str, username_from_url: str | None, allowed_types: CredentialType
    ) -> pygit2.credentials.Username | pygit2.credentials.UserPass | pygit2.credentials.Keypair:
        access = self._access
        if access.is_http and (username_from_url is not None or url != _as_reported(access.url)):
            raise led_to(access.url, url)
        user = username_from_url or access.user
        if allowed_types & CredentialType.USERNAME:
            return pygit2.credentials.Username(user)
        if self._offered:
            raise RetryableError(f"{access.url} refused the credentials", CREDENTIALS_REMEDY)
        self._offered = True
        if allowed_types & CredentialType.SSH_KEY:
            if access.ssh_key:
                return pygit2.credentials.Keypair(user, None, str(access.ssh_key), "")
            return pygit2.credentials.KeypairFromAgent(user)
        secret = secret_of(access)
        if secret is None:
            raise RetryableError(f"{access.url} asks for credentials and none are configured", CREDENTIALS_REMEDY)
        return pygit2.credentials.UserPass(access.user, secret)

    def transfer_progress(self, stats: pygit2.remotes.TransferProgress) -> None:
        self._check_time()
        self._progress()

    def sideband_progress(self, string: str) -> None:
        """The server's progress messages: they are not shown, and only a bounded number of them is accepted."""
        self._said += len(string)
        self._check_time()
        if self._said > SAID_MOST:
            raise RetryableError(f"{self._access.url} says more beside its answer than anybody reads", SLOW_REMEDY)

    def _check_time(self) -> None:
        if time.monotonic() > self._until:
            raise RetryableError(f"{self._access.url} did not answer within the time limit", SLOW_REMEDY)

    def certificate_check(self, certificate: None, valid: bool, host: bytes) -> bool:
        """Never more lenient than libgit2's own check of TLS certificates and ssh host keys."""
        return valid


def _as_reported(url: str) -> str:
    """An http URL in the form in which libgit2 reports it to the credentials callback.

    The complete URL is compared: a host may be chosen to look like another host and the beginning of a path."""
    parts = urlsplit(url)
    default = ":443" if parts.scheme == "https" else ":80"
    return f"{parts.scheme}://{parts.netloc.removesuffix(default)}{parts.path or '/'}"


def set_up_libgit2(access: Access, clone: Path) -> None:
    """libgit2's process-wide settings: time limits, and where it looks for known hosts."""
    milliseconds = max(1, round(access.timeout_s * 1000))
    pygit2.settings.server_connect_timeout = milliseconds
    pygit2.settings.server_timeout = milliseconds
    if access.known_hosts is None:
        pygit2.settings.homedir = os.environ.get("HOME", "/")
    else:
        home = clone / "home"
        link = home / ".ssh" / "known_hosts"
        link.parent.mkdir(parents=True, exist_ok=True)
        link.unlink(missing_ok=True)
        link.symlink_to(access.known_hosts.absolute())  # not the file that it links to now, which may be replaced
        pygit2.settings.homedir = str(home)


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
