"""A view that the merge keeps up to date sees every new record once, then the merged snapshot."""

from __future__ import annotations

import pytest
from msgspec import structs

from dreamcatcherd.core.collections import DEFAULT_TABLE, Table
from dreamcatcherd.core.ledger import BookRow
from dreamcatcherd.core.merge import merge
from dreamcatcherd.core.projection import BroughtRecords, Derived
from dreamcatcherd.core.snapshot import Folders, items
from dreamcatcherd.core.tree import Entry, Objects
from tests.core.tools import Heap, delta

ROW = BookRow("b", ["grew"], 1, None, False)


class Counting:
    """A projection that counts the posts that it is shown, and those in the snapshot before and after."""

    made: list[Counting]

    def __init__(self, table: Table) -> None:
        self.table = table
        self.parts: list[int] = []
        self.stood: tuple[int, int] = (0, 0)
        self.made.append(self)

    def note(self, brought: BroughtRecords) -> None:
        self.parts.append(len(brought["posts"][1]) if "posts" in brought else 0)

    def notes(self) -> list[int]:
        return self.parts

    def recall(self, notes: list[int]) -> None:
        self.parts.extend(notes)

    def update(self, objects: Objects, before: dict[str, Entry], folders: Folders) -> Derived:
        count = [
            len(list(items(objects, Folders({}, state), self.table, "posts"))) for state in (before, folders.state)
        ]
        self.stood = (count[0], count[1])
        return Derived({"seen": sum(self.parts)}, [ROW])


@pytest.mark.parametrize("at_once", [1, 10**6])
def test_a_projection_notes_each_part_and_is_updated_at_the_end(monkeypatch: pytest.MonkeyPatch, at_once: int) -> None:
    """However a frame is split, a new record is noted once; counts and rows of every projection are in the result."""
    monkeypatch.setattr("dreamcatcherd.core.merge.AT_ONCE", at_once)
    Counting.made = []
    heap = Heap()
    deltas = [delta(1, number, "s", posts_created=[{"number": number}, {"number": number}]) for number in range(9)]
    sized = [structs.replace(one, size=1) for one in deltas]
    first = merge(heap, None, sized[:5], DEFAULT_TABLE, [Counting])
    second = merge(heap, first.tree, sized[5:], DEFAULT_TABLE, [Counting, Counting])
    one, two, three = Counting.made
    assert (sum(one.parts), one.stood) == (10, (0, 5))
    assert (sum(two.parts), two.stood) == (sum(three.parts), three.stood) == (8, (5, 9))
    assert len(two.parts) == (4 if at_once == 1 else 1)
    assert (first.added, first.rows) == ({"posts": 5, "seen": 10}, [ROW])
    assert (second.added, second.rows) == ({"posts": 4, "seen": 8}, [ROW, ROW])
