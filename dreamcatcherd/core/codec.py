"""Bytes to JSON and back: canonical encoding, limits, and the reasons for refusing bytes (docs/protocol.md#quarantine).

Owns every check of a delta that needs only its bytes and path. It never reads anything itself."""

from __future__ import annotations

import itertools
import re
import unicodedata
from collections import Counter
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import TypeGuard, TypeVar

import msgspec

from dreamcatcherd.core.model import Fault, Json, Limits, Record, Stamp

_Shape = TypeVar("_Shape")

MAX_FRAME = 2**53 - 1
VALUES, VALUES_A_RECORD = 1_000_000, 10
"""How many JSON values a delta may hold, whatever the limit of records; and how many for each record of that limit, if
that is more."""


class Exact(Decimal):
    """A decimal with all its digits, which a double may not have. It is written without exponent."""


def _write_exact(value: object) -> msgspec.Raw:
    if type(value) is Exact:
        return msgspec.Raw(format(value, "f").encode())
    raise TypeError(f"{type(value).__name__} is not JSON")


_decode = msgspec.json.Decoder().decode
_decode_exact = msgspec.json.Decoder(float_hook=Exact).decode
_encoder = msgspec.json.Encoder(order="sorted", enc_hook=_write_exact)
_encode, _encode_lines = _encoder.encode, _encoder.encode_lines
_encode_plain = msgspec.json.Encoder().encode

_STRING = re.compile(rb'"[^"\\]*(?:\\.[^"\\]*)*"?', re.DOTALL)  # an unterminated string is read to the end, once
_MARKER = re.compile(rb"^<<<<<<<", re.MULTILINE)
_RFC3339 = re.compile(
    r"([0-9]{4}-[0-9]{2}-[0-9]{2})[Tt ]((?:[01][0-9]|2[0-3]):[0-5][0-9]:[0-5][0-9])(?:\.([0-9]+))?"
    r"(?:[Zz]|([+-](?:[01][0-9]|2[0-3]):[0-5][0-9]))"
)
_LFS_POINTER = b"version https://git-lfs"
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_DIGITS = re.compile(r"[0-9]{1,32}")
_STEPS = bytes.maketrans(b"[{]}", b"\x01\x01\xff\xff")  # +1 and -1 as signed bytes
_NO_BRACKETS = bytes(set(range(256)) - set(b"[{]}"))


class _DuplicateKeyError(ValueError):
    pass


def canonical(value: Json) -> bytes:
    """The only encoding of a JSON value: sorted keys, no white space, UTF-8, shortest numbers."""
    return _encode(value)


def canonical_each(values: Sequence[Json]) -> list[bytes]:
    """The canonical encoding of each value, in one call: several times faster than one by one."""
    return _encode_lines(values).split(b"\n")[:-1]


def decode(raw: bytes) -> Json:
    """Decode JSON that this program wrote itself; the caller names errors."""
    return _decode(raw)


def decode_exact(raw: bytes) -> Json:
    """Decode JSON that was decoded before, with an `Exact` for each number that is not an integer."""
    return _decode_exact(raw)


def read_as(raw: bytes, shape: type[_Shape]) -> _Shape:
    """Decode JSON that others may have written into a shape; msgspec.DecodeError whatever is wrong with it.

    msgspec raises other errors for bytes that are not UTF-8 and for nesting beyond the stack."""
    try:
        return msgspec.json.decode(raw, type=shape)
    except (UnicodeDecodeError, RecursionError) as error:
        raise msgspec.DecodeError(str(error)) from error


def read_document(raw: bytes, limits: Limits) -> Record | Fault:
    """Decode a delta's bytes, or say why they cannot be one: reasons `too-large` to `not-an-object`, and
    `too-many-records` where the number of values tells."""
    if len(raw) > limits.delta_bytes:
        return too_large(len(raw), limits.delta_bytes)
    # Counted in the bytes, before anything is decoded: the decoder's own limit is the stack.
    if (found := nesting(raw, limits.depth)) > limits.depth:
        return Fault("too-deep", f"nested {found} deep, the limit is {limits.depth}")
    most = max(VALUES, VALUES_A_RECORD * limits.records)
    if (found := values_in(raw, most)) > most:
        return Fault("too-many-records", f"its records have {found} JSON values, the limit is {most}")
    try:
        value = _decode(raw)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError, ValueError) as error:
        if _MARKER.search(raw):
            return Fault("conflict-markers", "a line begins with <<<<<<<: resolve the merge and commit again")
        return Fault("not-json", _no_text(raw) or str(error) or type(error).__name__)
    if (name := duplicate_key(raw, value)) is not None:
        return Fault("duplicate-key", f"the key {name!r} stands twice in one object")
    if type(value) is not dict:
        return Fault("not-an-object", f"the delta is {kind_of(value)}, not an object", "$")
    return value


def _no_text(raw: bytes) -> str | None:
    """A description of the bytes, for forms that editors and git extensions write instead of UTF-8 text."""
    if raw.startswith(b"\xef\xbb\xbf"):
        return "it begins with a byte order mark: save it as UTF-8 without one"
    if raw.startswith((b"\xff\xfe", b"\xfe\xff")) or (len(raw) > 1 and 0 in raw[:2]):
        return "it is UTF-16: save it as UTF-8"
    if raw.startswith(_LFS_POINTER):
        return "it is a Git LFS pointer and not the file itself: take deltas out of .gitattributes and commit the file"
    return None


def too_large(size: int, limit: int) -> Fault:
    return Fault("too-large", f"{size} bytes, the limit is {limit}")


def nesting(raw: bytes, enough: int) -> int:
    """The deepest nesting of `[` and `{` outside strings; `enough` or less is not counted exactly."""
    opened = raw.count(b"[") + raw.count(b"{")
    if opened <= enough:
        return opened
    steps = memoryview(_STRING.sub(b"", raw).translate(_STEPS, _NO_BRACKETS)).cast("b")
    return max(itertools.accumulate(steps), default=0)


def values_in(raw: bytes, enough: int) -> int:
    """How many JSON values the bytes hold, list items and members of objects; `enough` or less is not counted exactly.

    An empty list or object counts as two: it takes at least 56 bytes in memory, and three in a file."""
    if len(raw) <= enough or _openings(raw) <= enough:
        return enough
    return _openings(_STRING.sub(b"", raw))


def decoded_size(raw: bytes) -> int:
    """About how many bytes of memory JSON takes when it is decoded: up to 30 times its own, if it is nothing but small
    objects."""
    return len(raw) + 200 * raw.count(b"{") + 64 * (raw.count(b"[") + raw.count(b","))


def _openings(raw: bytes) -> int:
    return raw.count(b",") + raw.count(b"[") + raw.count(b"{")


def duplicate_key(raw: bytes, value: Json) -> str | None:
    """A key that one object of `raw` holds more than once (the most frequent one), or None. `value` is the decoded
    `raw`.

    The decoder silently keeps the last of two equal keys. Parsing pair by pair finds them, but takes many times as long
    as decoding, and nearly no delta has any. So colons are counted first: if no key was lost, the document has as many
    colons as its re-encoding. Colons inside strings do not disturb this, since they are in both, unless one is written
    as an escape (`\\u003a`); such documents are parsed pair by pair. A lost pair always takes a colon with it, so equal
    counts mean that nothing was lost."""
    escaped = b"\\" in raw and b"\\u003" in raw  # a single byte is found ten times faster than several
    if not escaped and raw.count(b":") == _encode_plain(value).count(b":"):
        return None
    import json  # slow to load, and every push to a server starts a process that rarely needs it

    def unique(pairs: list[tuple[str, Json]]) -> Record:
        seen = dict(pairs)
        if len(seen) != len(pairs):
            raise _DuplicateKeyError(Counter(name for name, _ in pairs).most_common(1)[0][0])
        return seen

    try:
        json.loads(raw, object_pairs_hook=unique)
    except _DuplicateKeyError as error:
        return str(error)
    return None


def frame_number(value: Json) -> int | None:
    """A frame as an integer or decimal string; None for anything else."""
    if isinstance(value, str) and _DIGITS.fullmatch(value):
        value = int(value)
    if type(value) is int and 0 <= value <= MAX_FRAME:
        return value
    return None


def is_stream_id(value: Json) -> TypeGuard[str]:
    """Whether the value is a `stream_id`: 1 to 128 characters, no control character, no slash."""
    return isinstance(value, str) and 0 < len(value) <= 128 and "/" not in value and not has_control(value)


def has_control(text: str) -> bool:
    """Whether the text holds a control character (Unicode category Cc)."""
    if text.isprintable():
        return False
    return any(unicodedata.category(char) == "Cc" for char in text)


def plain(value: object) -> str:
    """A value as text on one line that cannot drive a terminal: characters that do not print are escaped."""
    text = str(value)
    if text.isprintable():
        return text
    return "".join(char if char.isprintable() else char.encode("unicode_escape").decode() for char in text)


def short_name(text: str, most: int) -> str:
    """A name of at most `most` characters: of a long one its beginning and its end, where long names mostly differ."""
    if len(text) <= most:
        return text
    end = most // 3
    return f"{text[: most - 1 - end]}…{text[-end:]}"


def utc_micros(text: str) -> int | None:
    """RFC 3339 with an offset as microseconds since 1970 UTC; digits beyond the sixth are cut; None if malformed."""
    match = _RFC3339.fullmatch(text)
    if match is None:
        return None
    day, clock, fraction, offset = match.groups()
    try:
        moment = datetime.fromisoformat(f"{day}T{clock}{offset or '+00:00'}")
    except ValueError:
        return None  # a day that the calendar does not have
    since = moment - _EPOCH
    micros = int(fraction[:6].ljust(6, "0")) if fraction else 0
    return (since.days * 86_400 + since.seconds) * 1_000_000 + micros  # several times faster than a division


def utc_text(micros: int) -> str:
    """Microseconds since 1970 as RFC 3339 in UTC, six digits."""
    moment = _EPOCH + timedelta(microseconds=micros)
    return moment.strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def calendar_text(micros: int) -> str | None:
    """The same as text; None for a year that the calendar does not have, which an offset near its end can lead to."""
    try:
        return utc_text(micros)
    except OverflowError:
        return None


def stamp_of(value: Json) -> Stamp:
    """A stamp from its JSON list; ValueError if the list has another length."""
    frame, utc, stream_id, content_id = value
    return Stamp(frame, utc, stream_id, content_id)


def kind_of(value: Json) -> str:
    """The JSON name of the value's type, for messages."""
    names = {dict: "an object", list: "a list", str: "a string", bool: "a boolean", type(None): "null"}
    return names.get(type(value), "a number")


def references(document: Record) -> dict[str, int]:
    """The values of all `*_ref` fields in document order, each with the number of fields that have it."""
    return Counter(holder[name] for holder, name in _ref_fields(document))


def fill(document: Record, texts: dict[str, str]) -> None:
    """Put the text of each resolved `x_ref` into `x`, unless `x` is given already; `x_ref` stays."""
    for holder, name in list(_ref_fields(document)):
        text = texts.get(holder[name])
        target = name.removesuffix("_ref")
        if text is not None and holder.get(target) is None:
            holder[target] = text


def _ref_fields(value: Json) -> Iterator[tuple[Record, str]]:
    if type(value) is dict:
        for name, inner in list(value.items()):
            if type(inner) is str:
                if len(name) > 4 and name.endswith("_ref"):
                    yield value, name
            else:
                yield from _ref_fields(inner)
    elif type(value) is list:
        for inner in value:
            yield from _ref_fields(inner)
