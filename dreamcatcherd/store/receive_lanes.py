"""What a push may bring on lanes (Protocol §8): valid deltas of the lane's own stream, on a tree that is `main`'s."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from dreamcatcherd.core import paths
from dreamcatcherd.core.model import Delta, Reject, Version
from dreamcatcherd.core.tree import TREE, changed, read_tree, subtree
from dreamcatcherd.store.judge import judge
from dreamcatcherd.store.ports import Commit
from dreamcatcherd.store.push import Offence, Push, Update, kind_of, rejected, shown, unsigned


def judge_lanes(push: Push, updates: Sequence[Update]) -> Iterator[Offence]:
    """The offences of all lane updates of a push, and of refs that would be in the way of lanes."""
    prefix = push.settings.lane_prefix
    lanes = [update for update in updates if update.ref != push.gate.main and update.ref.startswith(prefix)]
    for update in lanes:
        yield from _lane_itself(push, update)
    for update in updates:
        if update.new is not None and prefix.startswith(update.ref + "/"):
            yield Offence(update.ref, "bad-lane", f"lanes are below {prefix}: this ref would leave no room for them")
    yield from _on_lanes(push, lanes)


def _lane_itself(push: Push, update: Update) -> Iterator[Offence]:
    if update.new is None:
        merged = [oid for ref in (push.gate.main, paths.PUBLISHED) if (oid := push.refs.get(ref))]
        left = push.store.new_commits([update.old], merged) if update.old else {}
        if left:
            yield Offence(update.ref, "lane-unmerged", f"{len(left)} commits of it are in no snapshot yet")
    elif paths.lane_stream(update.ref, push.settings.lane_prefix) is None:
        want = f"{push.settings.lane_prefix}<stream_id>"
        yield Offence(update.ref, "bad-lane", f"no stream_id can be called so: a lane is {want}, or {want}/<anything>")
    elif not push.store.commit(update.new).tree:
        yield Offence(update.ref, "not-a-commit", "a lane names a commit")


def _on_lanes(push: Push, lanes: Sequence[Update]) -> Iterator[Offence]:
    """Every version in every new commit is a delta of the lane's own stream; all else below `state/` is inherited."""
    owners: dict[str, dict[str, str]] = {}
    commits: dict[str, Commit] = {}
    for update in lanes:
        stream = paths.lane_stream(update.ref, push.settings.lane_prefix)
        if update.new is not None and stream is not None:
            for oid, commit in push.unchecked(update.new, push.head):
                commits[oid] = commit
                owners.setdefault(oid, {})[stream] = update.ref
    deltas: list[Delta] = []
    for oid, commit in commits.items():
        for path, blob, mode in push.versions(oid, commit):
            item = judge(push.store, Version(path, blob, mode, oid), push.settings.limits)
            if isinstance(item, Reject):
                yield rejected(item)
            elif item.stream_id not in owners[oid]:
                yield _wrong_stream(item, owners[oid])
            else:
                deltas.append(item)
        yield from _not_inherited(push, oid, commit)
    push.accepted.extend(deltas)
    yield from unsigned(push, deltas)


def _wrong_stream(item: Delta, owners: dict[str, str]) -> Offence:
    lane = paths.short_ref(next(iter(owners.values())))
    detail = f"the lane {lane} is not the stream {shown(item.stream_id)}'s (commit {item.version.commit[:10]})"
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
            yield from (Offence(at, kind_of(at), detail) for at in files)
