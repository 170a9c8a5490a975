"""What a worker asks a repository without a clone: the open frame, and what became of a delta."""

from __future__ import annotations

from dreamcatcherd.client.pace import persist
from dreamcatcherd.client.session import Named, connect
from dreamcatcherd.core.model import FrameState


def frame(repository: Named) -> FrameState:
    """The open frame: its number, when it opened and when it closes, and the last closed frame with its digest.

    RetryableError if the repository does not answer; UsageError if its name is wrong."""
    with connect(repository) as session:
        return persist(session.look).frame
