"""Bytes to JSON and back: what is accepted, what is refused, and the reason that is given.

Contract: docs/protocol.md#a-delta."""

from __future__ import annotations

import json
import math
import tracemalloc
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from dreamcatcherd.core.codec import (
    canonical,
    canonical_each,
    decode,
    decoded_size,
    duplicate_key,
    fill,
    nesting,
    read_document,
    references,
    utc_micros,
    utc_text,
)
from dreamcatcherd.core.model import Fault, Limits, Record

LIMIT = 16 * 2**20
DEPTH = 128
GOOD: Record = {"frame": 7, "utc": "2026-01-31T12:00:00Z", "stream_id": "s1"}
GOOD_MICROS = 1_769_860_800_000_000


def read(raw: bytes, delta_bytes: int = LIMIT, depth: int = DEPTH) -> Record | Fault:
    return read_document(raw, Limits(delta_bytes=delta_bytes, depth=depth))


def reason(raw: bytes, delta_bytes: int = LIMIT, depth: int = DEPTH) -> str | None:
    found = read(raw, delta_bytes, depth)
    return found.reason if isinstance(found, Fault) else None


# Documents --------------------------------------------------------------------------------------------------------


def test_a_plain_object_is_read_as_it_stands() -> None:
    """A delta comes back with every value, in the order in which it was written."""
    document = read(b' {"b": [1, 2.5, null, true], "a": {"\\u00e9": "\\ud83d\\ude00"}}\n')
    assert repr(document) == repr({"b": [1, 2.5, None, True], "a": {"é": "😀"}})


def test_the_size_limit_is_the_last_size_that_passes() -> None:
    """A delta of exactly the limit is read, one byte more is too large."""
    raw = b'{"a":1}'
    assert reason(raw, delta_bytes=len(raw)) is None
    assert reason(raw, delta_bytes=len(raw) - 1) == "too-large"


@pytest.mark.parametrize(("opening", "closing"), [(b"[", b"]"), (b'{"a":', b"}")])
def test_the_outermost_bracket_is_depth_one(opening: bytes, closing: bytes) -> None:
    """Lists and objects both count towards the depth, and the limit itself passes."""
    inner = DEPTH - 1
    assert reason(b'{"a":' + opening * inner + b"1" + closing * inner + b"}") is None
    assert reason(b'{"a":' + opening * DEPTH + b"1" + closing * DEPTH + b"}") == "too-deep"


def test_brackets_inside_strings_are_no_nesting() -> None:
    """Text may hold any number of brackets, also beside escaped quotes and backslashes."""
    text = '["{\\' * 200
    assert read(json.dumps({text: [text]}).encode()) == {text: [text]}


def test_many_shallow_lists_are_not_deep() -> None:
    """What counts is how deep brackets nest, not how many there are."""
    document: Record = {"a": [[[]]] * 500}
    assert read(json.dumps(document).encode()) == document
    assert nesting(json.dumps(document).encode(), 3) == 4


def test_a_bomb_of_brackets_is_too_deep_and_not_an_error() -> None:
    """A million opening brackets are refused by their depth before anything recurses."""
    assert reason(b"[" * 1_000_000) == "too-deep"


@pytest.mark.parametrize(
    "raw",
    [
        b'{\n<<<<<<< HEAD\n"a": 1\n=======\n"a": 2\n>>>>>>> theirs\n}',
        b"<<<<<<< HEAD\n{}",
        b'{"a":1}\r\n<<<<<<< ours',
        b"\xff\n<<<<<<<\n",
    ],
)
def test_a_line_that_begins_with_a_marker_is_a_conflict(raw: bytes) -> None:
    """A file that git left unmerged is told apart from other broken JSON."""
    assert reason(raw) == "conflict-markers"


@pytest.mark.parametrize("raw", [b'{"a": <<<<<<< HEAD}', b" <<<<<<< HEAD\n{}", b"<<<<<<\n{}"])
def test_markers_elsewhere_are_only_bad_json(raw: bytes) -> None:
    """Seven angle brackets inside a line, or fewer of them, do not make a conflict."""
    assert reason(raw) == "not-json"


def test_markers_inside_a_string_are_text() -> None:
    """A valid delta may talk about conflict markers."""
    assert read(b'{"a":"<<<<<<<\\n<<<<<<< HEAD"}') == {"a": "<<<<<<<\n<<<<<<< HEAD"}


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"   ",
        b"nonsense",
        b'{"a":1',
        b'{"a":1}}',
        b'{"a":1} {"b":2}',
        b'{"a":1,}',
        b"{'a':1}",
        b'{"a":01}',
        b'{"a":1.}',
        b'{"a":.5}',
        b'{"a":+1}',
        b'{"a":"\n"}',
        b'{"a":"\\x41"}',
        b'{"a":1}\x00',
        b"\x0c{}",
        b'\xef\xbb\xbf{"a":1}',
        '{"a":1}'.encode("utf-16"),
        b'{"a":"\xff"}',
        b'{"\xc3":1}',
        b'{"a":"\xed\xa0\x80"}',
        b'{"a":"\xc0\xaf"}',
        b'{"a":"\\ud800"}',
        b'{"a":"\\udc00"}',
        b'{"a":"\\udc00\\ud800"}',
        b'{"\\ud800x":1}',
        b'{"a":NaN}',
        b'{"a":Infinity}',
        b'{"a":-Infinity}',
        b'{"a":1e400}',
        b'{"a":-1e400}',
        b'{"a":' + b"9" * 400 + b".5}",
        b'{"a":' + b"9" * 4301 + b"}",
        b'{"a":[-' + b"9" * 4301 + b"]}",
    ],
)
def test_what_is_no_strict_json_is_not_json(raw: bytes) -> None:
    """Anything but one strict UTF-8 JSON value whose numbers can be held is refused as no JSON."""
    assert reason(raw) == "not-json"


@pytest.mark.parametrize(
    ("raw", "value"),
    [
        (b"9" * 4300, 10**4300 - 1),
        (b"18446744073709551616", 2**64),
        (b"-9223372036854775809", -(2**63) - 1),
        (b"1e308", 1e308),
        (b"1e-400", 0.0),
        (b"0." + b"1" * 5000, 0.1111111111111111),
        (b"-0", 0),
        (b'"\\ud83d\\ude00"', "😀"),
        ('"\x7f\x85\u2028"'.encode(), "\x7f\x85\u2028"),
    ],
)
def test_what_is_odd_but_json_keeps_its_exact_value(raw: bytes, value: object) -> None:
    """Large integers keep every digit, small fractions round as doubles do, and any valid text passes."""
    assert repr(read(b'{"a":' + raw + b"}")) == repr({"a": value})


@pytest.mark.parametrize(
    ("raw", "name"),
    [
        (b'{"a":1,"a":1}', "a"),
        (b'{"a":1,"b":{"c":1,"d":2,"c":3}}', "c"),
        (b'{"a":[[{"x":null,"x":null}]]}', "x"),
        (b'{"a":1,"\\u0061":2}', "a"),
        (b'{"a:b":1,"a\\u003ab":2}', "a:b"),
        (b'{"a\\u003Ab":1,"a\\u003ab":"::"}', "a:b"),
        (b'{"x":"\\u003a","y":1,"y":1}', "y"),
        (b'{"":1,"":2}', ""),
        ('{"é":1,"\\u00e9":2}'.encode(), "é"),
        (b'{"a":{"b":1},"a":{"b":1}}', "a"),
    ],
)
def test_a_key_that_stands_twice_is_found_however_it_is_written(raw: bytes, name: str) -> None:
    """Two equal keys in one object are refused at any depth, escaped or not, and the key is named."""
    fault = read(raw)
    assert isinstance(fault, Fault)
    assert (fault.reason, repr(name) in fault.detail) == ("duplicate-key", True)


@pytest.mark.parametrize(
    "raw",
    [
        b'{"a":1,"b":{"a":1}}',
        b'{"a":[{"a":1},{"a":1}]}',
        b'{"a":"b:c::","b:c":":"}',
        b'{"a\\u003ab":1,"a:c":2}',
        b'{"a\\\\u003ab":1,"a:b":2}',
        b'{"a":"\\"a\\":1"}',
    ],
)
def test_equal_keys_of_different_objects_are_no_duplicates(raw: bytes) -> None:
    """Only one object's own keys are compared, and colons in text mislead nobody."""
    document = read(raw)
    assert document == json.loads(raw)
    assert duplicate_key(raw, document) is None


@pytest.mark.parametrize("raw", [b"[]", b'["a"]', b'"a"', b"1", b"1.5", b"true", b"null"])
def test_only_an_object_is_a_delta(raw: bytes) -> None:
    """Valid JSON that is no object is refused at the document's root."""
    fault = read(raw)
    assert isinstance(fault, Fault)
    assert (fault.reason, fault.at) == ("not-an-object", "$")


@pytest.mark.parametrize(
    ("raw", "first"),
    [
        (b"<<<<<<<\n" + b"[" * 200, "too-large"),
        (b"<<<<<<<\n" + b"[" * 20, "too-deep"),
        (b'[{"a":1,"a":2},' + b"[" * 20 + b"]" * 20 + b"]", "too-deep"),
        (b'<<<<<<<\n{"a":1,"a":NaN}', "conflict-markers"),
        (b'[{"a":1,"a":NaN}]', "not-json"),
        (b'[{"a":1,"a":2}]', "duplicate-key"),
    ],
)
def test_of_several_reasons_the_first_of_the_list_counts(raw: bytes, first: str) -> None:
    """A delta with many faults is refused for the one that the protocol names first."""
    assert reason(raw, delta_bytes=100, depth=8) == first


# Against an independent reader ------------------------------------------------------------------------------------


class _RefusedError(ValueError):
    pass


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    if len({name for name, _ in pairs}) != len(pairs):
        raise _RefusedError("twice")
    return dict(pairs)


def _no_constant(name: str) -> Any:
    raise _RefusedError(name)


def _finite(text: str) -> float:
    if math.isinf(value := float(text)):
        raise _RefusedError(text)
    return value


def oracle(raw: bytes) -> Any:
    """What the standard library's reader makes of the bytes, told to be strict; raises ValueError."""
    value = json.loads(raw.decode("utf-8"), object_pairs_hook=_unique, parse_constant=_no_constant, parse_float=_finite)
    json.dumps(value, ensure_ascii=False).encode("utf-8")
    if not isinstance(value, dict):
        raise _RefusedError("no object")
    return value


def agrees(raw: bytes) -> None:
    found = read(raw)
    try:
        wanted = oracle(raw)
    except ValueError:
        assert isinstance(found, Fault), raw
    else:
        assert repr(found) == repr(wanted)


values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.integers(-(10**40), 10**40)
    | st.floats(allow_nan=True)
    | st.text(max_size=6),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=4), inner, max_size=4),
    max_leaves=12,
)
documents = st.dictionaries(st.text(max_size=4), values, max_size=5)


def _escaped(text: str) -> str:
    units = text.encode("utf-16-be", "surrogatepass").hex()
    return '"' + "".join(f"\\u{units[i : i + 4]}" for i in range(0, len(units), 4)) + '"'


_texts = st.text(st.sampled_from('ab:"\\[{é😀\u2028\x7f'), max_size=3)
written_strings = st.one_of(
    _texts.map(lambda text: json.dumps(text, ensure_ascii=False)),
    _texts.map(json.dumps),
    _texts.map(_escaped),
    st.sampled_from(['"\\ud800"', '"\\udc00\\ud800"', '"\\u003A"', '"\\/"', '"a\\u003ab"', '"\\q"', '"\t"']),
)
written_scalars = st.one_of(
    written_strings,
    st.sampled_from(
        ["0", "-0", "1", "01", "1.0", "-1.50", "1e3", "1E+3", "1e400", "-1e400", "1e-400", "1.", ".5", "-"]
    ),
    st.sampled_from(["NaN", "-Infinity", "true", "True", "null", "1" * 400 + ".5", "18446744073709551616"]),
    st.floats(allow_nan=False, allow_infinity=False).map(repr),
    st.decimals(allow_nan=False, allow_infinity=False, places=30).map(str),
)
_gaps = st.sampled_from(["", " ", "\n", "\t\r\n", "\x0b"])


def _object(members: list[tuple[str, str]], gap: str) -> str:
    return "{" + f",{gap}".join(f"{name}{gap}:{gap}{value}" for name, value in members) + gap + "}"


def _written_objects(inner: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    return st.builds(_object, st.lists(st.tuples(written_strings, inner), max_size=4), _gaps)


written = st.recursive(
    written_scalars,
    lambda inner: st.one_of(
        _written_objects(inner), st.lists(inner, max_size=3).map(lambda items: "[" + ",".join(items) + "]")
    ),
    max_leaves=8,
)
written_documents = st.one_of(_written_objects(written), _written_objects(written), written)


@settings(max_examples=120)
@given(documents, st.booleans(), st.sampled_from([None, 0, 3]))
def test_whatever_json_dumps_writes_is_judged_as_by_a_strict_reader(
    document: Record, ensure_ascii: bool, indent: int | None
) -> None:
    """Documents in any usual layout are accepted with equal values, and refused only for NaN and infinity."""
    agrees(json.dumps(document, ensure_ascii=ensure_ascii, indent=indent).encode())


@settings(max_examples=150)
@given(written_documents)
@example('{"a:b":1,"a\\u003ab":2}')
@example('{"a":"\\u003a","b":":"}')
@example('{"\\u0061":1,"a":1}')
def test_hand_written_json_is_judged_as_by_a_strict_reader(text: str) -> None:
    """Documents with escapes, equal keys and odd numbers are accepted exactly where a strict reader does."""
    agrees(text.encode("utf-8", "surrogatepass"))


_edits = st.lists(
    st.tuples(
        st.integers(0, 200),
        st.sampled_from([0, 1]),
        st.one_of(st.sampled_from([bytes([b]) for b in b'{}[]":,\\ue.-0 \n']), st.binary(max_size=2)),
    ),
    min_size=1,
    max_size=3,
)


@settings(max_examples=150)
@given(st.one_of(documents.map(json.dumps), written_documents), _edits)
def test_damaged_bytes_are_judged_as_by_a_strict_reader(text: str, edits: list[tuple[int, int, bytes]]) -> None:
    """A document with some bytes replaced, added or lost raises nothing and is never read more kindly."""
    raw = text.encode("utf-8", "surrogatepass")
    for at, cut, new in edits:
        raw = raw[:at] + new + raw[at + cut :]
    agrees(raw)


@settings(max_examples=150)
@given(st.binary(max_size=40))
def test_arbitrary_bytes_are_judged_as_by_a_strict_reader(raw: bytes) -> None:
    """Garbage is a fault, not an exception."""
    agrees(raw)


# Times ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "micros"),
    [
        ("1970-01-01T00:00:00Z", 0),
        ("1970-01-01t00:00:00z", 0),
        ("1970-01-01T00:00:00+00:00", 0),
        ("1970-01-01T00:00:00-00:00", 0),
        ("1970-01-01T05:30:00+05:30", 0),
        ("1969-12-31T23:59:00-00:01", 0),
        ("1969-12-31T00:01:00-23:59", 0),
        ("1970-01-01T00:00:00.5Z", 500_000),
        ("1970-01-01T00:00:00.000001Z", 1),
        ("1970-01-01T00:00:00.0000019Z", 1),
        ("1970-01-01T00:00:00.999999999999Z", 999_999),
        ("1969-12-31T23:59:59.9999999Z", -1),
        ("2024-02-29T00:00:00Z", 1_709_164_800_000_000),
        ("2026-01-31T12:00:00Z", GOOD_MICROS),
    ],
)
def test_a_time_becomes_microseconds_in_utc(text: str, micros: int) -> None:
    """Offsets are taken off, letters may be lower case, and digits beyond the sixth are cut and never rounded."""
    assert utc_micros(text) == micros


@pytest.mark.parametrize(
    "text",
    [
        "",
        "2026-01-31",
        "2026-01-31T12:00:00",
        "2026-01-31T12:00Z",
        "2026-01-31T12:00:00.Z",
        "2026-01-31T12:00:00,5Z",
        "2026-01-31T12:00:00+0100",
        "2026-01-31T12:00:00+01",
        "2026-01-31T12:00:00+24:00",
        "2026-01-31T12:00:00+01:60",
        "2026-01-31T12:00:00Z ",
        "2026-01-31T12:00:00Z\n",
        " 2026-01-31T12:00:00Z",
        "2026-1-31T12:00:00Z",
        "26-01-31T12:00:00Z",
        "20260131T120000Z",
        "2026-01-31T24:00:00Z",
        "2026-01-31T12:60:00Z",
        "2026-13-01T12:00:00Z",
        "2026-00-01T12:00:00Z",
        "2026-02-29T12:00:00Z",
        "2026-04-31T12:00:00Z",
        "1900-02-29T12:00:00Z",
        "2026-01-00T12:00:00Z",
        "2016-12-31T23:59:60Z",
        "2026-01-31T12:00:61Z",
        "٢٠٢٦-01-31T12:00:00Z",
        "1769860800",
    ],
)
def test_what_is_no_rfc_3339_time_with_an_offset_is_none(text: str) -> None:
    """Missing offsets, other forms, dates that never were and leap seconds are no times."""
    assert utc_micros(text) is None


_zones = st.integers(-1439, 1439).map(lambda minutes: timezone(timedelta(minutes=minutes)))


@settings(max_examples=150)
@given(st.datetimes(timezones=_zones), st.sampled_from("Tt"), st.text("0123456789", max_size=12))
def test_times_agree_with_datetime(moment: datetime, letter: str, further: str) -> None:
    """Any date, time and offset gives the microseconds that datetime arithmetic gives, further digits or not."""
    offset = moment.utcoffset()
    assert offset is not None
    minutes = offset // timedelta(minutes=1)
    sign, (hours, rest) = "-" if minutes < 0 else "+", divmod(abs(minutes), 60)
    text = (
        f"{moment.year:04}-{moment.month:02}-{moment.day:02}{letter}{moment.hour:02}:{moment.minute:02}:"
        f"{moment.second:02}.{moment.microsecond:06}{further}{sign}{hours:02}:{rest:02}"
    )
    assert utc_micros(text) == (moment - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(microseconds=1)


@settings(max_examples=150)
@given(st.datetimes(min_value=datetime(1000, 1, 1)))
def test_a_time_that_is_written_is_read_back(moment: datetime) -> None:
    """Microseconds survive their own text form, which ends in Z and has six digits."""
    micros = (moment - datetime(1970, 1, 1)) // timedelta(microseconds=1)
    text = utc_text(micros)
    assert (utc_micros(text), text[-8], text[-1]) == (micros, ".", "Z")


# References -------------------------------------------------------------------------------------------------------


def test_references_are_found_at_any_depth_once_and_in_order() -> None:
    """Every string field that ends in _ref names an attachment, in document order, with how many fields name it."""
    document = {
        "posts_created": [{"body_ref": "b.md", "title": "x"}, {"deep": [[{"cover_ref": "a.png"}]]}],
        "intro_ref": "b.md",
        "last_ref": "z.txt",
    }
    assert list(references(document).items()) == [("b.md", 2), ("a.png", 1), ("z.txt", 1)]


@pytest.mark.parametrize(
    "record",
    [{"body_ref": 5}, {"body_ref": None}, {"_ref": "a"}, {"ref": "a"}, {"body_refs": "a"}, {"refbody": "body_ref"}],
)
def test_other_fields_are_no_references(record: Record) -> None:
    """Only a string under a name that ends in _ref, with something before it, is a reference."""
    assert list(references({"s": [record]})) == []


def test_references_below_a_field_that_is_no_string_are_found() -> None:
    """An object under a _ref name is looked into like any other."""
    assert list(references({"body_ref": {"text_ref": "t.md"}})) == ["t.md"]


def test_fill_puts_the_text_beside_its_reference() -> None:
    """A resolved reference gives its field and stays; an unresolved one, and a field given already, are left alone."""
    document = {
        "a": [{"body_ref": "b.md"}, {"body_ref": "b.md", "body": "mine"}, {"body_ref": "none.md"}],
        "body_ref": "b.md",
        "note_ref": "n.md",
        "note": None,
    }
    fill(document, {"b.md": "text", "n.md": ""})
    assert document == {
        "a": [{"body_ref": "b.md", "body": "text"}, {"body_ref": "b.md", "body": "mine"}, {"body_ref": "none.md"}],
        "body_ref": "b.md",
        "body": "text",
        "note_ref": "n.md",
        "note": "",
    }


def test_a_text_that_was_filled_in_is_not_looked_into() -> None:
    """What an attachment holds is text, whatever it looks like."""
    document: Record = {"x_ref_ref": "one"}
    fill(document, {"one": "two", "two": "three"})
    assert document == {"x_ref_ref": "one", "x_ref": "two"}


# Canonical bytes --------------------------------------------------------------------------------------------------

finite = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(10**40), 10**40)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=6),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=4), inner, max_size=4),
    max_leaves=12,
)


def _turned(value: Any) -> Any:
    """The same value with the members of every object in the other order."""
    if isinstance(value, dict):
        return {name: _turned(inner) for name, inner in reversed(value.items())}
    return [_turned(inner) for inner in value] if isinstance(value, list) else value


def test_canonical_bytes_are_compact_sorted_and_utf_8() -> None:
    """Keys are sorted, nothing is padded, text is not escaped without need, numbers are the shortest."""
    value = {"b": [1, 1.0, 1e22, -0.0, None, True], "a": {"é": '\n\t"\\', "😀": 2**70}}
    wanted = '{"a":{"é":"\\n\\t\\"\\\\","😀":1180591620717411303424},"b":[1,1.0,1e22,-0.0,null,true]}'
    assert canonical(value) == wanted.encode()


@settings(max_examples=150)
@given(finite)
def test_canonical_bytes_depend_on_the_value_alone(value: Any) -> None:
    """The order of members never shows, and the bytes read back as the same value."""
    raw = canonical(value)
    assert raw == canonical(_turned(value))
    assert canonical(json.loads(raw)) == raw
    assert canonical(decode(raw)) == raw
    assert b"\t" not in raw
    assert b"\n" not in raw


@settings(max_examples=100)
@given(st.lists(finite, max_size=5))
def test_many_values_are_encoded_as_one_by_one(many: list[Any]) -> None:
    """Encoding a list in one call gives each value's own canonical bytes."""
    assert canonical_each(many) == [canonical(value) for value in many]


@pytest.mark.parametrize(
    ("raw", "word"),
    [
        (b"\xef\xbb\xbf{}", "byte order mark"),
        ("{}".encode("utf-16"), "UTF-16"),
        ("{}".encode("utf-16-be"), "UTF-16"),
        ("{}".encode("utf-16-le"), "UTF-16"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 2\n", "Git LFS pointer"),
    ],
)
def test_what_editors_and_extensions_write_in_place_of_text_is_named(raw: bytes, word: str) -> None:
    """UTF-16, a byte order mark and a Git LFS pointer are not JSON, and the detail says which of them it is."""
    found = read_document(raw, Limits())
    assert isinstance(found, Fault)
    assert found.reason == "not-json"
    assert word in found.detail


@pytest.mark.parametrize("item", [b"[]", b"{}", b'{"a":1}', b"1000", b'"ab"', b'{"a":[1,2],"b":"text"}'])
def test_the_memory_of_decoded_json_is_estimated_from_its_bytes(item: bytes) -> None:
    """Whatever small values a document is made of, it takes about as much memory as estimated, and not more."""
    raw = b"[%b]" % b",".join([item] * 10_000)
    tracemalloc.start()
    value = decode(raw)
    size, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert len(value) == 10_000
    assert size <= decoded_size(raw) + 10_000 <= 6 * size
