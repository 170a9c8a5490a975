"""What a configuration must satisfy beyond the types of its keys: values that go together, and addresses.

Owns these rules; each gives its mistakes as values, so that all are found (docs/protocol.md#configuration)."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from urllib.parse import urlsplit

from msgspec import structs

from dreamcatcherd.config_files import (
    CREDENTIALS,
    credential_file,
    events_secret_file,
    is_same_repository,
    mirror_file,
    repository_path,
)
from dreamcatcherd.config_remotes import MirrorConfig, RelayConfig
from dreamcatcherd.config_tables import (
    Config,
    EngineConfig,
    EventsConfig,
    FramesConfig,
    HttpConfig,
    PublishConfig,
    RepositoryConfig,
    RetentionConfig,
)
from dreamcatcherd.core import paths
from dreamcatcherd.core.errors import UsageError
from dreamcatcherd.core.mistakes import Mistake

_SCHEME = re.compile(r"([a-z+]+)://|([A-Za-z0-9][A-Za-z0-9+.-]*)::")
_SCHEMES = ("file", "git", "http", "https", "ssh", "git+ssh", "ssh+git")
_OPTION = re.compile(r"-|[a-z+]+://(?:[^/]*@)?-|[^/:]*@-")
"""A URL that git would take for an option, or whose host ssh would take for one."""
_PORT = re.compile(r"[0-9]{1,5}")
MAX_PORT = 65_535
_NOT_IN_HOST = re.compile(r"[/@?#\[\]\s]")
_BRANCH = re.compile(r"(?!.*(?:\.\.|\.(?:lock)?(?:/|$)))[A-Za-z0-9_][A-Za-z0-9_.-]*(?:/[A-Za-z0-9_][A-Za-z0-9_.-]*)*")


def contradictions(config: Config, environment: Mapping[str, str]) -> Iterator[Mistake]:
    """The mistakes that no type of a single key shows. Files that are named must be there; they are not read."""
    yield from _repository(config.repository)
    yield from _frames(config.frames)
    yield from _listening(config.http, environment)
    yield from _events(config.events, environment)
    yield from _relay(config, environment)
    yield from _mirrors(config.mirrors, config.repository.url, environment)
    if config.otel.endpoint is not None and (why := wrong_endpoint(config.otel.endpoint)) is not None:
        yield _mistake("otel", "endpoint", why)
    yield from _engine(config.engine, is_relay=config.relay.upstream is not None)


def _mistake(table: str, key: str, what: str, *others: str, remedy: str = "") -> Mistake:
    """A mistake at a key of a table, judged by other keys of that table."""
    needs = tuple((table, name) for name in others)
    return Mistake(f"[{table}] {key}", what, remedy, at=((table, key),), needs=needs)


def _repository(repository: RepositoryConfig) -> Iterator[Mistake]:
    if (why := wrong_url(repository.url)) is not None:
        yield _mistake("repository", "url", why)
    if (repository.clone or "").startswith("-"):
        yield _mistake("repository", "clone", "begins with -, as an option would: write ./ before it")
    if not _BRANCH.fullmatch(repository.branch):
        yield _mistake("repository", "branch", f"{repository.branch!r} is not a branch name such as main")


def _frames(frames: FramesConfig) -> Iterator[Mistake]:
    if frames.close == "cron" and frames.cron is None:
        yield _mistake("frames", "close", '= "cron" needs cron, such as "*/10 * * * *"', "cron")
    if frames.close == "quorum" and frames.streams == []:
        yield _mistake("frames", "close", '= "quorum" needs streams: names, or a number of frames', "streams")
    if frames.counter.startswith(("/", "../")) or "/../" in frames.counter:
        yield _mistake("frames", "counter", f"{frames.counter!r} is not a path inside the repository")


def _listening(http: HttpConfig, environment: Mapping[str, str]) -> Iterator[Mistake]:
    """Other machines are answered only with a token, with TLS, or if `insecure` is set."""
    host = None
    try:
        host, _ = listen_address(http.listen)
    except UsageError as error:
        yield _mistake("http", "listen", error.cause.removeprefix("[http] listen "), remedy=error.remedy)
    found = {}
    for key in ("token_file", "tls_cert", "tls_key"):
        try:
            found[key] = credential_file("http", key, getattr(http, key), environment)
        except UsageError as error:
            yield _mistake("http", key, error.cause.removeprefix(f"[http] {key} "), remedy=error.remedy)
    certificate, key_file = found.get("tls_cert"), found.get("tls_key")
    if (certificate is None) != (key_file is None):
        yield _mistake("http", "tls_cert", "and tls_key go together", "tls_key", remedy="name both or neither")
    if host is not None and not (is_loopback(host) or any(found.values()) or http.insecure):
        what = f"{http.listen!r} lets other machines read without a token and without TLS"
        remedy = "set token_file, or tls_cert and tls_key, or insecure = true if this is intended"
        yield _mistake("http", "listen", what, "token_file", "tls_cert", "tls_key", "insecure", remedy=remedy)


def _events(tables: list[EventsConfig], environment: Mapping[str, str]) -> Iterator[Mistake]:
    """A receiver of events must be one, is named once, and gets no unsigned events on another machine. No URL is shown:
    its path may be a secret."""
    seen: set[str | tuple[str, ...]] = set()
    names: set[str | None] = set()
    for number, table in enumerate(tables):
        where = f"[[events]] table {number + 1}"
        if table.name is not None and table.name in names:
            yield Mistake(f"{where} name", "is taken", "name each receiver once", at=(("events", number, "name"),))
        names.add(table.name)
        at = tuple(("events", number, key) for key in ("url", "exec"))
        secret = (("events", number, "secret_file"),)
        if (why := _wrong_receiver(table)) is not None:
            yield Mistake(where, why, at=at, needs=secret)
            continue
        receiver = table.url or tuple(table.exec or ())
        if receiver in seen:
            what = "names the same receiver as a table before it: name it once, with all types"
            yield Mistake(where, what, at=at)
        seen.add(receiver)
        try:
            signed = table.exec is not None or events_secret_file(table, environment) is not None
        except UsageError as error:
            yield Mistake(where, error.cause.removeprefix("[[events]] "), error.remedy, at=secret)
            continue
        if not signed and not is_loopback(urlsplit(table.url or "").hostname or ""):
            remedy = "set secret_file: a file with a secret that the receiver knows too, such as whsec_ and base64"
            yield Mistake(where, "sends to another machine, and signs nothing", remedy, at=secret, needs=at)


_RELAY_CLOSES = "has no effect in a relay: frames are closed upstream"


def _relay(config: Config, environment: Mapping[str, str]) -> Iterator[Mistake]:
    """A relay has an upstream and a name, works on a repository of this disk, and closes and publishes nothing."""
    relay, repository = config.relay, config.repository
    if (relay.upstream is None) != (relay.name is None):
        key, other = ("upstream", "name") if relay.upstream is not None else ("name", "upstream")
        yield _mistake("relay", key, f"goes with {other}", other, remedy="name both or neither")
    if relay.name is not None and not paths.is_relay_name(relay.name):
        yield _mistake("relay", "name", f"{relay.name!r} is not 1 to 40 letters, digits, - and _, such as north")
    if relay.upstream is None:
        if relay.name is None:
            yield from _without_upstream(relay)
        return
    for table, key in CREDENTIALS:
        try:
            if table == "relay":
                credential_file("relay", key, getattr(relay, key), environment)
        except UsageError as error:
            yield _mistake("relay", key, error.cause.removeprefix(f"[relay] {key} "), remedy=error.remedy)
    if (why := wrong_url(relay.upstream)) is not None:
        yield _mistake("relay", "upstream", why)
    if repository_path(repository.url) is None:
        what = "is on another machine: a relay works on a repository of its own disk"
        yield Mistake("[repository] url", what, "name a path", at=(("repository", "url"), ("relay", "upstream")))
    if is_same_repository(relay.upstream, repository.url):
        what = "is the relay's own repository, which [repository] url names"
        yield Mistake("[relay] upstream", what, "name the repository that decides", at=(("relay", "upstream"),))
    defaults = ("frames", FramesConfig()), ("publish", PublishConfig()), ("retention", RetentionConfig())
    for table, default in defaults:
        for key in default.__struct_fields__:
            if key != "lanes_keep" and getattr(getattr(config, table), key) != getattr(default, key):
                yield Mistake(f"[{table}] {key}", _RELAY_CLOSES, "leave it out", at=((table, key),))


def _without_upstream(relay: RelayConfig) -> Iterator[Mistake]:
    for key, default in structs.asdict(RelayConfig()).items():
        if getattr(relay, key) != default:
            remedy = "name upstream and name, or leave it out"
            yield _mistake("relay", key, "has no effect without upstream", "upstream", remedy=remedy)


MIRROR_FILES = ("token_file", "ssh_key", "known_hosts", "ca_file")
"""The keys of a mirror that name files."""


def _mirrors(tables: list[MirrorConfig], repository: str, environment: Mapping[str, str]) -> Iterator[Mistake]:
    """A mirror is another repository than the one that decides, and is named once. No URL is shown: it may have a
    password."""
    names: set[str] = set()
    urls = [repository]
    for number, table in enumerate(tables):
        where = f"[[mirrors]] table {number + 1}"
        if (why := wrong_url(table.url)) is not None:
            yield Mistake(f"{where} url", why, at=(("mirrors", number, "url"),))
        if table.name in names:
            yield Mistake(f"{where} name", "is taken", "name each mirror once", at=(("mirrors", number, "name"),))
        if any(is_same_repository(table.url, url) for url in urls):
            what = "names the same repository as [repository] or a table before it"
            yield Mistake(f"{where} url", what, "name each mirror once", at=(("mirrors", number, "url"),))
        names.add(table.name)
        urls.append(table.url)
        if not table.intake and not table.publish:
            what = "has no effect with intake = false and publish = false"
            both = tuple(("mirrors", number, key) for key in ("intake", "publish"))
            yield Mistake(where, what, "set one of them to true, or leave the table out", at=both)
        for key in MIRROR_FILES:
            try:
                mirror_file(table, key, environment)
            except UsageError as error:
                what = error.cause.removeprefix("[[mirrors]] ")
                yield Mistake(where, what, error.remedy, at=(("mirrors", number, key),))


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


def _engine(engine: EngineConfig, *, is_relay: bool) -> Iterator[Mistake]:
    """A scheduler goes with Dask alone, and is reached over TLS unless it is on this machine. Certificates come with
    their key, their authority and such a scheduler, and are there. A relay merges nothing."""
    files = ("ca_file", "tls_cert", "tls_key")
    for key in engine.__struct_fields__ if is_relay else ():
        if getattr(engine, key) != getattr(EngineConfig(), key):
            remedy = "leave it out; replay and verify take --engine"
            yield Mistake(f"[engine] {key}", _RELAY_CLOSES, remedy, at=(("engine", key),))
    if engine.scheduler is not None and engine.kind != "dask":
        yield _mistake("engine", "scheduler", 'goes with kind = "dask"', "kind")
    elif engine.scheduler is not None and (why := wrong_scheduler(engine.scheduler)) is not None:
        yield _mistake("engine", "scheduler", why)
    if engine.workers is not None and engine.kind == "inline":
        remedy = 'set kind = "processes", or leave it out'
        yield _mistake("engine", "workers", 'has no effect with kind = "inline"', "kind", remedy=remedy)
    elif engine.workers is not None and engine.scheduler is not None:
        what = "has no effect with scheduler, which has workers of its own"
        yield _mistake("engine", "workers", what, "scheduler", remedy="leave it out, or leave scheduler out")
    for key in files:
        named = getattr(engine, key)
        if named is not None and not Path(named).expanduser().is_file():
            yield _mistake("engine", key, f"names {named}, which is not a file", remedy="name a file that exists")
    missing = [key for key in files if getattr(engine, key) is None]
    over_tls = (engine.scheduler or "").startswith("tls://")
    if missing and (len(missing) < len(files) or over_tls):
        what = f"is missing: {', '.join(files)} go together, and a scheduler at tls:// needs them"
        yield _mistake("engine", missing[0], what, "scheduler", *files)
    elif not missing and engine.kind == "dask" and not over_tls:
        remedy = "name a scheduler at tls://, or leave ca_file, tls_cert and tls_key out"
        yield _mistake("engine", "ca_file", "has no effect without a scheduler at tls://", "scheduler", remedy=remedy)


def wrong_scheduler(address: str) -> str | None:
    """Why a text is not the address of a scheduler that may be used; None if it is."""
    scheme, _, rest = address.partition("://")
    host, colon, port = rest.rpartition(":")
    if scheme not in ("tcp", "tls") or not colon or not host or not _PORT.fullmatch(port):
        return f"{address!r} is not an address such as tls://scheduler.example.org:8786"
    if not 1 <= int(port) <= MAX_PORT:
        return f"{address!r} has a port that is not 1 to {MAX_PORT}"
    if scheme == "tcp" and not is_loopback(host.removeprefix("[").removesuffix("]")):
        return f"{address!r} is on another machine: Dask runs what it is sent, so write tls:// and name certificates"
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


def without_path(url: str) -> str:
    """The URL of a receiver as far as it can be shown: its path and query may be a secret."""
    scheme, _, rest = url.partition("://")
    host = re.split(r"[/?]", rest, maxsplit=1)[0]
    return f"{scheme}://{host}/" + ("…" if rest.removeprefix(host).strip("/") else "")


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
    if not host or _NOT_IN_HOST.search(host) or not _PORT.fullmatch(port) or int(port) > MAX_PORT:
        raise UsageError(f"[http] listen {listen!r} is not host:port", "write it as 127.0.0.1:9464")
    return host, int(port)
