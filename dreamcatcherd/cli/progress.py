"""Checking many frames: their choice, the progress bar, and resuming after an interruption.

A check changes nothing, so `--resume` keeps only the last good commit's id, which covers everything that the commit
reaches. It counts only while that commit is part of the chain."""

from __future__ import annotations

import random
from pathlib import Path

import click
import msgspec
from msgspec import Struct

from dreamcatcherd.cli.common import tracked
from dreamcatcherd.core.codec import read_as
from dreamcatcherd.core.errors import RefusedError, UsageError
from dreamcatcherd.git.atomic_write import write_atomically
from dreamcatcherd.git.protocols import Store
from dreamcatcherd.history.verify import History, Verdict, verify_frame

_EVERY = 100


class Mark(Struct, frozen=True, forbid_unknown_fields=True):
    """The content of the file for `--resume`: the last good frame, and its snapshot commit."""

    frame: int
    commit: str


def check_frames(
    store: Store, history: History, start: int | None, sample: int | None = None, resume: Path | None = None
) -> Verdict:
    """Check the chosen frames in order, up to the first that differs."""
    chosen = _chosen(history, start, sample, resume)
    good: int | None = None
    count = 0
    try:
        for at in tracked(chosen, len(chosen), "recomputing frames"):
            found = verify_frame(store, history, at)
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
