"""From a configuration to an open repository: in place where it lies on this disk, else through an own clone."""

from __future__ import annotations

from dreamcatcherd.config import RepositoryConfig, clone_folder, credential_file, repository_path
from dreamcatcherd.store.access import Access, without_password
from dreamcatcherd.store.objects import GitStore
from dreamcatcherd.store.remote import RemoteStore


def open_store(repository: RepositoryConfig, url: str) -> GitStore:
    """Open the repository that a path or URL names; UsageError where there is none or a credential's file lacks."""
    path = repository_path(url)
    store = GitStore(path) if path is not None else _open_remote(repository, url)
    store.signing_key = credential_file("signing_key", repository.signing_key)
    return store


def _open_remote(repository: RepositoryConfig, url: str) -> RemoteStore:
    plain, user, password = without_password(url)
    access = Access(
        url=plain,
        user=repository.user or user or "git",
        password=password,
        token_file=credential_file("token_file", repository.token_file),
        ssh_key=credential_file("ssh_key", repository.ssh_key),
        known_hosts=credential_file("known_hosts", repository.known_hosts),
        ca_file=credential_file("ca_file", repository.ca_file),
        timeout_s=repository.timeout,
        transport=repository.transport,
    )
    return RemoteStore(access, clone_folder(repository, plain))
