"""Vectors about bytes: canonical JSON, git objects, content ids, fingerprints."""

from __future__ import annotations

import json
from typing import Any

from tests.conformance.make import Given, Group, case

REFUSED = {"refused": True}


def json_case(name: str, about: str, text: Any, canonical: str | None, **more: Any) -> Given:
    expect = REFUSED if canonical is None else {"canonical": canonical}
    return case(name, about, json=text, **more, expect=expect)


_NUMBERS = [
    ("zero", "an integer stays an integer", "0", "0"),
    ("minus-zero-integer", "the integer -0 is 0", "-0", "0"),
    ("minus-zero-point", "a number with a point is a double, and keeps the sign of zero", "-0.0", "-0.0"),
    ("one-point-zero", "1.0 is not 1: a double keeps its point", "1.0", "1.0"),
    ("trailing-zeros", "a double is written with the fewest digits", "1.500", "1.5"),
    ("integer-beyond-2-53", "integers are exact, however long", "9007199254740993", "9007199254740993"),
    ("double-beyond-2-53", "with a point it is the nearest double", "9007199254740993.0", "9007199254740992.0"),
    ("integer-beyond-2-64", "also beyond 64 bits", "18446744073709551617", "18446744073709551617"),
    ("negative-integer-beyond-2-64", "and below", "-18446744073709551617", "-18446744073709551617"),
    ("integer-of-4300-digits", "the longest integer", "9" * 4300, "9" * 4300),
    ("integer-of-4301-digits", "a longer one is refused", "9" * 4301, None),
    ("exponent-makes-a-double", "1e2 is the double 100.0", "1e2", "100.0"),
    ("upper-case-exponent", "E is e, and + is left out", "1E+2", "100.0"),
    ("largest-without-exponent", "below 10^16 there is no exponent", "9999999999999998.0", "9999999999999998.0"),
    ("ten-to-the-15", "the digits before the point are filled with zeros", "1e15", "1000000000000000.0"),
    ("ten-to-the-16", "from 10^16 on there is one, without + and without a point after one digit", "1e16", "1e16"),
    ("exponent-with-fraction", "one digit before the point", "123456789012345680.0", "1.2345678901234568e17"),
    ("ten-to-the-22", "no zero pads the exponent", "1e22", "1e22"),
    ("ten-to-the-minus-5", "from 10^-5 on there is no exponent", "1e-5", "0.00001"),
    ("fraction-at-the-minus-5", "the first digit decides, and not the last", "1.25e-5", "0.0000125"),
    ("ten-to-the-minus-6", "below there is one", "1e-6", "1e-6"),
    ("negative-small", "the sign comes first", "-1.5e-7", "-1.5e-7"),
    ("smallest-double", "the smallest positive double has one digit", "5e-324", "5e-324"),
    ("underflow", "what is closer to zero is zero", "1e-400", "0.0"),
    ("largest-double", "seventeen digits", "1.7976931348623157e308", "1.7976931348623157e308"),
    ("overflow", "a number beyond a double is refused", "1e309", None),
    ("one-tenth", "the shortest digits that give the same double", "0.1000000000000000055511151231257827", "0.1"),
    ("one-third", "sixteen digits of one third", "0.333333333333333333333", "0.3333333333333333"),
    ("halfway-rounds-to-even", "decimals between two doubles round to the even one", "9007199254740993e0",
        "9007199254740992.0"),
    ("leading-zero", "no JSON", "01", None),
    ("no-digit-before-the-point", "no JSON", ".5", None),
    ("no-digit-after-the-point", "no JSON", "1.", None),
    ("plus-sign", "no JSON", "+1", None),
    ("nan", "no JSON", "NaN", None),
    ("infinity", "no JSON", "-Infinity", None),
    ("hexadecimal", "no JSON", "0x10", None),
]  # fmt: skip

_EXACT = [
    ("all-digits", "a sum keeps the digits that it has", "12345678901234567.891", "12345678901234567.891"),
    ("no-exponent-small", "an exact decimal has no exponent", "1e-7", "0.0000001"),
    ("no-exponent-large", "however large it is", "1.5e22", "15000000000000000000000"),
]

_STRINGS = [
    ("escapes-that-have-a-letter", "these seven", '"\\u0022\\u005c\\u0008\\u000c\\u000a\\u000d\\u0009"',
     '"\\"\\\\\\b\\f\\n\\r\\t"'),
    ("other-controls", "below U+0020 four hex digits in lower case", '"\\u0000\\u001F\\u000b"',
     '"\\u0000\\u001f\\u000b"'),
    ("slash", "is not escaped", '"a\\/b"', '"a/b"'),
    ("delete-and-c1", "from U+007F on nothing is escaped", '"\\u007f\\u0080\\u009f"', '"\x7f\x80\x9f"'),
    ("line-separators", "nor U+2028 and U+2029", '"\\u2028\\u2029"', '"\u2028\u2029"'),
    ("letters-beyond-ascii", "are UTF-8", '"\\u00e9\\u4e2d"', '"é中"'),
    ("surrogate-pair", "two escapes are one character of four bytes", '"\\ud83d\\ude00"', '"😀"'),
    ("no-normalisation", "e with a combining accent stays two characters", '"e\\u0301"', '"e\u0301"'),
    ("noncharacter", "U+FFFF is a character like others", '"\\uffff"', '"\uffff"'),
    ("byte-order-mark-inside", "U+FEFF in a string is kept", '"\\ufeff"', '"\ufeff"'),
    ("lone-high-surrogate", "is refused", '"\\ud800"', None),
    ("lone-low-surrogate", "is refused", '"\\udc00"', None),
    ("high-surrogate-and-letter", "is refused", '"\\ud800a"', None),
    ("raw-control", "a control character must be escaped", '"\t"', None),
    ("unknown-escape", "no JSON", '"\\x41"', None),
    ("not-utf-8", "bytes that are not UTF-8 are refused", {"base64": "Iv8i"}, None),
    ("overlong-utf-8", "so is the longer form of a shorter one", {"base64": "IsCvIg=="}, None),
    ("surrogate-in-utf-8", "and a surrogate in three bytes", {"base64": "Iu2ggCI="}, None),
    ("single-quotes", "no JSON", "'a'", None),
]  # fmt: skip

_STRUCTURE = [
    ("white-space", "there is none", ' { "a" : [ 1 , 2 ] } \n', '{"a":[1,2]}'),
    ("empty", "lists and objects", '[[ ],{ },""]', '[[],{},""]'),
    ("words", "true, false and null", "[true,false,null]", "[true,false,null]"),
    ("order-of-lists", "is kept", "[3,1,2]", "[3,1,2]"),
    ("order-of-names", "by their UTF-8 bytes: upper case before lower case", '{"b":1,"a":2,"B":3,"":4,"aa":5}',
     '{"":4,"B":3,"a":2,"aa":5,"b":1}'),
    ("order-inside", "at every depth", '[{"b":{"d":1,"c":2},"a":3}]', '[{"a":3,"b":{"c":2,"d":1}}]'),
    ("order-of-names-by-code-point", "U+FFFF before U+1F600, which UTF-16 would turn round",
     '{"\\ud83d\\ude00":1,"\\uffff":2}', '{"\uffff":2,"😀":1}'),
    ("order-is-of-names-not-of-escapes", "names are compared unescaped: a line feed before a space",
     '{" ":1,"\\n":2}', '{"\\n":2," ":1}'),
    ("order-of-digits", "names are text, so 10 comes before 9", '{"9":1,"10":2}', '{"10":2,"9":1}'),
    ("order-by-code-point-not-by-language", "z before é", '{"é":1,"z":2}', '{"z":2,"é":1}'),
    ("trailing-comma", "no JSON", "[1,]", None),
    ("two-values", "no JSON", "1 2", None),
    ("comment", "no JSON", "[1] // one", None),
    ("nothing", "no JSON", "", None),
    ("byte-order-mark", "is no white space", "\ufeff[]", None),
    ("vertical-tab", "neither is this", "\x0b[]", None),
]  # fmt: skip

_A, _B = "a" * 40, "b" * 40


def _entry(name: str, mode: str = "100644", oid: str = _A) -> dict[str, str]:
    return {"mode": mode, "name": name, "id": oid}


_OBJECTS = [
    case("empty-blob", "the hash is of the header, too", blob="",
        expect={"id": "e69de29bb2d1d6434b8b29ae775ad8c2e48c5391"}),
    case("blob", "the bytes are hashed as they are", blob="what is up, doc?",
        expect={"id": "bd9dbf5aae1a3862dd1526723246b20206e5fc37"}),
    case("blob-of-two-bytes-a-character", "its length is in bytes", blob="é\n"),
    case("empty-tree", "no entries", tree=[], expect={"bytes": "", "id": "4b825dc642cb6eb9a060e54bf8d69288fbee4904"}),
    case("one-file", "mode, space, name, zero, 20 bytes", tree=[_entry("a")]),
    case("mode-of-a-folder", "has no leading zero", tree=[_entry("state", "40000")]),
    case("a-folder-sorts-with-a-slash", "`a.b` before the folder `a`, and `a0` after it",
         tree=[_entry("a", "40000"), _entry("a.b"), _entry("a0", oid=_B)]),
    case("a-file-sorts-without-it", "the file `a` before `a.b`", tree=[_entry("a.b"), _entry("a")]),
    case("upper-case-first", "names are compared as bytes", tree=[_entry("a"), _entry("B"), _entry("é"), _entry("z")]),
    case("name-with-a-percent-sign", "as snapshots have them", tree=[_entry("extra.jsonl"), _entry("a%2Fb.jsonl")]),
]  # fmt: skip

_BOOK = {
    "$schema": "rappterbook-v1", "id": "tides", "title": "Tides", "status": "published", "version": 1,
    "chapters": [{"number": 1, "title": "One", "content": "a b", "word_count": 2}],
}  # fmt: skip


def _book(**more: Any) -> str:
    return json.dumps({**_BOOK, **more}, ensure_ascii=False)


_FINGERPRINTS = [
    case("plain", "sorted names, `,` and `:`", object=_book()),
    case("two-names-are-left-out", "fingerprint and exportedAt do not count",
         object=_book(fingerprint="0" * 16, exportedAt="2026-01-01T00:00:00Z")),
    case("ascii-only", "other characters are escaped, those beyond U+FFFF as two",
        object=_book(title="Ebbe é 😀 \u2028")),
    case("order-of-names", "by code point at every depth", object=_book(metadata={"é": 1, "z": 2, "Z": {"b": 1,
        "a": 2}})),
    case("numbers", "integers as they are, 1.5 as 1.5", object=_book(version=1.5, tags=[12345678901234567890, 0, -1])),
    case("exponents", "with a sign and two digits, from 10^16 on and below 10^-4", object=_book(
        version=1e16, tags=[1e15, 1e22, 1e-4, 1e-5, -1.5e-7, 1e100, 0.0, -0.0])),
    case("delete-is-escaped", "as is all but what is between space and ~", object=_book(title="\x7f\t\"\\/")),
]  # fmt: skip

_HEAD = '{"frame":1,"utc":"2026-01-01T00:00:00Z","stream_id":"alice"'
_NEAR = "state/stream_deltas/1/d/"

_IDS = [
    case("no-attachment", "the blob id alone", delta=_HEAD + ',"posts_created":[{"number":1}]}'),
    case("white-space-counts", "another spelling is another delta", delta=_HEAD + ', "posts_created":[{"number":1}]}'),
    case("one-attachment", "ids in hex, one a line, each line ended",
        delta=_HEAD + ',"observations":[{"body_ref":"a.md"}]}',
         files={_NEAR + "a.md": "hello\n"}),
    case("same-json-other-text", "is another delta", delta=_HEAD + ',"observations":[{"body_ref":"a.md"}]}',
         files={_NEAR + "a.md": "goodbye\n"}),
    case("two-in-order-of-reference", "the order in the document, not that of names",
         delta=_HEAD + ',"observations":[{"body_ref":"b.md"},{"body_ref":"a.md"}]}',
         files={_NEAR + "a.md": "1", _NEAR + "b.md": "2"}),
    case("named-twice", "counts once", delta=_HEAD + ',"observations":[{"x_ref":"a.md","y_ref":"a.md"}]}',
         files={_NEAR + "a.md": "1"}),
    case("missing", "stays unresolved, and leaves the blob id", delta=_HEAD + ',"observations":[{"body_ref":"a.md"}]}'),
    case("one-of-two-missing", "the other one counts", delta=_HEAD + ',"observations":[{"x_ref":"no","y_ref":"a.md"}]}',
         files={_NEAR + "a.md": "1"}),
    case("beside-the-delta-s-folder", "the folder of the frame is tried second",
         delta=_HEAD + ',"observations":[{"body_ref":"a.md"}]}', files={"state/stream_deltas/1/a.md": "far"}),
    case("own-folder-first", "where both are there", delta=_HEAD + ',"observations":[{"body_ref":"a.md"}]}',
         files={_NEAR + "a.md": "near", "state/stream_deltas/1/a.md": "far"}),
    case("not-utf-8", "is no attachment", delta=_HEAD + ',"observations":[{"body_ref":"a.md"}]}',
         files={_NEAR + "a.md": {"base64": "/w=="}}),
    case("ends-in-json", "is no attachment", delta=_HEAD + ',"observations":[{"body_ref":"a.json"}]}',
         files={_NEAR + "a.json": "{}"}),
    case("at-any-depth", "also inside lists of objects", delta=_HEAD + ',"x":{"y":[[{"z_ref":"a.md"}]]}}',
         files={_NEAR + "a.md": "1"}),
]  # fmt: skip

GROUPS = [
    Group("canonical-json", "numbers", "canonical-json", "Numbers in canonical JSON.",
          [json_case(*one) for one in _NUMBERS]),
    Group("canonical-json", "exact-decimals", "canonical-json", "Decimals that were added up keep all their digits.",
          [json_case(*one, exact=True) for one in _EXACT]),
    Group("canonical-json", "strings", "canonical-json", "Strings in canonical JSON.",
          [json_case(*one) for one in _STRINGS]),
    Group("canonical-json", "structure", "canonical-json", "Lists, objects and the order of names.",
          [json_case(*one) for one in _STRUCTURE]),
    Group("trees", "objects", "git-object", "Ids of git's blobs and trees, and the bytes of trees.", _OBJECTS),
    Group("books", "fingerprints", "fingerprint", "Fingerprints of compiled books.", _FINGERPRINTS),
    Group("words", "content-ids", "content-id", "Content ids, with and without attachments.", _IDS),
]  # fmt: skip
