"""What streams lost to each other, and which records brought nothing new (docs/protocol.md#the-merge)."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dreamcatcherd.core.codec import canonical
from dreamcatcherd.core.collections import Table
from dreamcatcherd.core.merge import Merged
from dreamcatcherd.core.model import Conflict, Delta, Json, Stamp
from dreamcatcherd.core.settings import read_settings
from tests.core.tools import Heap, delta, merged, state

TABLE = read_settings(
    b'[collections.claims]\nkey = ["resource"]\nrule = "first"\n'
    b'[collections.scores]\nkey = ["player"]\nrule = "max"\n'
    b'[collections.tags]\nkey = ["page"]\nrule = "union"\n'
).table


class Row(NamedTuple):
    """A conflict as the tests say it: streams instead of stamps."""

    key: Json
    field: str | None
    winner: str
    loser: str
    value: Json


def rows(found: Merged) -> list[Row]:
    return [Row(one.key, one.field, one.winner[2], one.loser[2], one.value) for one in found.conflicts]


def post(stream: str, utc: int, frame: int = 1, **fields: Json) -> Delta:
    return delta(frame, utc, stream, posts_created=[{"number": 1, **fields}])


def claim(stream: str, utc: int, frame: int = 1, **fields: Json) -> Delta:
    return delta(frame, utc, stream, claims=[{"resource": "r", **fields}])


def one_by_one(heap: Heap, *deltas: Delta, table: Table = TABLE) -> Iterator[Merged]:
    """Each delta merged by itself onto what the ones before made."""
    tree = None
    for one in deltas:
        found = merged(heap, [one], tree, table)
        tree = found.tree
        yield found


# Conflicts: last write wins ---------------------------------------------------------------------------------------


def test_the_loser_of_a_field_is_named_with_its_value_and_both_stamps() -> None:
    """Two streams set one field in one frame: the later time stands, the other is told in full."""
    heap = Heap()
    lost, won = post("a", 1, title="old", only="a"), post("b", 2, title="new")
    found = merged(heap, [lost, won])
    assert found.conflicts == [Conflict("posts", 1, "title", won.stamp, lost.stamp, "old")]
    assert state(heap, found.tree, "posts") == [{"discussion_number": 1, "title": "new", "only": "a"}]


def test_three_streams_give_one_row_for_each_loser_with_its_last_value() -> None:
    """What a stream overwrote itself is no loss of its own; each loser has one row, against the one winner."""
    deltas = [
        post("a", 1, t="a1"),
        post("b", 2, t="b2"),
        post("a", 3, t="a3"),
        post("b", 4, t="b4"),
        post("c", 5, t="c"),
    ]
    assert rows(merged(Heap(), deltas)) == [Row(1, "t", "c", "a", "a3"), Row(1, "t", "c", "b", "b4")]


def test_the_winners_own_earlier_value_is_no_loss() -> None:
    """A stream that sets a field again after another one has lost nothing."""
    found = merged(Heap(), [post("a", 1, t="a1"), post("b", 2, t="b2"), post("a", 3, t="a3")])
    assert rows(found) == [Row(1, "t", "a", "b", "b2")]


def test_equal_values_are_no_conflict() -> None:
    """Streams that agree have lost nothing; values are equal by their bytes, so 1, 1.0 and true are three."""
    assert rows(merged(Heap(), [post("a", 1, t={"x": 1, "y": 2}), post("b", 2, t={"y": 2, "x": 1})])) == []
    found = merged(Heap(), [post("a", 1, t=1), post("b", 2, t=1.0), post("c", 3, t=True)])
    assert [(row.loser, canonical(row.value)) for row in rows(found)] == [("a", b"1"), ("b", b"1.0")]


def test_a_value_that_comes_back_is_no_loss() -> None:
    """Who set what stands in the end has not lost, though another value stood between."""
    assert rows(merged(Heap(), [post("a", 1, t="x"), post("b", 2, t="y"), post("c", 3, t="x")])) == [
        Row(1, "t", "c", "b", "y")
    ]


def test_streams_of_different_frames_do_not_conflict() -> None:
    """A later frame takes a field over; that is no conflict, at once or one after the other."""
    deltas = [post("a", 9, 1, t="a"), post("b", 1, 2, t="b")]
    assert rows(merged(Heap(), deltas)) == []
    assert [rows(found) for found in one_by_one(Heap(), *deltas)] == [[], []]


def test_each_frame_has_its_own_winner() -> None:
    """Conflicts are found within each frame, though a later one sets the field for good."""
    deltas = [post("a", 1, 1, t="a"), post("b", 2, 1, t="b"), post("c", 0, 2, t="c")]
    assert rows(merged(Heap(), deltas)) == [Row(1, "t", "b", "a", "a")]


def test_other_fields_and_other_entities_do_not_conflict() -> None:
    """Losing is localised: only the same field of the same entity can be lost."""
    other = delta(1, 2, "b", posts_created=[{"number": 2, "t": "b"}], books_started=[{"book": "1", "t": "c"}])
    assert rows(merged(Heap(), [post("a", 1, t="a"), other, post("b", 3, u="b")])) == []


def test_within_one_delta_nothing_is_lost() -> None:
    """Of two records of one delta the later wins, and that is the stream's own affair."""
    one = delta(1, 1, "a", posts_created=[{"number": 1, "t": "x"}, {"number": "1", "t": "y"}])
    heap = Heap()
    found = merged(heap, [one])
    assert (found.conflicts, state(heap, found.tree, "posts")) == ([], [{"discussion_number": 1, "t": "y"}])


def test_a_late_delta_loses_against_what_stands() -> None:
    """A delta that comes after its frame, with an earlier time, is held against the value that stands."""
    heap = Heap()
    *_, found = one_by_one(heap, post("b", 2, t="b"), post("a", 1, t="a"))
    assert rows(found) == [Row(1, "t", "b", "a", "a")]
    assert state(heap, found.tree, "posts") == [{"discussion_number": 1, "t": "b"}]


def test_a_late_delta_wins_against_what_stands() -> None:
    """With a later time it takes the field, and the value that stood is the loser."""
    heap = Heap()
    *_, found = one_by_one(heap, post("a", 1, t="a"), post("b", 2, t="b"))
    assert rows(found) == [Row(1, "t", "b", "a", "a")]
    assert state(heap, found.tree, "posts") == [{"discussion_number": 1, "t": "b"}]


def test_a_late_delta_that_a_later_frame_overtook_has_no_conflict_with_it() -> None:
    """What stands came of another frame: the late value is older, not a loser of its frame."""
    *_, found = one_by_one(Heap(), post("b", 1, 2, t="b"), post("a", 9, 1, t="a"))
    assert rows(found) == []


def test_a_stream_does_not_lose_against_itself_over_two_merges() -> None:
    """Its own value that stands counts as its own, whichever of the two is later."""
    for deltas in ([post("a", 1, t="1"), post("a", 2, t="2")], [post("a", 2, t="2"), post("a", 1, t="1")]):
        assert [rows(found) for found in one_by_one(Heap(), *deltas)] == [[], []]


def test_what_a_stream_has_standing_stands_for_it() -> None:
    """A late value of the winner's own, older than its standing one, neither wins the row nor loses."""
    heap = Heap()
    standing = merged(heap, [post("a", 5, t="a5")]).tree
    assert rows(merged(heap, [post("a", 3, t="a3"), post("b", 4, t="b4")], standing)) == [Row(1, "t", "a", "b", "b4")]
    standing = merged(heap, [claim("a", 1, by="a1")], table=TABLE).tree
    late = [claim("b", 2, by="b2"), claim("a", 3, by="a3")]
    assert rows(merged(heap, late, standing, TABLE)) == [Row("r", None, "a", "b", {"resource": "r", "by": "b2"})]


def test_what_lost_before_is_not_told_again() -> None:
    """Each loss is in the ledger of the frame that merged it, once."""
    *_, found = one_by_one(Heap(), post("a", 1, t="a"), post("b", 2, t="b"), post("c", 3, t="c"))
    assert rows(found) == [Row(1, "t", "c", "b", "b")]


FIELDS = ("t", "u")
setting = st.tuples(st.integers(1, 2), st.integers(0, 3), st.sampled_from("abc"), st.integers(1, 2))
writes = st.dictionaries(
    setting, st.dictionaries(st.sampled_from(FIELDS), st.integers(0, 2), min_size=1), min_size=1, max_size=9
)


@settings(max_examples=150)
@given(writes)
def test_conflicts_are_the_last_values_that_differ_from_the_latest(
    sets: dict[tuple[int, int, str, int], dict[str, int]],
) -> None:
    """For any deltas at once: each stream's last value of a field in a frame, where it is not the latest of all."""
    deltas = [
        delta(frame, utc, stream, posts_created=[{"number": number, **fields}])
        for (frame, utc, stream, number), fields in sets.items()
    ]
    last: dict[tuple[int, int, str], dict[str, tuple[Stamp, int]]] = {}
    for one in sorted(deltas, key=lambda one: one.stamp):
        assert one.body is not None
        record = one.body["posts_created"][0]
        for field in record.keys() - {"number"}:
            last.setdefault((one.frame, record["number"], field), {})[one.stream_id] = (one.stamp, record[field])
    expected = []
    for (_, number, field), streams in last.items():
        winner, best = max(streams.values())
        expected += [Conflict("posts", number, field, winner, at, v) for at, v in streams.values() if v != best]
    assert sorted(merged(Heap(), deltas).conflicts, key=canonical) == sorted(expected, key=canonical)


# Conflicts: the earliest record -----------------------------------------------------------------------------------


def test_the_first_record_stands_and_the_others_are_lost() -> None:
    """A stream whose record is another one than the earliest has one row with all of it; one that agrees has none."""
    won, lost = claim("a", 1, by="a", note="n"), claim("b", 2, by="b", note="n", more=1)
    value = {"resource": "r", "by": "b", "note": "n", "more": 1}
    found = merged(Heap(), [won, lost, claim("c", 3, by="a", note="n")], table=TABLE)
    assert found.conflicts == [Conflict("claims", "r", None, won.stamp, lost.stamp, value)]


def test_of_each_stream_its_first_record_counts() -> None:
    """What a stream repeats later in the frame adds no rows."""
    found = merged(Heap(), [claim("a", 1, by="a"), claim("b", 2, by="b"), claim("b", 3, by="c")], table=TABLE)
    assert rows(found) == [Row("r", None, "a", "b", {"resource": "r", "by": "b"})]


def test_a_late_claim_displaces_the_one_that_stands() -> None:
    """The earlier time wins however late it comes, and the claim that stood is the loser; a later one loses to it."""
    heap = Heap()
    results = list(one_by_one(heap, claim("b", 2, by="b"), claim("a", 1, by="a"), claim("c", 3, by="c")))
    assert [rows(found) for found in results] == [
        [],
        [Row("r", None, "a", "b", {"resource": "r", "by": "b"})],
        [Row("r", None, "a", "c", {"resource": "r", "by": "c"})],
    ]
    assert state(heap, results[-1].tree, "claims", TABLE) == [{"resource": "r", "by": "a"}]


def test_claims_of_different_frames_do_not_conflict() -> None:
    """A claim of an earlier frame stands against later ones without a row."""
    heap = Heap()
    results = list(one_by_one(heap, claim("a", 9, 1, by="a"), claim("b", 1, 2, by="b")))
    assert [rows(found) for found in results] == [[], []]
    assert state(heap, results[-1].tree, "claims", TABLE) == [{"resource": "r", "by": "a"}]


def test_equal_comments_are_one_and_the_later_record_may_be_lost() -> None:
    """A comment is known by target, author and text, which are the key of its row; another record is a loser."""
    heap = Heap()
    first = {"discussion": 3, "agent": "x", "body": "hello", "mood": 1}
    second = {"number": 3, "author": "x", "body": "hello", "mood": 2}
    found = merged(heap, [delta(1, 1, "a", comments_added=[first]), delta(1, 2, "b", comments_added=[second])])
    assert rows(found) == [
        Row([3, "x", "hello"], None, "a", "b", {"discussion_number": 3, "author": "x", "body": "hello", "mood": 2})
    ]
    assert state(heap, found.tree, "comments") == [{"discussion_number": 3, "author": "x", "body": "hello", "mood": 1}]
    assert found.added == {"comments": 1}


@pytest.mark.parametrize(
    ("section", "fields"),
    [
        ("scores", ({"player": 1, "best": 1}, {"player": 1, "best": 2})),
        ("tags", ({"page": 1, "tags": "a"}, {"page": 1, "tags": "b"})),
        ("counters", ({"name": 1, "value": 1}, {"name": 1, "value": 2})),
        ("observations", ({"x": 1}, {"x": 2})),
    ],
)
def test_rules_that_keep_all_contributions_have_no_losers(section: str, fields: tuple[Json, Json]) -> None:
    """Largest, union, sum and append take every value into account."""
    deltas = [
        delta(1, utc, stream, **{section: [record]})
        for utc, (stream, record) in enumerate(zip("ab", fields, strict=True))
    ]
    assert merged(Heap(), deltas, table=TABLE).conflicts == []
    assert [found.conflicts for found in one_by_one(Heap(), *deltas)] == [[], []]


def test_conflicts_are_in_an_order_of_their_own() -> None:
    """Rows are sorted by their bytes, so that a ledger does not depend on how records were grouped."""
    deltas = [
        delta(1, utc, s, posts_created=[{"number": n, "t": s} for n in range(30)], claims=[{"resource": 1, "by": s}])
        for utc, s in enumerate("abc")
    ]
    found = merged(Heap(), deltas, table=TABLE)
    assert len(found.conflicts) == 62
    assert found.conflicts == sorted(found.conflicts, key=canonical)


# Conflicts: fields with rules of their own ------------------------------------------------------------------------

MIXED = read_settings(
    b'[collections.channels]\nkey = ["id"]\ndelete = "gone"\n'
    b'fields = {traits = "deep", founder = "first", posts = "sum", best = "max", tags = "union"}\n'
).table


def channel(stream: str, utc: int, frame: int = 1, **fields: Json) -> Delta:
    return delta(frame, utc, stream, channels=[{"id": 1, **fields}])


def test_a_leaf_is_lost_by_its_path() -> None:
    """Inside a deep field only the same path can be lost, and its name has dots."""
    deltas = [channel("a", 1, traits={"mood": 1, "x": {"y": 1}}), channel("b", 2, traits={"mood": 2, "x": {"z": 1}})]
    assert rows(merged(Heap(), deltas, table=MIXED)) == [Row(1, "traits.mood", "b", "a", 1)]
    *_, late = one_by_one(Heap(), *reversed(deltas), table=MIXED)
    assert rows(late) == [Row(1, "traits.mood", "b", "a", 1)]


def test_a_first_field_is_won_by_the_earliest_stream() -> None:
    """Each other stream has one row with its first value, whichever delta came first."""
    deltas = [channel("b", 2, founder="b2"), channel("a", 1, founder="a"), channel("b", 3, founder="b3")]
    deltas.append(channel("c", 4, founder="a"))
    assert rows(merged(Heap(), deltas, table=MIXED)) == [Row(1, "founder", "a", "b", "b2")]
    *_, late = one_by_one(Heap(), channel("b", 2, founder="b"), channel("a", 1, founder="a"), table=MIXED)
    assert rows(late) == [Row(1, "founder", "a", "b", "b")]
    *_, other = one_by_one(Heap(), channel("b", 2, 1, founder="b"), channel("a", 1, 2, founder="a"), table=MIXED)
    assert rows(other) == []


def test_fields_that_keep_all_contributions_have_no_losers() -> None:
    """Sums, extremes and sets take every value into account, and deletions take no part."""
    deltas = [channel(stream, utc, posts=utc, best=utc, tags=utc) for utc, stream in enumerate("abc")]
    deltas += [delta(1, 5, "d", gone=[1]), channel("e", 6, name="e"), delta(1, 7, "f", gone=[1])]
    assert rows(merged(Heap(), deltas, table=MIXED)) == []
    assert [rows(found) for found in one_by_one(Heap(), *deltas, table=MIXED)] == [[]] * 6


# Records that bring nothing new -----------------------------------------------------------------------------------


def test_what_was_deleted_later_brings_nothing_and_what_comes_back_does() -> None:
    """A write before the deletion collapses; one after it does not, be it nothing but the key."""
    writes = [channel("a", 1, name="x"), delta(1, 5, "d", gone=[1]), channel("b", 3, name="y")]
    back, again = channel("c", 6), channel("c", 7)
    found = list(one_by_one(Heap(), *writes, back, again, table=MIXED))
    assert [dict(one.collapsed) for one in found] == [{}, {}, {writes[2].stamp: 1}, {}, {again.stamp: 1}]
    assert [one.added for one in found] == [{"channels": n} for n in (1, -1, 0, 1, 0)]
