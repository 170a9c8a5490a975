"""Which files and folders a primary's configuration names: its repository, clone, state and credentials.

Owns where each of them is looked for (docs/operations.md#credentials). Nothing is read here but the environment."""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Literal

from dreamcatcherd.config_remotes import MirrorConfig
from dreamcatcherd.config_tables import EventsConfig, RepositoryConfig
from dreamcatcherd.core.errors import UsageError

_REMOTE = re.compile(r"[a-z+]+://|[^/:]+@?[^/:]*:(?!//)[^/]*")

CREDENTIALS: Mapping[tuple[str, str], str] = MappingProxyType(
    {
        ("repository", "token_file"): "token",
        ("repository", "ssh_key"): "ssh_key",
        ("repository", "known_hosts"): "known_hosts",
        ("repository", "ca_file"): "ca_file",
        ("repository", "signing_key"): "signing_key",
        ("http", "token_file"): "http_token",
        ("http", "tls_cert"): "tls_cert",
        ("http", "tls_key"): "tls_key",
        ("hint", "secret_file"): "hint_secret",
        ("otel", "headers_file"): "otel_headers",
        ("otel", "ca_file"): "otel_ca_file",
        ("events", "secret_file"): "events_secret",
        ("relay", "token_file"): "relay_token",
        ("relay", "ssh_key"): "relay_ssh_key",
        ("relay", "known_hosts"): "relay_known_hosts",
        ("relay", "ca_file"): "relay_ca_file",
    }
)
"""The name in `$CREDENTIALS_DIRECTORY` under which the file of each key is looked for, if the key names none. The units
of systemd pass all of them."""


def repository_path(url: str) -> Path | None:
    """The folder that a path or `file://` URL names; None for a repository on another machine."""
    if url.startswith("file://"):
        return Path(url.removeprefix("file://"))
    return None if _REMOTE.match(url) and not Path(url).exists() else Path(url)


def clone_folder(repository: RepositoryConfig, url: str, environment: Mapping[str, str] = os.environ) -> Path:
    """The folder of the clone of a remote: as configured, else in the state directory, by name and digest."""
    if repository.clone:
        return Path(repository.clone).expanduser()
    # The name is for people; the digest keeps two repositories of one name apart.
    name = re.sub(r"[^A-Za-z0-9_-]", "-", url.rstrip("/").removesuffix(".git").rpartition("/")[2])[:40]
    return state_folder(environment) / f"{name}-{hashlib.sha256(url.encode()).hexdigest()[:12]}.git"


def state_folder(environment: Mapping[str, str] = os.environ) -> Path:
    """Where a primary keeps what it may not lose: systemd's state directory, else the user's."""
    state = environment.get("STATE_DIRECTORY", "").partition(":")[0]
    if state:
        return Path(state)
    home = environment.get("XDG_STATE_HOME") or str(Path("~/.local/state").expanduser())
    return Path(home) / "dreamcatcherd"


def credential_file(
    table: Literal["repository", "http", "hint", "otel", "relay"],
    name: str,
    named: str | None,
    environment: Mapping[str, str] = os.environ,
) -> Path | None:
    """The file of one credential of a table: as configured, else systemd's, else None. UsageError if it is missing."""
    if named:
        return _existing(f"[{table}] {name}", named)
    # A file that is configured must be there. One of systemd's may be missing: the unit names all that it could have.
    return _given(f"[{table}] {name}", CREDENTIALS[table, name], environment)


def events_secret_file(table: EventsConfig, environment: Mapping[str, str] = os.environ) -> Path | None:
    """The file with the secrets of a receiver: as configured, else systemd's `events_secret`, else None. UsageError if
    it is missing."""
    name = table.secret_file or CREDENTIALS["events", "secret_file"]
    given = _given("[[events]] secret_file", name, environment) if "/" not in name else None
    if given is not None or table.secret_file is None:
        return given
    return _existing("[[events]] secret_file", table.secret_file)


def mirror_file(table: MirrorConfig, key: str, environment: Mapping[str, str] = os.environ) -> Path | None:
    """The file of one credential of a mirror: as configured, else systemd's `mirror_<name>_<key>`, else None. Never a
    file of `[repository]`: that is for another host. UsageError if it is missing."""
    where, named = f"[[mirrors]] {key}", getattr(table, key)
    if named:
        return _existing(where, named)
    return _given(where, f"mirror_{table.name}_{CREDENTIALS['repository', key]}", environment)


def _given(key: str, name: str, environment: Mapping[str, str]) -> Path | None:
    """A file of `$CREDENTIALS_DIRECTORY`; None if there is none of this name. `key` names what it is for."""
    folder = environment.get("CREDENTIALS_DIRECTORY")
    path = Path(folder) / name if folder else None
    try:
        return path if path and path.is_file() else None
    except OSError as error:
        cause = f"{key} is looked for in {folder} ($CREDENTIALS_DIRECTORY), which cannot be read: {error.strerror}"
        raise UsageError(cause, "run it as a user who can read that folder") from error


def _existing(key: str, named: str) -> Path:
    path = Path(named).expanduser()
    if not path.is_file():
        raise UsageError(f"{key} names {path}, which is not a file", "name a file that exists")
    return path.absolute()
