"""The chain of snapshot commits, from one to the one before it. Everything that looks back walks it here.

A snapshot commit names the one before by its trailer `Dreamcatcher-Previous`. Commits older than the trailer do not:
there the one before is the reachable commit that closes the highest frame below and whose digest is the ledger's
`previous`. Distance, parent order and dates mean nothing: a lane that forked from an old frame, or a `main` that was
rewound and restored, brings an older snapshot commit nearer than the last one."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import msgspec

from dreamcatcherd.core import paths
from dreamcatcherd.core.errors import FatalError
from dreamcatcherd.core.ledger import read_head
from dreamcatcherd.core.tree import blob_at
from dreamcatcherd.git.protocols import Commit, ObjectReader

_FRAME = re.compile(r"^Dreamcatcher-Frame: ([0-9]{1,16})$", re.MULTILINE)
_DIGEST = re.compile(r"^Dreamcatcher-Digest: ([0-9a-f]{40})$", re.MULTILINE)
_SEEN = re.compile(r"^Dreamcatcher-Seen: ([0-9a-f]{40})$", re.MULTILINE)
_PREVIOUS = re.compile(r"^Dreamcatcher-Previous: ([0-9a-f]{40})$", re.MULTILINE)


class Link(NamedTuple):
    """One closed frame in the chain of snapshot commits."""

    frame: int
    oid: str


def claimed_frame(commit: Commit) -> int | None:
    """The frame that a commit's trailer says it closed, if it does."""
    match = _FRAME.search(commit.message)
    return int(match[1]) if match else None


def claimed_digest(commit: Commit) -> str | None:
    """The digest that a commit's trailer names, if it does."""
    match = _DIGEST.search(commit.message)
    return match[1] if match else None


def claimed_previous(commit: Commit) -> str | None:
    """The snapshot commit that a commit's trailer names as the one before, if it does."""
    match = _PREVIOUS.search(commit.message)
    return match[1] if match else None


def claimed_seen(commit: Commit) -> str | None:
    """The commit that holds the lanes merged into a snapshot commit's frame and before, where `main` does not."""
    match = _SEEN.search(commit.message)
    return match[1] if match else None


def tips_of(store: ObjectReader, oid: str) -> list[str]:
    """The commits that reach all that a snapshot commit published: itself, and in a linear history the one it names."""
    seen = claimed_seen(store.commit(oid))
    return [oid, *([seen] if seen else [])]


def builds_on(store: ObjectReader, publication: str, oid: str) -> bool:
    """Whether a publication has a commit in its history, be it through the commit that holds merged lanes.

    In a linear history the one parent of a publication on a rewound branch does not lead to the publication before."""
    if store.descends(publication, oid):
        return True
    seen = claimed_seen(store.commit(publication))
    try:
        return seen is not None and store.descends(seen, oid)
    except FatalError:
        return False  # of a mirror's publication the merged lanes may not be here


def merged_heads(store: ObjectReader, snapshot: Commit) -> set[str]:
    """The lane heads that a snapshot commit merged, and `main`'s head; in a linear history those of the last frame that
    merged any."""
    seen = claimed_seen(snapshot)
    return {*snapshot.parents, *(store.commit(seen).parents if seen else ())}


CONVERTED = "convert frame "
"""How the subject of a commit begins that brings a snapshot of the former format into the present one."""


def is_converted(commit: Commit) -> bool:
    """Whether a snapshot commit is the base that a conversion made: replay and verify begin there."""
    return commit.message.startswith(CONVERTED)


def since_base(store: ObjectReader, chain: Sequence[Link]) -> Sequence[Link]:
    """The part of a chain, oldest first, that begins with the last conversion: what was before has another format."""
    bases = [at for at, link in enumerate(chain) if is_converted(store.commit(link.oid))]
    return chain[bases[-1] if bases else 0 :]


def links(store: ObjectReader, tip: str | None) -> Iterator[Link]:
    """The chain from a snapshot commit back, newest first; nothing if the tip is none.

    It ends at the first frame, and where the history itself is cut off, as in an archive. FatalError if the chain is
    broken: a commit names one that is missing or closes no earlier frame."""
    claims: Claims | None = None
    at, known = tip, None
    while at is not None:
        commit = known or store.commit(at)
        known = None
        frame = claimed_frame(commit)
        if frame is None:
            return
        yield Link(frame, at)
        if at in store.cut:
            return
        before = claimed_previous(commit)
        if before is None:
            digest = _previous_digest(store, commit, frame)
            if digest is None:
                return
            claims = claims or Claims(store, at)
            before = claims.newest_below(at, frame, digest)
            if before is None:
                raise _broken(at, frame, f"no commit before it closed a frame with the digest {digest}")
        elif (known := _earlier(store, before, frame)) is None:
            raise _broken(at, frame, f"{before}, which it names as previous, is missing or closes no earlier frame")
        at = before


def recent_links(store: ObjectReader, tip: str | None, most: int) -> Iterator[Link]:
    """The newest links as far as trailers lead: for callers that can do with fewer, and must not search all history."""
    at = tip
    for _ in range(most):
        commit = store.commit(at) if at is not None else None
        frame = claimed_frame(commit) if commit is not None else None
        if commit is None or frame is None or at is None:
            return
        yield Link(frame, at)
        at = claimed_previous(commit) if at not in store.cut else None


class Claims:
    """Every commit in a tip's history that says it closed a frame: read once, for commits without the trailer."""

    def __init__(self, store: ObjectReader, tip: str) -> None:
        self._store = store
        self._by_frame: dict[int, dict[str, Commit]] = {}
        for oid, commit in store.new_commits([tip], []).items():
            frame = claimed_frame(commit)
            if frame is not None:
                self._by_frame.setdefault(frame, {})[oid] = commit
        self.frames = sorted(self._by_frame, reverse=True)

    def newest_below(self, tip: str, frame: int, digest: str) -> str | None:
        """The commit, in the history of `tip`, that closed the highest frame below `frame`, with this digest."""
        for below in self.frames:
            if below < frame:
                for oid in self.originals(below):
                    if claimed_digest(self._by_frame[below][oid]) == digest and self._store.descends(tip, oid):
                        return oid
        return None

    def originals(self, frame: int) -> list[str]:
        """The commits that claim a frame. A worker's amended or picked copy of one counts only after the original: that
        is an ancestor, or else the smaller id decides."""
        found = sorted(self._by_frame[frame])
        if len(found) == 1:
            return found
        copies = {oid for oid in found for other in found if other != oid and self._store.descends(oid, other)}
        return sorted(found, key=lambda oid: (oid in copies, oid))


def _previous_digest(store: ObjectReader, commit: Commit, frame: int) -> str | None:
    """What a snapshot commit's own ledger names as the digest before it."""
    oid = blob_at(store, commit.tree, f"{paths.LEDGER}/{paths.ledger_path(frame)}")
    try:
        return read_head(store.read(oid)).previous if oid else None
    except msgspec.DecodeError:
        return None  # `verify` says what is wrong with it


def _earlier(store: ObjectReader, oid: str, frame: int) -> Commit | None:
    """A commit if it closed an earlier frame; None if not, or if it is missing."""
    try:
        commit = store.commit(oid)
    except FatalError:
        return None
    before = claimed_frame(commit)
    return commit if before is not None and before < frame else None


def _broken(oid: str, frame: int, why: str) -> FatalError:
    remedy = "run dreamcatcherd verify, which names the first frame that is not as published"
    return FatalError(f"the chain of snapshot commits is broken at {oid} of frame {frame}: {why}", remedy)
