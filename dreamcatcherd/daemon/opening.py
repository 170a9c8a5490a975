"""Opening what a configuration names: the store of its repository, its closing rule, and a primary on both.

Owns what the commands that run once share with the daemon. It loads nothing that serves: no HTTP, no timers, no log,
and the code for remote repositories only for a URL, since all of that takes longer to load than a small frame to
merge."""

from __future__ import annotations

from typing import TYPE_CHECKING

from msgspec import structs

from dreamcatcherd.config_files import clone_folder, credential_file, repository_path
from dreamcatcherd.config_tables import Config, RepositoryConfig
from dreamcatcherd.core.frames import Closing
from dreamcatcherd.daemon.engines import engine_of
from dreamcatcherd.daemon.primary import Primary
from dreamcatcherd.git.local import LocalStore
from dreamcatcherd.git.protocols import GitStore, Store
from dreamcatcherd.observe.clock import wall_clock

if TYPE_CHECKING:
    from dreamcatcherd.git.kept_refs import KeptRefs


def open_store(repository: RepositoryConfig, url: str) -> GitStore:
    """Open the repository that a path or URL names; UsageError if there is none or a credential file is missing."""
    path = repository_path(url)
    store: GitStore = LocalStore(path) if path is not None else _open_remote(repository, url)
    store.signing_key = credential_file("repository", "signing_key", repository.signing_key)
    return store


def closing_of(config: Config) -> Closing:
    """The closing rule of a configuration, with its schedule."""
    closing = config.closing
    if config.frames.cron is None:
        return closing
    from dreamcatcherd.daemon.timers import schedule_of  # APScheduler takes time to load, and few schedules are cron's

    return structs.replace(closing, next_fire=schedule_of(config.frames.cron))


def open_configured(config: Config, url: str) -> Primary:
    """A primary on the repository that a path or URL names, which reads what a daemon's mirrors brought there."""
    store = open_store(config.repository, url)
    primary = primary_of(config, store)
    if config.mirrors:
        primary.beside = kept_refs(store, config.repository.timeout).read
    return primary


def kept_refs(store: GitStore, timeout_s: float) -> KeptRefs:
    """The refs that keep what mirrors brought, in the repository of a store."""
    from dreamcatcherd.git.kept_refs import KeptRefs  # few repositories have mirrors

    return KeptRefs(store.folder, is_clone=store.server_notes is not None, timeout_s=timeout_s)


def primary_of(config: Config, store: Store, closing: Closing | None = None) -> Primary:
    """A primary on an open store."""
    primary = Primary(store, config.repository.branch, closing or closing_of(config), wall_clock)
    configure(primary, config)
    return primary


def configure(primary: Primary, config: Config) -> None:
    """Give a primary what the configuration says about what is written; it cannot fail."""
    primary.deltas_frames = config.retention.deltas_frames
    primary.restores = config.publish.restore == "now"
    primary.engine = engine_of(config.engine)


def _open_remote(repository: RepositoryConfig, url: str) -> GitStore:
    from dreamcatcherd.client.session import access_of
    from dreamcatcherd.git.remote import RemoteStore

    access = access_of(repository, url)
    return RemoteStore(access, clone_folder(repository, access.url))
