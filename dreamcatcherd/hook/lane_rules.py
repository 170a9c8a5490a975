"""The rules of the server-side check for lanes (docs/protocol.md#the-server-side-check).

A lane brings valid deltas of its own stream, on a tree that is otherwise `main`'s. The lane of a listed relay brings
valid deltas of any stream: what else its commits may hold was judged in its region, by the `main` that is there."""

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
    others_may_write,
    quoted_stream,
    rejected,
    unreadable,
    unsigned_offences,
    violation_kind_of,
)
from dreamcatcherd.stages.never_merged import UNLISTED_RELAY

_ANY = "/"
"""Means any stream among the owners of a relay's commits: no stream has a slash."""


def judge_lanes(push: Push, updates: Sequence[Update]) -> Iterator[Offence]:
    """The offences of all lane updates of a push, and of other refs that would leave no room for lanes.

    FatalError if an object cannot be read."""
    prefix = push.settings.lane_prefix
    prefixes = (prefix, paths.RELAYS)
    lanes = [update for update in updates if update.ref != push.gate.main and update.ref.startswith(prefixes)]
    for update in lanes:
        yield from _lane_itself(push, update)
    lanes = [update for update in lanes if push.settings.is_lane(update.ref) or update.ref.startswith(prefix)]
    yield from _deletions(push, lanes)
    yield from _blocked(push, lanes)
    for update in updates:
        if update.new is not None and prefix.startswith(update.ref + "/"):
            yield Offence(update.ref, "bad-lane", f"lanes are below {prefix}: this ref would leave no room for them")
    yield from _on_lanes(push, lanes)
    yield from _not_entitled(push, lanes)


def _deletions(push: Push, lanes: Sequence[Update]) -> Iterator[Offence]:
    """Refuse to delete lanes that are not merged completely."""
    gone = {update.ref: update.old for update in lanes if update.new is None and update.old}
    merged = [oid for ref in (push.gate.main, paths.PUBLISHED, paths.SEEN) if (oid := push.refs.get(ref))]
    left = push.store.new_commits(gone.values(), merged) if gone else {}
    for ref, old in gone.items():
        if count := len(reach_within(left, old)):
            yield Offence(ref, "lane-unmerged", f"not in any snapshot yet: {count} of its commits")


def _lane_itself(push: Push, update: Update) -> Iterator[Offence]:
    """Refuse refs below the lane prefix that cannot be lanes, by their name or because they name no commit."""
    if update.new is None:
        return
    if (relay := paths.relay_name(update.ref)) is not None and relay not in push.settings.relays:
        yield Offence(update.ref, "not-a-relay", UNLISTED_RELAY)
    elif relay is None and paths.lane_stream(update.ref, push.settings.lane_prefix) is None:
        want = f"{push.settings.lane_prefix}<stream_id>"
        yield Offence(update.ref, "bad-lane", f"not a valid stream_id: a lane is {want}, or {want}/<anything>")
    elif not push.store.commit(update.new).tree:
        yield Offence(update.ref, "not-a-commit", "a lane must name a commit")


def _blocked(push: Push, lanes: Sequence[Update]) -> Iterator[Offence]:
    """Refuse new lanes that git cannot store, since another ref is a folder above or below them."""
    # git itself refuses them only after the hook, with a message that names no remedy.
    existing = {ref for ref in push.refs if (move := push.moves.get(ref)) is None or move.new is not None}
    folders: dict[str, str] = {}
    for ref in existing:
        above = ref
        while (above := above.rpartition("/")[0]) and above not in folders:
            folders[above] = ref
    for update in lanes:
        if update.new is None or update.old is not None:
            continue
        above = update.ref
        while (above := above.rpartition("/")[0]) and above not in existing:
            pass
        other = above or folders.get(update.ref)
        if other:
            both = f"{paths.short_ref(other)} is there, and git cannot hold both"
            yield Offence(update.ref, "lane-blocked", both)


def _not_entitled(push: Push, lanes: Sequence[Update]) -> Iterator[Offence]:
    """If signers are set: refuse lanes whose head no key of their stream, or of their relay, signed."""
    # Also lanes without deltas: git cannot hold `dc/alice` and `dc/alice/x`, so an empty lane can shut out a stream.
    signers = push.previous.signers
    if not signers:
        return
    moved = {update.ref: update.new for update in lanes if update.new is not None}
    good = push.good_signatures(moved.values(), signers)
    for ref, oid in moved.items():
        stream = paths.lane_stream(ref, push.settings.lane_prefix)
        relay = paths.short_ref(ref) if paths.relay_name(ref) is not None else None
        if relay is not None and not speaks_for(signers, good.get(oid), relay):
            detail = f"its head {oid[:10]} has no good signature by a key of the principal {relay}"
            yield Offence(ref, "not-a-relay", detail)
        elif stream is not None and not speaks_for(signers, good.get(oid), stream):
            detail = f"its head {oid[:10]} has no good signature by a key of the stream {quoted_stream(stream)}"
            yield Offence(ref, "wrong-stream", detail)


def _on_lanes(push: Push, lanes: Sequence[Update]) -> Iterator[Offence]:
    """Refuse versions in new commits that are not deltas of the lane's stream, and other changes below `state/`."""
    prefix = push.settings.lane_prefix
    streams = {one: _ANY if paths.relay_name(one.ref) else paths.lane_stream(one.ref, prefix) for one in lanes}
    tips = [update.new for update, stream in streams.items() if update.new is not None and stream is not None]
    commits = dict(push.unchecked(tips, push.head))
    # A commit may be on several of the lanes; a delta in it has to belong to one of them.
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
                elif item.stream_id not in owners[oid] and _ANY not in owners[oid]:
                    yield _wrong_stream(item, owners[oid])
                else:
                    push.accept(item)
                    deltas.append(structs.replace(item, body=None))
            if _ANY not in owners[oid]:
                yield from _not_inherited(push, oid, commit)
        except UnreadableError as error:
            yield unreadable(oid, error)
    yield from (Offence(path, "bad-name", why) for path, why in push.unsafe)
    yield from unsigned_offences(push, deltas)


def _wrong_stream(item: Delta, owners: dict[str, str]) -> Offence:
    lane = paths.short_ref(next(iter(owners.values())))
    detail = f"the lane {lane} is not the stream {quoted_stream(item.stream_id)}'s (commit {item.version.commit[:10]})"
    return Offence(item.version.path, "wrong-stream", detail, item.stream_at)


def _not_inherited(push: Push, oid: str, commit: Commit) -> Iterator[Offence]:
    """Refuse files below `state/`, except deltas, that are neither a parent's nor present or past content of `main`.

    Those that `[intake] pass` opens are let through, with a warning: nothing but deltas comes from a lane to `main`."""
    store, roots = push.store, push.settings.intake.roots
    known = [store.commit(parent).tree for parent in commit.parents]
    known += [store.commit(head).tree for head in {push.head, push.refs.get(push.gate.main)} if head]
    olds = [read_tree(store, subtree(store, tree, "state")) for tree in known]
    for name, entry in read_tree(store, subtree(store, commit.tree, "state")).items():
        path = f"state/{name}"
        if path in roots or any(old.get(name) == entry for old in olds):
            continue
        files = [path]
        if entry.mode == TREE:
            folders = [old[name].oid if name in old and old[name].mode == TREE else None for old in olds]
            files = [at for at, _ in changed(store, entry.oid, folders, path + "/")]
        files = [at for at in files if paths.root_above(at, roots) is None]
        if files and not push.past.holds(name, entry):  # an orphan may hold a copy of an earlier `main`
            detail = f"a lane can only inherit it from main (commit {oid[:10]})"
            passing = [at for at in files if others_may_write(push.settings, at)]
            push.left_behind.extend(passing)
            yield from (Offence(at, violation_kind_of(at), detail) for at in files if at not in passing)
