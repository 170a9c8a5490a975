"""The header of a delta and the number of its records (docs/protocol.md#a-delta)."""

from __future__ import annotations

import json
from typing import Any

import pytest

from dreamcatcherd.core.codec import MAX_FRAME, frame_number, read_document
from dreamcatcherd.core.header import Header, count_records, read_header
from dreamcatcherd.core.intake import Intake
from dreamcatcherd.core.model import Fault, Limits, Record
from dreamcatcherd.core.settings import DEFAULT, read_settings

GOOD: Record = {"frame": 7, "utc": "2026-01-31T12:00:00Z", "stream_id": "s1"}
GOOD_MICROS = 1_769_860_800_000_000
PATHS = ("frame", "utc", "stream_id")


def header(**changes: Any) -> Header | Fault:
    """The header of a good delta with some fields changed; `...` takes a field away."""
    merged = {**GOOD, **changes}
    return read_header({name: value for name, value in merged.items() if value is not ...}, 7, Intake())


def fault(**changes: Any) -> tuple[str, str | None]:
    found = header(**changes)
    assert isinstance(found, Fault)
    return found.reason, found.at


def test_a_good_header_places_the_delta() -> None:
    """Frame, microseconds, stream and the name of the time field come out."""
    assert header() == Header(7, GOOD_MICROS, "s1", ("frame", "utc", "stream_id"))


@pytest.mark.parametrize("frame", ["7", "007", 7])
def test_a_frame_may_be_a_decimal_string(frame: object) -> None:
    """A frame in decimal digits is the integer."""
    assert header(frame=frame) == Header(7, GOOD_MICROS, "s1", ("frame", "utc", "stream_id"))


@pytest.mark.parametrize(
    "frame",
    [
        ...,
        None,
        True,
        7.0,
        -1,
        MAX_FRAME + 1,
        "",
        "-7",
        "+7",
        " 7",
        "7\n",
        "7.0",
        "\u0667",
        "x",
        [7],
        {"frame": 7},
        str(MAX_FRAME + 1),
        "9" * 5000,
    ],
)
def test_a_frame_of_the_wrong_form_counts_as_missing(frame: object) -> None:
    """Only an integer from 0 to 2^53 - 1, or its decimal digits, is a frame."""
    assert fault(frame=frame) == ("missing-frame", "$.frame")


@pytest.mark.parametrize("frame", [0, MAX_FRAME, "0", str(MAX_FRAME)])
def test_the_limits_of_a_frame_are_frames(frame: int | str) -> None:
    """Zero and 2^53 - 1 are frames, as integer and as string."""
    assert MAX_FRAME == 2**53 - 1
    assert frame_number(frame) == int(frame)


def test_a_frame_must_be_the_paths() -> None:
    """A delta in another frame's folder is a mismatch, unless it stands outside a repository."""
    assert fault(frame=8) == ("frame-mismatch", "$.frame")
    assert read_header({**GOOD, "frame": 8}, None, Intake()) == Header(
        8, GOOD_MICROS, "s1", ("frame", "utc", "stream_id")
    )


@pytest.mark.parametrize("utc", [..., None, 1769860800, True, ["2026-01-31T12:00:00Z"], {}])
def test_a_time_of_the_wrong_form_counts_as_missing(utc: object) -> None:
    """Without a string under any of the three names there is no time; with one under a later name that one counts."""
    assert fault(utc=utc) == ("bad-utc", "$.utc")
    assert header(utc=utc, timestamp="2026-01-31T12:00:00Z") == Header(
        7, GOOD_MICROS, "s1", ("frame", "timestamp", "stream_id")
    )


def test_the_first_of_several_time_names_counts() -> None:
    """The order is utc, completed_at, timestamp, whatever the order in the document."""
    others = {"timestamp": "2000-01-01T00:00:00Z", "completed_at": "2001-01-01T00:00:00Z"}
    assert header(**others) == Header(7, GOOD_MICROS, "s1", ("frame", "utc", "stream_id"))
    assert header(utc=..., **others) == Header(7, 978_307_200_000_000, "s1", ("frame", "completed_at", "stream_id"))
    assert header(utc=..., timestamp="2000-01-01T00:00:00Z") == Header(
        7, 946_684_800_000_000, "s1", ("frame", "timestamp", "stream_id")
    )


@pytest.mark.parametrize("name", ["utc", "completed_at", "timestamp"])
def test_a_bad_time_is_reported_under_its_own_name(name: str) -> None:
    """The JSON path of a malformed time names the field that was read."""
    assert fault(**{"utc": ..., name: "yesterday"}) == ("bad-utc", f"$.{name}")


@pytest.mark.parametrize(
    "stream", [..., None, 5, True, "", "a/b", "/", "a\n", "\x00", "a\x7f", "\x85", "s" * 129, ["a"]]
)
def test_a_stream_of_the_wrong_form_counts_as_missing(stream: object) -> None:
    """A stream is a string of 1 to 128 characters without slash or control character."""
    assert fault(stream_id=stream) == ("missing-stream", "$.stream_id")


@pytest.mark.parametrize("stream", ["s", "s" * 128, "é😀 x", "..", "\u2028", "a\u200bb", "😀" * 128])
def test_odd_streams_are_streams(stream: str) -> None:
    """Any other text names a stream; characters are counted, not bytes."""
    assert header(stream_id=stream) == Header(7, GOOD_MICROS, stream, ("frame", "utc", "stream_id"))


def test_header_faults_come_in_the_protocols_order() -> None:
    """Frame goes before time, time before stream."""
    assert fault(frame=..., utc=..., stream_id=...)[0] == "missing-frame"
    assert fault(frame=8, utc=..., stream_id=...)[0] == "frame-mismatch"
    assert fault(utc=..., stream_id=...)[0] == "bad-utc"
    assert fault(stream_id=...)[0] == "missing-stream"


@pytest.mark.parametrize(
    ("field", "value", "reason"),
    [
        ("frame", 7.5, "missing-frame"),
        ("frame", True, "missing-frame"),
        ("frame", [7], "missing-frame"),
        ("utc", 1769860800, "bad-utc"),
        ("stream_id", 7, "missing-stream"),
        ("stream_id", {}, "missing-stream"),
    ],
)
def test_a_header_of_the_wrong_type_counts_as_missing_and_says_so(field: str, value: Any, reason: str) -> None:
    """The reason is that of a missing field; the detail names the type that is there."""
    found = read_header({**GOOD, field: value}, None, Intake())
    assert isinstance(found, Fault)
    assert found.reason == reason
    assert f"{field} is a" in found.detail
    assert "counts as missing" in found.detail


def test_records_are_counted_as_the_settings_have_them() -> None:
    """List items, members of maps of entities and one for each other section count; the header and null do not."""
    document: Record = {
        **GOOD,
        "posts_created": [1, 2],
        "counters": {"a": 1, "b": 2},
        "profile_updates": {"x": {}},
        "observations": {"a": 1, "b": 2},
        "dream": "one",
        "nothing": None,
        "empty": [],
        "meta": {"channels": {"c": {}, "d": {}}},
    }
    assert count_records(document, PATHS, DEFAULT.sections) == 8
    settings = read_settings(b'[collections.channels]\nsection = "meta.channels"\nform = "map"\nkey = ["id"]\n')
    assert count_records(document, PATHS, settings.sections) == 9


META = {"frame": 7, "timestamp": "2026-01-31T12:00:00Z", "node_id": "s1"}


def test_the_header_may_be_inside_meta() -> None:
    """A platform that writes frame, timestamp and node_id into _meta is read as it is."""
    found = read_header({"_meta": META}, 7, Intake())
    assert found == Header(7, GOOD_MICROS, "s1", ("_meta.frame", "_meta.timestamp", "_meta.node_id"))


def test_the_first_path_of_the_right_type_counts() -> None:
    """Each of the three is looked for on its own; a value of the wrong type is passed over."""
    found = read_header({"frame": [1], "utc": GOOD["utc"], "_meta": {**META, "timestamp": "no"}}, 7, Intake())
    assert found == Header(7, GOOD_MICROS, "s1", ("_meta.frame", "utc", "_meta.node_id"))


def test_a_fault_inside_meta_names_its_path() -> None:
    """The JSON path is that of the value that was read."""
    found = read_header({"_meta": {**META, "timestamp": "yesterday"}}, 7, Intake())
    assert isinstance(found, Fault)
    assert (found.reason, found.at) == ("bad-utc", "$._meta.timestamp")


def test_the_settings_say_where_the_header_is() -> None:
    """Other paths replace the usual ones; a name with a dot may also be a member of that very name."""
    intake = Intake(frame=("tick",), utc=("when.utc",), stream_id=("a.b", "who"))
    document = {"tick": "7", "when": {"utc": GOOD["utc"]}, "a.b": "s1", "frame": 8}
    assert read_header(document, 7, intake) == Header(7, GOOD_MICROS, "s1", ("tick", "when.utc", "a.b"))


@pytest.mark.parametrize("value", [[[]] * 1_100_000, [{}] * 1_100_000, {str(i): 0 for i in range(1_100_000)}])
def test_one_record_cannot_hold_any_number_of_values(value: Any) -> None:
    """Values beyond 1,000,000 are too many, whatever the records; commas in texts are none; a higher limit counts."""
    raw = json.dumps({**GOOD, "observations": [value]}).encode()
    found = read_document(raw, Limits())
    assert isinstance(found, Fault)
    assert found.reason == "too-many-records"
    assert "JSON values, the limit is 1000000" in found.detail
    assert not isinstance(read_document(raw, Limits(records=300_000)), Fault)
    assert not isinstance(read_document(json.dumps({**GOOD, "dream": ",[{" * 1_000_000}).encode(), Limits()), Fault)
