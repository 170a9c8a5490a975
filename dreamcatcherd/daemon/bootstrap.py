"""The composition root: from a configuration to everything that runs under it.

A `Runtime` is built completely and checked before anything of it takes effect; then it is swapped in and the old one is
let go. So a configuration that is refused leaves no trace. Building opens files and repositories; it starts no thread,
binds no port and catches no signal."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from dreamcatcherd.config_tables import Config
from dreamcatcherd.core.frames import Closing
from dreamcatcherd.daemon.engines import check_engine
from dreamcatcherd.daemon.event_receivers import Subscription, subscriptions_of
from dreamcatcherd.daemon.hints import read_hint_secrets
from dreamcatcherd.daemon.mirror_config import MirrorSite, mirrors_of
from dreamcatcherd.daemon.mirror_keeper import MirrorBase
from dreamcatcherd.daemon.opening import closing_of, kept_refs, open_store, primary_of
from dreamcatcherd.daemon.primary import Primary
from dreamcatcherd.daemon.relay import Relay, policy_of, relay_of
from dreamcatcherd.daemon.tracing import read_tracing
from dreamcatcherd.git.protocols import GitStore
from dreamcatcherd.observe.frame_trace import TraceTarget
from dreamcatcherd.stages.server_policy import ServerPolicy
from dreamcatcherd.web.server import Listening, read_listening


class Runtime(NamedTuple):
    """What one configuration comes to. `watched` are the folders in which pushes show, none for a repository on another
    machine. With `policy` None the primary keeps the one that it has."""

    config: Config
    store: GitStore
    primary: Primary
    closing: Closing
    listening: Listening
    watched: tuple[Path, ...] = ()
    tracing: TraceTarget | None = None
    hint_secrets: tuple[bytes, ...] = ()
    subscriptions: tuple[Subscription, ...] = ()
    mirrors: tuple[MirrorSite, ...] = ()
    relay: Relay | None = None
    policy: ServerPolicy | None = None

    @property
    def mirror_base(self) -> MirrorBase:
        """What the mirrors of this repository work with."""
        kept = kept_refs(self.store, self.config.repository.timeout)
        return MirrorBase(self.primary.main, self.config.retention.lanes_keep, kept, self.store.reader)


def build_runtime(config: Config, url: str, now: Runtime | None = None) -> Runtime:
    """Build what a configuration needs; UsageError says what is wrong with it.

    If the repository is the one that is served `now`, its store is kept: a second one would wait for the first one's
    lock on the clone. Its primary is kept as well, with all that it has read."""
    closing, listening, mirrors = closing_of(config), read_listening(config.http), mirrors_of(config.mirrors, url)
    secrets = read_hint_secrets(config.hint)
    check_engine(config.engine)
    if now is not None and config.repository == now.config.repository:
        tracing = read_tracing(config.otel, now.store.where)
        receivers = subscriptions_of(config.events, now.store.identity)
        relay = relay_of(config, now.store, now.primary, now.relay)
        return now._replace(
            config=config, closing=closing, listening=listening, tracing=tracing, hint_secrets=secrets,
            subscriptions=receivers, mirrors=mirrors, relay=relay,
            policy=now.policy if relay is now.relay else policy_of(relay, now.store),
        )  # fmt: skip
    store = open_store(config.repository, url)
    # A push to a repository on another machine changes nothing on this disk.
    watched = () if store.server_notes else (store.folder / "refs",)
    tracing, receivers = read_tracing(config.otel, store.where), subscriptions_of(config.events, store.identity)
    primary = primary_of(config, store, closing)
    relay = relay_of(config, store, primary, None)
    policy = primary.policy if relay is None else policy_of(relay, store)
    return Runtime(
        config, store, primary, closing, listening, watched, tracing, secrets, receivers, mirrors, relay, policy
    )


class Source:
    """Where the daemon's configuration comes from: read again on SIGHUP, or when its file has changed."""

    def __init__(self, read: Callable[[], tuple[Config, str]], file: Path | None) -> None:
        """`read` gives the configuration and the repository's path or URL; `file` is the file that it reads, if any."""
        self._read = read
        self._stamp: tuple[int, int, int] | None = None
        self.file = file

    def read(self) -> tuple[Config, str]:
        """The configuration as it is now; UsageError if it is wrong."""
        self._stamp = self._stat()
        return self._read()

    def changed(self) -> bool:
        """Whether the file is another one than when it was last read."""
        return self._stat() != self._stamp

    def _stat(self) -> tuple[int, int, int] | None:
        try:
            found = self.file.stat() if self.file else None
        except OSError:
            return None
        return (found.st_mtime_ns, found.st_size, found.st_ino) if found else None
