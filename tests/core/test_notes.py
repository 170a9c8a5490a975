"""What was not stored as a record of its own is counted for each delta: collapsed, misfits, unknown sections."""

from __future__ import annotations

import json
from typing import Any

import pytest

from dreamcatcherd.core.collections import DEFAULT_TABLE
from dreamcatcherd.core.fold import UNKNOWN_NAMED
from dreamcatcherd.core.ledger import read_ledger, write_ledger
from dreamcatcherd.core.merge import AT_ONCE, Merged, merge
from dreamcatcherd.core.model import Delta
from dreamcatcherd.core.projections import PROJECTIONS
from tests.core.tools import Heap, delta

COMMENT = {"discussion_number": 1, "author": "a", "body": "hello"}
POST = {"discussion_number": 1, "title": "t"}


def counted(found: Merged, *deltas: Delta) -> list[int]:
    return [found.collapsed.get(one.stamp, 0) for one in deltas]


def joined(*deltas: Delta, then: tuple[Delta, ...] = ()) -> list[int]:
    """Merge some deltas in one frame and others in the next; returns what collapsed of each."""
    heap = Heap()
    first = merge(heap, None, sorted(deltas, key=lambda one: one.stamp), DEFAULT_TABLE, PROJECTIONS)
    second = merge(heap, first.tree, sorted(then, key=lambda one: one.stamp), DEFAULT_TABLE, PROJECTIONS)
    return counted(first, *deltas) + counted(second, *then)


def at(utc: int, frame: int = 1, **sections: Any) -> Delta:
    return delta(frame, utc, f"s{utc}", **sections)


@pytest.mark.parametrize("section", [{"comments_added": [COMMENT]}, {"posts_created": [POST]}])
def test_the_same_record_again_collapses_wherever_it_comes_from(section: dict[str, Any]) -> None:
    """In one frame the later delta's record collapses, in a later frame that of the later frame."""
    assert joined(at(1, **section), at(2, **section), then=(at(3, 2, **section),)) == [0, 1, 1]


def test_a_repeat_inside_one_delta_counts() -> None:
    """Three identical comments of one delta are one record, and two collapsed."""
    assert joined(at(1, comments_added=[COMMENT, COMMENT, COMMENT])) == [2]


def test_what_brings_something_new_does_not_collapse() -> None:
    """A new field or value of a post is no collapse; a value that lost to a newer one is."""
    changed, more = {**POST, "title": "u"}, {**POST, "mood": "x"}
    assert joined(at(1, posts_created=[POST]), at(2, posts_created=[changed]), at(3, posts_created=[more])) == [
        0,
        0,
        0,
    ]
    late = at(1, 1, posts_created=[{**POST, "title": "old"}])
    assert joined(at(5, 2, posts_created=[POST]), then=(late,)) == [0, 1]


def test_true_and_one_are_two_values() -> None:
    """What Python takes for equal is not the same JSON."""
    assert joined(at(1, posts_created=[{**POST, "n": 1}]), at(2, posts_created=[{**POST, "n": True}])) == [0, 0]


def test_a_late_first_record_takes_its_place_and_collapses_only_if_equal() -> None:
    """Under `dedup` the earliest stands: a late one that says the same changed nothing, another one did."""
    like = {"node": "n", "type": "up", "agent": "a"}
    again = (at(1, 1, reactions_added=[like]),)
    assert joined(at(5, 2, reactions_added=[like]), then=again) == [0, 1]
    other = (at(1, 1, reactions_added=[{**like, "why": "x"}]),)
    assert joined(at(5, 2, reactions_added=[like]), then=other) == [0, 0]


def test_counters_and_observations_never_collapse() -> None:
    """Each addend counts, and each observation is a record of its own."""
    assert joined(at(1, counters={"n": 1}, observations=["x", "x"]), at(2, counters={"n": 1})) == [0, 0]


def test_counts_do_not_hang_on_how_a_large_frame_is_parted(monkeypatch: pytest.MonkeyPatch) -> None:
    """Folded in one go or in many parts, each delta has the same numbers."""
    deltas = [at(i, comments_added=[COMMENT, {**COMMENT, "discussion_number": i % 5}], odd=[i]) for i in range(40)]
    whole = merge(Heap(), None, deltas, DEFAULT_TABLE, PROJECTIONS)
    monkeypatch.setattr("dreamcatcherd.core.merge.AT_ONCE", 3)
    parted = merge(Heap(), None, deltas, DEFAULT_TABLE, PROJECTIONS)
    assert AT_ONCE > 40
    assert (dict(parted.collapsed), dict(parted.unknown)) == (dict(whole.collapsed), dict(whole.unknown))
    assert sum(whole.collapsed.values()) == 80 - 5


def test_unknown_sections_are_named_up_to_a_bound() -> None:
    """Sections that no collection owns are listed once each; not a misfit's section, nor one that is empty."""
    one = at(1, post_created=[POST, POST], posts_created=[{"title": "no key"}], nothing=None, empty=[])
    assert merge(Heap(), None, [one], DEFAULT_TABLE, PROJECTIONS).unknown == {one.stamp: ["post_created"]}
    many = delta(1, 1, "s1", **{f"x{i}": [i] for i in range(50)})
    assert len(merge(Heap(), None, [many], DEFAULT_TABLE, PROJECTIONS).unknown[many.stamp]) == UNKNOWN_NAMED


def test_a_ledger_of_an_older_version_is_read() -> None:
    """Its counts lack the new names, and its lists the claims: receipts look into ledgers from before a conversion."""
    from tests.core.test_ledger import a_ledger

    ledger = a_ledger()
    old = json.loads(write_ledger(ledger))
    del old["claims"], old["ended"]
    for name in ("unresolved", "collapsed", "unknown", "waiting"):
        del old["counts"][name]
    read = read_ledger(json.dumps(old).encode())
    assert (read.deltas, read.claims, read.counts.collapsed) == (ledger.deltas, [], 0)
