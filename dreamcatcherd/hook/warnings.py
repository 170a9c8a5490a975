"""Warnings about an accepted push: refs and files that are never merged, and deltas that may not merge as expected."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import msgspec

from dreamcatcherd.core import paths
from dreamcatcherd.core.advice import advise
from dreamcatcherd.core.codec import frame_number
from dreamcatcherd.core.tree import TREE, lookup, read_tree
from dreamcatcherd.git.protocols import Commit, ObjectReader
from dreamcatcherd.hook.push import Push, Update
from dreamcatcherd.stages.never_merged import never_merged, not_a_delta

WARNINGS_LISTED = 50
"""The largest number of warnings that one push gets."""

_OUTSIDE = ("stream_deltas", "stream-deltas", "deltas")
"""Folders at the root of the tree whose deltas were probably meant for the delta root."""


def warnings(push: Push, updates: Sequence[Update], open_frame: int | None) -> list[str]:
    """The warnings about an accepted push, as lines for its own output; after WARNINGS_LISTED one line with the rest's
    number."""
    found = [*_settings(push), *_refs(push, updates), *_strays(push), *_deltas(push, open_frame)]
    if len(found) > WARNINGS_LISTED:
        return [*found[:WARNINGS_LISTED], f"… and {len(found) - WARNINGS_LISTED} more"]
    return found


def _settings(push: Push) -> Iterator[str]:
    """What can never match in settings that the push brings."""
    if push.settings.blob != push.previous.blob:
        for text in push.settings.warnings:
            yield f"{paths.SETTINGS}: {text}"


def _refs(push: Push, updates: Sequence[Update]) -> Iterator[str]:
    for update in updates:
        if update.new is not None and update.ref not in (push.gate.main, paths.PUBLISHED):
            why = never_merged(update.ref, push.gate.main, push.settings)
            if why is not None:
                yield f"{paths.short_ref(update.ref)}: {why}"


def _strays(push: Push) -> Iterator[str]:
    """Files below a delta root that are neither deltas nor named by one, deltas outside a root, and files on a lane
    that are not its deltas."""
    roots = push.settings.intake.roots
    named = {path for delta in push.accepted for path, _ in delta.attachments}
    for path in dict.fromkeys(push.strays):
        if path not in named:
            yield f"{paths.printable(path)}: {not_a_delta(path)}"
    for commit in push.brought.values():
        for path in outside_root(push.store, commit, roots):
            yield f"{paths.printable(path)}: outside {paths.named_roots(roots)}: it is never merged"
    for path in dict.fromkeys(push.left_behind):
        yield f"{paths.printable(path)}: from a lane only deltas reach {paths.short_ref(push.gate.main)}: push it there"


def outside_root(store: ObjectReader, commit: Commit, roots: paths.Roots = paths.ROOTS) -> Iterator[str]:
    """Names that a commit adds or changes at the root of the tree and that look like deltas in the wrong place."""
    root = read_tree(store, commit.tree)
    ours = {one.partition("/")[0] for one in roots}
    likely = {name for name in root if name in _OUTSIDE or paths.frame_of(f"{paths.DELTAS}/{name}") is not None} - ours
    if not likely:
        return
    before = [read_tree(store, store.commit(parent).tree) for parent in commit.parents]
    for name in sorted(likely):
        if all(old.get(name) != root[name] for old in before):
            yield f"{name}/" if root[name].mode == TREE else name


def _deltas(push: Push, open_frame: int | None) -> Iterator[str]:
    for delta in push.accepted:
        if delta.body is not None:
            for text in advise(delta, push.settings, open_frame):
                yield f"{paths.printable(delta.version.path)}: {text}"


def open_frame_at(store: ObjectReader, head: str | None) -> int | None:
    """The open frame in a commit's frame.json; None if there is none, or it cannot be read or is over 64 KiB."""
    entry = lookup(store, store.commit(head).tree, paths.FRAME) if head else None
    if entry is None or store.size(entry.oid) > 65_536:
        return None
    try:
        found = msgspec.json.decode(store.read(entry.oid))
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return None
    return frame_number(found.get("frame")) if isinstance(found, dict) else None
