"""How a primary works: its own TOML file as frozen structs, strict (Protocol §11). Times are seconds.

Owns reading and refusal of that file. What the merge depends on is elsewhere: in the repository (`core/settings`)."""

from __future__ import annotations

import hashlib
import os
import re
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Literal

import msgspec
from msgspec import Meta, Struct

from dreamcatcherd.core.errors import UsageError
from dreamcatcherd.core.frames import CloseRule, Closing

DEFAULT_URL = "fleet.git"
_REMOTE = re.compile(r"[a-z+]+://|[^/:]+@?[^/:]*:(?!//)[^/]*")
_BRANCH = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]*(?:/[A-Za-z0-9_][A-Za-z0-9_.-]*)*")

Seconds = Annotated[float, Meta(ge=0, le=31_536_000)]


class RepositoryConfig(Struct, frozen=True, forbid_unknown_fields=True):
    """`[repository]`: which one, how it is reached, and how often it is looked at.

    `clone` is the folder of the own clone of a remote, `timeout` bounds every network operation. Credentials are files:
    one that is not named is looked for in systemd's credentials directory, as `token`, `ssh_key`, `known_hosts`,
    `ca_file` or `signing_key`."""

    url: str = DEFAULT_URL
    branch: str = "main"
    clone: str | None = None
    poll: Annotated[float, Meta(ge=0.05, le=3600)] = 1.0
    timeout: Annotated[float, Meta(ge=0.1, le=3600)] = 30.0
    transport: Literal["pygit2", "git"] = "pygit2"
    user: str | None = None
    token_file: str | None = None
    ssh_key: str | None = None
    known_hosts: str | None = None
    ca_file: str | None = None
    signing_key: str | None = None


class FramesConfig(Struct, frozen=True, forbid_unknown_fields=True):
    """`[frames]`: when the open frame closes."""

    close: CloseRule = "interval"
    interval: Annotated[float, Meta(ge=0.1, le=31_536_000)] = 10.0
    grace: Seconds = 0.0


class HttpConfig(Struct, frozen=True, forbid_unknown_fields=True):
    """`[http]`: where metrics and health are served."""

    listen: str = "127.0.0.1:9464"


class RetentionConfig(Struct, frozen=True, forbid_unknown_fields=True):
    """`[retention]`: how long a lane that is merged whole may stay silent before it is removed."""

    lanes_keep: Seconds = 3600.0


class LogConfig(Struct, frozen=True, forbid_unknown_fields=True):
    """`[log]`: `auto` is a readable console on a terminal and JSON elsewhere."""

    format: Literal["auto", "console", "json"] = "auto"
    level: Literal["debug", "info", "warning", "error"] = "info"


class Config(Struct, frozen=True, forbid_unknown_fields=True):
    """The whole file; each table and key may be left out."""

    repository: RepositoryConfig = RepositoryConfig()
    frames: FramesConfig = FramesConfig()
    http: HttpConfig = HttpConfig()
    retention: RetentionConfig = RetentionConfig()
    log: LogConfig = LogConfig()

    @property
    def closing(self) -> Closing:
        return Closing(self.frames.close, self.frames.interval, self.frames.grace)


def load_config(file: Path | None) -> Config:
    """Read a configuration file, or the defaults where none is named; UsageError names the key and the cause."""
    if file is None:
        return Config()
    try:
        config = msgspec.convert(tomllib.loads(file.read_text("utf-8")), Config)
    except OSError as error:
        raise UsageError(
            f"{file} cannot be read: {error.strerror}", "name a readable TOML file with --config"
        ) from error
    except (UnicodeDecodeError, tomllib.TOMLDecodeError, msgspec.ValidationError) as error:
        raise UsageError(f"{file}: {error}", "correct it; docs/protocol.md lists every key") from error
    if not _BRANCH.fullmatch(config.repository.branch):
        raise UsageError(f"{file}: {config.repository.branch!r} is no branch name", "name a branch such as main")
    listen_address(config.http.listen)
    return config


def repository_path(url: str) -> Path | None:
    """The folder that a path or `file://` URL names; None for a repository on another machine."""
    if url.startswith("file://"):
        return Path(url.removeprefix("file://"))
    return None if _REMOTE.match(url) and not Path(url).exists() else Path(url)


def clone_folder(repository: RepositoryConfig, url: str, environment: Mapping[str, str] = os.environ) -> Path:
    """Where the own clone of a remote lies: as configured, else in the state directory, by name and digest."""
    if repository.clone:
        return Path(repository.clone).expanduser()
    state = environment.get("STATE_DIRECTORY", "").partition(":")[0]
    if not state:
        home = environment.get("XDG_STATE_HOME") or str(Path("~/.local/state").expanduser())
        state = str(Path(home) / "dreamcatcherd")
    name = re.sub(r"[^A-Za-z0-9_-]", "-", url.rstrip("/").removesuffix(".git").rpartition("/")[2])[:40]
    return Path(state) / f"{name}-{hashlib.sha256(url.encode()).hexdigest()[:12]}.git"


def credential_file(name: str, named: str | None, environment: Mapping[str, str] = os.environ) -> Path | None:
    """The file of one credential: as configured, else systemd's of that name, else None. UsageError where it is not."""
    if named:
        path = Path(named).expanduser()
        if not path.is_file():
            raise UsageError(f"{path} ({name}) is no file", f"name a readable file with [repository] {name}")
        return path.absolute()
    folder = environment.get("CREDENTIALS_DIRECTORY")
    given = Path(folder) / ("token" if name == "token_file" else name) if folder else None
    return given if given and given.is_file() else None


def listen_address(listen: str) -> tuple[str, int]:
    """Host and port of `host:port`; UsageError where it is neither."""
    host, _, port = listen.rpartition(":")
    host = host.removeprefix("[").removesuffix("]")
    if not host or not port.isascii() or not port.isdigit() or int(port) > 65535:
        raise UsageError(f"[http] listen {listen!r} is no host:port", "write it as 127.0.0.1:9464")
    return host, int(port)
