"""Checking many frames: their choice, the progress bar, and resuming after an interruption.

A check changes nothing, so `--resume` keeps only the last good commit's id, which covers everything that the commit
reaches. It counts only while that commit is part of the chain."""

from __future__ import annotations

import random
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

import click
import msgspec
from msgspec import Struct

from dreamcatcherd.cli.common import tracked
from dreamcatcherd.core.codec import read_as
from dreamcatcherd.core.errors import RefusedError, UsageError
from dreamcatcherd.engine.large_merge import Place
from dreamcatcherd.engine.pools import Pool
from dreamcatcherd.engine.selection import Engine, folder_of
from dreamcatcherd.git.atomic_write import write_atomically
from dreamcatcherd.git.protocols import Store
from dreamcatcherd.history.replay import ReplaySpread
from dreamcatcherd.history.shown_branch import Difference
from dreamcatcherd.history.verify import History, Verdict
from dreamcatcherd.history.verify_spread import have_more_deltas, verify_frames

_EVERY = 100


class Mark(Struct, frozen=True, forbid_unknown_fields=True):
    """The content of the file for `--resume`: the last good frame, and its snapshot commit."""

    frame: int
    commit: str


def check_frames(
    store: Store,
    history: History,
    start: int | None,
    sample: int | None = None,
    resume: Path | None = None,
    engine: Engine | None = None,
) -> Verdict:
    """Check the chosen frames in order, up to the first that differs; by the workers of an engine if it is named, or if
    the frames have more deltas together than its threshold."""
    chosen = _chosen(history, start, sample, resume)
    # Of an engine that is named, which has no threshold, workers check frames side by side unless one frame is large.
    together = (engine.threshold if engine is not None else 0) or Engine().threshold
    with _pool(store, history, chosen, engine) as pool:
        found = verify_frames(store, history, chosen, pool, together)
        return _checked(history, chosen, zip(chosen, found, strict=True), sample, resume)


@contextmanager
def _pool(store: Store, history: History, chosen: list[int], engine: Engine | None) -> Iterator[Pool | None]:
    """The workers that check frames; none if no engine is named, if it is this process, or if there is little to
    check."""
    if engine is None or engine.kind == "inline" or not _are_large(store, history, chosen, engine.threshold):
        yield None
        return
    with engine.pool(folder_of(store), history.links[-1].oid) as pool:
        yield pool


def _are_large(store: Store, history: History, chosen: list[int], threshold: int) -> bool:
    if threshold == 0:
        return bool(chosen)
    return have_more_deltas(store, (history.links[at] for at in chosen), threshold)


def _checked(
    history: History,
    chosen: list[int],
    checked: Iterable[tuple[int, Difference | None]],
    sample: int | None,
    resume: Path | None,
) -> Verdict:
    """The verdict on frames that are checked one after the other, up to the first that differs."""
    good: int | None = None
    count = 0
    try:
        for at, found in tracked(checked, len(chosen), "recomputing frames"):
            count += 1
            if found is not None:
                return Verdict(count, False, found.frame, found.why)
            good = at
            if resume is not None and count % _EVERY == 0:
                _note(resume, history, at)
    except KeyboardInterrupt:
        # A random sample has no frame to continue from.
        if good is not None and sample is None:
            click.echo(
                f"checked through frame {history.links[good].frame}: continue with --from {_next(history, good)}",
                err=True,
            )
        raise
    finally:
        if resume is not None and good is not None:
            _note(resume, history, good)
    if not chosen and history.shown is not None:
        return Verdict(0, False, history.shown.frame, history.shown.why)
    return Verdict(count, True, None, None)


def _next(history: History, at: int) -> int:
    return history.links[min(at + 1, len(history.links) - 1)].frame


def _chosen(history: History, start: int | None, sample: int | None, resume: Path | None) -> list[int]:
    """The indexes of the chosen frames in the chain, in order."""
    first = 0
    if start is not None:
        found = [at for at, link in enumerate(history.links) if link.frame >= start]
        if not found:
            last = history.links[-1].frame
            raise RefusedError(f"frame {start} is not closed: the last closed one is {last}", "name a closed frame")
        first = found[0]
    if resume is not None:
        first = max(first, _resumed(history, resume))
    chosen = list(range(first, len(history.links)))
    if sample is not None and sample < len(chosen):
        chosen = sorted(random.sample(chosen, sample))
    return chosen


def _resumed(history: History, file: Path) -> int:
    """The index after the frame that the file names, if the chain still has its commit; else 0."""
    try:
        mark = read_as(file.read_bytes(), Mark)
    except FileNotFoundError:
        return 0
    except (OSError, msgspec.DecodeError) as error:
        raise UsageError(
            f"{file} has no valid mark of an earlier run: {error}", "remove it, or name another file"
        ) from error
    return next((at + 1 for at, link in enumerate(history.links) if link == (mark.frame, mark.commit)), 0)


def _note(file: Path, history: History, at: int) -> None:
    link = history.links[at]
    write_atomically(file, msgspec.json.encode(Mark(link.frame, link.oid)) + b"\n")


@contextmanager
def replay_spread(
    store: Store, engine: Engine, total: int, tip: str | None, what: str, *, asked: bool
) -> Iterator[ReplaySpread | None]:
    """Who merges so many deltas of closed frames again: the workers of an engine if these are many or it was asked for,
    else this process. `tip` is a commit of the repository, `what` is shown as the progress."""
    if not asked and total <= engine.threshold:
        yield None
        return
    folder = folder_of(store)
    with engine.pool(folder, tip) as pool, counted(total, what) as note:
        yield ReplaySpread(pool, Place(store, folder), engine.threshold, note, lambda _: None)


REPORT_S = 30.0
"""How often progress is a line of text where there is no terminal."""


@contextmanager
def counted(total: int | None, what: str) -> Iterator[Callable[[int], None]]:
    """A function to call with how many more of `total` are done, None if that is not known. A terminal shows the rate
    and the remaining time; elsewhere a line on stderr says so now and then."""
    if not sys.stderr.isatty():
        yield _Lines(total or 0, what).note
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, ProgressColumn, TextColumn, TimeRemainingColumn
    from rich.progress import Task as Shown
    from rich.text import Text

    class _Rate(ProgressColumn):
        def render(self, task: Shown) -> Text:
            return Text(f"{task.speed:,.0f}/s" if task.speed else "")

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), _Rate(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task(what, total=total)
        yield lambda more: bar.advance(task, more)


class _Lines:
    """Progress as lines of text."""

    def __init__(self, total: int, what: str) -> None:
        self._total, self._what = total, what
        self._done = 0
        self._begun = self._said = time.monotonic()

    def note(self, more: int) -> None:
        self._done += more
        now = time.monotonic()
        if now - self._said >= REPORT_S and self._done:
            self._said = now
            rate = self._done / (now - self._begun)
            left = max(0, self._total - self._done) / rate
            line = f"{self._what}: {self._done:,} of {self._total:,}, {rate:,.0f}/s, about {left:,.0f} s left"
            click.echo(f"dreamcatcherd: {line}", err=True)
