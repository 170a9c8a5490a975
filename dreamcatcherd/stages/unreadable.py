"""Commits and trees that anybody can push and nobody can read: found, recorded and passed over.

A commit that cannot be read brings nothing. A lane that brings one is left alone until its owner pushes another
history, since merging its head would put the commit into every clone. On the shared branch it stays where it is; a head
that cannot be read counts as deleted, and what it was put on is merged like a lane."""

from __future__ import annotations

from collections.abc import Container, Iterable, Sequence

from msgspec import Struct

from dreamcatcherd.core import paths
from dreamcatcherd.core.codec import plain
from dreamcatcherd.core.errors import UnreadableError
from dreamcatcherd.core.ledger import Violation
from dreamcatcherd.core.tree import subtree
from dreamcatcherd.core.troubles import Trouble
from dreamcatcherd.git.protocols import Commit, ObjectReader
from dreamcatcherd.git.reachability import reach_within

UNREADABLE_LISTED = 100
"""How many of them one ledger names; whoever pushes many is not to fill ledgers."""


class Unreadable(Struct, frozen=True):
    """A commit that cannot be read, the ref that brings it, and why."""

    ref: str
    commit: str
    author: str | None
    why: str


def readable_refs(store: ObjectReader, refs: dict[str, str], main: str) -> dict[str, str]:
    """The refs, without the shared branch where its head cannot be read."""
    head = refs.get(main)
    if head is None or why_unreadable(store, head) is None:
        return refs
    return {ref: oid for ref, oid in refs.items() if ref != main}


def why_unreadable(store: ObjectReader, oid: str) -> str | None:
    """Why a commit, or the part of its tree that everything is read from, cannot be read."""
    commit = store.commit(oid)
    if commit.fault is not None:
        return commit.fault
    try:
        subtree(store, commit.tree, f"{paths.DELTAS}/0")
    except UnreadableError as error:
        return error.cause
    return None


def followed(
    store: ObjectReader, commits: dict[str, Commit], head: str | None, hidden: Sequence[str]
) -> dict[str, Commit]:
    """The new commits of `main`, with those behind commits that only git can follow. Honest work may be there."""
    found = commits
    asked: set[str] = set()
    while blind := [oid for oid in reach_within(found, head) if _is_blind(found[oid]) and oid not in asked]:
        asked.update(blind)
        seen = {oid: store.through(oid) for oid in blind}
        behind = {parent for commit in seen.values() for parent in commit.parents} - found.keys()
        found = {**store.new_commits(behind, hidden), **found, **seen} if behind else {**found, **seen}
    return found


def _is_blind(commit: Commit) -> bool:
    return commit.fault is not None and not commit.tree


def readable_heads(commits: dict[str, Commit], faults: Container[str], head: str | None) -> list[str]:
    """The nearest commits that can be read, from a head back: the head itself, or where it cannot be, what it was put
    on, as far as that is new."""
    found: dict[str, None] = {}
    seen: set[str] = set()
    todo = [head] if head else []
    while todo:
        oid = todo.pop()
        if oid in seen or oid not in commits:
            continue
        seen.add(oid)
        if oid in faults:
            todo.extend(commits[oid].parents)
        else:
            found[oid] = None
    return sorted(found)


def found_on(ref: str, commits: dict[str, Commit], faults: dict[str, str], within: Iterable[str]) -> Unreadable | None:
    """The first unreadable commit, by id, among those that a ref reaches."""
    oid = min((oid for oid in within if oid in faults), default=None)
    if oid is None:
        return None
    return Unreadable(ref, oid, commits[oid].author or None, faults[oid])


def violations_of(found: Iterable[Unreadable]) -> list[Violation]:
    """A ledger's rows."""
    rows = [Violation("unreadable-commit", paths.short_ref(one.ref), one.commit, one.author, one.why) for one in found]
    if len(rows) > UNREADABLE_LISTED:
        more = Violation("unreadable-commit", "…", None, None, f"{len(rows) - UNREADABLE_LISTED} more are not listed")
        return [*rows[:UNREADABLE_LISTED], more]
    return rows


def troubles_of(found: Iterable[Unreadable], main: str) -> list[Trouble]:
    """What `status` says of each, for as long as the ref brings it."""
    troubles = []
    for one in list(found)[:UNREADABLE_LISTED]:
        what = f"{paths.short_ref(one.ref)} brings the commit {one.commit}, which cannot be read: {one.why}"
        remedy = "the next snapshot commit passes it by"
        if one.ref != main:
            remedy = f"nothing is merged from it: push another history, or git push --delete {paths.short_ref(one.ref)}"
        troubles.append(Trouble(plain(what), None, remedy))
    return troubles
