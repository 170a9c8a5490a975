"""Reads a primary's TOML file (docs/protocol.md#configuration) into the tables of `config_tables`.

Owns refusing a wrong file, and what follows from its keys: paths, credentials, addresses. The settings of the merge are
in the repository (`core/settings`)."""

from __future__ import annotations

import difflib
import hashlib
import ipaddress
import os
import re
import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, get_args
from urllib.parse import urlsplit

import msgspec

from dreamcatcherd.config_tables import Config, EventsConfig, HttpConfig, RepositoryConfig
from dreamcatcherd.core.errors import UsageError
from dreamcatcherd.core.events import EventType
from dreamcatcherd.core.format_number import take_format

_REMOTE = re.compile(r"[a-z+]+://|[^/:]+@?[^/:]*:(?!//)[^/]*")
_SCHEME = re.compile(r"([a-z+]+)://|([A-Za-z0-9][A-Za-z0-9+.-]*)::")
_SCHEMES = ("file", "git", "http", "https", "ssh", "git+ssh", "ssh+git")
_OPTION = re.compile(r"-|[a-z+]+://(?:[^/]*@)?-|[^/:]*@-")
"""A URL that git would take for an option, or whose host ssh would take for one."""
_PORT = re.compile(r"[0-9]{1,5}")
_NOT_IN_HOST = re.compile(r"[/@?#\[\]\s]")
_BRANCH = re.compile(r"(?!.*(?:\.\.|\.(?:lock)?(?:/|$)))[A-Za-z0-9_][A-Za-z0-9_.-]*(?:/[A-Za-z0-9_][A-Za-z0-9_.-]*)*")


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
    if (why := take_format(document)) is not None:
        raise UsageError(f"{file}: {why}", "upgrade dreamcatcherd, or use the file of this version")
    _override(document, environment)
    where = str(file) if file is not None else "the environment"
    try:
        config = msgspec.convert(document, Config)
    except msgspec.ValidationError as error:
        raise UsageError(f"{where}: {_plainly(str(error))}{_suggestion(str(error))}", _REMEDY) from error
    if (why := _contradiction(config)) is not None:
        raise UsageError(f"{where}: {why}", _REMEDY)
    check_listening(config.http, environment)
    check_events(config.events, environment)
    return config


_REMEDY = "correct it; `dreamcatcherd config reference` lists every key"
_VARIABLE = re.compile(rf"DREAMCATCHERD_({'|'.join(Config.__struct_fields__).upper()})(?:_([A-Z_]+))?")
_UNKNOWN = re.compile(r"unknown field `([^`]*)`(?: - at `\$(?:\.([a-z_]+))?(?:\[[0-9]+\])?`)?")
_NO_TYPE = re.compile(r"Invalid enum value '([^']*)' - at `\$\.events\[[0-9]+\]\.types")
_LISTS = {"events": EventsConfig}
"""Tables that there may be several of, each with the struct of one."""


def _override(document: dict[str, Any], environment: Mapping[str, str]) -> None:
    """Override the file by the variables of the environment: each is a TOML value, or else a plain text. Of a list of
    tables, one variable without a key overrides all."""
    for name, text in sorted(environment.items()):
        match = _VARIABLE.fullmatch(name)
        if match is None or (match[2] is None and match[1].lower() not in _LISTS):
            continue
        if match[2] is not None and match[1].lower() in _LISTS:
            table = name.removesuffix(f"_{match[2]}")
            raise UsageError(f"{name} sets one key of several tables", f"set {table} to a list of tables in TOML")
        # `5` and `true` are TOML values; `main` is not, and means the text.
        try:
            value = tomllib.loads(f"value = {text}")["value"]
        except (ValueError, RecursionError):
            value = text
        if match[2] is None:
            document[match[1].lower()] = value
            continue
        table = document.setdefault(match[1].lower(), {})
        if isinstance(table, dict):
            table[match[2].lower()] = value


_TEMPLATE = re.compile(r"Expected `str` matching regex .* - at `\$\.links\.(commit|file)`", re.DOTALL)


def _plainly(said: str) -> str:
    """What msgspec says; of a template that does not match, what one looks like and not the regular expression."""
    if (match := _TEMPLATE.fullmatch(said)) is None:
        return said
    needed = "{commit}" if match[1] == "commit" else "{commit}, and {path} after it"
    return f"[links] {match[1]} is not an http:// or https:// URL with {needed} in its path"


def _suggestion(said: str) -> str:
    """The nearest known key or type of event, if the error names an unknown one."""
    match = _UNKNOWN.search(said)
    if match is None:
        match = _NO_TYPE.search(said)
        types = get_args(EventType)
        near = difflib.get_close_matches(match[1], types, n=1) if match else []
        return f"; did you mean {near[0]!r}?" if near else f"; known are {', '.join(types)}" if match else ""
    tables = {field.name: field.type for field in msgspec.structs.fields(Config)} | _LISTS
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
    if config.otel.endpoint is not None and (why := wrong_endpoint(config.otel.endpoint)) is not None:
        return f"[otel] endpoint {why}"
    return None


def wrong_endpoint(endpoint: str) -> str | None:
    """Why a text is not the URL of a collector; None if it is. The text shows no part that can be a secret."""
    try:
        parts = urlsplit(endpoint)
        host, _ = parts.hostname, parts.port
    except ValueError:
        host = None
    if host is None or parts.scheme not in ("http", "https") or not endpoint.isprintable() or " " in endpoint:
        return "is not a URL such as http://127.0.0.1:4318"
    if parts.username is not None or parts.query or parts.fragment:
        return "has more than host, port and path: write tokens into headers_file"
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


_GIVEN = {
    ("repository", "token_file"): "token",
    ("http", "token_file"): "http_token",
    ("hint", "secret_file"): "hint_secret",
    ("otel", "headers_file"): "otel_headers",
    ("otel", "ca_file"): "otel_ca_file",
}
"""The names of systemd's credentials where they are not those of the keys."""


def credential_file(
    table: Literal["repository", "http", "hint", "otel"],
    name: str,
    named: str | None,
    environment: Mapping[str, str] = os.environ,
) -> Path | None:
    """The file of one credential of a table: as configured, else systemd's, else None. UsageError if it is missing.

    systemd's file has the key's name, or that of `_GIVEN`."""
    if named:
        path = Path(named).expanduser()
        if not path.is_file():
            raise UsageError(f"{path} ({name}) is no file", f"name a readable file with [{table}] {name}")
        return path.absolute()
    # A file that is configured must be there. One of systemd's may be missing: the unit names all that it could have.
    folder = environment.get("CREDENTIALS_DIRECTORY")
    given = Path(folder) / _GIVEN.get((table, name), name) if folder else None
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


def check_events(tables: Sequence[EventsConfig], environment: Mapping[str, str] = os.environ) -> None:
    """UsageError if a receiver of events cannot be one, is named twice, or would get events unsigned from another
    machine. No URL is shown: its path may be a secret."""
    seen: set[str | tuple[str, ...]] = set()
    for number, table in enumerate(tables, 1):
        why = _wrong_receiver(table)
        receiver = table.url or tuple(table.exec or ())
        if why is None and receiver in seen:
            why = "names the same receiver as a table before it: name it once, with all types"
        if why is not None:
            raise UsageError(f"[[events]] table {number} {why}", _REMEDY)
        seen.add(receiver)
        if table.url and events_secret_file(table, environment) is None and not is_loopback(_host(table.url)):
            remedy = "set secret_file: a file with a secret that the receiver knows too, such as whsec_ and base64"
            raise UsageError(f"[[events]] table {number} sends to another machine, and signs nothing", remedy)


def _wrong_receiver(table: EventsConfig) -> str | None:
    if (table.url is None) == (table.exec is None):
        return "needs url or exec, and not both"
    if table.exec is not None:
        if not table.exec or not all(table.exec[:1]) or any("\0" in word for word in table.exec):
            return 'exec is not a program with its arguments, such as ["/usr/local/bin/on-event", "--fast"]'
        return "has exec: secret_file and ca_file go with url" if table.secret_file or table.ca_file else None
    url = table.url or ""
    try:
        parts = urlsplit(url)
        ordinary = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        ordinary = False
    if not ordinary or not url.isascii() or not url.isprintable() or " " in url or "#" in url:
        return "url is not http://host/path or https://host/path"
    return "url has a user or password: receivers know the sender by its signature" if parts.username else None


def _host(url: str) -> str:
    return urlsplit(url).hostname or ""


def without_path(url: str) -> str:
    """The URL of a receiver as far as it can be shown: its path and query may be a secret."""
    scheme, _, rest = url.partition("://")
    host = re.split(r"[/?]", rest, maxsplit=1)[0]
    return f"{scheme}://{host}/" + ("…" if rest.removeprefix(host).strip("/") else "")


def events_secret_file(table: EventsConfig, environment: Mapping[str, str] = os.environ) -> Path | None:
    """The file with the secrets of a receiver: as configured, else systemd's `events_secret`, else None. UsageError if
    it is missing."""
    folder = environment.get("CREDENTIALS_DIRECTORY")
    name = table.secret_file or "events_secret"
    given = Path(folder) / name if folder and "/" not in name else None
    if given is not None and given.is_file():
        return given
    if table.secret_file is None:
        return None
    path = Path(table.secret_file).expanduser()
    if not path.is_file():
        raise UsageError(f"{path} (secret_file) is no file", "name a readable file with [[events]] secret_file")
    return path.absolute()


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
    if not host or _NOT_IN_HOST.search(host) or not _PORT.fullmatch(port) or int(port) > 65535:
        raise UsageError(f"[http] listen {listen!r} is not host:port", "write it as 127.0.0.1:9464")
    return host, int(port)
