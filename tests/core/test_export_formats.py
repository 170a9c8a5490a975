"""The portable snapshot as lines or files: the same export after a round trip, or refused."""

from __future__ import annotations

import json

import pytest

from dreamcatcherd.core.errors import RefusedError
from dreamcatcherd.core.export_formats import from_files, from_ndjson, is_ndjson, to_files, to_ndjson

EXPORT = {
    "frame": 3,
    "later": {"a member": ["of a later version"]},
    "merged": {"1": ["a" * 40, "b" * 40], "2": []},
    "state": {"posts": [{"number": 1, "title": "ä"}, {"number": 2}], "extra/odd section": [1]},
}
RAW = json.dumps(EXPORT).encode()


def test_an_export_as_lines_is_a_head_merged_ids_and_a_record_a_line() -> None:
    """The first line has all but state and merged ids; each other line names its frame or its collection."""
    assert [json.loads(line) for line in to_ndjson(RAW)] == [
        {"frame": 3, "later": {"a member": ["of a later version"]}},
        {"frame": "1", "merged": ["a" * 40, "b" * 40]},
        {"frame": "2", "merged": []},
        {"collection": "posts", "record": {"number": 1, "title": "ä"}},
        {"collection": "posts", "record": {"number": 2}},
        {"collection": "extra/odd section", "record": 1},
    ]
    assert all(line.count(b"\n") == 1 and line.endswith(b"\n") for line in to_ndjson(RAW))


def test_an_export_as_files_has_one_for_each_collection() -> None:
    """`snapshot.json` is the head, `merged.ndjson` has the merged ids, and `state/` a file for each collection."""
    assert {name: [json.loads(line) for line in raw.splitlines()] for name, raw in to_files(RAW)} == {
        "snapshot.json": [{"frame": 3, "later": {"a member": ["of a later version"]}}],
        "merged.ndjson": [{"frame": "1", "merged": ["a" * 40, "b" * 40]}, {"frame": "2", "merged": []}],
        "state/posts.ndjson": [{"number": 1, "title": "ä"}, {"number": 2}],
        "state/extra%2Fodd%20section.ndjson": [1],
    }


def test_lines_and_files_make_the_same_export_again() -> None:
    """Nothing is lost on the way, not even members that this version does not know."""
    assert json.loads(from_ndjson(b"".join(to_ndjson(RAW)))) == EXPORT
    assert json.loads(from_files(dict(to_files(RAW)))) == EXPORT


def test_lines_are_told_from_an_export() -> None:
    """The first line of the lines is an object without state; an export, in one line or many, is not."""
    assert is_ndjson(b"".join(to_ndjson(RAW)))
    assert not any(map(is_ndjson, (RAW, json.dumps(EXPORT, indent=1).encode(), b"", b"[]")))


@pytest.mark.parametrize("line", [b"{}", b'{"collection":"posts"}', b'{"other":1}', b"[]", b"{"])
def test_a_line_of_another_form_is_refused(line: bytes) -> None:
    """A line that is neither a record nor merged ids makes no export."""
    with pytest.raises(RefusedError, match="not an exported snapshot"):
        from_ndjson(b"".join(to_ndjson(RAW)) + line)


@pytest.mark.parametrize("name", ["snapshot.json", "merged.ndjson"])
def test_files_without_one_of_them_are_refused(name: str) -> None:
    """An export cannot be made without its head or its merged ids."""
    with pytest.raises(RefusedError, match=name):
        from_files({path: raw for path, raw in to_files(RAW) if path != name})
