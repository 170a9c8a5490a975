"""How the branch that everybody reads differs from what was published on it, for `verify`."""

from __future__ import annotations

import contextlib
from typing import NamedTuple

from dreamcatcherd.core import paths
from dreamcatcherd.core.errors import FatalError
from dreamcatcherd.core.tree import changed, lookup, subtree
from dreamcatcherd.git.protocols import RepositoryReader
from dreamcatcherd.stages.published import read_published
from dreamcatcherd.stages.snapshot_chain import Link


class Difference(NamedTuple):
    """The first frame that is not what its deltas give, and why."""

    frame: int
    why: str


def branch_difference(store: RepositoryReader, chain: list[Link], head: str | None) -> Difference | None:
    """How the branch that everybody reads differs from the publication.

    Frames are checked from their own snapshot commits, so recomputing them finds no later edit or rewind of `main`."""
    last = chain[-1]
    if head is None or not store.descends(head, last.oid):
        kept = next((link for link in reversed(chain) if head is not None and store.descends(head, link.oid)), None)
        lost = chain[chain.index(kept) + 1] if kept else chain[0]
        return Difference(
            lost.frame, f"commit dropped: main was rewound, it does not hold the snapshot commit {lost.oid}"
        )
    shown, published = store.commit(head).tree, store.commit(last.oid).tree
    found = []
    canonical = [(paths.LEDGER, "ledger"), (paths.SNAPSHOT, "snapshot"), (paths.FRAME, "frame.json")]
    with contextlib.suppress(FatalError):  # a damaged publication is reported with its frame
        canonical += [(view.path, "view") for view in read_published(store, last.oid).settings.views.values()]
    for path, kind in canonical:
        if lookup(store, shown, path) != lookup(store, published, path):
            frame = last.frame
            if kind == "ledger":
                frame = _edited_ledger(store, subtree(store, shown, path), subtree(store, published, path), frame)
            found.append(Difference(frame, f"{kind} edited: main shows another {path} than what was published"))
    return min(found, default=None)


def _edited_ledger(store: RepositoryReader, one: str | None, other: str | None, last: int) -> int:
    """The first frame whose ledger differs between two ledger folders; `last` if only other files differ."""
    files = {path for path, _ in changed(store, one, [other])} | {path for path, _ in changed(store, other, [one])}
    named = [path.rpartition("/")[2].removesuffix(".json") for path in files]
    return min((int(name) for name in named if name.isascii() and name.isdigit()), default=last)
