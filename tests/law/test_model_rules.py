"""What the simple model makes of colliding writes and deletions, by small examples (docs/protocol.md#the-merge)."""

from __future__ import annotations

import itertools
from decimal import Decimal
from typing import Any

import pytest

from tests.law.hand import sent, stamp
from tests.law.model import Sent, conflicts, is_alive, model, text


def channel(*deltas: Sent) -> dict[str, Any]:
    """The only channel."""
    (record,) = model(list(deltas))["state"]["channels"]
    assert isinstance(record, dict)
    return record


def test_follow_unfollow_refollow_in_any_order() -> None:
    """The latest of writes and deletions decides whether there is an entity, however they are listed."""
    pair = {"follower": "x", "followee": "y"}
    follow, again = sent(1, follows=[pair]), sent(3, follows=[pair])
    gone, late = sent(2, unfollowed=[["x", "y"]]), sent(4, unfollowed=[pair])
    for order in itertools.permutations([follow, gone]):
        (record,) = model(list(order))["state"]["follows"]
        assert record == {**pair, "_stamps": {}, "_deleted": stamp(gone, 2)}
        assert not is_alive(record)
    for order in itertools.permutations([follow, gone, again]):
        (record,) = model(list(order))["state"]["follows"]
        assert record == {**pair, "_stamps": {"": stamp(again, 3)}, "_deleted": stamp(gone, 2)}
        assert is_alive(record)
    (record,) = model([late, follow, gone, again])["state"]["follows"]
    assert record == {**pair, "_stamps": {}, "_deleted": stamp(late, 4)}


def test_within_one_delta_deletion_wins() -> None:
    """A delta that writes and deletes an entity deletes it, wherever the sections stand."""
    pair = {"follower": "x", "followee": "y", "mood": 1}
    one = sent(1, unfollowed=[["x", "y"]], follows=[pair])
    (record,) = model([one])["state"]["follows"]
    assert record == {"follower": "x", "followee": "y", "_stamps": {}, "_deleted": stamp(one, 1)}


def test_a_deletion_of_what_never_was_makes_a_tombstone() -> None:
    """It stays, since an earlier write may still come."""
    gone = sent(2, channels_removed="c", votes_removed=["n:1"], totals_removed=["t"])
    state = model([gone])["state"]
    assert state == {
        "channels": [{"id": "c", "_stamps": {}, "_deleted": stamp(gone, 2)}],
        "votes": [{"node": "n", "agent": 1, "_deleted": stamp(gone, 2)}],
        "totals": [{"name": "t", "_deleted": stamp(gone, 2)}],
    }
    assert not any(is_alive(record) for records in state.values() for record in records)


def test_a_deletion_takes_the_fields_of_lww_and_leaves_the_others() -> None:
    """Earlier lww fields and leaves go, later ones stay; sums, extremes, sets and firsts ignore deletions."""
    fields = {"post_count": 1, "peak": 5, "low": 5, "tags": "x", "creator": "a", "mood": 1, "traits": {"p": 1}}
    early = sent(1, channels_updated={"c": fields})
    gone = sent(2, channels_removed=["c"])
    late = sent(3, channels_updated={"c": {"traits": {"q": 2}, "peak": 4}})
    kept = {"id": "c", "post_count": 1, "peak": 5, "low": 5, "tags": ["x"], "creator": "a"}
    stamps = dict.fromkeys(["post_count", "peak", "low", "tags", "creator"], stamp(early, 1))
    dead = channel(gone, early)
    assert dead == {**kept, "_stamps": stamps, "_deleted": stamp(gone, 2)}
    assert not is_alive(dead)
    living = channel(gone, late, early)
    now = {**stamps, "traits": {"q": stamp(late, 3)}}
    assert living == {**kept, "traits": {"q": 2}, "_stamps": now, "_deleted": stamp(gone, 2)}
    assert is_alive(living)


def test_a_write_that_leaves_no_stamp_of_its_own_revives_all_the_same() -> None:
    """Where there are deletions, a write of nothing but key, extremes and firsts is stamped under the empty name."""
    early = sent(1, channels_updated=[{"id": "c", "peak": 9, "creator": "a"}])
    gone, late = sent(2, channels_removed=["c"]), sent(3, channels_updated=[{"id": "c", "peak": 1, "creator": "b"}])
    found = channel(early, gone, late)
    assert (found["peak"], found["creator"]) == (9, "a")
    assert found["_stamps"] == {"peak": stamp(early, 1), "creator": stamp(early, 1), "": stamp(late, 3)}
    assert is_alive(found)
    empty = sent(3, channels_updated=[{"id": "c", "traits": {}}])
    assert channel(early, gone, empty)["_stamps"]["traits"] == stamp(empty, 3)
    post = sent(1, posts_created=[1], scores=["x", {"player": "x", "best": 1}])
    state = model([post])["state"]
    assert state["posts"] == [{"discussion_number": 1, "_stamps": {"": stamp(post, 1)}}]
    assert state["scores"] == [{"player": "x", "best": 1, "_stamps": {"": stamp(post, 1), "best": stamp(post, 1)}}]


def test_a_record_by_its_earliest_stamp_lives_by_its_latest() -> None:
    """`dedup` and `first` keep the earliest record ever; whether it lives depends on the latest write."""
    first, gone, again = sent(1, votes=[{"id": 1, "n": 1}]), sent(2, votes_removed=[1]), sent(3, votes=[{"id": 1}])
    (dead,) = model([gone, first])["state"]["votes"]
    assert dead == {"id": 1, "n": 1, "_stamp": stamp(first, 1), "_deleted": stamp(gone, 2)}
    assert not is_alive(dead)
    (living,) = model([again, gone, first])["state"]["votes"]
    assert living == {**dead, "_stamps": {"": stamp(again, 3)}}
    assert is_alive(living)
    pins = [sent(1, pins=[{"slug": 1}]), sent(2, unpinned=[{"slug": 1}, 1])]
    assert [("slug" in one, is_alive(one)) for one in model(pins)["state"]["pins"]] == [(False, False), (True, False)]


def test_sums_and_sets_outlive_a_deletion() -> None:
    """The total and the set go on as if nothing had been deleted; the latest stamp says whether they live."""
    one = sent(1, totals=[{"name": "t", "n": 1}], bags=[{"name": "t", "n": 1}])
    gone = sent(2, totals_removed=["t"], bags_removed=[["t"]])
    more = sent(3, totals=[{"name": "t", "n": 2}], bags=[{"name": "t", "n": 2}])
    dead, living = model([one, gone])["state"], model([one, gone, more])["state"]
    end = {"_deleted": stamp(gone, 2)}
    assert dead["totals"] == [{"name": "t", "n": 1, "_stamp": stamp(one, 1), **end}]
    assert dead["bags"] == [{"name": "t", "n": [1], "_stamp": stamp(one, 1), **end}]
    assert living["totals"] == [{"name": "t", "n": 3, "_stamp": stamp(more, 3), **end}]
    assert living["bags"] == [{"name": "t", "n": [1, 2], "_stamp": stamp(more, 3), **end}]


@pytest.mark.parametrize(
    ("section", "item"),
    [("unfollowed", "x"), ("unfollowed", ["x"]), ("unfollowed", ["x", None]), ("unfollowed", {"follower": "x"}),
     ("channels_removed", True), ("channels_removed", []), ("channels_removed", {"mood": 1}),
     ("votes_removed", ["a", "b", "c"]), ("votes_removed", {"id": [1], "node": 1, "agent": 1})],
)  # fmt: skip
def test_a_deletion_without_a_usable_key_is_a_misfit(section: str, item: Any) -> None:
    """It is kept unchanged under the name of its section."""
    kept = item if isinstance(item, dict) else {"value": item}
    (found,) = model([sent(1, more={section: [item]})])["state"][f"extra/{section}"]
    assert {name: value for name, value in found.items() if name != "_stamp"} == kept


def test_the_least_value_is_kept_with_its_earliest_stamp() -> None:
    """Null is less than false, true, numbers, strings, lists and objects; of equal numbers the shorter text is less."""
    ordered: list[Any] = [None, False, True, "<<-0.30>>", 1, "<<1.0>>", 2, "", "a", [], {}]
    for less, more in itertools.pairwise(ordered):
        one, two, three = (sent(n, lows=[{"name": "x", "v": v}]) for n, v in ((1, more), (2, less), (3, less)))
        (low,) = model([one, two, three])["state"]["lows"]
        (only,) = model([two])["state"]["lows"]
        assert (text(low["v"]), low["_stamps"]) == (text(only["v"]), {"v": stamp(two, 2), "": stamp(three, 3)})


@pytest.mark.parametrize(
    ("literals", "total"),
    [
        (["0.1", "0.2"], "0.3"),
        (["1.0"], "1"),
        (["-0.0"], "0"),
        (["1e-7", "1e22"], "10000000000000000000000.0000001"),
        (["12345678901234567.891", "0.009"], "12345678901234567.9"),
        (["1e22"], "10000000000000000000000"),
        (["0.10", "-0.1", "1e-7"], "0.0000001"),
        (["1180591620717411303424", "0.5"], "1180591620717411303424.5"),
    ],
)
def test_sums_are_exact(literals: list[str], total: str) -> None:
    """Decimals add up as they are written, in any order, to the shortest decimal without exponent or to an integer."""
    addends = [int(one) if one.isdigit() else f"<<{one}>>" for one in literals]
    for order in itertools.permutations(enumerate(addends)):
        deltas = [sent(n, counters={"x": value}, totals=[{"name": "x", "n": value}]) for n, value in order]
        state = model(deltas)["state"]
        assert [text(state["counters"][0]["value"]), text(state["totals"][0]["n"])] == [total, total]
        assert isinstance(state["totals"][0]["n"], Decimal) == ("." in total)


def test_each_stream_that_lost_has_one_row() -> None:
    """`lww` and leaves: the last value of each; `first`: the first; deletions, sums and extremes take no part."""
    common = {"id": "c", "post_count": 1, "peak": 1, "tags": 1}
    one = sent(1, "a", channels_updated=[{**common, "mood": 1, "creator": "x", "traits": {"p": {"q": 1}}}])
    two = sent(2, "b", channels_updated=[{**common, "peak": 2, "mood": 2, "creator": "y", "traits": {"p": {"q": 2}}}])
    gone = sent(3, "c", channels_removed=["c"])
    first, second = stamp(one, 1, "a"), stamp(two, 2, "b")
    rows: list[dict[str, Any]] = [
        {"field": "mood", "winner": second, "loser": first, "value": 1},
        {"field": "traits.p.q", "winner": second, "loser": first, "value": 1},
        {"field": "creator", "winner": first, "loser": second, "value": "y"},
    ]
    expected = sorted(text({"collection": "channels", "key": "c", **row}) for row in rows)
    assert sorted(map(text, conflicts([], [one, two, gone]))) == expected
    assert sorted(map(text, conflicts([one], [two]))) == expected


def test_a_record_that_lost_is_one_row() -> None:
    """`dedup` and `first`: no field, and as value the loser's first complete record, if it differs."""
    one = sent(1, "a", votes=["n:7"], pins=[{"slug": "s"}])
    two = sent(
        2, "b", votes=[{"node": "n", "agent": "7", "x": 1}, {"node": "n", "agent": 7, "x": 2}], pins=[{"slug": "s"}]
    )
    row: dict[str, Any] = {
        "collection": "votes",
        "key": ["n", 7],
        "field": None,
        "value": {"node": "n", "agent": 7, "x": 1},
    }
    row = {**row, "winner": stamp(one, 1, "a"), "loser": stamp(two, 2, "b")}
    assert conflicts([], [two, one]) == [row]
    assert conflicts([one], [two]) == [row]
    assert conflicts([two], [one]) == [{**row, "value": {"node": "n", "agent": 7, "x": 1}}]
    assert conflicts([], [one, sent(2, "b", frame=2, votes=[{"node": "n", "agent": 7, "x": 1}])]) == []
