"""From a configuration to an open repository: in place where it lies on this disk, else through an own clone."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from msgspec import structs

from dreamcatcherd.config import Config, RepositoryConfig, clone_folder, credential_file, repository_path
from dreamcatcherd.core.frames import Closing
from dreamcatcherd.daemon.primary import Primary
from dreamcatcherd.git.access import ANYBODY, Access, without_secrets
from dreamcatcherd.git.local import LocalStore
from dreamcatcherd.git.remote import RemoteStore
from dreamcatcherd.observe.clock import wall_clock


def open_store(repository: RepositoryConfig, url: str) -> LocalStore:
    """Open the repository that a path or URL names; UsageError where there is none or a credential's file lacks."""
    path = repository_path(url)
    store = LocalStore(path) if path is not None else _open_remote(repository, url)
    store.signing_key = credential_file("repository", "signing_key", repository.signing_key)
    return store


def closing_of(config: Config) -> Closing:
    """The closing rule of a configuration, with its schedule."""
    closing = config.closing
    if config.frames.cron is None:
        return closing
    from dreamcatcherd.daemon.cron import schedule_of  # APScheduler takes time to load, and few schedules are cron's

    return structs.replace(closing, next_fire=schedule_of(config.frames.cron))


def open_configured(config: Config, url: str) -> Primary:
    """A primary on the repository that a path or URL names."""
    return primary_of(config, open_store(config.repository, url))


def primary_of(config: Config, store: LocalStore) -> Primary:
    """A primary on a store that is open."""
    primary = Primary(store, config.repository.branch, closing_of(config), wall_clock)
    keep_as_configured(primary, config)
    return primary


def keep_as_configured(primary: Primary, config: Config) -> None:
    """What a primary leaves in the tree and puts beside the snapshot."""
    primary.deltas_frames = config.retention.deltas_frames
    primary.views = tuple(config.views.collections)
    primary.restores = config.publish.restore == "now"


def watched_folders(store: LocalStore) -> list[Path]:
    """Where pushes to a repository show: its refs, where it lies on this disk."""
    return [] if isinstance(store, RemoteStore) else [store.folder / "refs"]


class Candidate(NamedTuple):
    """A configuration that was read and checked, and is not in force yet; a store where it needs another one."""

    config: Config
    url: str
    closing: Closing
    store: LocalStore | None


class Source:
    """Where a daemon's configuration comes from: read anew on SIGHUP, or when its file has changed."""

    def __init__(self, read: Callable[[], tuple[Config, str]], file: Path | None) -> None:
        self._read = read
        self.file = file
        self.config, self.url = read()
        self._stamp = self._stat()

    def changed(self) -> bool:
        """Whether the file is another one than when it was last read."""
        return self._stat() != self._stamp

    def read(self) -> Candidate:
        """What is configured now, with a store where another repository is to be served, or in another way.

        UsageError where it is wrong. It counts for nothing until it is `accepted`."""
        self._stamp = self._stat()
        config, url = self._read()
        same = config.repository == self.config.repository
        closing = closing_of(config)
        return Candidate(config, url, closing, None if same else open_store(config.repository, url))

    def accepted(self, candidate: Candidate) -> None:
        """The candidate is in force: the next one is held against it."""
        self.config, self.url = candidate.config, candidate.url

    def _stat(self) -> tuple[int, int, int] | None:
        try:
            found = self.file.stat() if self.file else None
        except OSError:
            return None
        return (found.st_mtime_ns, found.st_size, found.st_ino) if found else None


def _open_remote(repository: RepositoryConfig, url: str) -> RemoteStore:
    plain, user, password = without_secrets(url)
    access = Access(
        url=plain,
        user=repository.user or user or ANYBODY,
        password=password,
        token_file=credential_file("repository", "token_file", repository.token_file),
        ssh_key=credential_file("repository", "ssh_key", repository.ssh_key),
        known_hosts=credential_file("repository", "known_hosts", repository.known_hosts),
        ca_file=credential_file("repository", "ca_file", repository.ca_file),
        timeout_s=repository.timeout,
        transport=repository.transport,
    )
    return RemoteStore(access, clone_folder(repository, plain))
