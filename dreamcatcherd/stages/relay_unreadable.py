"""Commits on a region's shared branch that nobody can read: what is forwarded nevertheless, and how they are taken off.

A primary passes such a commit by, and keeps it in its history. A relay cannot: a commit brings its history along, and
upstream merges nothing of a lane that has such a commit (docs/relay.md)."""

from __future__ import annotations

from msgspec import Struct, structs

from dreamcatcherd.core import paths
from dreamcatcherd.core.errors import UnreadableError
from dreamcatcherd.core.tree import Entry, NamePath, edit_at, entries_at
from dreamcatcherd.core.troubles import Trouble
from dreamcatcherd.git.command import AUTHOR
from dreamcatcherd.git.protocols import Commit, Move, Store
from dreamcatcherd.git.reachability import reach_within
from dreamcatcherd.git.upstream import UpstreamRefs
from dreamcatcherd.stages.delta_reader import deltas_among, files_of, read_versions
from dreamcatcherd.stages.inbox import Inbox
from dreamcatcherd.stages.relay_copy import merge_into
from dreamcatcherd.stages.relay_forward import heads_among, within_reach
from dreamcatcherd.stages.unreadable import Unreadable, troubles_of, why_unreadable

REPLACED = "take the commits off that cannot be read"
"""What the reflog of the shared branch says."""


class BranchParts(Struct, frozen=True):
    """The commits of a shared branch that upstream's does not have: `bad` cannot be read, `after` come after such a one
    (parents first), and all others are reached by the `clean` heads. `theirs_is_bad` says that one of those that it
    does have cannot be read, and is not passed by yet."""

    bad: list[str]
    clean: list[str]
    after: list[str]
    theirs_is_bad: bool


def branch_heads(store: Store, inbox: Inbox, upstream: UpstreamRefs) -> list[str]:
    """The commits of the shared branch to forward, with all that they reach: its head, or the clean heads.

    None while upstream's branch itself has a commit that cannot be read and no frame has passed it by: the lane would
    bring it too."""
    if all(one.ref != inbox.main for one in inbox.unreadable):
        return [inbox.head] if inbox.head is not None else []
    parts = split_branch(store, inbox, upstream)
    return [] if parts.theirs_is_bad else parts.clean


def split_branch(store: Store, inbox: Inbox, upstream: UpstreamRefs) -> BranchParts:
    """Read the branch's own commits once more, and sort them. What upstream's branch has is upstream's to judge."""
    head = inbox.refs.get(inbox.main)
    reached = reach_within(inbox.commits, head)
    own = _not_upstream(store, inbox, reached, upstream)
    theirs_is_bad = any(_is_unreadable(store, oid, inbox) for oid in reached if oid not in own)
    bad: list[str] = []
    after: dict[str, None] = {}
    for oid in within_reach(own, [head] if head else [], len(own)):
        if _is_unreadable(store, oid, inbox):
            bad.append(oid)
        elif any(parent in after or parent in bad for parent in own[oid].parents):
            after[oid] = None
    clean = {oid: commit for oid, commit in own.items() if oid not in after and oid not in bad}
    return BranchParts(bad, heads_among(clean), list(after), theirs_is_bad)


def _not_upstream(store: Store, inbox: Inbox, oids: list[str], upstream: UpstreamRefs) -> dict[str, Commit]:
    """Those of some commits that upstream's branch and history do not reach. Each is asked about: git may not get from
    one to the next through a commit that it cannot read."""
    new = store.new_commits(oids, upstream.history) if oids else {}
    return {oid: inbox.commits[oid] for oid in oids if oid in new}


def _is_unreadable(store: Store, oid: str, inbox: Inbox) -> bool:
    """Whether ingest passes a commit by: the same reads fail."""
    try:
        brought = deltas_among(files_of(store, inbox.commits[oid], inbox.settings.intake.roots))
        read_versions(store, oid, brought, inbox.settings)
    except UnreadableError:
        return True
    return why_unreadable(store, oid) is not None


def take_off_unreadable(store: Store, inbox: Inbox, upstream: UpstreamRefs, now: int) -> bool:
    """Move the shared branch to where it would be if its workers had left out what cannot be read: upstream's commit,
    merged with the clean heads, and on it what came after, one commit for each; `now` is microseconds UTC.

    False if there is nothing to do, or a push moved the branch meanwhile. With signers nothing is done: no copy of a
    commit would have its signature."""
    if upstream.main is None or inbox.settings.signers or not any(one.ref == inbox.main for one in inbox.unreadable):
        return False
    found = split_branch(store, inbox, upstream)
    if not found.bad:
        return False
    roots, head = inbox.settings.intake.roots, upstream.main
    for oid in found.clean:
        own = [inbox.commits[one] for one in reach_within(inbox.commits, oid)]
        head = merge_into(store, head, oid, own, roots, now)
    for oid in found.after:
        head = _copy_of(store, inbox, oid, head)
    store.flush()
    if store.move_refs([Move(inbox.main, head, inbox.refs.get(inbox.main))], REPLACED):
        return True
    store.discard()
    return False


def _copy_of(store: Store, inbox: Inbox, oid: str, onto: str) -> str:
    """Write a commit that brings on top of another one what a commit brought: its deltas with their attachments.
    Returns the other one if it brought none."""
    wanted: list[str] = []
    for item in (one.item for one in inbox.arrivals if one.since is None and one.item.version.commit == oid):
        wanted += [item.version.path, *(path for path, _ in getattr(item, "attachments", ()))]
    if not wanted:
        return onto
    brought = inbox.commits[oid]
    entries: dict[NamePath, Entry | None] = {
        tuple(path.split("/")): entry for path, entry in entries_at(store, brought.tree, wanted).items()
    }
    tree = edit_at(store, store.commit(onto).tree, entries)
    if tree is None:
        raise AssertionError("upstream's tree has its frame file")
    message = f"copy {oid} without a commit below it that cannot be read\n"
    return store.write_commit(Commit(tree, (onto,), brought.author or AUTHOR, brought.time, message))


def with_fitting_remedies(store: Store, troubles: list[Trouble], inbox: Inbox, upstream: UpstreamRefs) -> list[Trouble]:
    """The troubles of a relay's repository; what a primary says of its own shared branch does not fit a region's."""
    noted = {one.commit: one for one in inbox.unreadable if one.ref == inbox.main}
    own = [noted[oid] for oid in _not_upstream(store, inbox, list(noted), upstream)]
    said = {trouble.what: one for one in own for trouble in troubles_of([one], inbox.main)}
    return [
        structs.replace(one, remedy=_remedy(store, said[one.what], inbox)) if one.what in said else one
        for one in troubles
    ]


def _remedy(store: Store, found: Unreadable, inbox: Inbox) -> str:
    if not inbox.settings.signers:
        return "the next look at upstream takes it off the branch, and keeps what was pushed after it"
    branch = paths.short_ref(found.ref)
    why = f"what was pushed to {branch} after it is not forwarded, since a copy of it would not be signed"
    return f"{why}: {push_to_lanes(store, found.ref)}"


def push_to_lanes(store: Store, main: str) -> str:
    """The remedy for what is on the shared branch (a full ref name) and cannot be forwarded."""
    back = f"git -C {store.where} update-ref {main} {paths.UPSTREAM}main"
    return f"let its workers push it to their lanes, and then move the branch back: {back}"
