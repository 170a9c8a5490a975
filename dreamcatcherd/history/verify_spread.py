"""`verify` over the workers of an engine: runs of frames, each checked given the frame before it.

Workers read the repository where it is. Frames that need more than their neighbour, and large ones, are left to the
process that asked, which lets the workers merge a large frame together."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from functools import partial
from typing import NamedTuple

from dreamcatcherd.core.codec import decode
from dreamcatcherd.core.errors import DreamcatcherError
from dreamcatcherd.core.ledger import RECLASSIFY
from dreamcatcherd.core.merge import Merged
from dreamcatcherd.core.model import Delta
from dreamcatcherd.core.settings import Settings
from dreamcatcherd.core.tree import Objects
from dreamcatcherd.engine.pools import Pool
from dreamcatcherd.engine.selection import folder_of
from dreamcatcherd.engine.spread import merge_in
from dreamcatcherd.engine.tasks import shared_store
from dreamcatcherd.engine.wire import from_bytes, sent, to_bytes
from dreamcatcherd.git.protocols import ObjectReader, Store
from dreamcatcherd.history.replay import own_ledger
from dreamcatcherd.history.shown_branch import Difference
from dreamcatcherd.history.verify import History, verify_frame
from dreamcatcherd.stages.snapshot_chain import Link

RUN = 20
"""How many frames one task checks at most."""


@sent
class FrameRun(NamedTuple):
    """Frames to check in the repository in `folder`: for each its link and that of the frame before. Beyond so many
    deltas a frame is left."""

    folder: str
    pairs: list[tuple[tuple[int, str] | None, tuple[int, str]]]
    ledgers: str | None
    shown: tuple[int, str] | None
    threshold: int


@sent
class FrameAnswer(NamedTuple):
    """What was found of one frame: a difference, none, or that it was left."""

    difference: tuple[int, str] | None = None
    left: bool = False


def verify_run(raw: bytes) -> bytes:
    """Check frames one by one: a `FrameRun` to a list of `FrameAnswer`."""
    run: FrameRun = from_bytes(raw)
    try:
        store = shared_store(run.folder)
        return to_bytes([_answer(store, run, *pair) for pair in run.pairs])
    except DreamcatcherError:  # whatever it is, the process that asked finds it too, and says it
        return to_bytes([FrameAnswer(left=True)] * len(run.pairs))


def _answer(store: Store, run: FrameRun, before: tuple[int, str] | None, this: tuple[int, str]) -> FrameAnswer:
    link = Link(*this)
    if _is_left(store, link, run.threshold):
        return FrameAnswer(left=True)
    links = [link] if before is None else [Link(*before), link]
    shown = Difference(*run.shown) if run.shown is not None else None
    found = verify_frame(store, History(links, run.ledgers, shown), len(links) - 1)
    return FrameAnswer(_plain(found))


def _is_left(store: ObjectReader, link: Link, threshold: int) -> bool:
    """Whether a frame needs the frames before it all, or is large."""
    closed_by, deltas = _in_ledger(store, link)
    return closed_by == RECLASSIFY or deltas > threshold


def _in_ledger(store: ObjectReader, link: Link) -> tuple[object, int]:
    """Who closed a frame, and how many deltas it has. A ledger that cannot be read is a difference, which the check of
    the frame finds."""
    raw = own_ledger(store, link)
    try:
        ledger = decode(raw) if raw is not None else {}
        return ledger.get("closed_by"), len(ledger.get("deltas", ()))
    except (ValueError, AttributeError, TypeError, RecursionError):
        return None, 0


def have_more_deltas(store: ObjectReader, links: Iterable[Link], most: int) -> bool:
    """Whether frames have more than so many deltas together. Ledgers are read up to the one that says so."""
    count = 0
    for link in links:
        with suppress(DreamcatcherError):  # a difference too
            count += _in_ledger(store, link)[1]
        if count > most:
            return True
    return False


def verify_frames(
    store: Store, history: History, chosen: Sequence[int], pool: Pool | None, threshold: int
) -> Iterator[Difference | None]:
    """What `verify_frame` finds of each chosen frame, in order; with a pool by its workers.

    RetryableError if workers are lost."""
    spread = partial(_merged_large, pool, store, threshold) if pool is not None else None
    folder = folder_of(store)
    if pool is None or not pool.shares or folder is None or pool.workers == 1:
        for at in chosen:
            yield verify_frame(store, history, at, spread)
        return
    length = max(1, min(RUN, len(chosen) // (4 * pool.workers)))
    runs = [chosen[at : at + length] for at in range(0, len(chosen), length)]
    tasks = ((run, to_bytes(_task(str(folder), history, run, threshold))) for run in runs)
    for run, raw in pool.run(verify_run, tasks):
        answers: list[FrameAnswer] = from_bytes(raw)
        for at, answer in zip(run, answers, strict=True):
            if answer.left:
                yield verify_frame(store, history, at, spread)
            else:
                yield Difference(*answer.difference) if answer.difference is not None else None


def _task(folder: str, history: History, run: Sequence[int], threshold: int) -> FrameRun:
    links = history.links
    pairs = [((links[at - 1].frame, links[at - 1].oid) if at else None, (links[at].frame, links[at].oid)) for at in run]
    return FrameRun(folder, pairs, history.ledgers, _plain(history.shown), threshold)


def _plain(difference: Difference | None) -> tuple[int, str] | None:
    return (difference.frame, difference.why) if difference is not None else None


def _merged_large(
    pool: Pool,
    store: ObjectReader,
    threshold: int,
    settings: Settings,
    objects: Objects,
    snapshot: str | None,
    deltas: Sequence[Delta],
    frame: int,
) -> Merged | None:
    """The merge of a large frame by the workers; None if the frame is not large."""
    if len(deltas) <= threshold:
        return None
    return merge_in(pool, store, settings, objects, snapshot, deltas, frame, _nobody)


def _nobody(_: int) -> None:
    pass
