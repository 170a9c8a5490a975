"""The ledger of a closed frame: its rows, its counts and its bytes (docs/protocol.md#commands)."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from typing import Any

import msgspec
import pytest
from msgspec import structs

from dreamcatcherd.core.ledger import (
    Counts,
    DuplicateRow,
    HeldRow,
    Ledger,
    MisfitRow,
    QuarantinedRow,
    Violation,
    head_of,
    read_head,
    read_ledger,
    write_ledger,
)
from dreamcatcherd.core.ledger_builder import Basis, make_ledger
from dreamcatcherd.core.model import Arrival, Conflict, Delta, Fault, Reject, RejectArrival, Stamp, Version
from dreamcatcherd.core.plan import make_plan
from dreamcatcherd.core.settings import Limits
from tests.core.tools import Heap, arrivals, delta, merged

FRAME = 5
BASIS = Basis("d" * 40, {"posts": 10, "books": 1}, "f" * 40)
KEYS = (
    "frame snapshot previous closed_by settings deltas held duplicates misfits quarantined claims conflicts violations"
    " counts missing settings_change books ended"
)


def reject(path: str = "state/stream_deltas/x.json", since: int | None = None) -> RejectArrival:
    item = Reject(Version(path, "b" * 40, 0o100644, "e" * 40), Fault("bad-name", "no frame"))
    return RejectArrival(item, "dc/s", since)


def closed(
    found: Sequence[Arrival], known: list[Delta] | None = None, basis: Basis = BASIS, frame: int = FRAME
) -> Ledger:
    """The ledger of a frame that closes on these arrivals, the known deltas merged before."""
    before = {(one.frame, one.content_id) for one in known or []}
    plan = make_plan(found, frame, Limits(frames_ahead=3), lambda ids: before.intersection(ids))
    deltas = [one.item for one in plan.deltas]
    return make_ledger(plan, merged(Heap(), deltas), basis, "interval")


def a_ledger() -> Ledger:
    """A frame in which everything happened at least once."""
    twice = delta(FRAME, 9, "t", observations=[1])
    found: list[Arrival] = [
        *arrivals([delta(FRAME, 1, "a", posts_created=[{"number": 1, "title": "a"}, {"title": "misfit"}, {}])]),
        *arrivals([delta(FRAME, 2, "b", posts_created=[{"number": 1, "title": "b"}], dreams=[1])], "dc/b"),
        *arrivals([delta(FRAME - 2, 3, "a", books_started=["x"])]),
        *arrivals([twice]),
        *arrivals([twice], "dc/t"),
        *arrivals([delta(FRAME + 1, 1, "a")]),
        *arrivals([delta(FRAME + 9, 1, "a")]),
        reject(),
    ]
    violation = Violation("delta-deleted", "state/stream_deltas/1/a.json", "c" * 40, "w <w@localhost>")
    return closed(found, basis=structs.replace(BASIS, violations=[violation]))


def rows_of(ledger: Ledger, name: str) -> list[dict[str, Any]]:
    """The rows of one list as the written ledger has them."""
    found: list[dict[str, Any]] = json.loads(write_ledger(ledger))[name]
    return found


# What a frame's ledger says ---------------------------------------------------------------------------------------


def test_everything_is_counted_where_it_ended() -> None:
    """Merged, late, duplicate, held, quarantined, misfits, conflicts and violations: each in its own number."""
    assert a_ledger().counts == Counts(
        deltas=4,
        streams=3,
        late=1,
        duplicates=1,
        held=1,
        quarantined=2,
        misfits=2,
        conflicts=1,
        violations=1,
        entities={"posts": 11, "books": 2, "observations": 1, "extra": 3},
        unknown=1,
        waiting=2,
    )


def test_every_version_that_was_judged_has_one_row() -> None:
    """Nothing that a commit makes reachable is missing from the ledger or stands in it twice."""
    found = [(row.path, row.blob) for row in a_ledger().rows()]
    assert len(found) == 8
    assert len(set(found)) == 7, "the delta that came twice is merged once and a duplicate once"


def test_an_empty_frame_has_an_empty_ledger() -> None:
    """It names the same digest as the frame before, and the entities that still stand."""
    ledger = closed([])
    assert ledger.counts == Counts(0, 0, 0, 0, 0, 0, 0, 0, 0, BASIS.entities, waiting=0)
    assert (ledger.frame, ledger.previous, ledger.settings, ledger.closed_by) == (FRAME, "d" * 40, "f" * 40, "interval")
    assert list(ledger.rows()) == []


def test_a_delta_of_this_frame_and_a_late_one() -> None:
    """A row says where the delta came from; a late one also its own frame, and only that."""
    one, late = delta(FRAME, 7, "a", dreams=[1]), delta(2, 8, "b", dreams=[2])
    first, second = rows_of(closed([*arrivals([one], "dc/a"), *arrivals([late])]), "deltas")
    assert (first["path"], first["frame"], first["late"], first["source"]) == (late.version.path, 2, True, "main")
    assert second == {
        "path": one.version.path,
        "blob": one.version.blob,
        "utc": 7,
        "stream_id": "a",
        "source": "dc/a",
        "commit": "c" * 40,
        "late": False,
        "unknown": ["dreams"],
    }


def test_attachments_show_in_a_deltas_row() -> None:
    """The content id stands where it is not the blob, and what was not found is named."""
    one = delta(FRAME, dreams=[1])
    with_files = structs.replace(one, content_id="9" * 40, unresolved=("gone.md",))
    (row,) = rows_of(closed(arrivals([with_files])), "deltas")
    assert (row["blob"], row["content_id"], row["unresolved"]) == (one.version.blob, "9" * 40, ["gone.md"])
    (held,) = closed(arrivals([structs.replace(with_files, frame=FRAME + 1)])).held
    assert (held.blob, held.content_id) == (one.version.blob, "9" * 40)
    (duplicate,) = closed(arrivals([with_files]), [with_files]).duplicates
    assert (duplicate.blob, duplicate.content_id) == (one.version.blob, "9" * 40)


def test_a_held_delta_keeps_the_frame_that_first_held_it() -> None:
    """A new one is held since now; one that was listed before keeps its `since` until it is merged."""
    one = delta(FRAME + 1, 3, "a")
    assert closed(arrivals([one])).held == [
        HeldRow(one.version.path, one.version.blob, FRAME + 1, 3, "a", "main", "c" * 40, FRAME)
    ]
    (again,) = closed(arrivals([one], since=2)).held
    assert again.since == 2
    assert [row.since for row in closed(arrivals([structs.replace(one, frame=FRAME + 3)], since=0)).held] == [0]
    assert closed(arrivals([one], since=2), frame=FRAME + 1).held == []


def test_what_is_too_far_ahead_is_counted_when_it_is_new() -> None:
    """It is listed at every close with the frame that first said so, and counts as quarantined in that one alone."""
    far = delta(FRAME + 9, 1, "a")
    first, second = closed(arrivals([far])), closed(arrivals([far], since=FRAME), frame=FRAME + 1)
    assert [(row.reason, row.since, row.at) for row in first.quarantined] == [("too-far-ahead", FRAME, "$.frame")]
    assert [(row.reason, row.since, row.at) for row in second.quarantined] == [("too-far-ahead", FRAME, "$.frame")]
    assert (first.counts.quarantined, second.counts.quarantined) == (1, 0)


def test_what_is_too_far_ahead_is_named_as_a_delta() -> None:
    """Its row has the frame, the time and the stream of the delta; the row of a file that is no delta has none."""
    far = delta(FRAME + 9, 1, "a")
    (row,) = closed(arrivals([far])).quarantined
    assert (row.frame, row.utc, row.stream_id) == (FRAME + 9, far.utc, "a")
    (row,) = closed([reject()]).quarantined
    assert (row.frame, row.utc, row.stream_id) == (None, None, None)


def test_a_quarantined_version_is_named_with_its_reason() -> None:
    """Path, blob, reason and detail, and the ref and commit that brought it; any path can be written."""
    ledger = closed([reject("state/stream_deltas/1/\udcff.json")])
    assert ledger.quarantined == [
        QuarantinedRow("state/stream_deltas/1/\\xff.json", "b" * 40, "bad-name", "no frame", "dc/s", "e" * 40, FRAME)
    ]
    assert read_ledger(write_ledger(ledger)) == ledger


def test_a_duplicate_is_named_with_its_delta() -> None:
    """What is merged already is listed as it came this time."""
    one = delta(3, 1, "a", dreams=[1])
    ledger = closed(arrivals([one], "dc/a"), [one])
    assert ledger.duplicates == [DuplicateRow(one.version.path, one.version.blob, 3, "a", "dc/a", "c" * 40)]
    assert (ledger.counts.deltas, ledger.counts.streams, ledger.counts.duplicates) == (0, 0, 1)


def test_misfits_are_counted_by_delta_section_and_reason() -> None:
    """A delta with a thousand misfits of one kind has one row that says so."""
    one = delta(FRAME, 1, "a", reactions_added=1.5, posts_created=[{"number": []}] + [{}] * 1000)
    ledger = closed(arrivals([one]))
    path, blob = one.version.path, one.version.blob
    assert ledger.misfits == [
        MisfitRow(path, blob, "posts_created", "discussion_number is neither an integer nor a string", 1),
        MisfitRow(path, blob, "posts_created", "no discussion_number", 1000),
        MisfitRow(path, blob, "reactions_added", "not an object", 1),
    ]
    assert ledger.counts.misfits == 1002
    assert ledger.counts.entities == {**BASIS.entities, "extra": 1002}


def test_conflicts_are_the_merges() -> None:
    """The rows name collection, key, field, both stamps and the loser's value."""
    won, lost = (
        delta(FRAME, 2, "b", posts_created=[{"number": 1, "t": 2}]),
        delta(FRAME, 1, "a", posts_created=[{"number": 1, "t": 1}]),
    )
    ledger = closed(arrivals([won, lost]))
    assert ledger.conflicts == [Conflict("posts", 1, "t", won.stamp, lost.stamp, 1)]
    assert rows_of(ledger, "conflicts") == [
        {
            "collection": "posts",
            "key": 1,
            "field": "t",
            "winner": list(won.stamp),
            "loser": list(lost.stamp),
            "value": 1,
        }
    ]


# Bytes ------------------------------------------------------------------------------------------------------------


def test_a_ledger_is_read_as_it_was_written() -> None:
    """Every row of every kind survives, and its head is what the next frame builds on."""
    ledger = a_ledger()
    raw = write_ledger(ledger)
    assert read_ledger(raw) == ledger
    assert read_head(raw) == head_of(ledger)
    assert (head_of(ledger).held, head_of(ledger).counts) == (ledger.held, ledger.counts)
    assert write_ledger(read_ledger(raw)) == raw


@pytest.mark.parametrize("value", [None, True, 1, 1.0, -0.0, 10**400, 'a\n\t"é😀', [[]], {"a": {"b": [1]}}])
def test_a_lost_value_is_kept_exactly(value: Any) -> None:
    """A loser's value and its key may be any JSON; a line feed in a string does not break the line."""
    stamp = Stamp(1, 2, "s\n", "c")
    ledger = structs.replace(closed([]), conflicts=[Conflict("posts", ["\n", 1], "f", stamp, stamp, value)])
    raw = write_ledger(ledger)
    assert write_ledger(read_ledger(raw)) == raw
    (row,) = rows_of(ledger, "conflicts")
    assert json.dumps(row["value"]) == json.dumps(value)
    assert len(raw.splitlines()) == len(write_ledger(closed([])).splitlines()) + 2


def test_a_ledger_has_the_keys_of_the_protocol_in_order() -> None:
    """All lists are there, empty ones too, and `previous` is null in the first."""
    found = json.loads(write_ledger(closed([], basis=Basis(None, {}, None))))
    assert list(found) == sorted(KEYS.split())
    assert (found["previous"], found["settings"], found["deltas"], found["held"]) == (None, None, [], [])


def test_each_row_is_a_line() -> None:
    """People and git diff see one row changed where one row changed."""
    ledger = a_ledger()
    lines = write_ledger(ledger).decode().split("\n")
    rows = [json.loads(line.removesuffix(",")) for line in lines if line.startswith("{") and len(line) > 1]
    lists = ("books", "conflicts", "deltas", "duplicates", "held", "misfits", "quarantined", "violations")
    assert rows == [row for name in lists for row in rows_of(ledger, name)]


def test_a_ledger_tells_no_wall_clock() -> None:
    """The same arrivals on the same base give the same bytes, whatever their order, and no date is among them."""
    assert write_ledger(a_ledger()) == write_ledger(a_ledger())
    assert not re.search(rb"[0-9]{4}-[0-9]{2}-[0-9]{2}|[0-9]{2}:[0-9]{2}:[0-9]{2}", write_ledger(a_ledger()))


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"[]",
        b"{}",
        b'{"frame": 1',
        b'{"frame": "\xff"}',
        b'{"frame": 1, "snapshot": "\xff"}',
        b'{"held": ' + b"[" * 100_000,
        b'{"x": ' + b'{"x":' * 100_000,
    ],
    ids=["nothing", "a list", "no rows", "cut off", "no UTF-8", "no UTF-8 in a row", "deep lists", "deep objects"],
)
def test_bytes_that_are_no_ledger_are_refused_by_one_error(raw: bytes) -> None:
    """Anybody can write a ledger file into a commit: whatever it holds, reading it ends in a DecodeError."""
    for read in (read_ledger, read_head):
        with pytest.raises(msgspec.DecodeError):
            read(raw)
