"""The portable snapshot: one JSON object that holds everything needed to continue merging (docs/protocol.md#export).

Owns `export` and `import` as pure functions; the digest of an imported snapshot is the digest of the exported one."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import msgspec
from msgspec import Struct, structs

from dreamcatcherd.core.codec import canonical, decode_exact, frame_number, read_as, stamp_of
from dreamcatcherd.core.collections import EXTRA, MARKS, Collection, Table
from dreamcatcherd.core.decimals import doubles, doubles_but_sums
from dreamcatcherd.core.deep import stamps_from
from dreamcatcherd.core.entities import is_alive
from dreamcatcherd.core.entity_lines import entity_line
from dreamcatcherd.core.errors import RefusedError
from dreamcatcherd.core.fold import append_changes
from dreamcatcherd.core.keys import choice_of, content_text, key_of_record, natural_key, sort_key
from dreamcatcherd.core.model import Json, Record, Stamp
from dreamcatcherd.core.rules import Entity, by_field
from dreamcatcherd.core.settings import DEFAULT, Settings, SettingsError, read_settings
from dreamcatcherd.core.shards import Change, sorted_changes, update
from dreamcatcherd.core.snapshot import (
    APPENDED,
    EXTRAS,
    FORMAT,
    FORMER,
    Item,
    add_merged,
    close_snapshot,
    file_name,
    format_of,
    items,
    keyed_layout,
    keyed_path,
    merged_ids,
    open_snapshot,
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
    yield b'{"digest":%s,"format":%s,"frame":%s,' % (
        canonical(tree),
        canonical(format_of(objects, folders)),
        canonical(frame),
    )
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
        found = extras[name] if name in extras else list(items(objects, folders, table, name, tombstones=True))
        lines = [canonical(public_record(item)) for item in in_order(found, table.get(name))]
        yield b"%s\n%s:[" % (b"," if i else b"", canonical(name)) + (b"\n" if lines else b"")
        yield b",\n".join(lines) + b"]"
    yield b"}}\n"


def in_order(found: list[Item], row: Collection | None) -> list[Item]:
    """Records in natural-key order; appended ones by stamp and position."""
    if row is None or row.rule == "append":
        return sorted(found, key=lambda item: (item.stamps, item.rank))
    if row.content is None:
        return sorted(found, key=lambda item: sort_key(natural_key(row, item.record)))
    # Records without the text of their key may share what is left of it.
    return sorted(found, key=lambda item: (sort_key(natural_key(row, item.record)), item.stamps or (), item.rank))


def public_record(item: Item) -> Record:
    """A record for users: as the deltas gave it, plus `_stamp`, or `_stamps` by field, and `_deleted`."""
    found = dict(item.record)
    if item.stamps is not None:
        found["_stamps" if isinstance(item.stamps, dict) else "_stamp"] = item.stamps
    if item.latest is not None:
        found["_stamps"] = {"": item.latest}
    if item.deleted is not None:
        found["_deleted"] = item.deleted
    return found


def read_portable(raw: bytes) -> Portable:
    """An exported snapshot from its bytes; RefusedError if the bytes are not one."""
    remedy = "use a file that dreamcatcherd export wrote"
    try:
        portable = read_as(raw, Portable)
        # Sums have digits that doubles do not have. What is no part of the shape is only read here.
        digits = decode_exact(raw)["state"]
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise RefusedError(f"not an exported snapshot: {error}", remedy) from error
    if portable.format not in (FORMAT, FORMER):
        raise RefusedError(f"the file's format is {portable.format!r}, this version reads {FORMAT!r}", remedy)
    return structs.replace(portable, state={name: digits[name] for name in portable.state})


def restore(objects: Objects, portable: Portable, settings_blob: str | None) -> Restored:
    """Write the snapshot that a portable one describes; RefusedError unless its digest comes out the same.

    The records of an export of the former format are written in the present one, so its digest cannot be compared."""
    made = _restored(objects, portable, settings_blob)
    if portable.format == FORMAT and made.tree != portable.digest:
        raise RefusedError(f"the file says digest {portable.digest}, its content has {made.tree}", _DAMAGED)
    return made


_DAMAGED = "the file is damaged or was edited: export again"


def _restored(objects: Objects, portable: Portable, settings_blob: str | None) -> Restored:
    try:
        settings = read_settings(portable.settings.encode(), settings_blob) if portable.settings else DEFAULT
        folders = open_snapshot(objects, None)
        entities: dict[str, int] = {}
        extra: list[Change[None]] = []
        for name, records in portable.state.items():
            if name.startswith(EXTRA + "/"):
                extra += _appended(None, name[len(EXTRA) + 1 :], doubles(records))
                continue
            row = settings.table[name]
            if row.rule == "append":
                changes, layout = _appended(row, "", doubles(records)), APPENDED
                alive = len(records)
            else:
                changes, alive = _keyed(row, records)
                layout = keyed_layout(row)
            if changes:
                update(objects, folders.state, file_name(name), sorted_changes(changes), layout)
                entities[name] = alive
        if extra:
            entities[EXTRA] = update(objects, folders.state, EXTRA, sorted_changes(extra), EXTRAS)
        add_merged(objects, folders, [(_frame(name), cid) for name, ids in portable.merged.items() for cid in ids])
        tree = close_snapshot(objects, folders)
    except (KeyError, TypeError, ValueError, AttributeError, IndexError, AssertionError, SettingsError) as error:
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


def _keyed(row: Collection, records: list[Record]) -> tuple[list[Change[None]], int]:
    """The lines of a collection's entities, and how many of them are no tombstones."""
    changes: list[Change[None]] = []
    alive = 0
    last: Json = None
    rank = 0
    for record in records:
        bare = doubles_but_sums(row, _bare(record))
        entity = _entity(row, bare, record)
        order: Json = None
        choice = choice_of(row, bare)
        if choice.content is not None and content_text(choice, bare) is None:
            known_by = (sort_key(natural_key(row, bare)), entity.stamps)
            rank = rank + 1 if known_by == last else 0
            last = known_by
            order = [*entity.stamps, rank] if isinstance(entity.stamps, Stamp) else None
        key = key_of_record(row, bare, order)
        raw_key = canonical(key)
        changes.append((keyed_path(row, key, raw_key), raw_key, entity_line(raw_key, entity), None))
        alive += is_alive(entity)
    return changes, alive


def _entity(row: Collection, bare: Record, record: Record) -> Entity:
    """An entity from its public record; `bare` is the record without its stamps."""
    deleted = stamp_of(record["_deleted"]) if "_deleted" in record else None
    if by_field(row):
        return Entity(bare, {name: stamps_from(stamp) for name, stamp in record["_stamps"].items()}, deleted)
    if "_stamp" not in record:  # it was only ever deleted
        return Entity(bare, None, deleted)
    latest = stamp_of(record["_stamps"][""]) if "_stamps" in record else None
    return Entity(bare, stamp_of(record["_stamp"]), deleted, latest)


def _bare(record: Record) -> Record:
    return {name: value for name, value in record.items() if name not in MARKS}


def _frame(name: str) -> int:
    frame = frame_number(name)
    if frame is None:
        raise ValueError(f"{name!r} is no frame")
    return frame
