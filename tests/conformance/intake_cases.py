"""Vectors about what is a delta: paths, frames, times, headers, reasons of quarantine, attachments, key order."""

from __future__ import annotations

import json
from typing import Any

from tests.conformance.make import Given, Group, case

_ROOT = "state/stream_deltas"
_BAD = {"reason": "bad-name"}


def _path(name: str, about: str, path: Any, frame: int | None, **more: Any) -> Given:
    return case(name, about, path=path, **more, expect=_BAD if frame is None else {"frame": str(frame)})


_PATHS = [
    _path("plain", "frame and name", f"{_ROOT}/405/alice.json", 405),
    _path("sub-folder", "folders below the frame are allowed", f"{_ROOT}/405/team/alice.json", 405),
    _path("leading-zeros", "are ignored", f"{_ROOT}/00405/alice.json", 405),
    _path("frame-zero", "frames begin with 0", f"{_ROOT}/0/alice.json", 0),
    _path("largest-frame", "is 2^53 - 1", f"{_ROOT}/9007199254740991/alice.json", 9007199254740991),
    _path("beyond-the-largest-frame", "is none", f"{_ROOT}/9007199254740992/alice.json", None),
    _path("flat", "the older form", f"{_ROOT}/frame-405-alice.json", 405),
    _path("flat-without-stream", "the stream may be missing", f"{_ROOT}/frame-405.json", 405),
    _path("flat-with-minus-in-the-name", "only the first number counts", f"{_ROOT}/frame-405-a-6.json", 405),
    _path("flat-without-number", "is no frame", f"{_ROOT}/frame-x-alice.json", None),
    _path("no-frame", "a file directly below the root", f"{_ROOT}/alice.json", None),
    _path("folder-that-is-no-number", "is no frame", f"{_ROOT}/new/alice.json", None),
    _path("negative-frame", "is no frame", f"{_ROOT}/-1/alice.json", None),
    _path("digits-beyond-ascii", "are no digits", f"{_ROOT}/\u0661/alice.json", None),
    _path("control-character", "in a name", f"{_ROOT}/405/a\tb.json", None),
    _path("not-utf-8", "a name of other bytes", {"base64": "c3RhdGUvc3RyZWFtX2RlbHRhcy80MDUv/y5qc29u"}, None),
    _path("dot-git", "no clone can hold it", f"{_ROOT}/405/.git/a.json", None),
    _path("dot-git-in-capitals", "as little as this", f"{_ROOT}/405/.GIT/a.json", None),
    _path("dot-git-for-ntfs", "or its short name", f"{_ROOT}/405/git~1/a.json", None),
    _path("dot-git-for-hfs", "or with an invisible character", f"{_ROOT}/405/.g\u200cit/a.json", None),
    _path("dot-dot", "a path upwards", f"{_ROOT}/405/../a.json", None),
    _path("names-of-windows", "a colon is allowed, since times have it", f"{_ROOT}/405/2026-01-01T00:00:00Z.json", 405),
    _path("name-of-255-bytes", "is the longest", f"{_ROOT}/405/{'a' * 250}.json", 405),
    _path("name-of-256-bytes", "is too long", f"{_ROOT}/405/{'a' * 251}.json", None),
    _path("64-folders", "below the frame are the most", f"{_ROOT}/405/{'f/' * 64}a.json", 405),
    _path("65-folders", "are too many", f"{_ROOT}/405/{'f/' * 65}a.json", None),
    _path("another-root", "that the settings name", "outbox/7/a.json", 7, roots=["state/stream_deltas", "outbox"]),
]  # fmt: skip


def _utc(name: str, about: str, text: str, micros: int | None) -> Given:
    return case(name, about, text=text, expect={"micros": None if micros is None else str(micros)})


_START = 1_767_225_600_000_000

_TIMES = [
    _utc("plain", "microseconds since 1970", "2026-01-01T00:00:00Z", _START),
    _utc("offset", "is subtracted", "2026-01-01T01:30:00+01:30", _START),
    _utc("negative-offset", "and added", "2025-12-31T19:00:00-05:00", _START),
    _utc("six-digits", "of a fraction count", "2026-01-01T00:00:00.000001Z", _START + 1),
    _utc("more-digits", "are cut and not rounded", "2026-01-01T00:00:00.9999999Z", _START + 999_999),
    _utc("one-digit", "is tenths", "2026-01-01T00:00:00.5Z", _START + 500_000),
    _utc("lower-case", "t and z are allowed", "2026-01-01t00:00:00z", _START),
    _utc("space", "in place of T is allowed", "2026-01-01 00:00:00Z", _START),
    _utc("before-1970", "is negative", "1969-12-31T23:59:59.999999Z", -1),
    _utc("last-second", "of the calendar", "9999-12-31T23:59:59.999999Z", 253_402_300_799_999_999),
    _utc("leap-day", "of a leap year", "2024-02-29T00:00:00Z", 1_709_164_800_000_000),
    _utc("no-leap-day", "in another year", "2026-02-29T00:00:00Z", None),
    _utc("leap-second", "is no time", "2016-12-31T23:59:60Z", None),
    _utc("hour-24", "is no time", "2026-01-01T24:00:00Z", None),
    _utc("no-offset", "is no time", "2026-01-01T00:00:00", None),
    _utc("offset-without-colon", "is no RFC 3339", "2026-01-01T00:00:00+0100", None),
    _utc("comma", "is no point", "2026-01-01T00:00:00,5Z", None),
    _utc("point-without-digits", "is no fraction", "2026-01-01T00:00:00.Z", None),
    _utc("no-seconds", "is no time", "2026-01-01T00:00Z", None),
    _utc("year-zero", "is not in the calendar", "0000-01-01T00:00:00Z", None),
    _utc("white-space", "around is not allowed", " 2026-01-01T00:00:00Z", None),
    _utc("digits-beyond-ascii", "are no digits", "202\u0666-01-01T00:00:00Z", None),
]


def _frame(name: str, about: str, text: str, frame: int | None) -> Given:
    return case(name, about, json=text, expect={"frame": None if frame is None else str(frame)})


_FRAMES = [
    _frame("integer", "is a frame", "405", 405),
    _frame("decimal-string", "is the integer", '"405"', 405),
    _frame("leading-zeros", "are ignored in a string", '"007"', 7),
    _frame("minus-zero", "the integer -0 is 0", "-0", 0),
    _frame("largest", "is 2^53 - 1", "9007199254740991", 9007199254740991),
    _frame("too-large", "is none", "9007199254740992", None),
    _frame("negative", "is none", "-1", None),
    _frame("double", "405.0 is no integer", "405.0", None),
    _frame("boolean", "true is not 1", "true", None),
    _frame("sign-in-a-string", "is none", '"+1"', None),
    _frame("empty-string", "is none", '""', None),
]

_AT = f"{_ROOT}/1/d.json"
_HEAD: Given = {"frame": 1, "utc": "2026-01-01T00:00:00Z", "stream_id": "alice"}


def _delta(name: str, about: str, text: Any, reason: str | None = None, at: str | None = None, **more: Any) -> Given:
    given = {"path": _AT, "delta": text, **more}
    if reason is None:
        return case(name, about, **given)
    return case(name, about, **given, expect={"reason": reason, **({"at": at} if at else {})})


def _text(**members: Any) -> str:
    return json.dumps({**_HEAD, **members})


def _without(*names: str) -> str:
    return json.dumps({name: value for name, value in _HEAD.items() if name not in names})


_SMALL = "[limits]\ndelta_bytes = 1024\n"
_META = {"frame": 1, "timestamp": "2026-01-01T00:00:05Z", "node_id": "m"}

_HEADERS = [
    _delta("plain", "the three fields", _text()),
    _delta("completed-at", "where there is no utc", json.dumps({"frame": 1, "completed_at": "2026-01-01T00:00:01Z",
        "stream_id": "a"})),
    _delta("utc-before-timestamp", "the first that is present counts", _text(timestamp="2027-01-01T00:00:00Z")),
    _delta("utc-of-another-type", "counts as missing, so timestamp counts", _text(utc=5,
        timestamp="2026-01-01T00:00:02Z")),
    _delta("meta", "all three in _meta", json.dumps({"_meta": _META})),
    _delta("meta-and-own", "the top level comes first", json.dumps({"_meta": _META, "stream_id": "own"})),
    _delta("string-frame", "a decimal string", _text(frame="0001")),
    _delta("stream-of-128-characters", "is the longest: characters and not bytes", _text(stream_id="é" * 128)),
    _delta("stream-with-a-space", "is allowed", _text(stream_id="team a")),
    _delta("header-elsewhere", "where the settings say", json.dumps({"head": {"n": 1, "at": "2026-01-01T00:00:00Z",
        "by": "x"}}),
           settings='[intake]\nframe = ["head.n"]\nutc = ["head.at"]\nstream_id = ["head.by"]\n'),
]  # fmt: skip

_REASONS = [
    _delta("symbolic-link", "is no file", "x", "not-a-file", mode="120000"),
    _delta("submodule", "is no file", "x", "not-a-file", mode="160000"),
    _delta("executable", "a file is a file", _text(), mode="100755"),
    _delta("bad-name", "before all that the bytes say", "[", "bad-name", path=f"{_ROOT}/x/d.json"),
    _delta("not-a-file-first", "the first reason counts", "[", "not-a-file", path=f"{_ROOT}/x/d.json", mode="120000"),
    _delta("too-large", "one byte beyond delta_bytes", " " * 1023 + "{}", "too-large", settings=_SMALL),
    _delta("just-not-too-large", "the limit itself is allowed", " " * 1022 + "{}", "missing-frame", "$.frame",
        settings=_SMALL),
    _delta("too-large-before-too-deep", "the first reason counts", "[" * 1025, "too-large", settings=_SMALL),
    _delta("too-deep", "nesting of 129, and not JSON either", "[" * 129, "too-deep"),
    _delta("just-not-too-deep", "128 are allowed", "[" * 128 + "]" * 128, "not-an-object", "$"),
    _delta("depth-counts-both-brackets", "lists and objects", '{"a":[' * 64 + "[" + "]" + "]}" * 64, "too-deep"),
    _delta("brackets-in-strings", "are no nesting", _text(x="[" * 200)),
    _delta("brackets-after-an-escaped-quote", "are in the string still", _text(x='\\"' + "{" * 200)),
    _delta("conflict-markers", "not JSON, and a line begins so", '{\n<<<<<<< HEAD\n"a":1\n}', "conflict-markers"),
    _delta("conflict-marker-inside-a-line", "is only no JSON", '{ <<<<<<<', "not-json"),
    _delta("conflict-marker-in-json", "valid JSON has no conflict", _text(x="<<<<<<<")),
    _delta("not-json", "a word", "hello", "not-json"),
    _delta("empty", "no bytes", "", "not-json"),
    _delta("byte-order-mark", "is refused", "\ufeff" + _text(), "not-json"),
    _delta("utf-16", "is refused", {"base64": "//57AH0A"}, "not-json"),
    _delta("lfs-pointer", "is not the file itself",
        "version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n", "not-json"),
    _delta("lone-surrogate", "is refused", '{"x":"\\ud800"}', "not-json"),
    _delta("not-a-number", "NaN is no JSON", '{"x":NaN}', "not-json"),
    _delta("beyond-a-double", "1e309", '{"x":1e309}', "not-json"),
    _delta("integer-of-4301-digits", "is refused", '{"x":' + "1" * 4301 + "}", "not-json"),
    _delta("negative-integer-of-4300-digits", "the sign counts as a digit", '{"x":-' + "1" * 4300 + "}", "not-json"),
    _delta("duplicate-key", "at the top", '{"a":1,"a":1}', "duplicate-key"),
    _delta("duplicate-key-inside", "in any object", '{"a":[{"b":1,"b":2}]}', "duplicate-key"),
    _delta("duplicate-key-by-escape", "the same name spelt twice", '{"a":1,"\\u0061":2}', "duplicate-key"),
    _delta("same-key-in-two-objects", "is none", _text(x=[{"a": 1}, {"a": 1}])),
    _delta("colon-by-escape", "does not hide it", '{"a":1,"a":"\\u003a"}', "duplicate-key"),
    _delta("duplicate-key-before-not-an-object", "the first reason counts", '[{"a":1,"a":1}]', "duplicate-key"),
    _delta("list", "is no object", "[]", "not-an-object", "$"),
    _delta("null", "is no object", "null", "not-an-object", "$"),
    _delta("too-many-records", "list items and members of counters", _text(x=[1, 2], counters={"a": 1, "b": 2}),
           "too-many-records", settings="[limits]\nrecords = 3\n"),
    _delta("just-not-too-many-records", "three are allowed, the header does not count", _text(x=[1, 2], y={"a": 1,
        "b": 1}),
           settings="[limits]\nrecords = 3\n"),
    _delta("missing-frame", "no field", _without("frame"), "missing-frame", "$.frame"),
    _delta("frame-of-another-type", "counts as missing", _text(frame=1.0), "missing-frame", "$.frame"),
    _delta("frame-mismatch", "another than the path's", _text(frame=2), "frame-mismatch", "$.frame"),
    _delta("missing-frame-before-bad-utc", "the first reason counts", "{}", "missing-frame", "$.frame"),
    _delta("no-utc", "no field", _without("utc"), "bad-utc", "$.utc"),
    _delta("bad-utc", "no offset", _text(utc="2026-01-01T00:00:00"), "bad-utc", "$.utc"),
    _delta("bad-utc-hides-timestamp", "a string counts, whatever it says", _text(utc="?",
        timestamp="2026-01-01T00:00:00Z"), "bad-utc", "$.utc"),
    _delta("bad-timestamp-in-meta", "the path is where it was found", json.dumps({"_meta": {**_META,
        "timestamp": "?"}}), "bad-utc", "$._meta.timestamp"),
    _delta("missing-stream", "no field", _without("stream_id"), "missing-stream", "$.stream_id"),
    _delta("empty-stream", "is none", _text(stream_id=""), "missing-stream", "$.stream_id"),
    _delta("stream-with-a-slash", "is none", _text(stream_id="a/b"), "missing-stream", "$.stream_id"),
    _delta("stream-with-a-control-character", "is none", _text(stream_id="a\u0085"), "missing-stream", "$.stream_id"),
    _delta("stream-of-129-characters", "is too long", _text(stream_id="a" * 129), "missing-stream", "$.stream_id"),
]  # fmt: skip

_BELOW = f"{_ROOT}/007"


def _attachment(name: str, about: str, reference: str, *found: str, delta: str = f"{_BELOW}/a/d.json") -> Given:
    return case(name, about, delta=delta, reference=reference, expect={"paths": list(found)})


_ATTACHMENTS = [
    _attachment("two-places", "the delta's own folder, then the frame's", "x.md", f"{_BELOW}/a/d/x.md",
        f"{_BELOW}/x.md"),
    _attachment("folders", "may be named", "img/x.md", f"{_BELOW}/a/d/img/x.md", f"{_BELOW}/img/x.md"),
    _attachment("flat", "the frame's folder by number", "x.md", f"{_ROOT}/frame-07-a/x.md", f"{_ROOT}/7/x.md",
                delta=f"{_ROOT}/frame-07-a.json"),
    _attachment("upwards", "is never looked up", "../x.md"),
    _attachment("upwards-inside", "nor this", "a/../x.md"),
    _attachment("absolute", "nor this", "/x.md"),
    _attachment("json", "nor what is a delta", "x.json"),
    _attachment("dot-git", "nor what no clone can hold", ".git/config"),
    _attachment("control-character", "nor this", "x\n.md"),
    _attachment("empty", "nor the empty name", ""),
]  # fmt: skip


def _order(name: str, about: str, *keys: str) -> Given:
    """Keys in their order; they are given in another one."""
    return case(name, about, keys=[*keys[1::2], *keys[::2]][::-1], expect={"sorted": list(keys)})


_KEYS = [
    _order("integers-by-size", "and not by digits", "-10", "-9", "0", "9", "10", "18446744073709551616"),
    _order("integers-before-strings", "always", "99999", '""', '"0x"', '"a"'),
    _order("strings-by-code-point", "U+FFFF before U+1F600", '"A"', '"a"', '"aa"', '"z"', '"é"', '"\uffff"', '"😀"'),
    _order("null-first", "part by part", "[null,1]", "[1,null]", "[1,1]", '[1,"a"]', '["a",null]'),
    _order("fewer-parts-first", "where the beginning is the same", '["a"]', '["a",1]', '["a",1,2]', '["b"]'),
    _order("alternatives", "by value, then by field", '{"id":1}', '{"id":"a"}', '{"slug":"a"}', '{"id":"b"}'),
    _order("zero-inside", "a zero character is below all others", '"a"', '"a\\u0000"', '"a\\u0000b"', '"a\\u0001"'),
]


def _settings(name: str, about: str, text: str, *, accepted: bool) -> Given:
    return case(name, about, settings=text, expect={"accepted": True} if accepted else {"refused": True})


_ROW = '[collections.tasks]\nkey = ["id"]\n'
_SETTINGS = [
    _settings("empty", "all defaults", "", accepted=True),
    _settings("not-toml", "is refused", "[", accepted=False),
    _settings("format-1", "may be named", "format = 1\n", accepted=True),
    _settings("newer-format", "is refused", "format = 2\n", accepted=False),
    _settings("unknown-table", "settings are strict", "[limit]\ndepth = 3\n", accepted=False),
    _settings("unknown-key", "settings are strict", "[limits]\ndepht = 3\n", accepted=False),
    _settings("out-of-range", "a depth of 1", "[limits]\ndepth = 1\n", accepted=False),
    _settings("wrong-type", "a string for a number", '[limits]\ndepth = "3"\n', accepted=False),
    _settings("new-row", "with a key the rule is given", f'{_ROW}rule = "lww"\n', accepted=True),
    _settings("append-with-a-key", "what is appended has none", f'{_ROW}rule = "append"\n', accepted=False),
    _settings("fields-under-dedup", "complete records have no rules of fields",
              f'{_ROW}rule = "dedup"\n[collections.tasks.fields]\nx = "sum"\n', accepted=False),
    _settings("unknown-rule", "is refused", f'{_ROW}rule = "last"\n', accepted=False),
    _settings("derived-name", "library is the merge's own", '[collections.library]\nkey = ["id"]\nrule = "lww"\n',
        accepted=False),
    _settings("root-inside-a-root", "is refused", '[intake]\nroots = ["in", "in/side"]\n', accepted=False),
    _settings("root-over-canonical-files", "is refused", '[intake]\nroots = ["state/snapshot"]\n', accepted=False),
    _settings("view-of-nothing", "has no such collection", '[views.x]\ncollection = "nothing"\npath = "x.json"\n',
        accepted=False),
    _settings("two-views-of-one-path", "are refused",
              '[views.a]\ncollection = "posts"\npath = "x"\n[views.b]\ncollection = "agents"\npath = "x"\n',
                  accepted=False),
    _settings("meta-in-a-list", "has no place", '[views.a]\ncollection = "posts"\npath = "x"\nmeta = "_meta"\n',
        accepted=False),
]  # fmt: skip

GROUPS = [
    Group("the-repository", "paths", "path", "The frame that the path of a delta names.", _PATHS),
    Group("a-delta", "times", "utc", "RFC 3339 as microseconds since 1970.", _TIMES),
    Group("a-delta", "frames", "frame", "Values of the field `frame`.", _FRAMES),
    Group("a-delta", "headers", "delta", "Where frame, time and stream are found.", _HEADERS),
    Group("a-delta", "attachments", "attachment", "Where a reference is looked up.", _ATTACHMENTS),
    Group("quarantine", "reasons", "delta", "The first reason that applies, and where it applies.", _REASONS),
    Group("keys", "order", "key-order", "The natural order of keys.", _KEYS),
    Group("configuration", "settings", "settings", "Settings that are accepted or refused.", _SETTINGS),
]
