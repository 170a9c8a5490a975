"""Keyed lines in small files: the layout follows from the keys alone (docs/architecture.md, "The snapshot")."""

from __future__ import annotations

import json
from itertools import groupby
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dreamcatcherd.core.codec import canonical
from dreamcatcherd.core.shards import Layout, find, key_of, line_of, parts_of, scan, sorted_changes, update
from dreamcatcherd.core.tree import Entry, format_tree, read_tree
from tests.core.tools import Heap, files

LIMIT = 3
Values = dict[str, int]


def key(path: str) -> bytes:
    return canonical([path])


def path_of(raw_key: bytes) -> str:
    return str(json.loads(raw_key)[0])


def latest(raw_key: bytes, _standing: bytes | None, value: int) -> bytes:
    return line_of(raw_key, canonical(value))


def summed(raw_key: bytes, standing: bytes | None, value: int) -> bytes:
    before = int(parts_of(standing)[1]) if standing else 0
    return line_of(raw_key, canonical(before + value))


LAYOUT = Layout(LIMIT, path_of, latest)
SUMS = Layout(LIMIT, path_of, summed)


class Shelf:
    """Lines under the name `x` in a tree; each path is the key that lies on it."""

    def __init__(self, layout: Layout[int] = LAYOUT) -> None:
        self.heap = Heap()
        self.layout = layout
        self.tree = self.heap.write("tree", b"")

    def folder(self) -> dict[str, Entry]:
        return read_tree(self.heap, self.tree)

    def put(self, values: Values, cut: int | None = None) -> int:
        """Put values by path, all paths cut to a length if told; returns how many keys are new."""
        folder = self.folder()
        changes = sorted_changes((path[:cut], key(path), b"", value) for path, value in values.items())
        layout = self.layout._replace(rest_of=lambda raw_key: path_of(raw_key)[cut:])
        new = update(self.heap, folder, "x", changes, layout)
        self.tree = self.heap.write("tree", format_tree(folder))
        return new

    def find(self, paths: list[str]) -> dict[bytes, bytes]:
        return find(self.heap, self.folder(), "x", [(path, key(path)) for path in sorted(paths)])

    def scan(self, prefix: str = "") -> list[bytes]:
        return list(scan(self.heap, self.folder(), "x", prefix))


def laid_out(values: Values, name: str = "x", depth: int = 0, most_bytes: int = 10**9) -> dict[str, bytes]:
    """The files that hold these values, said once more in the simplest way."""
    raw = b"".join(sorted(line_of(key(path), canonical(value)) + b"\n" for path, value in values.items()))
    if len(values) == 1 or (len(values) <= LIMIT and len(raw) <= most_bytes):
        return {f"{name}.jsonl": raw}
    found: dict[str, bytes] = {}
    for step, members in groupby(sorted(values), key=lambda path: path[depth]):
        found |= laid_out({path: values[path] for path in members}, f"{name}/{step}", depth + 1, most_bytes)
    return found


paths = st.text(st.sampled_from("abc"), min_size=5, max_size=5)
sets = st.dictionaries(paths, st.integers(0, 9), min_size=1, max_size=40)


@settings(max_examples=100)
@given(sets, st.randoms(use_true_random=False))
def test_any_order_and_any_batches_give_the_same_tree(values: Values, chance: Random) -> None:
    """However the lines come, the tree is the one that the set of keys describes, and every new key is counted."""
    shelf = Shelf()
    order = list(values)
    chance.shuffle(order)
    counted = 0
    while order:
        size = chance.randint(1, len(order))
        batch, order = order[:size], order[size:]
        counted += shelf.put({path: values[path] for path in batch})
    assert files(shelf.heap, shelf.tree) == laid_out(values)
    assert counted == len(values)


@settings(max_examples=60)
@given(st.lists(sets, min_size=1, max_size=4))
def test_standing_lines_are_joined_wherever_they_moved(batches: list[Values]) -> None:
    """A line is combined with the one that stands, before and after its file was split, and counts as new once."""
    shelf = Shelf(SUMS)
    total: Values = {}
    for batch in batches:
        new = len(batch.keys() - total.keys())
        for path, value in batch.items():
            total[path] = total.get(path, 0) + value
        assert shelf.put(batch) == new
    assert files(shelf.heap, shelf.tree) == laid_out(total)


@settings(max_examples=60)
@given(st.lists(sets, min_size=1, max_size=4), st.integers(0, 5))
def test_a_path_that_is_cut_short_is_filled_up_where_it_is_needed(batches: list[Values], cut: int) -> None:
    """Changes may bring the beginnings of their paths alone: the layout knows the rest."""
    shelf = Shelf()
    total: Values = {}
    for batch in batches:
        shelf.put(batch, cut)
        total |= batch
    assert files(shelf.heap, shelf.tree) == laid_out(total)


sizes = st.dictionaries(paths, st.integers(0, 25).map(lambda digits: 10**digits), min_size=1, max_size=12)


@settings(max_examples=200)
@given(st.lists(sizes, min_size=1, max_size=5), st.integers(0, 5), st.integers(20, 120))
def test_files_are_bounded_in_bytes_whatever_was_there_before(batches: list[Values], cut: int, most: int) -> None:
    """Lines that grow and shrink lie where they would if they had come last: folders become files again."""
    shelf = Shelf(LAYOUT._replace(most_bytes=most))
    total: Values = {}
    for batch in batches:
        new = len(batch.keys() - total.keys())
        total |= batch
        assert shelf.put(batch, cut) == new
        assert files(shelf.heap, shelf.tree) == laid_out(total, most_bytes=most)


def test_a_line_that_is_known_beforehand_stands_unless_there_is_one_to_join() -> None:
    """A given line is taken as it is where none stands, and everywhere if the layout joins nothing."""
    for combine, joined in ((summed, 7), (None, 4)):
        heap, folder = Heap(), dict[str, Entry]()
        layout = Layout(LIMIT, path_of, combine)
        for value in (3, 4):
            line = line_of(key("a"), canonical(value))
            update(heap, folder, "x", [("a", key("a"), line, value)], layout)
        assert list(scan(heap, folder, "x")) == [line_of(key("a"), canonical(joined))]


@settings(max_examples=60)
@given(sets, st.sets(paths, max_size=10))
def test_what_was_put_is_found_and_nothing_else(values: Values, others: set[str]) -> None:
    """Every line is found by its key, a key that was never put is not, and a scan gives each line once."""
    shelf = Shelf()
    shelf.put(values)
    lines = {key(path): line_of(key(path), canonical(value)) for path, value in values.items()}
    wanted = values.keys() | others
    assert shelf.find(sorted(wanted)) == lines
    assert sorted(shelf.scan()) == sorted(lines.values())


@settings(max_examples=60)
@given(sets, st.text(st.sampled_from("abc"), max_size=3))
def test_a_scan_by_prefix_misses_no_line(values: Values, prefix: str) -> None:
    """All lines whose path begins with the prefix are among those that are given."""
    shelf = Shelf()
    shelf.put(values)
    found = [path_of(key_of(line)) for line in shelf.scan(prefix)]
    assert {path for path in found if path.startswith(prefix)} == {path for path in values if path.startswith(prefix)}
    assert len(found) == len(set(found))


def test_nothing_is_found_where_nothing_was_put() -> None:
    """A name without a file has no lines."""
    assert Shelf().find(["aaaaa"]) == {}
    assert Shelf().scan() == []


@pytest.mark.parametrize("count", [1, LIMIT, LIMIT + 1, 40])
def test_a_file_has_at_most_so_many_lines(count: int) -> None:
    """The limit itself still fits in one file; one line more makes a folder."""
    shelf = Shelf()
    shelf.put({f"{number:05}": number for number in range(count)})
    found = files(shelf.heap, shelf.tree)
    assert max(raw.count(b"\n") for raw in found.values()) <= LIMIT
    assert (list(found) == ["x.jsonl"]) == (count <= LIMIT)


def full_shelf() -> Shelf:
    """Three folders deep: nine files of three lines each."""
    shelf = Shelf()
    shelf.put({f"{a}{b}{c}00": 1 for a in "abc" for b in "abc" for c in "abc"})
    assert len(files(shelf.heap, shelf.tree)) == 9
    shelf.heap.forget_counts()
    return shelf


def test_an_update_reads_and_writes_only_what_its_keys_lie_in() -> None:
    """One changed line costs the folders on its way and its file, however many others there are."""
    shelf = full_shelf()
    before = files(shelf.heap, shelf.tree)
    shelf.heap.forget_counts()
    shelf.put({"bbb00": 2})
    assert (len(shelf.heap.reads), len(shelf.heap.writes)) == (4, 4)
    after = files(shelf.heap, shelf.tree)
    assert [path for path in after if after[path] != before[path]] == ["x/b/b.jsonl"]


def test_a_look_reads_only_what_its_keys_lie_in() -> None:
    """Finding two neighbours opens their one file; a scan by prefix opens one branch."""
    shelf = full_shelf()
    assert len(shelf.find(["bba00", "bbc00", "bbd00"])) == 2
    assert len(shelf.heap.reads) == 4
    shelf.heap.forget_counts()
    assert len(shelf.scan("bb")) == 3
    assert len(shelf.heap.reads) == 4


def test_one_changed_line_is_one_changed_line() -> None:
    """Lines are sorted, one a row and with a line feed at the end, so that git diff shows what changed."""
    shelf = Shelf()
    shelf.put({"bbbbb": 1, "aaaaa": 2})
    assert files(shelf.heap, shelf.tree) == {"x.jsonl": b'[["aaaaa"],\t2]\n[["bbbbb"],\t1]\n'}
    shelf.put({"aaaaa": 3})
    assert files(shelf.heap, shelf.tree) == {"x.jsonl": b'[["aaaaa"],\t3]\n[["bbbbb"],\t1]\n'}


json_values = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.text()),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(st.text(), inner, max_size=3)),
    max_leaves=8,
)


@settings(max_examples=150)
@given(st.lists(json_values, min_size=1, max_size=4))
def test_a_line_comes_apart_into_its_parts(parts: list[object]) -> None:
    """Whatever JSON the parts are, also strings with tabs and line feeds, a line is one row and gives them back."""
    raw = [canonical(part) for part in parts]
    line = line_of(*raw)
    assert b"\n" not in line
    assert parts_of(line) == raw
    assert key_of(line) == raw[0]
    assert json.loads(line) == parts
