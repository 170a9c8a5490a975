"""The worker's side as a library: push deltas, claim resources, ask for the open frame. It needs git, and no clone.

    from dreamcatcherd.client import push
    (row,) = push("https://git.example.org/fleet.git", "delta.json", wait_s=60)

An error has a `cause` and a `remedy`. After a RetryableError the same call may be made again. Nothing here loads
libgit2."""

from dreamcatcherd.client.asking import frame, receipt
from dreamcatcherd.client.claiming import claim
from dreamcatcherd.client.outcomes import Pushed
from dreamcatcherd.client.pushing import push
from dreamcatcherd.config_tables import RepositoryConfig
from dreamcatcherd.core.errors import DreamcatcherError, FatalError, RefusedError, RetryableError, UsageError

__all__ = [
    "DreamcatcherError",
    "FatalError",
    "Pushed",
    "RefusedError",
    "RepositoryConfig",
    "RetryableError",
    "UsageError",
    "claim",
    "frame",
    "push",
    "receipt",
]
