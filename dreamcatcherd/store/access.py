"""How a repository on another machine is reached: its URL, the files that hold credentials, and the time limit.

Owns secrets: they are read from their file at each use, handed to libgit2 by callback and to git by a credential helper
that reads the same file. They are never part of a command line, a log line or an error."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Literal
from urllib.parse import unquote, urlsplit, urlunsplit

import pygit2
from msgspec import Struct
from pygit2.enums import CredentialType

from dreamcatcherd.core.errors import RetryableError, UsageError

_HELPER = (
    '!f() { test "$1" = get || exit 0; printf "username=%s\\npassword=" "$DREAMCATCHERD_USER"; '
    'if test -n "$DREAMCATCHERD_TOKEN_FILE"; then head -n 1 "$DREAMCATCHERD_TOKEN_FILE"; '
    'else printf "%s\\n" "$DREAMCATCHERD_PASSWORD"; fi; }; f'
)


ANYBODY = "git"
"""The user where none is named: over ssh what forges expect, over http whatever the token needs."""


class Access(Struct, frozen=True):
    """Where and how. `url` holds no secret; `password` is one that stood in the URL, if any."""

    url: str
    user: str = ANYBODY
    password: str = ""
    token_file: Path | None = None
    ssh_key: Path | None = None
    known_hosts: Path | None = None
    ca_file: Path | None = None
    timeout_s: float = 30.0
    transport: Literal["pygit2", "git"] = "pygit2"

    def __repr__(self) -> str:
        return f"Access({self.url!r})"

    def __rich_repr__(self) -> list[tuple[str, str]]:
        return [("url", self.url)]

    @property
    def is_ssh(self) -> bool:
        return self.url.startswith(("ssh://", "git+ssh://")) or "://" not in self.url


def without_secrets(url: str) -> tuple[str, str | None, str]:
    """A URL as (without secrets, user or None, password).

    Over http the user goes as well: forges take a token in its place, and with a user alone git and libgit2 would first
    log in without the password. UsageError where the URL cannot be parted: it may hold a secret, so it is not shown."""
    if "://" not in url:
        return url, url.partition("@")[0] if "@" in url.partition(":")[0] else None, ""
    try:
        parts = urlsplit(url)
        parts.port  # noqa: B018 (raises where what follows the host's colon is no number)
    except ValueError:
        remedy = "write / ? # @ and : in a password as %2F %3F %23 %40 %3A, or better name a token_file"
        raise UsageError("[repository] url is no URL: its host or port cannot be read", remedy) from None
    user = unquote(parts.username) if parts.username else None
    host = parts.netloc.rpartition("@")[2]
    netloc = f"{parts.username}@{host}" if parts.username and not parts.scheme.startswith("http") else host
    return urlunsplit(parts._replace(netloc=netloc)), user, unquote(parts.password or "")


def secret_of(access: Access) -> str | None:
    """The password or token, read now; None where there is none. RetryableError where its file cannot be read.

    Who is named without either has an empty password: the name may be a token."""
    if access.token_file is None:
        return access.password or ("" if access.user != ANYBODY else None)
    try:
        lines = access.token_file.read_text("utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        why = getattr(error, "strerror", None) or "it is not UTF-8"
        remedy = "let the user that this runs as read it"
        raise RetryableError(f"the token file {access.token_file} cannot be read: {why}", remedy) from error
    return lines[0].strip() if lines else ""


def git_environment(access: Access) -> dict[str, str]:
    """What git needs in its environment to reach the repository: paths of credentials, never credentials themselves.

    One exception: a password that was written into the URL travels in the environment, which only its user reads."""
    timeout = max(1, round(access.timeout_s))
    ssh = ["ssh", "-o", "BatchMode=yes", "-o", f"ConnectTimeout={timeout}", "-o", "StrictHostKeyChecking=yes"]
    if access.ssh_key:
        ssh += ["-i", _quoted(access.ssh_key), "-o", "IdentitiesOnly=yes"]
    if access.known_hosts:
        ssh += ["-o", f"UserKnownHostsFile={_quoted(access.known_hosts)}"]
    settings = [("http.sslVerify", "true"), ("http.lowSpeedLimit", "1"), ("http.lowSpeedTime", str(timeout))]
    if access.ca_file:
        settings.append(("http.sslCAInfo", str(access.ca_file)))
    more = {"GIT_SSH_COMMAND": " ".join(ssh), "SSH_ASKPASS_REQUIRE": "never"}
    named = access.user != ANYBODY and not access.is_ssh
    if access.token_file or access.password or named:
        if access.token_file or access.password:
            settings.append(("credential.helper", ""))  # ours alone
        else:
            settings.append(("credential.username", access.user))  # helpers of the user's come before ours
        settings.append(("credential.helper", _HELPER))
        more["DREAMCATCHERD_USER"] = access.user
        if access.token_file:
            more["DREAMCATCHERD_TOKEN_FILE"] = str(access.token_file)
        else:
            more["DREAMCATCHERD_PASSWORD"] = access.password
    more["GIT_CONFIG_COUNT"] = str(len(settings))
    for i, (name, value) in enumerate(settings):
        more |= {f"GIT_CONFIG_KEY_{i}": name, f"GIT_CONFIG_VALUE_{i}": value}
    return more


def _quoted(path: Path) -> str:
    """A path for GIT_SSH_COMMAND, which a shell takes apart; ssh itself reads `%` and white space in some options."""
    text = str(path)
    if any(char in text for char in "'\"\\%$` \t\n"):
        raise UsageError(f"the path {text!r} cannot be handed to ssh", "choose one of plain characters without spaces")
    return text


class Callbacks(pygit2.RemoteCallbacks):
    """What libgit2 asks for during one connection. Credentials are offered once: asked again, they were refused."""

    def __init__(self, access: Access, progress: Callable[[], None] = lambda: None) -> None:
        """`progress` is called whenever something has come: a first fetch may take longer than any other step."""
        super().__init__()
        self._progress = progress
        self._access = access
        self._offered = False

    def credentials(
        self, url: str, username_from_url: str | None, allowed_types: CredentialType
    ) -> pygit2.credentials.Username | pygit2.credentials.UserPass | pygit2.credentials.Keypair:
        access = self._access
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
        self._progress()

    def certificate_check(self, certificate: None, valid: bool, host: bytes) -> bool:
        """Never more lenient than libgit2's own check of TLS certificates and ssh host keys."""
        return valid


CREDENTIALS_REMEDY = (
    "check token_file, user or ssh_key in [repository] and the account's rights; "
    "for ssh configuration or credential helpers of git's set transport to git"
)


def set_up_libgit2(access: Access, clone: Path) -> None:
    """libgit2's process-wide settings: time limits, trusted certificates, and where it looks for known hosts."""
    milliseconds = max(1, round(access.timeout_s * 1000))
    pygit2.settings.server_connect_timeout = milliseconds
    pygit2.settings.server_timeout = milliseconds
    if access.ca_file:
        pygit2.settings.set_ssl_cert_locations(str(access.ca_file), None)
    if access.known_hosts is None:
        pygit2.settings.homedir = os.environ.get("HOME", "/")
    else:
        home = clone / "home"
        link = home / ".ssh" / "known_hosts"
        link.parent.mkdir(parents=True, exist_ok=True)
        link.unlink(missing_ok=True)
        link.symlink_to(access.known_hosts.resolve())
        pygit2.settings.homedir = str(home)
