"""A primary's TOML file as frozen structs, strict (docs/protocol.md#configuration). Times are seconds.

Owns reading that file and refusing a wrong one. The settings of the merge are in the repository (`core/settings`)."""

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
_SCHEME = re.compile(r"([a-z+]+)://|([A-Za-z0-9][A-Za-z0-9+.-]*)::")
_SCHEMES = ("file", "git", "http", "https", "ssh", "git+ssh", "ssh+git")
_OPTION = re.compile(r"-|[a-z+]+://(?:[^/]*@)?-|[^/:]*@-")
"""A URL that git would take for an option, or whose host ssh would take for one."""
_PORT = re.compile(r"[0-9]{1,5}")
_BRANCH = re.compile(r"(?!.*(?:\.\.|\.(?:lock)?(?:/|$)))[A-Za-z0-9_][A-Za-z0-9_.-]*(?:/[A-Za-z0-9_][A-Za-z0-9_.-]*)*")

DEADLINE_S = 300.0
"""The default deadline of a rule that waits for workers: a dead stream must not keep a frame open forever."""


class RepositoryConfig(Struct, frozen=True, forbid_unknown_fields=True):
    """Which repository, how it is reached, and how often it is polled.

    Credentials are files. If a file is not named here, it is looked for in systemd's `$CREDENTIALS_DIRECTORY`, as
    `token`, `ssh_key`, `known_hosts`, `ca_file` or `signing_key`."""

    url: Annotated[
        str, Meta(min_length=1, description="a path, or file://, git://, http(s)://, ssh:// or user@host:path")
    ] = DEFAULT_URL
    branch: Annotated[str, Meta(description="the shared branch: workers push to it, snapshots are published on it")] = (
        "main"
    )
    clone: Annotated[
        str | None,
        Meta(
            description="clone of a remote, a cache; default: in `$STATE_DIRECTORY` or `~/.local/state/dreamcatcherd`"
        ),
    ] = None
    poll: Annotated[
        float,
        Meta(ge=0.05, le=3600, description="seconds between two polls; the file watcher adds further ones"),
    ] = 1.0
    timeout: Annotated[
        float, Meta(ge=0.1, le=3600, description="time limit of every network operation, in seconds")
    ] = 30.0
    retry: Annotated[
        float,
        Meta(ge=0.1, le=3600, description="maximum seconds between two attempts after failures; they grow from 1"),
    ] = 15.0
    transport: Annotated[
        Literal["pygit2", "git"],
        Meta(description="`git` also fetches with git, with its ssh configuration, credential helpers and proxies"),
    ] = "pygit2"
    user: Annotated[str | None, Meta(description="user name for http; for ssh it is part of the URL")] = None
    token_file: Annotated[str | None, Meta(description="password or token for http, on its first line")] = None
    ssh_key: Annotated[
        str | None, Meta(description="private key without passphrase; default: the keys of the ssh agent")
    ] = None
    known_hosts: Annotated[
        str | None, Meta(description="default: `~/.ssh/known_hosts`; an unknown host is always refused")
    ] = None
    ca_file: Annotated[str | None, Meta(description="certificates to trust in place of the system's, PEM")] = None
    signing_key: Annotated[str | None, Meta(description="snapshot commits are signed with this ssh key")] = None


class FramesConfig(Struct, frozen=True, forbid_unknown_fields=True):
    """When the open frame closes."""

    close: Annotated[
        CloseRule, Meta(description="the rule; `dreamcatcherd close` and SIGUSR1 close a frame under every rule")
    ] = "interval"
    interval: Annotated[
        float, Meta(ge=0.1, le=31_536_000, description="seconds from the open frame's `opened_at`, under `interval`")
    ] = 10.0
    cron: Annotated[
        str | None, Meta(description='five fields in UTC, such as `"*/10 * * * *"`; needed under `cron`')
    ] = None
    counter: Annotated[
        str,
        Meta(description="file in the repository; a driver raises its `frame`, which closes all frames before it"),
    ] = "state/frame_counter.json"
    streams: Annotated[
        list[str] | Annotated[int, Meta(ge=1, le=100)],
        Meta(description="streams that a quorum waits for: names, or all that delivered in the last N frames"),
    ] = 10
    deadline: Annotated[
        Annotated[float, Meta(ge=0.1, le=31_536_000)] | None,
        Meta(description="seconds after which counter, quorum and next close in any case; 300 for quorum and next"),
    ] = None
    grace: Annotated[
        float, Meta(ge=0, le=31_536_000, description="seconds that a frame that is due stays open for stragglers")
    ] = 0.0
    skip_empty: Annotated[
        bool, Meta(description="a frame stays open until there is something to merge or to restore")
    ] = False


class HttpConfig(Struct, frozen=True, forbid_unknown_fields=True):
    """Where the status page, the API, metrics and health are served, and to whom.

    Other machines are answered only with a token, with TLS, or if `insecure` is true. Files that are not named here are
    looked for in `$CREDENTIALS_DIRECTORY`, as `http_token`, `tls_cert` and `tls_key`. A changed file counts from
    SIGHUP."""

    listen: Annotated[str, Meta(description="host:port; port 0 is any free port")] = "127.0.0.1:9464"
    token_file: Annotated[
        str | None,
        Meta(description="file with a token on its first line; requests send it as bearer token or as a password"),
    ] = None
    tls_cert: Annotated[str | None, Meta(description="certificate with its chain, PEM; goes with `tls_key`")] = None
    tls_key: Annotated[str | None, Meta(description="private key without passphrase, PEM")] = None
    insecure: Annotated[bool, Meta(description="answer other machines without a token and without TLS")] = False


class PublishConfig(Struct, frozen=True, forbid_unknown_fields=True):
    """What is published in addition to frames."""

    restore: Annotated[
        Literal["now", "close"],
        Meta(description="when edited canonical files are restored: at the next poll, or at the close"),
    ] = "now"


class RetentionConfig(Struct, frozen=True, forbid_unknown_fields=True):
    """What is removed from the newest tree and the refs; history keeps everything."""

    lanes_keep: Annotated[
        float,
        Meta(ge=0, le=31_536_000, description="seconds without a push after which a completely merged lane is deleted"),
    ] = 3600.0
    deltas_frames: Annotated[
        Annotated[int, Meta(ge=1)] | None,
        Meta(description="delta files leave the newest tree this many closed frames after their own; default: never"),
    ] = None


class LogConfig(Struct, frozen=True, forbid_unknown_fields=True):
    """The log, on standard error."""

    format: Annotated[
        Literal["auto", "console", "json"], Meta(description="`auto`: readable on a terminal, JSON elsewhere")
    ] = "auto"
    level: Annotated[Literal["debug", "info", "warning", "error"], Meta(description="minimum level")] = "info"


class Config(Struct, frozen=True, forbid_unknown_fields=True):
    """The complete file; each table and key may be left out."""

    repository: RepositoryConfig = RepositoryConfig()
    frames: FramesConfig = FramesConfig()
    http: HttpConfig = HttpConfig()
    publish: PublishConfig = PublishConfig()
    retention: RetentionConfig = RetentionConfig()
    log: LogConfig = LogConfig()

    @property
    def closing(self) -> Closing:
        """The closing rule, without the cron schedule, which the daemon adds."""
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
    """Read a configuration file, or the defaults if none is named; UsageError names the key and the cause.

    A variable such as `DREAMCATCHERD_FRAMES_INTERVAL=5` overrides the file."""
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


_REMEDY = "correct it; `dreamcatcherd config reference` lists every key"
_VARIABLE = re.compile(rf"DREAMCATCHERD_({'|'.join(Config.__struct_fields__).upper()})_([A-Z_]+)")
_UNKNOWN = re.compile(r"unknown field `([^`]*)`(?: - at `\$(?:\.([a-z_]+))?`)?")


def _override(document: dict[str, Any], environment: Mapping[str, str]) -> None:
    """Override the file by the variables of the environment: each is a TOML value, or else a plain text."""
    for name, text in sorted(environment.items()):
        match = _VARIABLE.fullmatch(name)
        if match is None:
            continue
        # `5` and `true` are TOML values; `main` is not, and means the text.
        try:
            value = tomllib.loads(f"value = {text}")["value"]
        except (ValueError, RecursionError):
            value = text
        table = document.setdefault(match[1].lower(), {})
        if isinstance(table, dict):
            table[match[2].lower()] = value


def _suggestion(said: str) -> str:
    """The nearest known key, if the error names an unknown one."""
    match = _UNKNOWN.search(said)
    if match is None:
        return ""
    tables = {field.name: field.type for field in msgspec.structs.fields(Config)}
    known = {field.name for field in msgspec.structs.fields(tables[match[2]])} if match[2] in tables else set(tables)
    near = difflib.get_close_matches(match[1], sorted(known), n=1)
    return f"; did you mean {near[0]!r}?" if near else f"; known are {', '.join(sorted(known))}"


def _contradiction(config: Config) -> str | None:
    """A mistake that no single key shows."""
    frames = config.frames
    if (why := wrong_url(config.repository.url)) is not None:
        return f"[repository] url {why}"
    if (config.repository.clone or "").startswith("-"):
        return "[repository] clone begins with -, as an option would: write ./ before it"
    if not _BRANCH.fullmatch(config.repository.branch):
        return f"[repository] branch {config.repository.branch!r} is not a branch name such as main"
    if frames.close == "cron" and frames.cron is None:
        return '[frames] close = "cron" needs cron, such as "*/10 * * * *"'
    if frames.close == "quorum" and frames.streams == []:
        return '[frames] close = "quorum" needs streams: names, or a number of frames'
    if frames.counter.startswith(("/", "../")) or "/../" in frames.counter:
        return f"[frames] counter {frames.counter!r} is not a path inside the repository"
    return None


def wrong_url(url: str) -> str | None:
    """Why a path or URL is not passed to git; None if it is. The text shows no part that can be a secret."""
    if _OPTION.match(url):
        return "begins with -, or its host does, as an option would: write ./ before a path"
    match = _SCHEME.match(url)
    if match is None or Path(url).exists() or match[1] in _SCHEMES:
        return None
    return f"begins with {match[0][:40]}: write a path, or file://, git://, http(s)://, ssh:// or user@host:path"


def repository_path(url: str) -> Path | None:
    """The folder that a path or `file://` URL names; None for a repository on another machine."""
    if url.startswith("file://"):
        return Path(url.removeprefix("file://"))
    return None if _REMOTE.match(url) and not Path(url).exists() else Path(url)


def clone_folder(repository: RepositoryConfig, url: str, environment: Mapping[str, str] = os.environ) -> Path:
    """The folder of the clone of a remote: as configured, else in the state directory, by name and digest."""
    if repository.clone:
        return Path(repository.clone).expanduser()
    state = environment.get("STATE_DIRECTORY", "").partition(":")[0]
    if not state:
        home = environment.get("XDG_STATE_HOME") or str(Path("~/.local/state").expanduser())
        state = str(Path(home) / "dreamcatcherd")
    # The name is for people; the digest keeps two repositories of one name apart.
    name = re.sub(r"[^A-Za-z0-9_-]", "-", url.rstrip("/").removesuffix(".git").rpartition("/")[2])[:40]
    return Path(state) / f"{name}-{hashlib.sha256(url.encode()).hexdigest()[:12]}.git"


def credential_file(
    table: Literal["repository", "http"], name: str, named: str | None, environment: Mapping[str, str] = os.environ
) -> Path | None:
    """The file of one credential of a table: as configured, else systemd's, else None. UsageError if it is missing.

    systemd's file has the key's name, except for tokens: `token` and `http_token`."""
    if named:
        path = Path(named).expanduser()
        if not path.is_file():
            raise UsageError(f"{path} ({name}) is no file", f"name a readable file with [{table}] {name}")
        return path.absolute()
    # A file that is configured must be there. One of systemd's may be missing: the unit names all that it could have.
    folder = environment.get("CREDENTIALS_DIRECTORY")
    token = "http_token" if table == "http" else "token"
    given = Path(folder) / (token if name == "token_file" else name) if folder else None
    return given if given and given.is_file() else None


def check_listening(http: HttpConfig, environment: Mapping[str, str] = os.environ) -> None:
    """UsageError if other machines would be answered without a token and without TLS, and `insecure` is not set."""
    host, _ = listen_address(http.listen)
    token = credential_file("http", "token_file", http.token_file, environment)
    certificate = credential_file("http", "tls_cert", http.tls_cert, environment)
    key = credential_file("http", "tls_key", http.tls_key, environment)
    if (certificate is None) != (key is None):
        raise UsageError("[http] tls_cert and tls_key go together", "name both or neither")
    if not (is_loopback(host) or token or certificate or http.insecure):
        cause = f"[http] listen {http.listen!r} lets other machines read without a token and without TLS"
        raise UsageError(cause, "set token_file, or tls_cert and tls_key, or insecure = true if this is intended")


def is_loopback(host: str) -> bool:
    """Whether a host to listen on is this machine alone. No name is resolved: only localhost counts."""
    if host.lower() == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def listen_address(listen: str) -> tuple[str, int]:
    """Host and port of `host:port`; UsageError for anything else."""
    host, _, port = listen.rpartition(":")
    host = host.removeprefix("[").removesuffix("]")
    if not host or not _PORT.fullmatch(port) or int(port) > 65535:
        raise UsageError(f"[http] listen {listen!r} is not host:port", "write it as 127.0.0.1:9464")
    return host, int(port)
