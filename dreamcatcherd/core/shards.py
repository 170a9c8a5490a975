"""Keyed lines in a tree of small files, laid out by their keys alone (design: docs/architecture.md, "The snapshot").

A file `<name>.jsonl` holds lines in order, up to a number of lines and bytes, or a single line of any size. A file that
would hold more becomes a folder `<name>/`, with one file or folder for each next character of its lines' paths. So the
layout is a function of the set of lines and not of their history: if lines became shorter, a folder may become one file
again. An update reads and writes only the files of its keys, and those that may join them in one file.

A line is a JSON array whose parts are separated by a comma and a tab. A raw tab cannot occur inside a JSON string, so a
line can be split, and its key compared, without decoding it."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Iterable, Iterator
from itertools import islice
from operator import itemgetter
from typing import Any, Generic, NamedTuple, TypeVar

from dreamcatcherd.core.tree import FILE, TREE, Entry, Objects, Reader, format_tree, read_tree

_T = TypeVar("_T")
P = TypeVar("P", bound=tuple[Any, ...])

SUFFIX = ".jsonl"
SEPARATOR = b",\t"


Change = tuple[str, bytes, bytes, _T]
"""The change of one line: (path, key, line, payload).

The path may be cut short if the rest is seldom needed: the layout can complete it. The line is the result if there was
none before, and empty if `combine` must make it. A plain tuple, since a frame makes many."""


def _nothing_cut(raw_key: bytes) -> str:
    raise AssertionError(f"the path of {raw_key!r} was never cut short")


class Layout(NamedTuple, Generic[_T]):
    """How one family of lines is kept: the most lines of a file, the path of a key, how a new line is made, the end of
    a key's path if it was cut short, and the most bytes of a file of several lines.

    No path is the beginning of another key's path. `combine(key, stored line or None, payload)` returns the new line;
    if it is None, the line of the change is stored as it is."""

    limit: int
    path_of: Callable[[bytes], str]
    combine: Callable[[bytes, bytes | None, _T], bytes] | None
    rest_of: Callable[[bytes], str] = _nothing_cut
    most_bytes: int | None = None

    def fits(self, lines: int, size: int) -> bool:
        """Whether this number of lines and bytes, line ends included, is one file."""
        return lines <= self.limit and (self.most_bytes is None or size <= self.most_bytes or lines == 1)


def line_of(*parts: bytes) -> bytes:
    """A line from its JSON parts, the key first."""
    return b"[" + SEPARATOR.join(parts) + b"]"


def parts_of(line: bytes) -> list[bytes]:
    """The JSON parts of a line."""
    return line[1:-1].split(SEPARATOR)


def key_of(line: bytes) -> bytes:
    """The JSON of a line's key."""
    end = line.find(SEPARATOR)
    return line[1:end] if end >= 0 else line[1:-1]


def update(
    objects: Objects, folder: dict[str, Entry], name: str, changes: list[Change[_T]], layout: Layout[_T], depth: int = 0
) -> int:
    """Apply changes, sorted by path and one a key, to the lines kept under `name` in `folder`; returns how many are
    new.

    `folder` is changed in place; objects are written, files before the folders that name them."""
    # Without changes there may be no file yet, and an empty one would be part of the digest.
    return _update(objects, folder, name, changes, layout, depth)[0] if changes else 0


def _update(
    objects: Objects, folder: dict[str, Entry], name: str, changes: list[Change[_T]], layout: Layout[_T], depth: int
) -> tuple[int, bool]:
    """Apply changes; returns the number of new lines, and whether the folder around may fit one file now.

    It may only if two things are true: lines became shorter, and the result under `name` is itself one file. Lines that
    are added or grow cannot make a folder fit, and a folder with a folder inside holds too much already. Without this
    test every update would read all files of every folder on its way."""
    if name in folder:
        inner = read_tree(objects, folder[name].oid)
        added, shorter = 0, False
        if len(changes[0][0]) == depth:  # cut paths end here; completing one costs a hash
            rest = layout.rest_of
            changes = sorted_changes(
                (path + rest(key) if len(path) == depth else path, key, line, payload)
                for path, key, line, payload in changes
            )
        for step, group in _steps(changes, depth):
            new, less = _update(objects, inner, step, group, layout, depth + 1)
            added, shorter = added + new, shorter or less
        # Without a bound in bytes only the number of lines counts, and an update never lowers that.
        if shorter and layout.most_bytes is not None and (lines := as_one_file(objects, inner, layout)) is not None:
            del folder[name]
            keep_file(objects, folder, name, lines)
            return added, True
        folder[name] = Entry(TREE, objects.write("tree", format_tree(inner)))
        return added, False
    stored = lines_in(objects, folder.pop(name + SUFFIX, None))
    combine = layout.combine
    if not stored and (combine is None or all(map(itemgetter(2), changes))):  # there is nothing to join
        lay_out(objects, folder, name, list(map(itemgetter(0, 2), changes)), layout, depth)
        return len(changes), False
    before = len(stored)
    shorter = False
    placed: list[tuple[str, bytes]] = []
    for path, key, line, payload in changes:
        old = stored.pop(key, None)
        if combine is not None and (old is not None or not line):
            line = combine(key, old, payload)
        shorter = shorter or (old is not None and len(line) < len(old))
        placed.append((path, line))
    after = len(placed) + len(stored)
    lines = [*stored.values(), *map(itemgetter(1), placed)]
    if layout.fits(after, _size(lines)):
        keep_file(objects, folder, name, lines)
    else:
        placed += [(layout.path_of(key), line) for key, line in stored.items()]
        placed.sort(key=itemgetter(0))
        lay_out(objects, folder, name, placed, layout, depth)
        shorter = False  # it became a folder, so the folder around cannot be one file
    return after - before, shorter


def _size(lines: list[bytes]) -> int:
    return sum(map(len, lines)) + len(lines)


def as_one_file(objects: Reader, inner: dict[str, Entry], layout: Layout[_T]) -> list[bytes] | None:
    """All lines of a folder if they fit one file. Reading stops at the file with which they do not."""
    found: list[bytes] = []
    count = size = 0
    for raw in _files(objects, inner):
        count, size = count + raw.count(b"\n"), size + len(raw)
        if not layout.fits(count, size):
            return None
        found.append(raw)
    return [line for raw in found for line in raw.split(b"\n") if line]


def _files(objects: Reader, folder: dict[str, Entry]) -> Iterator[bytes]:
    for entry in folder.values():
        if entry.mode == TREE:
            yield from _files(objects, read_tree(objects, entry.oid))
        else:
            yield objects.read(entry.oid)


def lay_out(
    objects: Objects,
    folder: dict[str, Entry],
    name: str,
    placed: list[tuple[str, bytes]],
    layout: Layout[_T],
    depth: int,
) -> None:
    """Write lines, sorted by path, as one file, or as a folder of files if they are too many for one."""
    if len(placed) <= layout.limit:
        lines = [line for _, line in placed]
        if layout.fits(len(lines), _size(lines)):
            keep_file(objects, folder, name, lines)
            return
    if len(placed[0][0]) == depth:
        rest = layout.rest_of
        placed = sorted((path + rest(key_of(line)) if len(path) == depth else path, line) for path, line in placed)
    inner: dict[str, Entry] = {}
    for step, group in _steps(placed, depth):
        lay_out(objects, inner, step, group, layout, depth + 1)
    folder[name] = Entry(TREE, objects.write("tree", format_tree(inner)))


def _steps(placed: list[P], depth: int) -> Iterator[tuple[str, list[P]]]:
    """The tuples in groups by the next character of their paths, which are sorted and come first in each tuple.

    The end of a group is found by bisection: each line is below several folders, and would be visited at each level."""
    start = 0
    while start < len(placed):
        step = placed[start][0][depth]
        end = bisect_right(placed, step, start, key=lambda one: one[0][depth])
        yield step, placed[start:end]
        start = end


def keep_file(objects: Objects, folder: dict[str, Entry], name: str, lines: list[bytes]) -> None:
    lines.sort()
    folder[name + SUFFIX] = Entry(FILE, objects.write("blob", b"\n".join([*lines, b""])))


def find(
    objects: Reader, folder: dict[str, Entry], name: str, wanted: list[tuple[str, bytes]], depth: int = 0
) -> dict[bytes, bytes]:
    """The stored lines among the wanted `(path, key)`, which are sorted by path; by key."""
    found: dict[bytes, bytes] = {}
    if name in folder:
        inner = read_tree(objects, folder[name].oid)
        for step, group in _steps(wanted, depth):
            found.update(find(objects, inner, step, group, depth + 1))
    elif name + SUFFIX in folder:
        lines = lines_in(objects, folder[name + SUFFIX])
        found = {key: lines[key] for _, key in wanted if key in lines}
    return found


def scan(objects: Reader, folder: dict[str, Entry], name: str, prefix: str = "") -> Iterator[bytes]:
    """All lines kept under `name`, file by file; with a prefix, only the files in which such paths may be."""
    if name + SUFFIX in folder:
        yield from lines_in(objects, folder[name + SUFFIX]).values()
    elif name in folder:
        inner = read_tree(objects, folder[name].oid)
        for step in sorted({entry.removesuffix(SUFFIX) for entry in inner}):
            if not prefix or step == prefix[0]:
                yield from scan(objects, inner, step, prefix[1:])


def blobs_of(objects: Reader, folder: dict[str, Entry], name: str, prefix: str = "") -> Iterator[str]:
    """The blobs that `scan` reads, in the same order. None of them is read."""
    if name + SUFFIX in folder:
        yield folder[name + SUFFIX].oid
    elif name in folder:
        inner = read_tree(objects, folder[name].oid)
        for step in sorted({entry.removesuffix(SUFFIX) for entry in inner}):
            if not prefix or step == prefix[0]:
                yield from blobs_of(objects, inner, step, prefix[1:])


def scan_below(objects: Reader, folder: dict[str, Entry], name: str, bound: str, at: str = "") -> Iterator[bytes]:
    """The lines of all files in which paths below a bound may be; a file may hold others as well."""
    if name + SUFFIX in folder:
        yield from lines_in(objects, folder[name + SUFFIX]).values()
    elif name in folder:
        inner = read_tree(objects, folder[name].oid)
        for step in sorted({entry.removesuffix(SUFFIX) for entry in inner}):
            if at + step <= bound[: len(at) + 1]:
                yield from scan_below(objects, inner, step, bound, at + step)


def sorted_changes(changes: Iterable[Change[_T]]) -> list[Change[_T]]:
    return sorted(changes, key=itemgetter(0))


def lines_in(objects: Reader, entry: Entry | None) -> dict[bytes, bytes]:
    if entry is None:
        return {}
    return {key_of(line): line for line in objects.read(entry.oid).split(b"\n") if line}


def remove_lines(
    objects: Objects, folder: dict[str, Entry], name: str, doomed: list[tuple[str, bytes]], limit: int, depth: int = 0
) -> None:
    """Remove the lines of `(path, key)`, sorted by path. The rest is laid out as if they had never been there: a folder
    whose remaining lines fit a file becomes one, since the layout must not depend on history."""
    if name in folder:
        inner = read_tree(objects, folder.pop(name).oid)
        for step, group in _steps(doomed, depth):
            remove_lines(objects, inner, step, group, limit, depth + 1)
        as_folder = {name: Entry(TREE, objects.write("tree", format_tree(inner)))}
        left = list(islice(scan(objects, as_folder, name), limit + 1))
        if len(left) > limit:
            folder.update(as_folder)
            return
    else:
        lines = lines_in(objects, folder.pop(name + SUFFIX, None))
        gone = {key for _, key in doomed}
        left = [line for key, line in lines.items() if key not in gone]
    if left:
        keep_file(objects, folder, name, left)
