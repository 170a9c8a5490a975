"""Which delta files leave the newest tree. History keeps them: every command reads deltas by their object ids.

A frame's files leave once so many later frames are closed. That hangs on the tree and the ledger at hand alone, so that
a primary after a restart, or another one, does the same."""

from __future__ import annotations

from collections.abc import Iterable

from dreamcatcherd.core import paths
from dreamcatcherd.core.ledger import Ledger
from dreamcatcherd.core.tree import TREE, Reader, read_tree


def outdated(objects: Reader, root: str, trees: Iterable[str | None], ledger: Ledger, keep: int) -> set[str]:
    """The names in trees of one delta root that leave with this close: folders and flat files of frames that were
    over `keep` frames ago. What the close itself lists stays until the next one, so that a late delta is seen to
    have arrived."""
    # What this close lists stays in the tree: a worker whose late delta was just merged can see that it arrived.
    below = root + "/"
    touched = {row.path[len(below) :].partition("/")[0] for row in ledger.rows() if row.path.startswith(below)}
    touched |= {name.removesuffix(".json") for name in touched}
    found = set()
    for tree in trees:
        for name, entry in read_tree(objects, tree).items():
            frame = paths.frame_of(below + name + ("/_" if entry.mode == TREE else ""), (root,))
            if frame is None and entry.mode == TREE:
                frame = paths.frame_of(f"{below}{name}.json", (root,))  # attachments of a flat delta
            if frame is not None and frame <= ledger.frame - keep and name not in touched:
                found.add(name)
    return found
