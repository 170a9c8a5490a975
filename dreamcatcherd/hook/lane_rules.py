"""What a push may bring on lanes (Protocol §8): valid deltas of the lane's own stream, on a tree that is `main`'s."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from msgspec import structs

from dreamcatcherd.core import paths
from dreamcatcherd.core.errors import UnreadableError
from dreamcatcherd.core.model import Delta, Reject
from dreamcatcherd.core.signers import speaks_for
from dreamcatcherd.core.tree import TREE, changed, read_tree, subtree
from dreamcatcherd.git.protocols import Commit
from dreamcatcherd.git.reachability import reach_within
from dreamcatcherd.hook.push import (
    Offence,
    Push,
    Update,
    quoted_stream,
    rejected,
    unreadable,
    unsigned_offences,
    violation_kind_of,
)


def judge_lanes(push: Push, updates: Sequence[Update]) -> Iterator[Offence]:
    """The offences of all lane updates of a push, and of refs that would be in the way of lanes."""
    prefix = push.settings.lane_prefix
    lanes = [update for update in updates if update.ref != push.gate.main and update.ref.startswith(prefix)]
    for update in lanes:
        yield from _lane_itself(push, update)
    yield from _deletions(push, lanes)
    yield from _blocked(push, lanes)
    for update in updates:
        if update.new is not None and prefix.startswith(update.ref + "/"):
            yield Offence(update.ref, "bad-lane", f"lanes are below {prefix}: this ref would leave no room for them")
    yield from _on_lanes(push, lanes)
    yield from _not_entitled(push, lanes)


def _deletions(push: Push, lanes: Sequence[Update]) -> Iterator[Offence]:
    """Lanes that are to go, and are not merged yet."""
    gone = {update.ref: update.old for update in lanes if update.new is None and update.old}
    merged = [oid for ref in (push.gate.main, paths.PUBLISHED, paths.SEEN) if (oid := push.refs.get(ref))]
    left = push.store.new_commits(gone.values(), merged) if gone else {}
    for ref, old in gone.items():
        if count := len(reach_within(left, old)):
            yield Offence(ref, "lane-unmerged", f"{count} commits of it are in no snapshot yet")


def _lane_itself(push: Push, update: Update) -> Iterator[Offence]:
    """Whether a lane that is pushed can be one: its name, what it names, and whether git has room for it."""
    if update.new is None:
        return
    if paths.lane_stream(update.ref, push.settings.lane_prefix) is None:
        want = f"{push.settings.lane_prefix}<stream_id>"
        yield Offence(update.ref, "bad-lane", f"no stream_id can be called so: a lane is {want}, or {want}/<anything>")
    elif not push.store.commit(update.new).tree:
        yield Offence(update.ref, "not-a-commit", "a lane names a commit")


def _blocked(push: Push, lanes: Sequence[Update]) -> Iterator[Offence]:
    """New lanes that git has no room for, since another one is below or above them."""
    standing = {ref for ref in push.refs if (move := push.moves.get(ref)) is None or move.new is not None}
    folders: dict[str, str] = {}
    for ref in standing:
        above = ref
        while (above := above.rpartition("/")[0]) and above not in folders:
            folders[above] = ref
    for update in lanes:
        if update.new is None or update.old is not None:
            continue
        above = update.ref
        while (above := above.rpartition("/")[0]) and above not in standing:
            pass
        other = above or folders.get(update.ref)
        if other:
            both = f"{paths.short_ref(other)} is there, and git cannot hold both"
            yield Offence(update.ref, "lane-blocked", both)


def _not_entitled(push: Push, lanes: Sequence[Update]) -> Iterator[Offence]:
    """Where signers are set: lanes whose head no key of their stream signed, so that nobody occupies another's."""
    signers = push.standing.signers
    if not signers:
        return
    moved = {update.ref: update.new for update in lanes if update.new is not None}
    good = push.good_signatures(moved.values(), signers)
    for ref, oid in moved.items():
        stream = paths.lane_stream(ref, push.settings.lane_prefix)
        if stream is not None and not speaks_for(signers, good.get(oid), stream):
            detail = f"its head {oid[:10]} has no good signature by a key of the stream {quoted_stream(stream)}"
            yield Offence(ref, "wrong-stream", detail)


def _on_lanes(push: Push, lanes: Sequence[Update]) -> Iterator[Offence]:
    """Every version in every new commit is a delta of the lane's own stream; all else below `state/` is inherited."""
    streams = {update: paths.lane_stream(update.ref, push.settings.lane_prefix) for update in lanes}
    tips = [update.new for update, stream in streams.items() if update.new is not None and stream is not None]
    commits = dict(push.unchecked(tips, push.head))
    owners: dict[str, dict[str, str]] = {}
    for update, stream in streams.items():
        if stream is not None:
            for oid in reach_within(commits, update.new):
                owners.setdefault(oid, {})[stream] = update.ref
    deltas: list[Delta] = []
    for oid, commit in commits.items():
        try:
            for item in push.judged(oid, commit):
                if isinstance(item, Reject):
                    yield rejected(item)
                elif item.stream_id not in owners[oid]:
                    yield _wrong_stream(item, owners[oid])
                else:
                    push.accept(item)
                    deltas.append(structs.replace(item, body=None))
            yield from _not_inherited(push, oid, commit)
        except UnreadableError as error:
            yield unreadable(oid, error)
    yield from (Offence(path, "bad-name", why) for path, why in push.unsafe)
    yield from unsigned_offences(push, deltas)


def _wrong_stream(item: Delta, owners: dict[str, str]) -> Offence:
    lane = paths.short_ref(next(iter(owners.values())))
    detail = f"the lane {lane} is not the stream {quoted_stream(item.stream_id)}'s (commit {item.version.commit[:10]})"
    return Offence(item.version.path, "wrong-stream", detail, "$.stream_id")


def _not_inherited(push: Push, oid: str, commit: Commit) -> Iterator[Offence]:
    """Files below `state/`, deltas apart, that are neither a parent's nor what `main` has or had."""
    store = push.store
    known = [store.commit(parent).tree for parent in commit.parents]
    known += [store.commit(head).tree for head in {push.head, push.refs.get(push.gate.main)} if head]
    olds = [read_tree(store, subtree(store, tree, "state")) for tree in known]
    for name, entry in read_tree(store, subtree(store, commit.tree, "state")).items():
        path = f"state/{name}"
        if path == paths.DELTAS or any(old.get(name) == entry for old in olds):
            continue
        files = [path]
        if entry.mode == TREE:
            folders = [old[name].oid if name in old and old[name].mode == TREE else None for old in olds]
            files = [at for at, _ in changed(store, entry.oid, folders, path + "/")]
        if files and not push.past.holds(name, entry):
            detail = f"on a lane it is only inherited from main (commit {oid[:10]})"
            yield from (Offence(at, violation_kind_of(at), detail) for at in files)
