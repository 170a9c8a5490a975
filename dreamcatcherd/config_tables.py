"""A primary's TOML file as frozen structs, strict (docs/protocol.md#configuration). Times are seconds.

Owns the tables, their keys with their bounds, and the defaults. `config` reads the file."""

from __future__ import annotations

from typing import Annotated, Literal

from msgspec import Meta, Struct

from dreamcatcherd.config_remotes import MirrorConfig, RelayConfig, RemoteKeys, Retry
from dreamcatcherd.core.events import EventType
from dreamcatcherd.core.frames import CloseRule, Closing

DEFAULT_URL = "fleet.git"

DEADLINE_S = 300.0
"""The default deadline of a rule that waits for workers: a dead stream must not keep a frame open forever."""


_ORIGIN = r"^(\*|https?://[a-z0-9.:\[\]-]+)$"
_COMMIT_PAGE = r"^(https?://[A-Za-z0-9.:\[\]-]+/[^\s{}]*\{commit\}[^\s{}]*)?$"
_FILE_PAGE = r"^(https?://[A-Za-z0-9.:\[\]-]+/[^\s{}]*\{commit\}[^\s{}]*\{path\}[^\s{}]*)?$"
"""Addresses of the web alone, without a user or password in them."""
_COMMIT_FORM = "an http:// or https:// URL with {commit} in its path"
_FILE_FORM = "an http:// or https:// URL with {commit}, and {path} after it, in its path"
"""What errors say of a text that does not match, in place of the expression."""


class RepositoryConfig(RemoteKeys, frozen=True, forbid_unknown_fields=True):
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
    retry: Retry = 15.0
    transport: Annotated[
        Literal["pygit2", "git"],
        Meta(description="`git` also fetches with git, with its ssh configuration, credential helpers and proxies"),
    ] = "pygit2"
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
    cors_origins: Annotated[
        list[Annotated[str, Meta(pattern=_ORIGIN, title="`*` or a site such as https://fleet.example")]],
        Meta(description="sites whose pages may read the API, such as `https://fleet.example`; `*` is any"),
    ] = []


class LinksConfig(Struct, frozen=True, forbid_unknown_fields=True):
    """Where the status page links commits and files to.

    For GitHub, GitLab, Gitea, Forgejo, Codeberg and Bitbucket the repository's URL is enough, if the host is named
    after the software. A template that is not given follows from the URL; an empty one turns these links off."""

    commit: Annotated[
        Annotated[str, Meta(pattern=_COMMIT_PAGE, title=_COMMIT_FORM)] | None,
        Meta(description='the page of a commit, such as `"https://git.example.org/fleet/commit/{commit}"`'),
    ] = None
    file: Annotated[
        Annotated[str, Meta(pattern=_FILE_PAGE, title=_FILE_FORM)] | None,
        Meta(description='the page of a file, such as `"https://git.example.org/fleet/file/{commit}/{path}"`'),
    ] = None


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


_RECEIVER = r"^[a-z0-9][a-z0-9-]{0,39}$"
_RECEIVER_FORM = "1 to 40 of a-z, 0-9 and -, such as board"


class EventsConfig(Struct, frozen=True, forbid_unknown_fields=True):
    """A receiver of events: one table for each, with `url` or `exec`.

    If no `secret_file` is named here, it is looked for in `$CREDENTIALS_DIRECTORY`, as `events_secret`.

    `DREAMCATCHERD_EVENTS='[{url = "https://…", secret_file = "…"}]'` in the environment overrides all of them."""

    name: Annotated[
        Annotated[str, Meta(pattern=_RECEIVER, title=_RECEIVER_FORM)] | None,
        Meta(description="by which it is known, so that it may move; default: its `url` or `exec`"),
    ] = None
    url: Annotated[str | None, Meta(description="where events are posted, http(s)://; redirects are not followed")] = (
        None
    )
    exec: Annotated[
        list[str] | None,
        Meta(description="a program with its arguments, run for each event, which it gets on standard input"),
    ] = None
    secret_file: Annotated[
        str | None,
        Meta(
            description="secrets that sign the events, one per line; needed unless the URL is of this machine; a name "
            "without a slash is looked for in `$CREDENTIALS_DIRECTORY`"
        ),
    ] = None
    types: Annotated[list[EventType], Meta(description="the types of the events; default: all")] = []
    timeout: Annotated[
        float, Meta(ge=0.1, le=3600, description="seconds after which a delivery that is not complete has failed")
    ] = 10.0
    retry: Annotated[
        float,
        Meta(ge=0.1, le=3600, description="maximum seconds between two attempts after failures; they grow from 1"),
    ] = 60.0
    ca_file: Annotated[str | None, Meta(description="certificates to trust in place of the system's, PEM")] = None


class LogConfig(Struct, frozen=True, forbid_unknown_fields=True):
    """The log, on standard error."""

    format: Annotated[
        Literal["auto", "console", "json"], Meta(description="`auto`: readable on a terminal, JSON elsewhere")
    ] = "auto"
    level: Annotated[Literal["debug", "info", "warning", "error"], Meta(description="minimum level")] = "info"


class HintConfig(Struct, frozen=True, forbid_unknown_fields=True):
    """Hints of a forge that something was pushed: `POST /hooks/push` makes the daemon look at once.

    A file that is not named here is looked for in `$CREDENTIALS_DIRECTORY`, as `hint_secret`. A changed file counts
    from SIGHUP."""

    secret_file: Annotated[
        str | None,
        Meta(description="file with the webhook's secret; every line is valid, so that it can be changed in two steps"),
    ] = None


class OtelConfig(Struct, frozen=True, forbid_unknown_fields=True):
    """Where the trace of each frame is sent by OTLP over HTTP; needs the extra `otel`, from the
    artefacts of a release or from a checkout.

    Files that are not named here are looked for in `$CREDENTIALS_DIRECTORY`, as `otel_headers` and `otel_ca_file`. A
    changed file counts from SIGHUP."""

    endpoint: Annotated[
        str | None,
        Meta(description="URL of a collector, such as `http://127.0.0.1:4318`; `/v1/traces` is added to it"),
    ] = None
    headers_file: Annotated[
        str | None, Meta(description="file of headers for the collector, such as a token: `name: value`, one a line")
    ] = None
    ca_file: Annotated[str | None, Meta(description="certificates to trust in place of the system's, PEM")] = None


class EngineConfig(Struct, frozen=True, forbid_unknown_fields=True):
    """How large work is spread: closes of large frames, `replay`, `verify`, `reclassify` and `import --map`.

    `dask` needs the extra `dask`, from the artefacts of a release or from a checkout.

    Dask runs whatever it is sent, so a scheduler on another machine is reached over TLS alone."""

    kind: Annotated[
        Literal["inline", "processes", "dask"],
        Meta(description="in this process, in processes of this machine, or on a Dask cluster"),
    ] = "inline"
    workers: Annotated[
        Annotated[int, Meta(ge=1, le=1024)] | None,
        Meta(
            description="processes, or workers of a cluster on this machine, so not with `scheduler`; default: one for "
            "each processor"
        ),
    ] = None
    scheduler: Annotated[
        str | None,
        Meta(
            description='address of a Dask scheduler, `"tls://host:port"`; default: a cluster on this machine, started '
            "for each piece of work"
        ),
    ] = None
    threshold: Annotated[
        int,
        Meta(
            ge=0,
            le=10**9,
            description="work of more deltas than this is spread, or with `inline` cut to need less memory; smaller "
            "work is not",
        ),
    ] = 50_000
    ca_file: Annotated[
        str | None,
        Meta(description="the authority that signed the certificates of scheduler and workers, PEM; for `tls://`"),
    ] = None
    tls_cert: Annotated[str | None, Meta(description="certificate for the scheduler, PEM; goes with `tls_key`")] = None
    tls_key: Annotated[str | None, Meta(description="its private key without passphrase, PEM")] = None


class Config(Struct, frozen=True, forbid_unknown_fields=True):
    """The complete file; each table and key may be left out."""

    repository: RepositoryConfig = RepositoryConfig()
    frames: FramesConfig = FramesConfig()
    http: HttpConfig = HttpConfig()
    links: LinksConfig = LinksConfig()
    publish: PublishConfig = PublishConfig()
    retention: RetentionConfig = RetentionConfig()
    events: list[EventsConfig] = []
    mirrors: list[MirrorConfig] = []
    hint: HintConfig = HintConfig()
    otel: OtelConfig = OtelConfig()
    relay: RelayConfig = RelayConfig()
    engine: EngineConfig = EngineConfig()
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
