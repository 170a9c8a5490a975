"""A worker's view of the shared repository: the open frame, the settings in force, and what was published.

Owns how a repository that is named by path, URL or configuration is reached, and which of its commits are read."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterator
from pathlib import Path

from msgspec import Struct, structs

from dreamcatcherd.client.pace import persist
from dreamcatcherd.config_files import credential_file, repository_path
from dreamcatcherd.config_remotes import RemoteKeys
from dreamcatcherd.config_rules import wrong_url
from dreamcatcherd.config_tables import RepositoryConfig
from dreamcatcherd.core import paths
from dreamcatcherd.core.errors import UsageError
from dreamcatcherd.core.model import FrameState
from dreamcatcherd.core.settings import DEFAULT, Settings, SettingsError, read_settings
from dreamcatcherd.core.tree import lookup, subtree
from dreamcatcherd.git.access import ANYBODY, Access, without_secrets
from dreamcatcherd.git.partial_clone import PartialClone, partial_clone
from dreamcatcherd.stages.frame_file import read_frame_file
from dreamcatcherd.stages.published import PublishedState, load_head
from dreamcatcherd.stages.settings_file import read_settings_file

Named = str | Path | RepositoryConfig
"""A repository: its path or URL, or the `[repository]` table of a configuration, which can name credentials."""


class Sight(Struct, frozen=True):
    """What the refs showed at one look. `published` has the open frame and the ledgers, `settings` are those of `main`,
    which the next close uses; `main` and `tree` are None before the first commit."""

    refs: dict[str, str]
    main: str | None
    tree: str | None
    published: PublishedState

    @property
    def settings(self) -> Settings:
        """The settings by which the next close will judge."""
        return self.published.settings

    @property
    def frame(self) -> FrameState:
        """The open frame."""
        return self.published.state


class Session:
    """A repository that a worker pushes to. Use `connect`, which ends it."""

    def __init__(self, clone: PartialClone, config: RepositoryConfig) -> None:
        self.clone = clone
        self.main = f"refs/heads/{config.branch}"
        self.poll_s = config.poll
        self.signing_key = credential_file("repository", "signing_key", config.signing_key)

    def published_refs(self) -> dict[str, str]:
        """The refs that move when a frame closes."""
        return self.clone.heads([self.main, paths.PUBLISHED])

    def refs_at(self, lane: str) -> dict[str, str]:
        """A lane's ref, and those below it."""
        found = self.clone.heads([lane, f"{lane}/*"])
        return {ref: oid for ref, oid in found.items() if ref == lane or ref.startswith(f"{lane}/")}

    def look(self, refs: dict[str, str] | None = None) -> Sight:
        """Read the open frame and the settings, at these refs or at those that the repository has now.

        RetryableError if it cannot be reached."""
        refs = self.published_refs() if refs is None else refs
        main, published = refs.get(self.main), refs.get(paths.PUBLISHED)
        # Whatever somebody wrote over the branch, the published commit has the frame and the ledgers that count.
        base = published or main
        self.clone.fetch_commits(oid for oid in (main, published) if oid)
        tree = self.clone.commit(main).tree if main else None
        base_tree = self.clone.commit(base).tree if base else None
        state = read_frame_file(self.clone, base_tree) or FrameState(1)
        ledgers = subtree(self.clone, base_tree, paths.LEDGER)
        settings = self._settings(tree, ledgers, state)
        return Sight(refs, main, tree, PublishedState(base, state, ledgers=ledgers, tree=base_tree, settings=settings))

    def _settings(self, tree: str | None, ledgers: str | None, state: FrameState) -> Settings:
        """The settings on `main`; where they do not read, those of the last close."""
        try:
            return read_settings_file(self.clone, lookup(self.clone, tree, paths.SETTINGS))
        except SettingsError:
            head = load_head(self.clone, ledgers, state.last_closed) if state.last_closed is not None else None
            if head is None or head.settings is None:
                return DEFAULT
            return read_settings(self.clone.read(head.settings), head.settings)


@contextlib.contextmanager
def connect(repository: Named) -> Iterator[Session]:
    """Reach a repository, for as long as this lasts. UsageError if its name or a credential file is wrong."""
    config = repository if isinstance(repository, RepositoryConfig) else RepositoryConfig(url=str(repository))
    if (why := wrong_url(config.url)) is not None:
        raise UsageError(f"the repository {why}", "name it by a path or a URL")
    path = repository_path(config.url)
    access = Access(url=str(path.absolute())) if path is not None else access_of(config, config.url)
    # A worker's git finds its way by this variable where it is set, and so does a worker without a clone.
    access = structs.replace(access, ssh_command=os.environ.get("GIT_SSH_COMMAND", ""))
    with contextlib.ExitStack() as stack:
        clone = persist(lambda: stack.enter_context(partial_clone(access, path.absolute() if path else None)))
        yield Session(clone, config)


def access_of(config: RepositoryConfig, url: str) -> Access:
    """How a repository on another machine is reached; UsageError if a credential file is missing."""
    found = remote_access(config, url, lambda key: credential_file("repository", key, getattr(config, key)))
    return structs.replace(found, transport=config.transport)


def remote_access(config: RemoteKeys, url: str, file_of: Callable[[str], Path | None]) -> Access:
    """How the repository at a URL is reached, by the keys of its table; `file_of` gives the file of a key, if any."""
    plain, user, password = without_secrets(url)
    return Access(
        url=plain,
        user=config.user or user or ANYBODY,
        password=password,
        token_file=file_of("token_file"),
        ssh_key=file_of("ssh_key"),
        known_hosts=file_of("known_hosts"),
        ca_file=file_of("ca_file"),
        timeout_s=config.timeout,
    )
