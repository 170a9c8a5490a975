"""The worker's side as a library: push deltas, claim resources, ask for the open frame. It needs git, and no clone.

    from dreamcatcherd.client import push
    (row,) = push("https://git.example.org/fleet.git", "delta.json", wait_s=60)

Nothing here loads libgit2."""

from dreamcatcherd.client.asking import frame, receipt
from dreamcatcherd.client.claiming import claim
from dreamcatcherd.client.outcomes import Pushed
from dreamcatcherd.client.pushing import push

__all__ = ["Pushed", "claim", "frame", "push", "receipt"]
