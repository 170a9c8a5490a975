"""Which commits put edited canonical files back, found again in git (docs/protocol.md#events).

A restore commit is one by what it does: a commit with the trailer counts only if it shows published files where its
parent shows others. So nobody can claim a restore by a commit message."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import NamedTuple

from dreamcatcherd.core import paths
from dreamcatcherd.core.settings import SettingsError, read_settings
from dreamcatcherd.core.tree import lookup, subtree
from dreamcatcherd.git.protocols import ObjectReader
from dreamcatcherd.stages.canonical_files import canonical_paths, oldest_first
from dreamcatcherd.stages.published import load_head
from dreamcatcherd.stages.snapshot_chain import Link, tips_of

_RESTORES = re.compile(r"^Dreamcatcher-Restores: ([0-9a-f]{40})$", re.MULTILINE)


class Repair(NamedTuple):
    """One restore: the commit that did it, its time in seconds since 1970, and the canonical paths."""

    commit: str
    at_s: float
    paths: list[str]


class RestoreBase(NamedTuple):
    """A snapshot commit whose canonical files are the right ones until the next: its tree, what reaches all that it
    published, and the canonical paths."""

    commit: str
    tree: str
    tips: list[str]
    paths: list[str]


def restore_base(store: ObjectReader, link: Link) -> RestoreBase:
    """What the canonical files are after a closed frame."""
    tree = store.commit(link.oid).tree
    head = load_head(store, subtree(store, tree, paths.LEDGER), link.frame)
    raw = store.read(head.settings) if head is not None and head.settings is not None else b""
    try:
        views = read_settings(raw).views
    except SettingsError:  # settings of a former version, before a conversion
        views = {}
    return RestoreBase(link.oid, tree, tips_of(store, link.oid), [path for _, path in canonical_paths(views)])


def restores_since(store: ObjectReader, base: RestoreBase, head: str | None) -> Iterator[Repair]:
    """The restore commits that `head` has and the base has not, each after those before it."""
    if head is None or head == base.commit:
        return
    commits = store.new_commits([head], base.tips)
    claiming = {oid for oid, commit in commits.items() if base.commit in _RESTORES.findall(commit.message)}
    for oid in oldest_first(commits, head) if claiming else ():
        commit = commits[oid]
        if oid in claiming and len(commit.parents) == 1:
            before = _edited(store, base, store.commit(commit.parents[0]).tree)
            after = set(_edited(store, base, commit.tree))
            if put_back := [path for path in before if path not in after]:
                yield Repair(oid, commit.time, put_back)


def restored_by_close(store: ObjectReader, base: RestoreBase, snapshot_commit: str) -> Repair | None:
    """The close as a restore: if the branch showed edited canonical files until then."""
    commit = store.commit(snapshot_commit)
    head = commit.parents[0] if commit.parents else None
    if head is None or head == base.commit or not store.descends(head, base.commit):
        return None  # after a rewind the branch shows other files, and nobody edited them
    put_back = _edited(store, base, store.commit(head).tree)
    return Repair(snapshot_commit, commit.time, put_back) if put_back else None


def _edited(store: ObjectReader, base: RestoreBase, tree: str) -> list[str]:
    """The canonical paths at which a tree differs from the base."""
    return [path for path in base.paths if lookup(store, tree, path) != lookup(store, base.tree, path)]
