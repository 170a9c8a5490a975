"""What a mirror lacks of the publications, and the moves of refs that bring it forward: never back.

The deciding repository's publication is copied as it is. Where a mirror's shared branch has commits that no publication
holds, it is left alone: they are read like a lane, and the next frame merges them (docs/protocol.md#mirrors)."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import takewhile

from msgspec import Struct

from dreamcatcherd.core import paths
from dreamcatcherd.core.errors import RefusedError
from dreamcatcherd.git.protocols import Commit, Move, QueryReader
from dreamcatcherd.git.reachability import reach_within
from dreamcatcherd.stages.snapshot_chain import Link, builds_on, claimed_seen, links, tips_of


class Copied(Struct, frozen=True):
    """How far a mirror is. `missing` are the publications that it lacks, newest first; `ahead` says that it has a newer
    one, which another primary published."""

    missing: tuple[Link, ...] = ()
    ahead: bool = False


def check_history(store: QueryReader, published: str, mirror: str, name: str) -> None:
    """RefusedError if a mirror's published commit belongs to another history than ours: nothing is read or copied."""
    if is_here(store, mirror) and (builds_on(store, published, mirror) or builds_on(store, mirror, published)):
        return
    cause = f"mirror {name} has publications of another history: {paths.PUBLISHED} there is {mirror}"
    remedy = "nothing is read or copied: see that url names a mirror of this repository, or start it over from a clone"
    raise RefusedError(cause, remedy)


def check_branch(new: Mapping[str, Commit], head: str | None, name: str) -> None:
    """RefusedError if a mirror's shared branch was not begun on our history. `new` are the commits that no publication
    reaches: on a branch of ours none of them is a root."""
    if any(not new[oid].parents and new[oid].fault is None for oid in reach_within(new, head)):
        cause = f"mirror {name} has a shared branch of another history"
        raise RefusedError(
            cause, "nothing is read or copied: see that url names a mirror, or start it over from a clone"
        )


def is_here(store: QueryReader, oid: str) -> bool:
    """Whether an object is in the repository that the primary works on."""
    return store.resolve(oid) == oid


def copied(store: QueryReader, published: str, mirror: str | None) -> Copied:
    """Compare our last publication with a mirror's, which `check_history` accepts; None if it has none yet."""
    if mirror is not None and mirror != published and builds_on(store, mirror, published):
        return Copied(ahead=True)
    lacks = takewhile(lambda link: not _has(store, mirror, link.oid), links(store, published))
    return Copied(tuple(lacks))


def _has(store: QueryReader, mirror: str | None, oid: str) -> bool:
    return mirror is not None and (mirror == oid or builds_on(store, mirror, oid))


def copy_moves(store: QueryReader, listed: Mapping[str, str], main: str, publication: str) -> list[Move] | None:
    """The moves that copy a publication to a mirror whose refs are `listed`; none if it has it already.

    None where the mirror's shared branch has commits of its own, or such that are not here: they would be lost."""
    moves = []
    tips = tips_of(store, publication)
    head = listed.get(main)
    if head is None or (is_here(store, head) and any(store.descends(tip, head) for tip in tips)):
        moves.append(Move(main, publication, head))
    elif not is_here(store, head) or not store.descends(head, publication):
        return None
    seen = claimed_seen(store.commit(publication))
    if seen is not None:
        moves.append(Move(paths.SEEN, seen, listed.get(paths.SEEN)))
    moves.append(Move(paths.PUBLISHED, publication, listed.get(paths.PUBLISHED)))
    return [move for move in moves if move.new != move.old]


def is_stuck(store: QueryReader, listed: Mapping[str, str], main: str, published: str) -> bool:
    """Whether the shared branch of a mirror whose refs are `listed` has commits for which nothing can be copied."""
    theirs = listed.get(paths.PUBLISHED)
    if theirs is not None and (not is_here(store, theirs) or copied(store, published, theirs).ahead):
        return False  # another primary published meanwhile
    return copy_moves(store, listed, main, published) is None


def stuck_branch(main: str, head: str) -> tuple[str, str]:
    """What is said of such a branch where the mirror is not read, so that no frame merges it, and the remedy."""
    branch = paths.short_ref(main)
    cause = (
        f"{branch} there has commits that no publication holds, up to {head[:10]}; with intake = false nothing merges "
        "them, and publications are not copied"
    )
    remedy = (
        "set intake = true, so that the next close merges them, or take them off the branch there "
        f"(git update-ref {main} {paths.PUBLISHED})"
    )
    return cause, remedy


def next_step(missing: tuple[Link, ...], stride: int) -> str:
    """The publication to copy next, `stride` steps from the oldest that is missing: the newest if there are fewer.

    A server-side check may refuse to judge many frames at once; then it gets fewer."""
    return missing[-min(stride, len(missing))].oid
