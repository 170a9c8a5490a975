"""How a repository on another machine is reached: its URL, the files that contain credentials, and the time limit.

Owns secrets: they are read from their file at each use, handed to libgit2 by callback and to git by a credential helper
that reads the same file. They are never part of a command line, a log line or an error."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Literal
from urllib.parse import unquote, urlsplit, urlunsplit

from msgspec import Struct

from dreamcatcherd.core.errors import RetryableError, UsageError

_HELPER = (
    '!f() { test "$1" = get || exit 0; protocol=; host=; while IFS= read -r line; do case "$line" in '
    'protocol=*) protocol="${line#*=}" ;; host=*) host="${line#*=}" ;; esac; done; '
    'test "$protocol://$host" = "$DREAMCATCHERD_ORIGIN" || exit 0; '
    'printf "username=%s\\npassword=" "$DREAMCATCHERD_USER"; '
    'if test -n "$DREAMCATCHERD_TOKEN_FILE"; then head -n 1 "$DREAMCATCHERD_TOKEN_FILE"; '
    'else printf "%s\\n" "$DREAMCATCHERD_PASSWORD"; fi; }; f'
)
"""Answers git only for the repository's scheme, host and port: not for a proxy, a redirect or a submodule."""

SLOW_REMEDY = "look at the server and the network; raise [repository] timeout if it is only slow"

CREDENTIALS_REMEDY = (
    "check token_file, user or ssh_key in [repository] and the account's rights; "
    "for ssh configuration or credential helpers of git's set transport to git"
)

ANYBODY = "git"
"""The user if none is named: forges expect it over ssh, and over http the token alone counts."""


class Access(Struct, frozen=True):
    """A repository's URL, and how to reach it. `url` contains no secret: a password in the configured URL is in
    `password`. `trust` says who named the certificates. git uses `ssh_command` where no key and no known hosts are
    named."""

    url: str
    user: str = ANYBODY
    password: str = ""
    token_file: Path | None = None
    ssh_key: Path | None = None
    known_hosts: Path | None = None
    ca_file: Path | None = None
    ca_folder: Path | None = None
    trust: str = ""
    timeout_s: float = 30.0
    transport: Literal["pygit2", "git"] = "pygit2"
    ssh_command: str = ""

    def __repr__(self) -> str:
        return f"Access({self.url!r})"

    def __rich_repr__(self) -> list[tuple[str, str]]:
        return [("url", self.url)]

    @property
    def is_http(self) -> bool:
        """Whether it is reached over http or https."""
        return self.url.startswith(("http://", "https://"))

    @property
    def origin(self) -> str:
        """Scheme, host and port of the URL: credentials over http are sent only there."""
        parts = urlsplit(self.url)
        return f"{parts.scheme}://{unquote(parts.netloc)}"


def without_secrets(url: str) -> tuple[str, str | None, str]:
    """A URL as (without secrets, user or None, password).

    Over http the user is removed as well: forges accept a token in its place, and with a user in the URL git and
    libgit2 would first log in without the password. UsageError if the URL cannot be parsed: it may contain a secret, so
    it is not shown."""
    if "://" not in url:
        return url, url.partition("@")[0] if "@" in url.partition(":")[0] else None, ""
    try:
        parts = urlsplit(url)
        parts.port  # noqa: B018 (raises if the port is not a number)
    except ValueError:
        remedy = "write / ? # @ and : in a password as %2F %3F %23 %40 %3A, or better name a token_file"
        raise UsageError("[repository] url is no URL: its host or port cannot be read", remedy) from None
    user = unquote(parts.username) if parts.username else None
    host = parts.netloc.rpartition("@")[2]
    netloc = f"{parts.username}@{host}" if parts.username and not parts.scheme.startswith("http") else host
    return urlunsplit(parts._replace(netloc=netloc)), user, unquote(parts.password or "")


def secret_of(access: Access) -> str | None:
    """The password or token, read now; None if there is none. RetryableError if its file cannot be read.

    A user without either has an empty password: the name itself may be a token."""
    if access.token_file is None:
        return access.password or ("" if access.user != ANYBODY else None)
    try:
        lines = access.token_file.read_text("utf-8").split("\n")
    except (OSError, UnicodeDecodeError) as error:
        why = getattr(error, "strerror", None) or "it is not UTF-8"
        remedy = "let the user that this runs as read it"
        raise RetryableError(f"the token file {access.token_file} cannot be read: {why}", remedy) from error
    return lines[0].strip()


def git_environment(access: Access) -> dict[str, str]:
    """The environment with which git reaches the repository: paths of credentials, never credentials themselves.

    One exception: a password that was written into the URL is passed in the environment, which only its user can
    read."""
    timeout = max(1, round(access.timeout_s))
    ssh = ["ssh", "-o", "BatchMode=yes", "-o", f"ConnectTimeout={timeout}", "-o", "StrictHostKeyChecking=yes"]
    if access.ssh_key:
        ssh += ["-i", _quoted(access.ssh_key), "-o", "IdentitiesOnly=yes"]
    if access.known_hosts:
        ssh += ["-o", f"UserKnownHostsFile={_quoted(access.known_hosts)}"]
    # By environment and not by argument: command lines are visible to every user of the machine.
    settings = [*_ALONE, *_http_settings(access, timeout)]
    named = access.ssh_key or access.known_hosts or not access.ssh_command
    more = {"GIT_SSH_COMMAND": " ".join(ssh) if named else access.ssh_command}
    if access.is_http and (access.token_file or access.password or access.user != ANYBODY):
        settings += _helpers(access)
        more |= {"DREAMCATCHERD_USER": access.user, "DREAMCATCHERD_ORIGIN": access.origin}
        if access.token_file:
            more["DREAMCATCHERD_TOKEN_FILE"] = str(access.token_file)
        else:
            more["DREAMCATCHERD_PASSWORD"] = access.password
    more["GIT_CONFIG_COUNT"] = str(len(settings))
    for i, (name, value) in enumerate(settings):
        more |= {f"GIT_CONFIG_KEY_{i}": name, f"GIT_CONFIG_VALUE_{i}": value}
    return more


_ALONE = [("core.hooksPath", os.devnull), ("fetch.recurseSubmodules", "false"), ("push.recurseSubmodules", "no")]
"""The primary's clone runs no hooks, which a template or the user's configuration may name, and has no submodules."""


def _http_settings(access: Access, timeout_s: int) -> list[tuple[str, str]]:
    """Settings for http, and for the URL itself, so that they override the user's settings for its host."""
    settings = {"sslVerify": "true", "followRedirects": "false", "lowSpeedLimit": "1", "lowSpeedTime": str(timeout_s)}
    if access.ca_file:
        settings["sslCAInfo"] = str(access.ca_file)
    if access.ca_folder:
        settings["sslCAPath"] = str(access.ca_folder)
    prefixes = ("http", f"http.{access.url}") if access.is_http else ("http",)
    return [(f"{prefix}.{name}", value) for prefix in prefixes for name, value in settings.items()]


def _helpers(access: Access) -> list[tuple[str, str]]:
    """Settings by which git gets the credentials. If there is a secret, no other helper is asked; with only a user, the
    helpers of the user's configuration are asked before ours."""
    first = ("credential.helper", "")
    if not (access.token_file or access.password):
        first = (f"credential.{access.origin}.username", access.user)
    return [first, (f"credential.{access.origin}.helper", _HELPER)]


def _quoted(path: Path) -> str:
    """A path for GIT_SSH_COMMAND, which a shell splits; ssh itself interprets `%` and white space in some options."""
    text = str(path)
    if any(char in text for char in "'\"\\%$` \t\n"):
        raise UsageError(f"the path {text!r} cannot be handed to ssh", "choose one of plain characters without spaces")
    return text
