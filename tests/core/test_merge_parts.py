"""A merge in parts is the merge: the same bytes and facts, whatever the parts, the groups of deltas and their order."""

from __future__ import annotations

from itertools import pairwise
from random import Random

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from msgspec import structs

import dreamcatcherd.core.merge
from dreamcatcherd.core.fold import Fold, fold
from dreamcatcherd.core.merge import Merged, merge
from dreamcatcherd.core.merge_parts import gather, join_parts, merge_part, split
from dreamcatcherd.core.model import Delta, Stamp
from dreamcatcherd.core.projections import PROJECTIONS
from dreamcatcherd.core.settings import read_settings
from tests.core.test_merge import a_fleet
from tests.core.tools import Heap, delta

TABLE = read_settings(
    b'[collections.claims]\nkey = ["resource"]\nrule = "first"\n'
    b'[collections.scores]\nkey = ["player"]\nrule = "max"\n'
    b'[collections.tags]\nkey = ["page"]\nrule = "union"\n'
    b'[collections.tasks]\nkey = ["resource"]\nrule = "claim"\nsection = "held"\n'
).table


def authors(count: int) -> list[Delta]:
    """Deltas of books that complete, of claims, and of an observation each."""
    chance = Random(3)
    found = []
    for number in range(count):
        book = f"book {chance.randrange(6)}"
        page = [{"book": book, "title": book, "target_chapters": 2 + number % 2}] if number % 3 == 0 else []
        chapter = {"book": book, "chapter": number % 4, "author": f"a{number % 5}", "content": f"text {number}"}
        sections = {"books_started": page, "chapters_added": [chapter], "held": [{"resource": number % 7}]}
        found.append(delta(1 + number % 3, number // 2, f"s{number % 7}", observations=[number], **sections))
    return found


def closing(stamp: Stamp) -> int:
    return stamp.frame + stamp.utc % 2


def in_parts(heap: Heap, base: str | None, deltas: list[Delta], parts: int, chance: Random) -> Merged:
    """Merge deltas in parts, folded in groups by chance and gathered in any order."""
    deltas = list(deltas)
    chance.shuffle(deltas)
    ids = [(one.frame, one.content_id) for one in deltas]
    pieces: list[list[Fold]] = [[] for _ in range(parts)]
    while deltas:
        size = chance.randint(1, len(deltas))
        group, deltas = sorted(deltas[:size], key=lambda one: one.stamp), deltas[size:]
        for part, piece in enumerate(split(fold(group, TABLE), TABLE, parts)):
            pieces[part].append(piece)
    merged = [merge_part(heap, base, gather(piece), TABLE, PROJECTIONS, closing) for piece in pieces]
    chance.shuffle(merged)
    return join_parts(heap, base, merged, ids, TABLE, PROJECTIONS, closing)


def comparable(merged: Merged) -> Merged:
    """A result with its lists of facts in one order."""
    return merged._replace(misfits=sorted(merged.misfits, key=repr), collapsed=dict(merged.collapsed))


@pytest.mark.parametrize("before", [0, 250])
@settings(max_examples=15, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(parts=st.integers(1, 9), chance=st.randoms(use_true_random=False))
def test_parts_give_what_the_merge_gives(before: int, parts: int, chance: Random) -> None:
    """On an empty snapshot and on one with entities: the digest, conflicts, misfits, counts, books and claims."""
    every = a_fleet(400) + authors(90)
    chance.shuffle(every)
    earlier, now = sorted(every[:before], key=lambda one: one.stamp), sorted(every[before:], key=lambda one: one.stamp)
    heap = Heap()
    base = merge(heap, None, earlier, TABLE, PROJECTIONS, closing=closing).tree if earlier else None
    whole = merge(heap, base, now, TABLE, PROJECTIONS, closing=closing)
    assert comparable(in_parts(heap, base, now, parts, chance)) == comparable(whole)


def test_the_parts_of_one_process_give_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    """A frame beyond the bound of one part, which is folded in zones one after the other, has the same result."""
    deltas = [structs.replace(one, size=100) for one in sorted(a_fleet(300), key=lambda one: one.stamp)]
    whole = in_parts(Heap(), None, deltas, 4, Random(1))
    monkeypatch.setattr(dreamcatcherd.core.merge, "AT_ONCE", 2_000)
    assert comparable(merge(Heap(), None, deltas, TABLE, PROJECTIONS, closing=closing)) == comparable(whole)


def test_no_file_of_appended_records_is_in_many_parts() -> None:
    """Appended records are shared out by ranges of their paths, not one by one."""
    deltas = sorted(a_fleet(400), key=lambda one: one.stamp)
    pieces = split(fold(deltas, TABLE), TABLE, 4)
    ranges = [[line[0] for line in piece.appended["observations"] if line[0].startswith("g1")] for piece in pieces]
    assert all(ranges)
    for before, after in pairwise(ranges):
        assert max(before) < min(after)
