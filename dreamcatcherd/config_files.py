"""Which files and folders a primary's configuration names: its repository, clone, state and credentials.

Owns where each of them is looked for (docs/operations.md#credentials). Nothing is read here but the environment."""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Literal
from urllib.parse import urlsplit

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


_SUFFIXES = ("/.git", "", ".git/.git", ".git")
"""What git appends to a path to find its repository, in this order."""
_SHORT_SSH = re.compile(r"((?:[^/:@]+@)?[^/:]+):(?!//)(.*)")
_PORTS = {"http": 80, "https": 443, "ssh": 22, "git": 9418}


def is_same_repository(one: str, other: str) -> bool:
    """Whether two paths or URLs name one repository, as far as their text and this disk show it."""
    here, there = repository_path(one), repository_path(other)
    if here is not None and there is not None:
        return is_same_folder(repository_folder(here), repository_folder(there))
    return here is there and _address(one) == _address(other)


def is_same_folder(one: Path, other: Path) -> bool:
    """Whether two paths name one folder, links followed; also where neither is there yet."""
    with contextlib.suppress(OSError):
        return one.samefile(other)
    return one.resolve() == other.resolve()


def repository_folder(path: Path) -> Path:
    """The folder with the objects and refs of the repository that git finds at a path; the path if there is none."""
    for suffix in _SUFFIXES:
        found = Path(f"{path}{suffix}")
        with contextlib.suppress(OSError, UnicodeDecodeError):
            if found.is_file():  # of a work tree whose repository is elsewhere
                found = found.parent / found.read_text("utf-8").removeprefix("gitdir:").strip()
            if (found / "HEAD").is_file():
                common = found / "commondir"
                return found / common.read_text("utf-8").strip() if common.is_file() else found
    return path


def _address(url: str) -> tuple[str, str, int, str]:
    """Where a URL leads: scheme, host, port and path, without what different spellings of one address differ in."""
    if (short := _SHORT_SSH.fullmatch(url)) is not None:
        host, path = short[1], short[2]
        url = f"ssh://{host}{path}" if path.startswith("/") else f"ssh://{host}/~/{path}"
    try:
        parts = urlsplit(url)
        scheme = {"git+ssh": "ssh", "ssh+git": "ssh"}.get(parts.scheme, parts.scheme)
        port = parts.port or _PORTS.get(scheme, 0)
        return scheme, parts.hostname or "", port, parts.path.rstrip("/").removesuffix(".git")
    except ValueError:
        return "", "", 0, url


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
