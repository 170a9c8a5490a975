"""The files of a snapshot and their digest, from the state that the simple model gives: written from
docs/protocol.md#files-of-a-snapshot alone.

Shares no code with the package, so that a digest of a vector is computed twice."""

from __future__ import annotations

import hashlib
import tomllib
from typing import Any
from urllib.parse import quote

from tests.law.deep import stamps_in
from tests.law.records import key_of
from tests.law.rows import Alternative, Row, rows_of
from tests.law.sent import blob_id
from tests.law.values import text

Line = tuple[str, bytes]
"""A line and its path: the layout follows from the path."""

DERIVED = {
    "book_progress": Row("book_progress", (), ((("book",), ("what",), ("which",)),), "first"),
    "library": Row("library", (), ((("book",),),), "first"),
}
MARKS = ("_stamp", "_stamps", "_deleted")
FILE_BYTES = 512 * 1024
NO_TEXT = object()


def files_of(state: dict[str, list[Any]], merged: dict[str, list[str]], settings: bytes) -> dict[str, bytes]:
    """The files of a snapshot by path."""
    files = {"format": b"dreamcatcher-snapshot/2\n"}
    ids = [(int(frame), one) for frame, some in merged.items() for one in some]
    files |= laid_out("merged", [(number(frame) + one, line_of([frame, one])) for frame, one in ids], 2048)
    rows = {**rows_of(settings), **DERIVED}
    given = tomllib.loads(settings.decode()).get("collections", {})
    extras: list[Line] = []
    for name, records in state.items():
        if name.startswith("extra/"):
            extras += extra_lines(name[len("extra/") :], records)
            continue
        shard = given.get(name, {}).get("shard")
        lines = row_lines(rows[name], [own[0] for own in rows[name].key[0]].index(shard) if shard else 0, records)
        files |= laid_out(f"state/{quote(name, safe='')}", lines, 1 if name == "library" else 256)
    return files | laid_out("state/extra", extras, 256)


def digest_of(files: dict[str, bytes]) -> str:
    """The id of the tree that holds these files."""
    return tree_id({path: blob_id(raw) for path, raw in files.items()})


def tree_id(blobs: dict[str, str]) -> str:
    """The id of a tree of these blobs, by path."""
    inside: dict[str, dict[str, str]] = {}
    entries: list[tuple[bytes, bytes, bytes]] = []
    for path, oid in blobs.items():
        head, slash, rest = path.partition("/")
        if slash:
            inside.setdefault(head, {})[rest] = oid
        else:
            entries.append((head.encode(), b"100644", bytes.fromhex(oid)))
    entries += [(name.encode() + b"/", b"40000", bytes.fromhex(tree_id(some))) for name, some in inside.items()]
    raw = b"".join(b"%b %b\0%b" % (mode, name.rstrip(b"/"), oid) for name, mode, oid in sorted(entries))
    return hashlib.sha1(b"tree %d\0" % len(raw) + raw, usedforsecurity=False).hexdigest()


def laid_out(name: str, lines: list[Line], most: int) -> dict[str, bytes]:
    """The files of some lines: one, or a folder with a file or folder for each next character of their paths."""
    if not lines:
        return {}
    raw = b"".join(line + b"\n" for line in sorted(line for _, line in lines))
    if len(lines) == 1 or (len(lines) <= most and len(raw) <= FILE_BYTES):
        return {f"{name}.jsonl": raw}
    steps: dict[str, list[Line]] = {}
    for path, line in lines:
        steps.setdefault(path[0], []).append((path[1:], line))
    return {file: raw for step, some in steps.items() for file, raw in laid_out(f"{name}/{step}", some, most).items()}


def number(value: int) -> str:
    """A number in a path: its digits after the letter that counts them."""
    return chr(ord("f") + len(str(value))) + str(value)


def near(part: Any) -> str:
    """How the path of an entity begins, by one part of its key."""
    if isinstance(part, int) and 0 <= part < 10**19:
        return number(part)
    return sha256(text(part))[:4]


def sha256(content: str) -> str:
    return hashlib.sha256(content.encode()).hexdigest()


def line_of(*parts: Any) -> bytes:
    """A line: an array whose parts are separated by a comma and a tab."""
    return ("[" + ",\t".join(map(text, parts)) + "]").encode()


def extra_lines(section: str, records: list[Any]) -> list[Line]:
    lines = []
    for stamp, rank, record in ranked(records):
        path = sha256(section)[:4] + number(stamp[0]) + stamp[3] + number(rank) + sha256(section)
        lines.append((path, line_of([section, *stamp, rank], record)))
    return lines


def row_lines(row: Row, shard: int, records: list[Any]) -> list[Line]:
    if row.rule == "append":
        return [
            (number(stamp[0]) + stamp[3] + number(rank), line_of([*stamp, rank], record))
            for stamp, rank, record in ranked(records)
        ]
    lines, known, rank = [], None, 0
    for record in records:
        own = {name: value for name, value in record.items() if name not in MARKS}
        key: list[Any] = stored_key(row, own)
        if key[-1] is NO_TEXT:  # a record without the text of its key is known by its stamp and position
            rank = rank + 1 if known == (key, record["_stamp"]) else 0
            known = ([*key], record["_stamp"])
            key = [*key[:-1], [*record["_stamp"], rank]]
        lines.append((near(key[shard]) + sha256(text(key)), line_of(key, own, *marks(record))))
    return lines


def ranked(records: list[Any]) -> list[tuple[list[Any], int, dict[str, Any]]]:
    """Appended records with their stamps and their positions among those of one delta."""
    found: list[tuple[list[Any], int, dict[str, Any]]] = []
    for record in records:
        rank = found[-1][1] + 1 if found and found[-1][0] == record["_stamp"] else 0
        found.append((record["_stamp"], rank, {name: one for name, one in record.items() if name not in MARKS}))
    return found


def stored_key(row: Row, record: dict[str, Any]) -> list[Any]:
    """The key as it is stored; its last part is NO_TEXT where a text is missing."""
    key = key_of(row, record)
    alternative: Alternative = next(one for one in row.key if tuple(own[0] for own in one) == key.fields)
    parts = list(key.parts[: len(alternative)])
    if row.is_keyed_by_text(alternative):
        mine = record.get(row.content or "")
        parts.append(sha256("text\0" + mine) if isinstance(mine, str) and mine else NO_TEXT)
    return [*parts, list(key.fields)] if row.is_confusable(alternative) else parts


def marks(record: dict[str, Any]) -> list[Any]:
    """What follows the record in its line: its stamps, then its deletion, then its last write."""
    deleted = [record["_deleted"]] if "_deleted" in record else []
    if "_stamp" in record and "_stamps" in record:
        return [record["_stamp"], record.get("_deleted"), record["_stamps"][""]]
    if "_stamp" in record or "_stamps" not in record:
        return [record.get("_stamp"), *deleted]
    return [stamps_as_stored(record, record["_stamps"]), *deleted]


def stamps_as_stored(record: dict[str, Any], stamps: dict[str, Any]) -> Any:
    """Stamps by field: one for all where they are equal, grouped by stamp where there are more than 256 fields."""
    every = {tuple(stamp) for inner in stamps.values() for stamp in stamps_in(inner)}
    formed = all(has_form(record.get(name), inner) for name, inner in stamps.items())
    if len(every) == 1 and formed and ("" not in stamps or len(stamps) == 1):
        return list(every.pop())
    if len(stamps) <= 256:
        return stamps
    named: dict[tuple[Any, ...], list[str]] = {}
    inside = {name: inner for name, inner in stamps.items() if not is_stamp(inner)}
    for name, stamp in stamps.items():
        if is_stamp(stamp):
            named.setdefault(tuple(stamp), []).append(name)
    return [*([list(stamp), sorted(named[stamp])] for stamp in sorted(named)), *([inside] if inside else [])]


def is_stamp(stamps: Any) -> bool:
    return isinstance(stamps, list | tuple) and len(stamps) == 4 and isinstance(stamps[0], int)


def has_form(value: Any, stamps: Any) -> bool:
    """Whether stamps say nothing beside the leaves of a value."""
    if isinstance(stamps, dict):
        return all(has_form(value[name], inner) for name, inner in stamps.items())
    return is_stamp(stamps)
