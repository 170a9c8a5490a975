"""The guard *never publish less* (docs/protocol.md#publishing): the entries of one snapshot that another one lacks.

Owns the comparison alone. It shares no step with the merge, so that a fault there cannot hide itself here. Equal
folders are skipped by their id, so its cost follows the difference.

One line may be removed: a compiled book whose target a late delta raised before the book was complete, or whose title
page or chapters deltas deleted. Nothing that a delta carried is lost with it: the new target or the tombstone is the
proof."""

from __future__ import annotations

from collections.abc import Container, Iterator
from typing import NamedTuple

from dreamcatcherd.core.codec import decode
from dreamcatcherd.core.collections import BOOKS, CHAPTERS, EXTRA, LIBRARY, PROGRESS
from dreamcatcherd.core.shards import SUFFIX, key_of, parts_of
from dreamcatcherd.core.tree import TREE, Entry, Reader, read_tree


class LostLine(NamedTuple):
    """A line that is missing: the file or folder of its collection (`merged` for a merged content id), and its key."""

    name: str
    key: str


def lost_entities(
    objects: Reader, old: str | None, new: str | None, moved: Container[str] = frozenset()
) -> Iterator[LostLine]:
    """Everything that snapshot `old` has and `new` has not: entities, appended records, merged content ids.

    The records of `moved` extra sections are not missed: new settings place them in collections."""
    # Equal trees have equal ids, so the usual comparison costs nothing at all.
    if old is None or old == new:
        return
    before, after = _folder(objects, old), _folder(objects, new)
    yield from _lost(objects, before, after, "merged", "merged")
    inner, other = _below(objects, before, "state"), _below(objects, after, "state")
    for stem in _stems(inner):
        for lost in _lost(objects, inner, other, stem, stem):
            if stem == EXTRA and decode(lost.key.encode())[0] in moved:
                continue
            raised = stem == LIBRARY and _targets(objects, other, lost) - _targets(objects, inner, lost)
            if not raised and not (stem == LIBRARY and _has_tombstone(objects, other, lost)):
                yield lost


def _has_tombstone(objects: Reader, state: dict[str, Entry], lost: LostLine) -> bool:
    """Whether the title page or a chapter of a lost book was deleted."""
    start = b"[[%b" % lost.key[1:-1].encode()
    return any(
        line.startswith((start + b",", start + b"]")) and parts_of(line)[3:4] not in ([], [b"null"])
        for stem in (BOOKS, CHAPTERS)
        for line in _lines(objects, state, stem)
    )


def _targets(objects: Reader, state: dict[str, Entry], lost: LostLine) -> set[bytes]:
    """The keys of all targets that a lost book was ever given."""
    start = b'[%b,"target",' % lost.key[1:-1].encode()
    return {key for key in _keys(objects, state, PROGRESS) if key.startswith(start)}


def _lost(objects: Reader, old: dict[str, Entry], new: dict[str, Entry], stem: str, name: str) -> Iterator[LostLine]:
    """The lines under `stem` in one folder and not in the other, whether `stem` is one file or a folder of files."""
    if all(old.get(entry) == new.get(entry) for entry in (stem, stem + SUFFIX)):
        return
    if stem in old and stem in new:
        inner, other = _below(objects, old, stem), _below(objects, new, stem)
        for step in _stems(inner):
            yield from _lost(objects, inner, other, step, name)
        return
    stored = set(_keys(objects, new, stem))
    for key in _keys(objects, old, stem):
        if key not in stored:
            yield LostLine(name, key.decode())


def _keys(objects: Reader, folder: dict[str, Entry], stem: str) -> Iterator[bytes]:
    """The keys of all lines under `stem`."""
    return map(key_of, _lines(objects, folder, stem))


def _lines(objects: Reader, folder: dict[str, Entry], stem: str) -> Iterator[bytes]:
    """All lines under `stem`."""
    if stem + SUFFIX in folder:
        yield from (line for line in objects.read(folder[stem + SUFFIX].oid).split(b"\n") if line)
    elif stem in folder:
        inner = _below(objects, folder, stem)
        for step in _stems(inner):
            yield from _lines(objects, inner, step)


def _folder(objects: Reader, tree: str | None) -> dict[str, Entry]:
    """A folder's entries. A file with a folder's name holds no lines, nor a folder with a file's name: anybody can
    craft these."""
    entries = read_tree(objects, tree)
    return {name: entry for name, entry in entries.items() if (entry.mode == TREE) != name.endswith(SUFFIX)}


def _below(objects: Reader, folder: dict[str, Entry], name: str) -> dict[str, Entry]:
    return _folder(objects, folder[name].oid) if name in folder else {}


def _stems(folder: dict[str, Entry]) -> list[str]:
    return sorted({name.removesuffix(SUFFIX) for name in folder})
