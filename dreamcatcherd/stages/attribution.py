"""Who brought a commit: which refs it came by, and whether they may speak for its streams."""

from __future__ import annotations

from collections.abc import Collection, Iterable

from msgspec import structs

from dreamcatcherd.core import paths
from dreamcatcherd.core.codec import has_control
from dreamcatcherd.core.model import Arrival, Delta, DeltaArrival, Fault, Reject, RejectArrival, arrival_of
from dreamcatcherd.core.settings import Settings
from dreamcatcherd.git.protocols import Commit
from dreamcatcherd.git.reachability import reach_within
from dreamcatcherd.stages.delta_reader import ReadVersion
from dreamcatcherd.stages.inbox import Inbox


def without_lanes(inbox: Inbox, heads: Collection[tuple[str, str]]) -> Inbox:
    """An inbox without some lane heads, and without what they alone bring."""
    if not heads:
        return inbox
    lanes = [one for one in inbox.lanes if one not in heads]
    tips = [inbox.head, *(oid for _, oid in lanes)]
    kept = {oid for tip in tips for oid in reach_within(inbox.commits, tip)}
    arrivals = [one for one in inbox.arrivals if one.since is not None or one.item.version.commit in kept]
    return structs.replace(inbox, lanes=lanes, arrivals=arrivals)


def sources_of(
    commits: dict[str, Commit], heads: list[str], main: str, lanes: list[tuple[str, str]]
) -> dict[str, list[str]]:
    """The refs that bring each new commit: `main` alone if it reaches the commit, otherwise all lanes that do."""
    sources = {oid: ["main"] for head in heads for oid in reach_within(commits, head)}
    on_main = set(sources)
    for ref, tip in lanes:
        if ref == main:
            continue
        for oid in reach_within(commits, tip, on_main):
            sources.setdefault(oid, []).append(ref)
    return sources


def attribute(
    judged: Iterable[ReadVersion],
    sources: list[str],
    settings: Settings,
    committed_s: int,
    arrived: int | None,
) -> list[Arrival]:
    """What one commit brings, each version with the ref that is named as its source.

    A delta that comes by lanes alone must be of a lane's own stream (docs/protocol.md#a-delta), unless a listed relay's
    lane brings it. If several lanes bring one commit, each delta is attributed to the lane of its stream, else to the
    relay's."""
    first = paths.short_ref(sources[0])
    lanes: dict[str, str] = {}
    shared: list[str] = []  # where every stream may push: relays' lanes, and the shared branches of mirrors
    for ref in sources:
        stream = paths.source_stream(ref, settings.lane_prefix)
        if stream is not None:
            lanes.setdefault(stream, paths.short_ref(ref))
        elif (relay := paths.relay_name(ref)) is None or relay in settings.relays:
            shared.append(paths.short_ref(ref))
    found = []
    for item, more in judged:
        source = first
        if sources != ["main"] and isinstance(item, Delta):
            if item.stream_id in lanes:
                source = lanes[item.stream_id]
            elif shared:
                source = shared[0]
            else:
                item = _of_another(item, first)
        found.append(arrival_of(item, source, None, committed_s, arrived, more))
    return found


def _of_another(item: Delta, source: str) -> Reject:
    shown = item.stream_id if not has_control(item.stream_id) else "?"
    detail = f"the lane {source} is not the stream {shown!r}'s"
    return Reject(item.version, Fault("wrong-stream", detail, item.stream_at))


def reject_unsigned(arrival: DeltaArrival) -> RejectArrival:
    """The arrival as a reject: no key of its stream signed the commit."""
    item = arrival.item
    detail = f"commit {item.version.commit} has no good signature by a key of the delta's stream"
    return arrival.refused(Fault("wrong-stream", detail, item.stream_at))


def pending_streams(arrivals: list[Arrival]) -> dict[str, int]:
    """How many deltas wait, by stream."""
    counted: dict[str, int] = {}
    for arrival in arrivals:
        if isinstance(arrival.item, Delta):
            stream = arrival.item.stream_id
            counted[stream] = counted.get(stream, 0) + 1
    return dict(sorted(counted.items()))
