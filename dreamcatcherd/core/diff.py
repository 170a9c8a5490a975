"""The differences between two snapshots: new entities and changed fields (docs/protocol.md#commands).

Owns the comparison. Equal files and folders are skipped by their id, so its cost follows the difference."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple
from urllib.parse import unquote

from dreamcatcherd.core.codec import canonical
from dreamcatcherd.core.collections import EXTRA, Collection, Table
from dreamcatcherd.core.export import in_order, public_record
from dreamcatcherd.core.keys import natural_key, sort_key
from dreamcatcherd.core.model import Json, Record
from dreamcatcherd.core.shards import SUFFIX, key_of, scan
from dreamcatcherd.core.snapshot import Item, open_snapshot, read_item
from dreamcatcherd.core.tree import Entry, Reader, read_tree


class Changed(NamedTuple):
    """An entity that both snapshots have, with the fields in which it differs: (old value, new value)."""

    key: Json
    before: Item
    after: Item
    fields: dict[str, tuple[Json, Json]]


class Diff(NamedTuple):
    """Differences by collection, each in key order. A merge removes what deltas delete, and the compiled form of a book
    that a late delta opens again; anything else in `removed` means that the later snapshot was named first."""

    added: dict[str, list[Item]]
    changed: dict[str, list[Changed]]
    removed: dict[str, list[Item]]
    truncated: bool = False


class Bounds(NamedTuple):
    """Limits of a diff: entities, and bytes of their lines. An entity that is too large for the rest of the bytes is
    skipped."""

    rows: int
    size: int


def compare(objects: Reader, old: str | None, new: str | None, table: Table, bounds: Bounds | None = None) -> Diff:
    """The differences between snapshot `old` and snapshot `new`, under a table that fits both."""
    added: dict[str, list[Item]] = {}
    changed: dict[str, list[Changed]] = {}
    removed: dict[str, list[Item]] = {}
    truncated = False
    rows, room = bounds or (-1, -1)
    for row, old_line, new_line in _differing(objects, old, new, table):
        size = len(old_line or b"") + len(new_line or b"")
        if bounds is not None and (rows == 0 or size > room):
            truncated = True
            if rows == 0:
                break
            continue
        then = read_item(row, old_line) if old_line is not None else None
        now = read_item(row, new_line) if new_line is not None else None
        # A deleted entity is not there, whatever its line remembers.
        then, now = (item if item is None or item.alive else None for item in (then, now))
        if then is None and now is not None:
            added.setdefault(now.collection, []).append(now)
        elif now is None and then is not None:
            removed.setdefault(then.collection, []).append(then)
        elif now is not None and then is not None and row is not None and (fields := _fields(then, now)):
            one = Changed(natural_key(row, now.record), then, now, fields)
            changed.setdefault(now.collection, []).append(one)
        else:
            continue
        rows, room = rows - 1, room - size
    for found in (added, removed):
        for name in found:
            found[name] = in_order(found[name], table.get(name))
    for ones in changed.values():
        ones.sort(key=lambda one: sort_key(one.key))
    return Diff(added, changed, removed, truncated)


def _differing(
    objects: Reader, old: str | None, new: str | None, table: Table
) -> Iterator[tuple[Collection | None, bytes | None, bytes | None]]:
    """The lines in which two snapshots differ, each with its row of the table (None for `extra`)."""
    if old == new:
        return
    before, after = open_snapshot(objects, old).state, open_snapshot(objects, new).state
    for stem in sorted({name.removesuffix(SUFFIX) for name in (*before, *after)}):
        row = None if stem == EXTRA else table[unquote(stem)]
        for old_line, new_line in _unequal(objects, before, after, stem):
            yield row, old_line, new_line


def _unequal(
    objects: Reader, old: dict[str, Entry], new: dict[str, Entry], stem: str
) -> Iterator[tuple[bytes | None, bytes | None]]:
    """Lines kept under a name in either folder that are not the same in both: (old, new)."""
    if all(old.get(entry) == new.get(entry) for entry in (stem, stem + SUFFIX)):
        return
    # Both sides are folders: only entries whose ids differ are opened.
    if stem in old and stem in new:
        inner, other = read_tree(objects, old[stem].oid), read_tree(objects, new[stem].oid)
        for step in sorted({entry.removesuffix(SUFFIX) for entry in (*inner, *other)}):
            yield from _unequal(objects, inner, other, step)
        return
    if stem in old:  # read the larger side line by line: the other one fits in memory, it is one file
        yield from ((then, now) for now, then in _unequal(objects, new, old, stem))
        return
    before = {key_of(line): line for line in scan(objects, old, stem)}
    for line in scan(objects, new, stem):
        then = before.pop(key_of(line), None)
        if then != line:
            yield then, line
    for line in before.values():
        yield line, None


def _fields(then: Item, now: Item) -> dict[str, tuple[Json, Json]]:
    """The fields whose value differs. A field that was set again to the same value has another stamp and is no
    change."""
    names = sorted({*then.record, *now.record})
    return {
        name: (then.record.get(name), now.record.get(name))
        for name in names
        if (name in then.record) != (name in now.record) or canonical(then.record[name]) != canonical(now.record[name])
    }


def diff_json(diff: Diff, start: int, end: int) -> Record:
    """The JSON of `diff` and `/api/v1/diff`; `truncated` is true if bounds left something out."""
    found: Record = {
        "from": start,
        "to": end,
        "added": {name: [public_record(item) for item in items] for name, items in diff.added.items()},
        "changed": {
            name: [
                {"key": one.key, "fields": {field: list(pair) for field, pair in one.fields.items()}} for one in rows
            ]
            for name, rows in diff.changed.items()
        },
    }
    found["removed"] = {name: [public_record(item) for item in items] for name, items in diff.removed.items()}
    if diff.truncated:
        found["truncated"] = True
    return found
