"""Events are a function of a ledger: dense ordinals, a fixed order, a bounded size (docs/protocol.md#events)."""

from __future__ import annotations

import json
from collections import Counter
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dreamcatcherd.core import events
from dreamcatcherd.core.ledger import BookRow, ClaimRow, Counts, DeltaRow, Ledger, QuarantinedRow, write_ledger
from dreamcatcherd.core.model import Conflict, Stamp

CLOSE = events.CloseCommit("c" * 40, 1_767_225_600)
FRAME = 7

stamps = st.builds(lambda name, at: Stamp(FRAME, at, name, f"{at:040x}"), st.sampled_from("abc"), st.integers(0, 3))
conflicts = st.lists(
    st.builds(
        Conflict,
        st.just("posts"),
        st.integers(0, 5),
        st.sampled_from(["title", None]),
        stamps,
        stamps,
        st.one_of(st.text(max_size=5), st.just("x" * 10_000), st.none()),
    ),
    max_size=12,
)
quarantined = st.lists(
    st.builds(
        QuarantinedRow,
        st.text(max_size=8),
        st.just("b" * 40),
        st.just("not-json"),
        st.text(max_size=8),
        st.just("main"),
        st.just("d" * 40),
        st.integers(FRAME - 1, FRAME),
    ),
    max_size=5,
)
claims = st.lists(
    st.builds(
        ClaimRow,
        st.just("tasks"),
        st.text(max_size=4),
        st.just("a"),
        st.just("granted"),
        st.just("a"),
        st.just(9),
        stamps,
    ),
    max_size=4,
)
books = st.lists(
    st.builds(
        BookRow,
        st.text(max_size=4),
        st.sampled_from([["grew"], ["grew", "published"]]),
        st.just(1),
        st.none(),
        st.just(True),
    ),
    max_size=4,
)
ledgers = st.builds(
    lambda lost, bad, asked, shelf: Ledger(
        FRAME, "s" * 40, None, "test", None, quarantined=bad, conflicts=lost, claims=asked, books=shelf
    ),
    conflicts,
    quarantined,
    claims,
    books,
)


def of(ledger: Ledger) -> list[events.CloudEvent]:
    return list(events.events_of(events.event_rows(write_ledger(ledger)), CLOSE))


@given(ledgers)
def test_every_row_is_in_one_event_and_ordinals_are_dense(ledger: Ledger) -> None:
    """The close is first; each new quarantine, each losing delta, each claim and each published book is there once, in
    the order of the types and of the rows; ids differ, and everything is the same a second time."""
    found = of(ledger)
    assert [one.ordinal for one in found] == list(range(len(found)))
    assert [one.data["ordinal"] for one in found] == list(range(len(found)))
    assert {one.data["frame"] for one in found} == {FRAME}
    assert len({one.id for one in found}) == len(found)
    losers = list(dict.fromkeys(row.loser for row in ledger.conflicts))
    wanted: list[tuple[str, Any]] = [("frame.closed", None)]
    wanted += [("delta.quarantined", row.path) for row in ledger.quarantined if row.since == FRAME]
    wanted += [("delta.lost", [*stamp]) for stamp in losers]
    wanted += [("claim.decided", row.key) for row in ledger.claims]
    wanted += [("book.published", row.book) for row in ledger.books if "published" in row.events]
    names = {"delta.quarantined": "path", "delta.lost": "stamp", "claim.decided": "key", "book.published": "book"}
    said = [json.loads(events.envelope(one, "/fleet.git")) for one in found]
    assert [(one["type"], one["data"].get(names.get(one["type"], ""))) for one in said] == wanted
    rows = Counter(tuple(row.loser) for row in ledger.conflicts)
    lost = {tuple(one.data["stamp"]): one.data for one in found if one.type == "delta.lost"}
    assert {stamp: len(data["lost"]) + data["more"] for stamp, data in lost.items()} == rows
    assert of(ledger) == found


def test_an_event_is_small_whatever_a_delta_holds() -> None:
    """A delta that lost 5,000 large fields, with a large key, is one event of at most 64 KiB that counts them."""
    winner, loser = Stamp(FRAME, 2, "b", "b" * 40), Stamp(FRAME, 1, "a", "a" * 40)
    lost = [Conflict("posts", "k" * 9_000, f"f{n}", winner, loser, ["v" * 9_000]) for n in range(5_000)]
    row = DeltaRow("state/stream_deltas/7/a.json", "a" * 40, 1, "a", "dc/a", "e" * 40, False)
    ledger = Ledger(FRAME, "s" * 40, None, "test", None, deltas=[row], conflicts=lost)
    _, event = of(ledger)
    assert len(events.envelope(event, "/fleet.git")) < 65_536
    assert event.data["path"] == row.path
    assert event.data["lost"][0]["value_bytes"] == 9_004
    assert event.data["lost"][0]["key_bytes"] == 9_002
    assert len(event.data["lost"]) + event.data["more"] == 5_000


def test_counts_of_any_number_of_collections_fit() -> None:
    """With 10,000 collections the counts are reported without the entities of each."""
    entities = {f"collection-{number}": number for number in range(10_000)}
    (event,) = of(Ledger(FRAME, "s" * 40, None, "test", None, counts=Counts(1, 1, 0, 0, 0, 0, 0, 0, 0, entities)))
    assert event.data["counts"]["deltas"] == 1
    assert "entities" not in event.data["counts"]


@pytest.mark.parametrize("cause", ["a lacks b", "a\x1b[31m lacks \ud800 b"])
def test_the_same_trip_of_the_guard_has_the_same_id(cause: str) -> None:
    """It depends on frame and cause, not on when it happened; its text drives no terminal."""
    one, other = (events.guard_tripped(FRAME, cause, "look", at_s) for at_s in (1.0, 2.0))
    assert one.id == other.id != events.guard_tripped(FRAME + 1, cause, "look", 1.0).id
    assert one.data["cause"].isprintable()
    assert json.loads(events.envelope(one, "/fleet.git"))["time"] == "1970-01-01T00:00:01.000000Z"
