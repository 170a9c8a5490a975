"""What a worker asks a repository without a clone: the open frame, and what became of a delta."""

from __future__ import annotations

from dreamcatcherd.client.given import GivenAttachments, GivenDelta, read_given
from dreamcatcherd.client.outcomes import Pushed
from dreamcatcherd.client.pace import persist
from dreamcatcherd.client.pushing import refused_row, seen_before
from dreamcatcherd.client.ready import Unfit, make_ready
from dreamcatcherd.client.session import Named, connect
from dreamcatcherd.core.errors import RefusedError
from dreamcatcherd.core.model import FrameState


def frame(repository: Named) -> FrameState:
    """The open frame: its number, when it opened and when it closes, and the last closed frame with its digest.

    RetryableError if the repository does not answer; UsageError if its name is wrong."""
    with connect(repository) as session:
        return persist(session.look).frame


def receipt(repository: Named, delta: GivenDelta, *, attachments: GivenAttachments = ()) -> Pushed:
    """What became of a delta that `push` pushed: merged, late, quarantined, or pending; its own bytes name it.

    One that would be quarantined is `refused`. RefusedError if the repository does not have it; RetryableError if it
    does not answer."""
    with connect(repository) as session:
        sight = persist(session.look)
        given = read_given(delta, attachments, sight.settings.limits)
        ready = make_ready(given, sight.settings, sight.frame.frame)
        if isinstance(ready, Unfit):
            return refused_row(ready)
        found = seen_before(session, sight, ready)
    if found is None:
        remedy = "push it (a receipt by path or blob: dreamcatcherd receipt)"
        raise RefusedError(f"{session.clone.where} has no such delta", remedy)
    return found
