"""Adding deltas to the lane of their stream: which ref that is, the commit, and its push (docs/decisions/0030).

Owns what an answer of the server means: accepted, overtaken by another push, refused, or unknown."""

from __future__ import annotations

import re
import time
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from msgspec import Struct

from dreamcatcherd.client.pace import Pace
from dreamcatcherd.client.ready import Ready
from dreamcatcherd.client.session import Session, Sight
from dreamcatcherd.core.codec import frame_number, plain
from dreamcatcherd.core.errors import PushRefusedError, RetryableError
from dreamcatcherd.core.settings import Settings
from dreamcatcherd.core.signers import lines_at, speaks_for
from dreamcatcherd.core.tree import FILE, TREE, Entry, blob_at, changed, edit, read_tree, subtree
from dreamcatcherd.git.failures import OVERTAKEN
from dreamcatcherd.git.http_answers import parted, words_of
from dreamcatcherd.git.partial_clone import PartialClone
from dreamcatcherd.git.protocols import Commit

_REFUSAL = re.compile(r"remote: (?P<path>\S.*?): (?P<reason>[a-z]+(?:-[a-z]+)+)(?: at (?P<at>\S+))?: (?P<detail>.*)")
_WARNING = "remote: warning: "
_IN_THE_WAY = "exists; cannot create"
_BLOCKED = "lane-blocked"
_BLOCKED_MOST = 3
"""After how many answers that a ref is in the way the push is given up. One that another push creates or removes at
this moment is found at the next attempt, and then in the way no more; any other ref is."""


class Landed(Struct, frozen=True):
    """Deltas that the repository has acknowledged: `commit` is the head of `ref` then; `again` are the paths that were
    there before. `said` are the server's warnings."""

    ref: str
    commit: str
    again: frozenset[str] = frozenset()
    said: tuple[str, ...] = ()


class Declined(Struct, frozen=True):
    """The server's answer to deltas that it does not take; `reason` is a word if its check gave one."""

    reason: str
    detail: str
    at: str | None = None


class Target(NamedTuple):
    """The ref that deltas are added to, and its commit; None if it does not exist."""

    ref: str
    head: str | None


def deliver(session: Session, sight: Sight, deltas: Sequence[Ready]) -> Landed | Declined:
    """Add the deltas of one stream to its lane, in one commit; nothing is pushed if all are there already.

    Races with other pushes of the stream are run again. After an unclear answer the ref is read before anything is
    pushed again. RetryableError if nothing shows that the deltas arrived: then they may be pushed again."""
    clone, pace = session.clone, Pace()
    attempted, again, blocked = False, frozenset[str](), 0
    while True:
        try:
            target = find_target(session, sight.settings, deltas[0].stream_id)
            there = held_paths(clone, target.head, deltas)
            missing = [one for one in deltas if one.path not in there]
            # After an answer that was lost, what is there may have come by this push, and is then no duplicate.
            again = again if attempted else there
            if target.head is not None and not missing:
                return Landed(target.ref, target.head, again)
        except RetryableError as failure:
            pace.failed(failure)
            continue
        try:
            answer = _push(session, sight, target, missing)
        except RetryableError as failure:
            attempted = True
            pace.failed(failure)
            continue
        if isinstance(answer, Landed):
            return Landed(target.ref, answer.commit, again, answer.said)
        if isinstance(answer, Declined):
            blocked += answer.reason == _BLOCKED
            if answer.reason != _BLOCKED or blocked == _BLOCKED_MOST:
                return answer
            answer = RetryableError(answer.detail, "push again")
        pace.lost_race(answer)


def find_target(session: Session, settings: Settings, stream_id: str) -> Target:
    """A stream's lane; or a ref below it, if refs are below it already, since git cannot hold both. The shared branch
    for a stream whose name cannot be part of a ref (docs/protocol.md#words). RetryableError if nobody answers."""
    lane = f"{settings.lane_prefix}{stream_id}"
    clone = session.clone
    if not clone.is_ref_name(lane):
        lane, refs = session.main, session.published_refs()
    else:
        refs = session.refs_at(lane)
    # A stream that pushes with push-delta.sh, or to lanes of its own making, goes on doing so beside this.
    while any(ref.startswith(f"{lane}/") for ref in refs):
        lane += "/push"
    head = refs.get(lane)
    clone.fetch_commits([head] if head else [])
    return Target(lane, head)


def held_paths(clone: PartialClone, head: str | None, deltas: Iterable[Ready]) -> frozenset[str]:
    """The paths of those deltas that a commit has."""
    tree = clone.commit(head).tree if head else None
    return frozenset(one.path for one in deltas if blob_at(clone, tree, one.path) == one.blob)


def _push(
    session: Session, sight: Sight, target: Target, deltas: Sequence[Ready]
) -> Landed | Declined | RetryableError:
    """Push a commit with the deltas; a RetryableError that is returned says that another push came first."""
    clone = session.clone
    commit = _commit(session, sight, target, deltas)
    if (why := _not_vouched_for(clone, sight.settings, commit, deltas[0].stream_id)) is not None:
        return Declined("wrong-stream", why)
    result = clone.push(commit, target.ref)
    verdicts = result.stdout.decode("utf-8", "replace")  # not stderr: a hook's own output there may say anything
    said, _ = parted(result.stderr.decode("utf-8", "replace"))
    lines = [plain(line.rstrip()) for line in said.splitlines()]
    if result.returncode == 0:
        warnings = [line.removeprefix(_WARNING) for line in lines if line.startswith(_WARNING)]
        return Landed(target.ref, commit, said=tuple(warnings))
    # `main-moved` is the check's word for a push to the shared branch that waited for a frame and lost.
    moved = any(sign in verdicts for sign in OVERTAKEN) or any(": main-moved: " in line for line in lines)
    if moved:
        blocked = next((line for line in lines if _IN_THE_WAY in line), None)
        if blocked:
            return Declined(_BLOCKED, f"{clone.where}: {target.ref} cannot be created: {blocked}")
        return RetryableError(f"{clone.where}: others moved {target.ref} at each attempt", "push again")
    failure = clone.push_failure(result, commit, target.ref)
    if not isinstance(failure, PushRefusedError):
        raise failure
    for line in lines:
        if (found := _REFUSAL.fullmatch(line)) is not None:
            return Declined(found["reason"], found["detail"], found["at"])
    return Declined("refused", words_of(said) or failure.cause)


def _not_vouched_for(clone: PartialClone, settings: Settings, commit: str, stream_id: str) -> str | None:
    """If the settings name signers: why the commit's signature does not speak for the stream, or None."""
    if not settings.signers:
        return None
    now = time.time_ns() // 1000
    good = clone.good_signatures([commit], lines_at(settings.signers.lines, now))
    if speaks_for(settings.signers, good.get(commit), stream_id):
        return None
    return f"no good signature by a key of the stream {stream_id!r}: name its key with [repository] signing_key"


def _commit(session: Session, sight: Sight, target: Target, deltas: Sequence[Ready]) -> str:
    """A commit on top of the target's head that adds the deltas."""
    clone = session.clone
    files = {path: raw for one in deltas for path, raw in one.files.items()}
    entries = {path: Entry(FILE, clone.write("blob", raw)) for path, raw in files.items()}
    old = clone.commit(target.head).tree if target.head else None
    # What a commit on the shared branch lacks counts as deleted; on a lane it does not.
    if target.ref != session.main:
        old = _carried(clone, target.head, sight)
    tree = edit(clone, old, entries)
    if tree is None:
        raise AssertionError("a tree with a delta is not empty")
    stream_id = deltas[0].stream_id
    name = "".join(char for char in stream_id if char.isprintable() and char not in '<>\\"').strip(" .,:;'") or "worker"
    frames = ", ".join(str(frame) for frame in sorted({one.frame for one in deltas}))
    message = f"{plain(stream_id)}: frame {frames}\n"
    parents = (target.head,) if target.head else ()
    commit = Commit(tree, parents, f"{name} <worker@localhost>", int(time.time()), message)
    return clone.write_commit(commit, session.signing_key)


def _carried(clone: PartialClone, head: str | None, sight: Sight) -> str | None:
    """What of a lane's tree the next commit keeps: all of it, unless it has nothing but deltas; of those, what is not
    merged yet, as far as `main` shows.

    A lane's tree is never merged, only what its commits add. So it need not grow for as long as the stream lives; what
    stays is there to recognize a repeat."""
    tree = clone.commit(head).tree if head else None
    roots = sight.settings.intake.roots
    if head is None or not _only_deltas(clone, tree, [tuple(root.split("/")) for root in roots]):
        return tree
    published = sight.published.commit
    merged = published is not None and head in clone.commit(published).parents
    kept: dict[str, Entry | None] = {}
    closed: list[str] = []
    for root in roots:
        for name, entry in read_tree(clone, subtree(clone, tree, root)).items():
            frame = frame_number(name)
            if entry.mode != TREE or frame is None or frame >= sight.frame.frame:
                kept[f"{root}/{name}"] = entry
            elif not merged:
                closed.append(f"{root}/{name}")
    both = {path: (subtree(clone, tree, path), subtree(clone, sight.tree, path)) for path in closed}
    clone.fetch_missing(oid for pair in both.values() for oid in pair if oid)
    for path, (mine, theirs) in both.items():
        kept |= dict(changed(clone, mine, [theirs], f"{path}/"))
    return edit(clone, None, kept)


def _only_deltas(clone: PartialClone, tree: str | None, roots: Sequence[tuple[str, ...]]) -> bool:
    """Whether a tree has nothing outside the delta roots."""
    for name, entry in read_tree(clone, tree).items():
        below = [root[1:] for root in roots if root[0] == name]
        if entry.mode != TREE or not below:
            return False
        if () not in below and not _only_deltas(clone, entry.oid, below):
            return False
    return True
