"""The guard *never publish less* (Protocol §7): what one snapshot has and another one lacks.

Owns the comparison alone. It shares no step with the merge, so that a fault there cannot hide itself here. Equal
folders are passed over by their id, so its cost follows the difference."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from dreamcatcherd.core.shards import SUFFIX, key_of, scan
from dreamcatcherd.core.snapshot import open_snapshot
from dreamcatcherd.core.tree import Entry, Reader, read_tree


class Lost(NamedTuple):
    """A line that is missing: the file or folder of its collection (`merged` for a merged content id), and its key."""

    name: str
    key: str


def lost_entities(objects: Reader, old: str | None, new: str | None) -> Iterator[Lost]:
    """Everything that snapshot `old` has and `new` has not: entities, appended records, merged content ids."""
    if old is None or old == new:
        return
    before, after = open_snapshot(objects, old), open_snapshot(objects, new)
    yield from _lost(objects, before.root, after.root, "merged", "merged")
    for stem in sorted({name.removesuffix(SUFFIX) for name in before.state}):
        yield from _lost(objects, before.state, after.state, stem, stem)


def _lost(objects: Reader, old: dict[str, Entry], new: dict[str, Entry], stem: str, name: str) -> Iterator[Lost]:
    """What stands under `stem` in one folder and not in another, where it is one file or a folder of files."""
    if all(old.get(entry) == new.get(entry) for entry in (stem, stem + SUFFIX)):
        return
    if stem in old and stem in new:
        inner, other = read_tree(objects, old[stem].oid), read_tree(objects, new[stem].oid)
        for step in sorted({entry.removesuffix(SUFFIX) for entry in inner}):
            yield from _lost(objects, inner, other, step, name)
        return
    standing = {key_of(line) for line in scan(objects, new, stem)}
    for line in scan(objects, old, stem):
        if key_of(line) not in standing:
            yield Lost(name, key_of(line).decode())
