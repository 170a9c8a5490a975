"""What one stream delivered, and what became of it: from the ledgers of closed frames, newest first.

A ledger is searched as bytes first and decoded only if it names the stream, so that a stream that is seldom heard of
costs little."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal, NamedTuple

from msgspec import Struct

from dreamcatcherd.core.codec import canonical
from dreamcatcherd.core.ledger import DeltaRow, Ledger, QuarantinedRow, read_ledger
from dreamcatcherd.core.paths import lane_stream, ledger_path, mirrored_source
from dreamcatcherd.core.tree import blob_at
from dreamcatcherd.git.protocols import ObjectReader
from dreamcatcherd.history.queries import Chain, LostConflict
from dreamcatcherd.stages.published import PublishedState

HISTORY_FRAMES = 1_000
HISTORY_BYTES = 48 * 2**20
"""How many frames, and how many bytes of their ledgers, one query searches."""


class StreamDelta(NamedTuple):
    """One version of a stream's delta in the ledger of a frame. `frame` is that of the ledger, `own` the delta's, None
    if it could not be read. `merged` has the rest for a merged delta, `lost` how many of its fields lost there."""

    frame: int
    own: int | None
    outcome: Literal["merged", "late", "duplicate", "held", "quarantined"]
    path: str
    commit: str
    source: str
    utc: int | None
    detail: str
    merged: DeltaRow | None
    lost: int


class StreamHistory(Struct, frozen=True):
    """What a stream delivered, and the conflicts that it lost, newest frame first. `first` and `last` are the oldest
    and newest frame searched, each of them completely; `before` is the frame for the next query, None if all frames
    were searched."""

    deltas: list[StreamDelta]
    lost: list[LostConflict]
    first: int | None
    last: int | None
    before: int | None


def stream_history(
    store: ObjectReader, base: PublishedState, chain: Chain, stream_id: str, limit: int, before: int | None = None
) -> StreamHistory:
    """The newest deltas of a stream, or those of frames before `before`: at most `limit` deltas and `limit` losses, or
    all of the first frame that has any."""
    deltas: list[StreamDelta] = []
    lost: list[LostConflict] = []
    first = last = None
    read = 0
    name, lane = canonical(stream_id), _lane_bytes(base, stream_id)
    for count, link in enumerate(chain.frames(store, base, before)):
        if count >= HISTORY_FRAMES or read > HISTORY_BYTES:
            return StreamHistory(deltas, lost, first, last, first)
        oid = blob_at(store, base.ledgers, ledger_path(link.frame))
        raw = store.read(oid) if oid else b""
        read += len(raw)
        # Searching bytes is much faster than decoding, and most ledgers of a large fleet do not match.
        if name in raw or lane in raw:
            ledger = read_ledger(raw)
            own = list(_deltas_of(ledger, stream_id, base.settings.lane_prefix))
            losses = list(_lost_by(ledger, stream_id))
            if (deltas or lost) and (len(deltas) + len(own) > limit or len(lost) + len(losses) > limit):
                return StreamHistory(deltas, lost, first, last, first)
            deltas += own
            lost += losses
        first, last = link.frame, link.frame if last is None else last
    return StreamHistory(deltas, lost, first, last, None)


def _lane_bytes(base: PublishedState, stream_id: str) -> bytes:
    """How the source of a row begins if it is the stream's lane. A delta that could not be read names no stream."""
    return canonical(f"{base.settings.lane_prefix.removeprefix('refs/heads/')}{stream_id}")[:-1]


def _lost_by(ledger: Ledger, stream_id: str) -> Iterator[LostConflict]:
    for one in ledger.conflicts:
        if one.loser.stream_id == stream_id:
            yield LostConflict(ledger.frame, one.collection, one.key, one.field, one.winner, one.loser, one.value)


def _deltas_of(ledger: Ledger, stream_id: str, prefix: str) -> Iterator[StreamDelta]:
    frame = ledger.frame
    losses: dict[str, int] = {}
    for conflict in ledger.conflicts:
        if conflict.loser.stream_id == stream_id:
            losses[conflict.loser.content_id] = losses.get(conflict.loser.content_id, 0) + 1
    for row in ledger.deltas:
        if row.stream_id == stream_id:
            own = frame if row.frame is None else row.frame
            yield StreamDelta(frame, own, "late" if row.late else "merged", row.path, row.commit, row.source, row.utc,
                              "", row, losses.get(row.content_id or row.blob, 0))  # fmt: skip
    for again in ledger.duplicates:
        if again.stream_id == stream_id:
            more = f"and {again.more} more of the same" if again.more else ""
            yield StreamDelta(frame, again.frame, "duplicate", again.path, again.commit, again.source, None, more,
                              None, 0)  # fmt: skip
    for early in ledger.held:
        if early.stream_id == stream_id:
            yield StreamDelta(frame, early.frame, "held", early.path, early.commit, early.source, early.utc,
                              f"waits for frame {early.frame}", None, 0)  # fmt: skip
    for bad in ledger.quarantined:
        if bad.since == frame and _is_of(bad, stream_id, prefix):
            yield StreamDelta(frame, bad.frame, "quarantined", bad.path, bad.commit, bad.source, bad.utc,
                              f"{bad.reason}: {bad.detail}", None, 0)  # fmt: skip


def _is_of(row: QuarantinedRow, stream_id: str, prefix: str) -> bool:
    """Whether a quarantined version is of a stream: by its own word, or else by the lane that brought it."""
    # Only what is too far ahead could be read, and has a stream of its own.
    if row.stream_id is not None:
        return row.stream_id == stream_id
    mirrored = mirrored_source(row.source)
    return lane_stream(f"refs/heads/{mirrored[1] if mirrored else row.source}", prefix) == stream_id
