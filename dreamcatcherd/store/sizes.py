"""What takes much room: packs, the disk, and single files, for servers have limits. Owns where `doctor` warns."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

from dreamcatcherd.core.errors import UnreadableError
from dreamcatcherd.core.paths import DELTAS
from dreamcatcherd.core.report import Check
from dreamcatcherd.core.tree import TREE, Entry, differences, read_tree, subtree
from dreamcatcherd.store.footprint import measure
from dreamcatcherd.store.ports import Store

PACKS_MANY = 200
SPACE_BYTES = 256 * 2**20
LARGE_BYTES = 50_000_000
"""GitHub, GitLab.com and Bitbucket Cloud refuse a push that brings a file over 100 MB; GitHub warns from 50 MB on.
A file is pushed again as soon as a frame changes it."""


File = tuple[str, int]
"""A path and its bytes; empty and 0 for none."""


class Largest:
    """The largest file below `state`, deltas left out: what servers refuse first. It is brought up to each commit by
    what that changed; only where the largest became smaller, all files are looked at again."""

    def __init__(self) -> None:
        self._commit: str | None = None
        self._found: File = ("", 0)

    def of(self, store: Store, commit: str) -> File:
        """Path and bytes in a commit's tree, of one store each time. UnreadableError where it cannot be walked."""
        if commit == self._commit:
            return self._found
        new = _written(store, commit)
        brought = list(_brought(store, _written(store, self._commit) if self._commit else {}, new))
        known = self._found
        found = max([*brought, *([] if known[0] in dict(brought) else [known])], key=_size, default=known)
        if found[1] < known[1]:
            found = max(_brought(store, {}, new), key=_size, default=("", 0))
        self._commit, self._found = commit, found
        return found


def _size(file: File) -> int:
    return file[1]


def _written(store: Store, commit: str) -> dict[str, Entry]:
    """What `state` holds, apart from the deltas."""
    entries = read_tree(store, subtree(store, store.commit(commit).tree, "state"))
    return {f"state/{name}": entry for name, entry in entries.items() if f"state/{name}" != DELTAS}


def _brought(store: Store, old: dict[str, Entry], new: dict[str, Entry]) -> Iterator[File]:
    """The files of some folders and files that are not the same in two states; those that went, with no bytes."""
    for path in {**old, **new}:
        then, now = old.get(path), new.get(path)
        if then == now:
            continue
        if now is not None and now.mode != TREE:
            yield path, store.size(now.oid)
        before, after = (one.oid if one is not None and one.mode == TREE else None for one in (then, now))
        for inner, _, entry in differences(store, before, after, f"{path}/"):
            yield inner, store.size(entry.oid) if entry else 0


def check_largest(store: Store, commit: str) -> Check:
    """Servers refuse files that are too large; what is written grows with the records in it."""
    try:
        path, size = Largest().of(store, commit)
    except UnreadableError as error:
        return Check("largest file", False, error.cause, error.remedy)
    shown = f"{size:,} bytes: {path}"
    if size <= LARGE_BYTES:
        return Check("largest file", True, shown)
    remedy = "many servers refuse files over 100 MB: see in docs/runbook.md, large file, what makes it grow"
    return Check("largest file", False, shown, remedy)


def check_packs(folder: Path) -> Check:
    """Maintenance joins packs; where it does not get done every look becomes slower."""
    found = measure(folder)
    if found is None or found.packs <= PACKS_MANY:
        return Check("packs", True, f"{found.packs if found else 'unreadable'} packs")
    remedy = f"git -C {folder} repack --geometric=2 -d, and see what it says; then why the daemon's does not get done"
    return Check("packs", False, f"{found.packs} packs: maintenance does not get done", remedy)


def check_space(folder: Path) -> Check:
    """Room for packs where they are written."""
    free = shutil.disk_usage(folder).free
    shown = f"{free / 2**20:,.0f} MiB free at {folder}"
    fine = free >= SPACE_BYTES
    return Check("space", fine, shown, None if fine else "make room: publishing stops when the disk is full")
