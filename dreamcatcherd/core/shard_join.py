"""Joining the results of updates that were made apart: each begins with the same lines and changes its own keys.

The layout of `shards` is a function of the set of lines, so parts of the key space can be updated by different
processes, and the joined files are those of one update with all changes. Only files and folders that several parts
changed are opened; the rest is taken by its id."""

from __future__ import annotations

from collections.abc import Sequence

from dreamcatcherd.core.shards import SUFFIX, Layout, as_one_file, keep_file, lay_out, lines_in
from dreamcatcherd.core.tree import TREE, Entry, Objects, format_tree, read_tree

Lines = dict[bytes, bytes]
"""Lines by key: a file, or what a file would hold at that place."""

_Node = Entry | Lines | None
"""What is at one place of a layout: a stored file or folder, lines that are not stored as a file here, or nothing."""


def join_updates(
    objects: Objects, folder: dict[str, Entry], name: str, updated: Sequence[dict[str, Entry]], layout: Layout[None]
) -> None:
    """Bring the lines under `name` in `folder` to the changes of several updates of it, which touched different keys.

    `folder` is changed in place; `updated` are the folders that the updates made of it."""
    _join(objects, folder, name, _node(folder, name), [_node(one, name) for one in updated], layout, 0)


def _node(folder: dict[str, Entry], name: str) -> _Node:
    return folder.get(name) or folder.get(name + SUFFIX)


def _join(
    objects: Objects, folder: dict[str, Entry], name: str, base: _Node, nodes: list[_Node], layout: Layout[None],
    depth: int,
) -> None:  # fmt: skip
    """Put what a base and its changed versions come to under `name` into `folder`."""
    changed = [node for node in nodes if node is not None and node != base]
    if len(changed) < 2:
        _put(objects, folder, name, changed[0] if changed else base)
        return
    if not any(_is_folder(node) for node in (base, *changed)):
        lines = _joined_lines(objects, base, changed)
        placed = sorted((layout.path_of(key), line) for key, line in lines.items())
        _clear(folder, name)
        lay_out(objects, folder, name, placed, layout, depth)
        return
    # At least one of them has too many lines for a file, and others only add some: the result is a folder as well.
    before = _steps_of(objects, base, layout, depth)
    after = [_steps_of(objects, node, layout, depth) for node in changed]
    inner: dict[str, Entry] = {}
    for step in sorted({step for found in (before, *after) for step in found}):
        was = before.get(step)
        _join(objects, inner, step, was, [found.get(step, was) for found in after], layout, depth + 1)
    _clear(folder, name)
    # Each part may have made lines shorter: too few for the folder to fit one file, but all parts together enough.
    may_fit = layout.most_bytes is not None and all(entry.mode != TREE for entry in inner.values())
    left = as_one_file(objects, inner, layout) if may_fit else None
    if left is not None:
        keep_file(objects, folder, name, left)
    else:
        folder[name] = Entry(TREE, objects.write("tree", format_tree(inner)))


def _is_folder(node: _Node) -> bool:
    return isinstance(node, Entry) and node.mode == TREE


def _clear(folder: dict[str, Entry], name: str) -> None:
    folder.pop(name, None)
    folder.pop(name + SUFFIX, None)


def _put(objects: Objects, folder: dict[str, Entry], name: str, node: _Node) -> None:
    """Store a node as it is. Some lines of one file are always few enough for a file."""
    _clear(folder, name)
    if isinstance(node, Entry):
        folder[name if node.mode == TREE else name + SUFFIX] = node
    elif node:
        keep_file(objects, folder, name, list(node.values()))


def _joined_lines(objects: Objects, base: _Node, changed: Sequence[_Node]) -> Lines:
    """The base's lines with those that differ from it in each changed version."""
    known = _lines_of(objects, base)
    lines = dict(known)
    for node in changed:
        lines.update((key, line) for key, line in _lines_of(objects, node).items() if known.get(key) != line)
    return lines


def _lines_of(objects: Objects, node: _Node) -> Lines:
    return lines_in(objects, node) if isinstance(node, Entry) else node or {}


def _steps_of(objects: Objects, node: _Node, layout: Layout[None], depth: int) -> dict[str, _Node]:
    """What is one level below a node, by the next character of the paths."""
    if isinstance(node, Entry) and node.mode == TREE:
        return {name.removesuffix(SUFFIX): entry for name, entry in read_tree(objects, node.oid).items()}
    steps: dict[str, Lines] = {}
    for key, line in _lines_of(objects, node).items():
        steps.setdefault(layout.path_of(key)[depth], {})[key] = line
    return dict(steps)
