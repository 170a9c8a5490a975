"""Forging history, as somebody could who may write to the repository as they please: commits made anew with other trees
or without some of them, and every ref moved to what follows from that."""

from __future__ import annotations

from collections.abc import Mapping

from dreamcatcherd.core.tree import FILE, Entry, edit, walk
from dreamcatcherd.git.protocols import Commit, Move, Store
from dreamcatcherd.stages.snapshot_chain import Link, claimed_previous, links

Changes = Mapping[str, Mapping[str, Entry | None] | None]
"""For each commit what is to be set in its tree; None drops the commit."""


def chain(store: Store) -> list[Link]:
    """The closed frames, oldest first."""
    return list(links(store, store.refs()["refs/dreamcatcher/published"]))[::-1]


def rewrite(store: Store, changes: Changes) -> None:
    """Make every commit that is changed, or follows on a changed one, anew; move the refs there."""
    refs = store.refs()
    history = store.new_commits(refs.values(), [])
    made: dict[str, tuple[str, ...]] = {}
    todo = sorted(history)
    while todo:
        left = []
        for oid in todo:
            commit = history[oid]
            if any(parent not in made for parent in commit.parents):
                left.append(oid)
                continue
            parents = tuple(dict.fromkeys(new for parent in commit.parents for new in made[parent]))
            if oid in changes and changes[oid] is None:
                made[oid] = parents
                continue
            tree = edit(store, commit.tree, changes.get(oid) or {})
            assert tree is not None
            same = (tree, parents) == (commit.tree, commit.parents)
            message = commit.message
            if (before := claimed_previous(commit)) is not None and made.get(before):
                message = message.replace(before, made[before][0])
            new = Commit(tree, parents, commit.author, commit.time, message)
            made[oid] = (oid if same else store.write_commit(new),)
        todo = left
    store.flush()
    moves = [Move(ref, made[oid][0] if made[oid] else None, oid) for ref, oid in refs.items() if made[oid] != (oid,)]
    assert moves
    assert store.move_refs(moves, "forge")


def following(store: Store, at: int, files: Mapping[str, Entry | None]) -> Changes:
    """The same files set in a snapshot commit (by its place in the chain) and in all that follow on it."""
    return {link.oid: files for link in chain(store)[at:]}


def blob(store: Store, raw: bytes) -> Entry:
    return Entry(FILE, store.write("blob", raw))


def a_shard(store: Store, tree: str) -> tuple[str, Entry]:
    """Some file of a snapshot that holds entities."""
    return next((path, entry) for path, entry in walk(store, tree) if path.startswith("state/posts"))
