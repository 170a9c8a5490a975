"""The guard: what one snapshot has and another lacks, by name and key, at the cost of the difference.

Contract: docs/protocol.md#publishing."""

from __future__ import annotations

import hashlib
from collections import Counter

from hypothesis import given, settings
from hypothesis import strategies as st

from dreamcatcherd.core.codec import canonical
from dreamcatcherd.core.guard import LostLine, lost_entities
from dreamcatcherd.core.shards import Change, Layout, line_of, sorted_changes, update
from dreamcatcherd.core.snapshot import Folders, close_snapshot, items, open_snapshot
from dreamcatcherd.core.tree import FILE, TREE, Entry, edit, subtree
from dreamcatcherd.daemon.primary import Primary
from dreamcatcherd.testing import MemoryStore
from tests.law.deltas import sets_of_deltas
from tests.law.fleet import close, new_primary, send
from tests.law.model import Sent

Content = dict[str, frozenset[int]]
"""The keys of a snapshot by collection, `merged` among them."""


class CountingStore(MemoryStore):
    """A store that counts what is read of it."""

    def __init__(self) -> None:
        super().__init__()
        self.reads: Counter[str] = Counter()

    def read(self, oid: str) -> bytes:
        self.reads[oid] += 1
        return super().read(oid)


def path_of(raw_key: bytes) -> str:
    return hashlib.sha256(raw_key).hexdigest()


def snapshot(store: MemoryStore, content: Content, limit: int) -> str:
    """A snapshot of these keys whose files hold at most `limit` lines."""
    layout: Layout[None] = Layout(limit, path_of, None)
    folders = Folders({}, {})
    for name, keys in content.items():
        raw_keys = [canonical([key]) for key in keys]
        changes: list[Change[None]] = [(path_of(raw), raw, line_of(raw, b"{}"), None) for raw in raw_keys]
        if changes:
            folder = folders.root if name == "merged" else folders.state
            update(store, folder, name, sorted_changes(changes), layout)
    return close_snapshot(store, folders)


def lost(store: MemoryStore, old: str | None, new: str | None) -> set[LostLine]:
    found = list(lost_entities(store, old, new))
    assert len(found) == len(set(found))
    return set(found)


def tombstones(primary: Primary) -> int:
    """How many entities of the last snapshot are deleted: they are lines, and are not counted."""
    base = primary.load_published(primary.store.refs())
    folders = open_snapshot(primary.store, base.snapshot)
    table = base.settings.table
    every = (item for name in table for item in items(primary.store, folders, table, name, tombstones=True))
    return sum(not item.alive for item in every)


keys = st.frozensets(st.integers(0, 30), max_size=20)
contents = st.fixed_dictionaries({"posts": keys, "extra": keys, "merged": keys})
limits = st.sampled_from([1, 2, 5, 100])


@settings(max_examples=150)
@given(contents, contents, limits, limits)
def test_every_key_that_is_missing_is_named_and_no_other(old: Content, new: Content, before: int, after: int) -> None:
    """For any two snapshots, each a file or split into folders, the lost are those of a plain difference of sets."""
    store = MemoryStore()
    found = lost(store, snapshot(store, old, before), snapshot(store, new, after))
    assert found == {LostLine(name, f"[{key}]") for name in old for key in old[name] - new[name]}


@settings(max_examples=60)
@given(sets_of_deltas, sets_of_deltas)
def test_no_merge_loses_anything_and_what_it_added_is_what_it_would_lose(one: list[Sent], two: list[Sent]) -> None:
    """Between a snapshot and any merge upon it nothing is lost; the other way round exactly what was added is."""
    primary = new_primary()
    store = primary.store
    assert isinstance(store, MemoryStore)
    seen: list[tuple[str | None, int]] = []
    ids = 0
    for number, deltas in enumerate((one, two)):
        for at, sent in enumerate(deltas):
            send(store, sent, f"d{number}-{at}", lane=False)
        close(primary)
        base = primary.load_published(store.refs())
        assert base.ledger is not None
        ids += base.ledger.counts.deltas
        seen.append((base.snapshot, sum(base.ledger.counts.entities.values()) + ids + tombstones(primary)))
        assert len(lost(store, base.snapshot, None)) == seen[-1][1]
    (first, less), (second, more) = seen
    assert lost(store, first, second) == set()
    assert len(lost(store, second, first)) == more - less


def test_a_collection_that_outgrows_its_file_has_lost_nothing() -> None:
    """A file that became a folder of files holds the same keys; a folder that became a file too."""
    store = MemoryStore()
    content: Content = {"posts": frozenset(range(40)), "merged": frozenset(range(9))}
    one_file, folders = snapshot(store, content, 100), snapshot(store, content, 3)
    assert one_file != folders
    assert lost(store, one_file, folders) == lost(store, folders, one_file) == set()


def test_everything_is_lost_where_there_is_no_snapshot() -> None:
    """Against no snapshot at all each key is named; from no snapshot nothing can be lost."""
    store = MemoryStore()
    some = snapshot(store, {"posts": frozenset([1, 2]), "merged": frozenset([3])}, 1)
    assert lost(store, some, None) == {LostLine("posts", "[1]"), LostLine("posts", "[2]"), LostLine("merged", "[3]")}
    assert lost(store, None, some) == lost(store, None, None) == set()


def test_equal_folders_are_not_read() -> None:
    """Of 400 entities in files of one, the comparison after one more reads only the folders on the way to it."""
    store = CountingStore()
    content: Content = {"posts": frozenset(range(400)), "books": frozenset(range(50)), "merged": frozenset(range(300))}
    old = snapshot(store, content, 1)
    new = snapshot(store, {**content, "posts": content["posts"] | {1000}}, 1)
    store.flush()
    store.reads.clear()
    assert lost(store, old, new) == set()
    assert 0 < sum(store.reads.values()) <= 12
    store.reads.clear()
    assert lost(store, old, old) == set()
    assert not store.reads


def test_a_file_in_a_folders_place_has_none_of_its_keys() -> None:
    """In a crafted snapshot a plain file stands where the folder of a collection stood: all that was in it is lost."""
    store = MemoryStore()
    old = snapshot(store, {"posts": frozenset(range(5))}, 1)
    blob = Entry(FILE, store.write("blob", b"not a tree"))
    for path in ("state/posts", "state"):
        crafted = edit(store, old, {path: blob})
        assert {key for _, key in lost(store, old, crafted)} == {f"[{key}]" for key in range(5)}
    inner = subtree(store, old, "state")
    crafted = edit(store, old, {"state/posts.jsonl": Entry(TREE, inner or ""), "state/posts": None})
    assert len(lost(store, old, crafted)) == 5
