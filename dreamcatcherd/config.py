"""How a primary works: its own TOML file as frozen structs, strict (Protocol §11). Times are seconds.

Owns reading and refusal of that file. What the merge depends on is elsewhere: in the repository (`core/settings`)."""

from __future__ import annotations

import difflib
import hashlib
import ipaddress
import os
import re
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta, Struct

from dreamcatcherd.core.errors import UsageError
from dreamcatcherd.core.frames import CloseRule, Closing

DEFAULT_URL = "fleet.git"
_REMOTE = re.compile(r"[a-z+]+://|[^/:]+@?[^/:]*:(?!//)[^/]*")
_PORT = re.compile(r"[0-9]{1,5}")
_BRANCH = re.compile(r"(?!.*(?:\.\.|\.(?:lock)?(?:/|$)))[A-Za-z0-9_][A-Za-z0-9_.-]*(?:/[A-Za-z0-9_][A-Za-z0-9_.-]*)*")

DEADLINE_S = 300.0
"""The deadline of a rule that waits for workers, where none is set: a dead stream must not stall a frame for ever."""

Seconds = Annotated[float, Meta(ge=0, le=31_536_000)]


class RepositoryConfig(Struct, frozen=True, forbid_unknown_fields=True):
    """`[repository]`: which one, how it is reached, and how often it is looked at.

    `clone` is the folder of the own clone of a remote, `timeout` bounds every network operation. Credentials are files:
    one that is not named is looked for in systemd's credentials directory, as `token`, `ssh_key`, `known_hosts`,
    `ca_file` or `signing_key`."""

    url: Annotated[str, Meta(min_length=1)] = DEFAULT_URL
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
    """`[frames]`: when the open frame closes.

    `streams` are those that a quorum waits for, by name, or a number: all that delivered in the last so many frames."""

    close: CloseRule = "interval"
    interval: Annotated[float, Meta(ge=0.1, le=31_536_000)] = 10.0
    cron: str | None = None
    counter: str = "state/frame_counter.json"
    streams: list[str] | Annotated[int, Meta(ge=1, le=100)] = 10
    deadline: Annotated[float, Meta(ge=0.1, le=31_536_000)] | None = None
    grace: Seconds = 0.0
    skip_empty: bool = False


class HttpConfig(Struct, frozen=True, forbid_unknown_fields=True):
    """`[http]`: where metrics, health, the API and the status page are served, and to whom.

    With `token_file` only those who send the token are answered, with `tls_cert` and `tls_key` it is https. Other
    machines are listened to only with one of the two, or where `insecure` says that it is meant so."""

    listen: str = "127.0.0.1:9464"
    token_file: str | None = None
    tls_cert: str | None = None
    tls_key: str | None = None
    insecure: bool = False


class RetentionConfig(Struct, frozen=True, forbid_unknown_fields=True):
    """`[retention]`: how long a lane that is merged whole may stay silent before it is removed, and after how many
    closed frames delta files leave the newest tree (None: never)."""

    lanes_keep: Seconds = 3600.0
    deltas_frames: Annotated[int, Meta(ge=1)] | None = None


class ViewsConfig(Struct, frozen=True, forbid_unknown_fields=True):
    """`[views]`: collections that are also written whole, as `state/views/<collection>.json`."""

    collections: list[str] = []


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
    views: ViewsConfig = ViewsConfig()
    log: LogConfig = LogConfig()

    @property
    def closing(self) -> Closing:
        """The closing rule, without the schedule of cron, which the daemon adds."""
        frames = self.frames
        waits = frames.close in ("quorum", "next")
        return Closing(
            rule=frames.close,
            interval_s=frames.interval,
            grace_s=frames.grace,
            deadline_s=DEADLINE_S if frames.deadline is None and waits else frames.deadline,
            skip_empty=frames.skip_empty,
            streams=frames.streams if isinstance(frames.streams, int) else tuple(frames.streams),
            counter=frames.counter,
        )


def load_config(file: Path | None, environment: Mapping[str, str] = os.environ) -> Config:
    """Read a configuration file, or the defaults where none is named; UsageError names the key and the cause.

    A variable such as `DREAMCATCHERD_FRAMES_INTERVAL=5` stands above the file."""
    document: dict[str, Any] = {}
    if file is not None:
        try:
            document = tomllib.loads(file.read_text("utf-8"))
        except OSError as error:
            cause = f"{file} cannot be read: {error.strerror}"
            raise UsageError(cause, "name a readable TOML file with --config") from error
        except (ValueError, RecursionError) as error:
            raise UsageError(f"{file}: {error}", _REMEDY) from error
    _override(document, environment)
    where = str(file) if file is not None else "the environment"
    try:
        config = msgspec.convert(document, Config)
    except msgspec.ValidationError as error:
        raise UsageError(f"{where}: {error}{_suggestion(str(error))}", _REMEDY) from error
    if (why := _contradiction(config)) is not None:
        raise UsageError(f"{where}: {why}", _REMEDY)
    check_listening(config.http, environment)
    return config


_REMEDY = "correct it; config/dreamcatcherd.toml lists every key"
_VARIABLE = re.compile(r"DREAMCATCHERD_(REPOSITORY|FRAMES|HTTP|RETENTION|LOG)_([A-Z_]+)")
_UNKNOWN = re.compile(r"unknown field `([^`]*)`(?: - at `\$(?:\.([a-z_]+))?`)?")


def _override(document: dict[str, Any], environment: Mapping[str, str]) -> None:
    """Put the variables of the environment above the file: a TOML value each, or else a plain text."""
    for name, text in sorted(environment.items()):
        match = _VARIABLE.fullmatch(name)
        if match is None:
            continue
        try:
            value = tomllib.loads(f"value = {text}")["value"]
        except (ValueError, RecursionError):
            value = text
        table = document.setdefault(match[1].lower(), {})
        if isinstance(table, dict):
            table[match[2].lower()] = value


def _suggestion(said: str) -> str:
    """The key that was perhaps meant, where an unknown one is named."""
    match = _UNKNOWN.search(said)
    if match is None:
        return ""
    tables = {field.name: field.type for field in msgspec.structs.fields(Config)}
    known = {field.name for field in msgspec.structs.fields(tables[match[2]])} if match[2] in tables else set(tables)
    near = difflib.get_close_matches(match[1], sorted(known), n=1)
    return f"; did you mean {near[0]!r}?" if near else f"; known are {', '.join(sorted(known))}"


def _contradiction(config: Config) -> str | None:
    """What no single key shows."""
    frames = config.frames
    if not _BRANCH.fullmatch(config.repository.branch):
        return f"[repository] branch {config.repository.branch!r} is no branch name such as main"
    if frames.close == "cron" and frames.cron is None:
        return '[frames] close = "cron" needs cron, such as "*/10 * * * *"'
    if frames.close == "quorum" and frames.streams == []:
        return '[frames] close = "quorum" needs streams: names, or a number of frames'
    if frames.counter.startswith(("/", "../")) or "/../" in frames.counter:
        return f"[frames] counter {frames.counter!r} is no path inside the repository"
    return None


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


def http_credential(name: str, named: str | None, environment: Mapping[str, str] = os.environ) -> Path | None:
    """A file of `[http]`: as configured, else systemd's (`http_token`, `tls_cert`, `tls_key`), else None."""
    if named:
        path = Path(named).expanduser()
        if not path.is_file():
            raise UsageError(f"{path} ({name}) is no file", f"name a readable file with [http] {name}")
        return path.absolute()
    folder = environment.get("CREDENTIALS_DIRECTORY")
    given = Path(folder) / ("http_token" if name == "token_file" else name) if folder else None
    return given if given and given.is_file() else None


def check_listening(http: HttpConfig, environment: Mapping[str, str] = os.environ) -> None:
    """UsageError where other machines would be answered without a token and without TLS, and nothing says so."""
    host, _ = listen_address(http.listen)
    token = http_credential("token_file", http.token_file, environment)
    certificate = http_credential("tls_cert", http.tls_cert, environment)
    key = http_credential("tls_key", http.tls_key, environment)
    if (certificate is None) != (key is None):
        raise UsageError("[http] tls_cert and tls_key go together", "name both, or none of them")
    if not (is_loopback(host) or token or certificate or http.insecure):
        cause = f"[http] listen {http.listen!r} lets other machines read without a token and without TLS"
        raise UsageError(cause, "set token_file, or tls_cert and tls_key, or say that it is meant so: insecure = true")


def is_loopback(host: str) -> bool:
    """Whether a host to listen on is this machine alone. A name is not looked up: only localhost is."""
    if host.lower() == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def listen_address(listen: str) -> tuple[str, int]:
    """Host and port of `host:port`; UsageError where it is neither."""
    host, _, port = listen.rpartition(":")
    host = host.removeprefix("[").removesuffix("]")
    if not host or not _PORT.fullmatch(port) or int(port) > 65535:
        raise UsageError(f"[http] listen {listen!r} is no host:port", "write it as 127.0.0.1:9464")
    return host, int(port)
