"""Updates that were made apart are joined to the files that one update with all changes makes."""

from __future__ import annotations

from random import Random

from hypothesis import given, settings
from hypothesis import strategies as st

from dreamcatcherd.core.shard_join import join_updates
from dreamcatcherd.core.shards import Layout
from dreamcatcherd.core.tree import Entry, format_tree, read_tree
from tests.core.test_shards import LAYOUT, Shelf, Values, laid_out, path_of, paths, sizes
from tests.core.tools import files


def joined(shelf: Shelf, parts: list[Values], layout: Layout[int]) -> dict[str, bytes]:
    """The files after each part was put on the shelf as it was, apart from the others, and all were joined."""
    base = shelf.tree
    updated: list[dict[str, Entry]] = []
    for part in parts:
        shelf.put(part)
        updated.append(shelf.folder())
        shelf.tree = base
    folder = read_tree(shelf.heap, base)
    join_updates(shelf.heap, folder, "x", updated, Layout(layout.limit, path_of, None, most_bytes=layout.most_bytes))
    return files(shelf.heap, shelf.heap.write("tree", format_tree(folder)))


@settings(max_examples=300)
@given(st.one_of(st.just({}), sizes), sizes, st.integers(1, 5), st.integers(20, 120), st.randoms(use_true_random=False))
def test_parts_give_the_files_of_one_update(
    before: Values, values: Values, count: int, most: int, chance: Random
) -> None:
    """Whatever was there, and however keys are shared out: lines that are new, grow or shrink lie where the set of all
    lines says."""
    layout = LAYOUT._replace(most_bytes=most)
    shelf = Shelf(layout)
    if before:
        shelf.put(before)
    parts: list[Values] = [{} for _ in range(count)]
    for path, value in values.items():
        chance.choice(parts)[path] = value
    assert joined(shelf, parts, layout) == laid_out(before | values, most_bytes=most)


@settings(max_examples=100)
@given(st.dictionaries(paths, st.integers(0, 9), min_size=1, max_size=60), st.integers(1, 4))
def test_parts_of_an_empty_folder_are_joined_without_a_bound_in_bytes(values: Values, count: int) -> None:
    """Lines that are limited by number alone are laid out by their number."""
    parts = [{path: values[path] for path in sorted(values)[at::count]} for at in range(count)]
    assert joined(Shelf(), parts, LAYOUT) == laid_out(values)


def test_what_one_part_changed_is_not_opened() -> None:
    """Files of a single part are taken by their id: only the folders on the way to them are read and written."""
    shelf = Shelf()
    shelf.put({f"{first}{second}aaa": 1 for first in "abc" for second in "abcdef"})
    base = shelf.tree
    updated = []
    for path in ("aaaaa", "bbbbb"):
        shelf.put({path: 5})
        updated.append(shelf.folder())
        shelf.tree = base
    folder = shelf.folder()
    shelf.heap.forget_counts()
    join_updates(shelf.heap, folder, "x", updated, Layout(LAYOUT.limit, path_of, None))
    assert len(shelf.heap.reads) == 3  # the folder x: before, and as each part has it
    assert len(shelf.heap.writes) == 1
