"""The events of frames, made again from git (docs/protocol.md#events): what a receiver has missed.

Owns the way from the chain of snapshot commits to events. `core/events` has their order and contents."""

from __future__ import annotations

from collections.abc import Container, Iterator, Sequence

import msgspec

from dreamcatcherd.core import events, paths
from dreamcatcherd.core.errors import FatalError
from dreamcatcherd.core.events import CloudEvent
from dreamcatcherd.core.tree import blob_at, subtree
from dreamcatcherd.git.protocols import ObjectReader
from dreamcatcherd.stages.restores import restore_base, restored_by_close, restores_since
from dreamcatcherd.stages.snapshot_chain import Link, links


def links_after(store: ObjectReader, tip: str | None, frame: int) -> tuple[list[Link], Link | None]:
    """The closed frames from `frame` on, oldest first, and the one before them, if there is one."""
    found: list[Link] = []
    for link in links(store, tip):
        if link.frame < frame:
            return found[::-1], link
        found.append(link)
    return found[::-1], None


def frame_events(store: ObjectReader, link: Link, before: Link | None, restores: bool = True) -> Iterator[CloudEvent]:
    """The events of a closed frame in order: restores while it was open, then those of its ledger.

    `before` is the frame before it. Looking for `restores` walks what came to the shared branch in between. FatalError
    if the ledger cannot be read."""
    commit = store.commit(link.oid)
    if restores and before is not None:
        head = commit.parents[0] if commit.parents else None
        yield from open_restores(store, before, head, link.frame)
        base = restore_base(store, before)
        if (found := restored_by_close(store, base, link.oid)) is not None:
            yield events.restored(link.frame, found.commit, found.at_s, before.oid, found.paths)
    oid = blob_at(store, subtree(store, commit.tree, paths.LEDGER), paths.ledger_path(link.frame))
    if oid is None:
        raise _unreadable(store, link, "it has no ledger")
    try:
        rows = events.event_rows(store.read(oid))
    except msgspec.DecodeError as error:
        raise _unreadable(store, link, f"its ledger is damaged: {error}") from error
    yield from events.events_of(rows, events.CloseCommit(link.oid, commit.time))


def open_restores(store: ObjectReader, before: Link, head: str | None, frame: int) -> Iterator[CloudEvent]:
    """The restores on the shared branch since frame `before` closed, while `frame` was open."""
    if head is None or head == before.oid:
        return
    base = restore_base(store, before)
    for found in restores_since(store, base, head):
        yield events.restored(frame, found.commit, found.at_s, before.oid, found.paths)


def is_done(event: CloudEvent, ordinal: int, had: Container[str]) -> bool:
    """Whether a receiver has had an event: by its ordinal, or by its id if it came before the close."""
    return event.id in had if event.ordinal is None else event.ordinal < ordinal


def common_frame(store: ObjectReader, chain: Sequence[Link], commit: str) -> Link | None:
    """The newest closed frame of a chain, newest first, that is in the history of another snapshot commit; None if
    there is none, or if that commit is gone."""
    try:
        store.commit(commit)
    except FatalError:
        return None
    return next((link for link in chain if store.descends(commit, link.oid)), None)


def _unreadable(store: ObjectReader, link: Link, why: str) -> FatalError:
    remedy = "run dreamcatcherd verify, which names the first frame that is not as published"
    return FatalError(f"the events of frame {link.frame} in {store.where} cannot be made: {why}", remedy)
