"""The portable snapshot: one JSON object that holds everything needed to continue merging (docs/protocol.md#export).

Owns `export` and `import` as pure functions; the digest of an imported snapshot is the digest of the exported one."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import msgspec
from msgspec import Struct

from dreamcatcherd.core.codec import canonical, frame_number, read_as, stamp_of
from dreamcatcherd.core.collections import EXTRA, Collection, Table
from dreamcatcherd.core.errors import RefusedError
from dreamcatcherd.core.merge import append_changes
from dreamcatcherd.core.model import Json, Record, Stamp
from dreamcatcherd.core.records import content_mark, natural_key, sort_key
from dreamcatcherd.core.rules import BY_FIELD, Entity
from dreamcatcherd.core.settings import DEFAULT, Settings, SettingsError, read_settings
from dreamcatcherd.core.shards import Change, sorted_changes, update
from dreamcatcherd.core.snapshot import (
    APPENDED,
    EXTRAS,
    FORMAT,
    UNBOUNDED,
    Item,
    add_merged,
    close_snapshot,
    empty_snapshot,
    entity_line,
    file_name,
    format_of,
    items,
    keyed_layout,
    keyed_path,
    merged_ids,
    open_snapshot,
    with_file_bound,
)
from dreamcatcherd.core.tree import Objects, Reader


class Portable(Struct, frozen=True):
    """An exported snapshot. `settings` is the text of the settings that it was merged under."""

    format: str
    frame: int | None
    digest: str
    state: dict[str, list[Record]]
    merged: dict[str, list[str]]
    settings: str | None = None


class Restored(NamedTuple):
    """An imported snapshot: its tree, and how many entities each collection has."""

    tree: str
    entities: dict[str, int]
    settings: Settings


def export(objects: Reader, tree: str, frame: int | None, table: Table, settings: str | None) -> Iterator[bytes]:
    """The portable snapshot in pieces: one object, keys sorted, one record a line, each collection in key order."""
    folders = open_snapshot(objects, tree)
    yield b'{"digest":%s,"format":%s,"frame":%s,' % (canonical(tree), canonical(format_of(folders)), canonical(frame))
    yield b'"merged":{'
    by_frame: dict[str, list[str]] = {}
    for number, content_id in merged_ids(objects, folders):
        by_frame.setdefault(str(number), []).append(content_id)
    for i, name in enumerate(sorted(by_frame)):
        yield b"%s\n%s:%s" % (b"," if i else b"", canonical(name), canonical(sorted(by_frame[name])))
    yield b'},"settings":%s,"state":{' % canonical(settings)
    extras: dict[str, list[Item]] = {}
    for item in items(objects, folders, table, EXTRA):
        extras.setdefault(item.collection, []).append(item)
    for i, name in enumerate(sorted({*table, *extras})):
        found = extras[name] if name in extras else list(items(objects, folders, table, name))
        lines = [canonical(public_record(item)) for item in in_order(found, table.get(name))]
        yield b"%s\n%s:[" % (b"," if i else b"", canonical(name)) + (b"\n" if lines else b"")
        yield b",\n".join(lines) + b"]"
    yield b"}}\n"


def in_order(found: list[Item], row: Collection | None) -> list[Item]:
    """Records in natural-key order; appended ones by stamp and position."""
    if row is None or row.rule == "append":
        return sorted(found, key=lambda item: (item.stamps, item.rank))
    return sorted(found, key=lambda item: sort_key(natural_key(row, item.record)))


def public_record(item: Item) -> Record:
    """A record for users: as the deltas gave it, plus `_stamp`, or `_stamps` by field."""
    return {**item.record, "_stamps" if isinstance(item.stamps, dict) else "_stamp": item.stamps}


def read_portable(raw: bytes) -> Portable:
    """An exported snapshot from its bytes; RefusedError if the bytes are not one."""
    remedy = "use a file that dreamcatcherd export wrote"
    try:
        portable = read_as(raw, Portable)
    except msgspec.DecodeError as error:
        raise RefusedError(f"this is no exported snapshot: {error}", remedy) from error
    if portable.format not in (FORMAT, UNBOUNDED):
        raise RefusedError(f"the file's format is {portable.format!r}, this version reads {FORMAT!r}", remedy)
    return portable


def restore(objects: Objects, portable: Portable, settings_blob: str | None) -> Restored:
    """Write the snapshot that a portable one describes; RefusedError unless its digest comes out the same. A snapshot
    of an earlier format is then written again in the present format, with another digest."""
    # The digest is compared in the format that the file names: a snapshot of format 1 has other files than one of 2.
    made = _restored(objects, portable, settings_blob, portable.format)
    if made.tree != portable.digest:
        raise RefusedError(f"the file says digest {portable.digest}, its content has {made.tree}", _DAMAGED)
    return made if portable.format == FORMAT else _restored(objects, portable, settings_blob, FORMAT)


_DAMAGED = "the file is damaged or was edited: export again"


def _restored(objects: Objects, portable: Portable, settings_blob: str | None, form: str) -> Restored:
    try:
        settings = read_settings(portable.settings.encode(), settings_blob) if portable.settings else DEFAULT
        folders = empty_snapshot(form)
        entities: dict[str, int] = {}
        extra: list[Change[None]] = []
        for name, records in portable.state.items():
            if name.startswith(EXTRA + "/"):
                extra += _appended(None, name[len(EXTRA) + 1 :], records)
                continue
            row = settings.table[name]
            if row.rule == "append":
                changes, layout = _appended(row, "", records), APPENDED
            else:
                changes, layout = [_keyed(row, record) for record in records], keyed_layout(row)
            if changes:
                entities[name] = update(
                    objects, folders.state, file_name(name), sorted_changes(changes), with_file_bound(folders, layout)
                )
        if extra:
            entities[EXTRA] = update(
                objects, folders.state, EXTRA, sorted_changes(extra), with_file_bound(folders, EXTRAS)
            )
        add_merged(objects, folders, [(_frame(name), cid) for name, ids in portable.merged.items() for cid in ids])
        tree = close_snapshot(objects, folders)
    except (KeyError, TypeError, ValueError, AttributeError, IndexError, SettingsError) as error:
        raise RefusedError(f"the snapshot cannot be read: {error!r}", _DAMAGED) from error
    return Restored(tree, entities, settings)


def _appended(row: Collection | None, section: str, records: list[Record]) -> list[Change[None]]:
    changes: list[Change[None]] = []
    last: Stamp | None = None
    rank = 0
    for record in records:
        stamp = stamp_of(record["_stamp"])
        rank = rank + 1 if stamp == last else 0
        last = stamp
        changes += append_changes(row, section, stamp, rank, [_bare(record)])
    return changes


def _keyed(row: Collection, record: Record) -> Change[None]:
    bare = _bare(record)
    key: list[Json] = [bare[names[0]] for names in row.key]
    if row.content is not None:
        key.append(content_mark(row, bare))
    raw_key = canonical(key)
    if row.rule in BY_FIELD:
        entity = Entity(bare, {name: stamp_of(stamp) for name, stamp in record["_stamps"].items()})
    else:
        entity = Entity(bare, stamp_of(record["_stamp"]))
    return (keyed_path(row, key, raw_key), raw_key, entity_line(raw_key, entity), None)


def _bare(record: Record) -> Record:
    return {name: value for name, value in record.items() if name not in ("_stamp", "_stamps")}


def _frame(name: str) -> int:
    frame = frame_number(name)
    if frame is None:
        raise ValueError(f"{name!r} is no frame")
    return frame
