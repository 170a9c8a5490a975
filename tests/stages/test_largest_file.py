"""The largest file that frames have written is followed from commit to commit."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from dreamcatcherd.core.tree import walk
from dreamcatcherd.stages.largest_file import Largest
from dreamcatcherd.testing import MemoryStore
from tests.law.fleet import MAIN, commit_files

paths = st.sampled_from(["state/a", "state/f/b", "state/f/g/c", "state/d/e", "state/stream_deltas/1/x.json", "other/y"])
commits = st.lists(st.dictionaries(paths, st.integers(0, 99), min_size=1), min_size=1, max_size=8)


def test_the_largest_file_is_named() -> None:
    """Its path and bytes are those of the commit asked about, also if a later one makes it smaller."""
    store, largest = MemoryStore(), Largest()
    first = commit_files(
        store, MAIN, {"state/a": b"x" * 9, "state/f/b": b"x" * 5, "state/stream_deltas/1/x.json": b"x" * 99}
    )
    assert largest.of(store, first) == ("state/a", 9)
    assert largest.of(store, first) == ("state/a", 9)
    assert largest.of(store, commit_files(store, MAIN, {"state/a": b"x"})) == ("state/f/b", 5)


@settings(max_examples=200)
@given(commits)
def test_what_is_followed_is_what_a_whole_walk_finds(changes: list[dict[str, int]]) -> None:
    """Whatever grows, shrinks or comes; deltas, and what is not below `state`, are left out."""
    store, largest = MemoryStore(), Largest()
    for files in changes:
        commit = commit_files(store, MAIN, {path: b"x" * size for path, size in files.items()})
        sizes = {path: store.size(entry.oid) for path, entry in walk(store, store.commit(commit).tree)}
        ours = [size for path, size in sizes.items() if path.startswith("state/") and "stream_deltas" not in path]
        assert largest.of(store, commit)[1] == max(ours, default=0)
