"""The canonical files of a snapshot and their lines (design: docs/architecture.md, "The snapshot").

    format                      the name of this format
    merged.jsonl | merged/      [[frame, content id]]: the merged deltas, so that none counts twice
    state/<collection>…         [key, record, stamps], or [order key and position, record] if records are appended
    state/extra…                [section, order key and position, record], for sections that no collection owns

Owns lines, keys and paths; `shards` owns how lines are split into files."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import NamedTuple, TypeVar
from urllib.parse import quote
from zlib import crc32

from dreamcatcherd.core.codec import canonical, canonical_each, decode, stamp_of
from dreamcatcherd.core.collections import EXTRA, Collection, Table
from dreamcatcherd.core.model import Json, Record, Stamp
from dreamcatcherd.core.rules import BY_FIELD, Entity
from dreamcatcherd.core.shards import SUFFIX, Change, Layout, find, line_of, parts_of, scan, sorted_changes, update
from dreamcatcherd.core.tree import FILE, TREE, Entry, Objects, Reader, format_tree, object_id, read_tree

_T = TypeVar("_T")

FORMAT = "dreamcatcher-snapshot/2"
UNBOUNDED = "dreamcatcher-snapshot/1"
"""The format before: its files have a bound in lines alone. A snapshot of it is continued in that format."""

FILE_BYTES = 512 * 2**10
"""The most bytes of a file of several lines: servers refuse large files, and a frame writes complete files."""

ENTITIES_A_FILE = 256
IDS_A_FILE = 2048

FIELDS_APART = 256
"""Up to how many fields each has its own stamp in the line. A field may be a few bytes, and a stamp is 100."""

_LETTERS = "fghijklmnopqrstuvwxyz"

MergedId = tuple[int, str]
"""A merged delta: its frame and content id."""


class Folders(NamedTuple):
    """The two folders of a snapshot, opened: entries by name, changed in place by updates."""

    root: dict[str, Entry]
    state: dict[str, Entry]


def open_snapshot(objects: Reader, tree: str | None) -> Folders:
    """Open a snapshot's tree; None is the empty snapshot."""
    root = read_tree(objects, tree)
    return Folders(root, read_tree(objects, root["state"].oid if "state" in root else None))


def empty_snapshot(name: str) -> Folders:
    """The empty snapshot of a format."""
    return Folders({"format": Entry(FILE, object_id("blob", name.encode() + b"\n"))}, {})


def empty_like(objects: Objects, tree: str | None) -> str:
    """The empty snapshot in the format of another one: the base of the first frame of its history."""
    return close_snapshot(objects, empty_snapshot(format_of(Folders(read_tree(objects, tree), {}))))


def format_of(folders: Folders) -> str:
    """The format of a snapshot; an empty one begins with the latest."""
    return UNBOUNDED if folders.root.get("format") == empty_snapshot(UNBOUNDED).root["format"] else FORMAT


def with_file_bound(folders: Folders, layout: Layout[_T]) -> Layout[_T]:
    """A layout with the bound in bytes that the format of a snapshot has."""
    return layout._replace(most_bytes=None if format_of(folders) == UNBOUNDED else FILE_BYTES)


def close_snapshot(objects: Objects, folders: Folders) -> str:
    """Write both folders and return the snapshot's tree id: the digest."""
    root = dict(folders.root)
    root["format"] = Entry(FILE, objects.write("blob", format_of(folders).encode() + b"\n"))
    # git has no empty folders, so an empty snapshot has no `state`.
    if folders.state:
        root["state"] = Entry(TREE, objects.write("tree", format_tree(folders.state)))
    return objects.write("tree", format_tree(root))


def has_entities(folders: Folders) -> frozenset[str]:
    """The names of the collections that hold anything, `extra` among them."""
    return frozenset(name.removesuffix(".jsonl") for name in folders.state)


# Keys and paths ---------------------------------------------------------------------------------------------------


def number_path(number: int) -> str:
    """A natural number's digits after a letter that counts them (`g` for one), so that near numbers have near paths."""
    digits = str(number)
    return _LETTERS[len(digits)] + digits


def _text_path(raw: bytes) -> str:
    return hashlib.sha256(raw).hexdigest()[:4]


def near_paths(row: Collection, keys: Iterable[list[Json]], raw_keys: Iterable[bytes]) -> list[str]:
    """How the paths of entities begin: with the part that entities of the same or a near shard field share."""
    # Rows without a key field (keyed by content alone) are spread by their content.
    parts = [key[row.shard] for key in keys] if row.key else [raw_key.decode() for raw_key in raw_keys]
    known = {part: near_path(part) for part in set(parts)}  # many share one
    return [known[part] for part in parts]


def near_path(part: int | str) -> str:
    """How the paths of all entities with this shard field begin."""
    # Larger and negative numbers have no letter, and are rare: their files need not be neighbours.
    return number_path(part) if type(part) is int and 0 <= part < 10**19 else _text_path(canonical(part))


def zone_of(near: str) -> int:
    """A number for the neighbourhood of a path, by its beginning. Entities of one file are mostly of one zone, so that
    the parts of a large frame seldom write the same file."""
    return crc32((near[:-3] if near[0] in _LETTERS else near[:1]).encode())


def keyed_path(row: Collection, key: list[Json], raw_key: bytes) -> str:
    """The path of an entity: near those with the same or a near shard field, then spread by its complete key."""
    return near_path(key[row.shard] if row.key else raw_key.decode()) + key_digits(raw_key)


def key_digits(raw_key: bytes) -> str:
    """How the path of an entity ends: it is spread by its complete key, so that nobody can crowd one place."""
    return hashlib.sha256(raw_key).hexdigest()


def appended_path(stamp: Stamp) -> str:
    """How the path of an appended record begins: by frame, then spread by content id. Its rank in the delta follows."""
    return number_path(stamp.frame) + stamp.content_id


def section_path(section: str) -> str:
    """The beginning of the paths of all records of an extra section."""
    return _text_path(section.encode())


def _keyed_path_of(row: Collection, raw_key: bytes) -> str:
    return keyed_path(row, decode(raw_key), raw_key)


def _appended_path_of(raw_key: bytes) -> str:
    *stamp, rank = decode(raw_key)
    return appended_path(stamp_of(stamp)) + number_path(rank)


def _extra_path_of(raw_key: bytes) -> str:
    """The path of an extra record: near those of its section. It ends in the hash of the section, since anybody can
    make sections whose first four digits are the same."""
    section, *stamp, rank = decode(raw_key)
    return section_path(section) + appended_path(stamp_of(stamp)) + number_path(rank) + _section_digits(raw_key)


def _section_digits(raw_key: bytes) -> str:
    section: str = decode(raw_key)[0]
    return hashlib.sha256(section.encode()).hexdigest()


def id_path(merged_id: MergedId) -> str:
    """The path of a line that is kept by the frame and content id of a delta."""
    return number_path(merged_id[0]) + merged_id[1]


def id_path_of(raw_key: bytes) -> str:
    """The same path, from the key of the line."""
    frame, content_id = decode(raw_key)
    return id_path((frame, content_id))


# Lines ------------------------------------------------------------------------------------------------------------


def fresh_lines(row: Collection, raw_keys: list[bytes], records: list[Record], raw_stamps: list[bytes]) -> list[bytes]:
    """The lines of entities that one record each makes; empty under `union`, which must put values in order first.

    They have the bytes that `entity_line` would give them. Most lines of a frame are such lines, and joining each
    record with nothing would take several times as long."""
    # A set must be sorted and made distinct even if only one record brings it, so its line is left to `combine`.
    if row.rule == "union":
        return [b""] * len(records)
    if row.rule in BY_FIELD:
        bare = len(row.key)
        raw_stamps = [raw if len(record) > bare else b"{}" for raw, record in zip(raw_stamps, records, strict=True)]
    parts = zip(raw_keys, canonical_each(records), raw_stamps, strict=True)
    return [b"[%b,\t%b,\t%b]" % one for one in parts]


def entity_line(raw_key: bytes, entity: Entity) -> bytes:
    """The line of a keyed entity. Stamps by field that are all equal are written once. If an entity has very many
    fields, each stamp is written once, with the fields that have it."""
    stamps: Json = entity.stamps
    if isinstance(stamps, dict) and stamps:
        first, *others = stamps.values()
        if all(other == first for other in others):
            stamps = first
        elif len(stamps) > FIELDS_APART:
            named: dict[Stamp, list[str]] = {}
            for name, stamp in stamps.items():
                named.setdefault(stamp, []).append(name)
            stamps = [(stamp, sorted(named[stamp])) for stamp in sorted(named)]
    return line_of(raw_key, canonical(entity.record), canonical(stamps))


def read_entity(row: Collection, line: bytes) -> Entity:
    """A keyed entity from its line."""
    _, raw_record, raw_stamps = parts_of(line)
    record, stamps = decode(raw_record), decode(raw_stamps)
    if row.rule not in BY_FIELD:
        return Entity(record, stamp_of(stamps))
    if isinstance(stamps, list) and isinstance(stamps[0], list):
        return Entity(record, {name: stamp_of(stamp) for stamp, names in stamps for name in names})
    if isinstance(stamps, list):
        keys = {names[0] for names in row.key}
        return Entity(record, {name: stamp_of(stamps) for name in record if name not in keys})
    return Entity(record, {name: stamp_of(stamp) for name, stamp in stamps.items()})


# Updates ----------------------------------------------------------------------------------------------------------


def keyed_layout(row: Collection, combine: Callable[[bytes, bytes | None, _T], bytes] | None = None) -> Layout[_T]:
    return Layout(row.a_file, lambda raw_key: _keyed_path_of(row, raw_key), combine, key_digits)


APPENDED: Layout[None] = Layout(ENTITIES_A_FILE, _appended_path_of, None)
EXTRAS: Layout[None] = Layout(ENTITIES_A_FILE, _extra_path_of, None, _section_digits)
MERGED: Layout[None] = Layout(IDS_A_FILE, id_path_of, None)


def file_name(collection: str) -> str:
    """A collection's name as a file name."""
    return quote(collection, safe="")


def add_merged(objects: Objects, folders: Folders, ids: Sequence[MergedId]) -> int:
    """Note content ids as merged; returns how many are new."""
    changes: list[Change[None]] = []
    for merged_id, raw_key in zip(ids, canonical_each(ids), strict=True):
        changes.append((id_path(merged_id), raw_key, line_of(raw_key), None))
    if not changes:
        return 0
    return update(objects, folders.root, "merged", sorted_changes(changes), with_file_bound(folders, MERGED))


def already_merged(objects: Reader, folders: Folders, ids: Iterable[MergedId]) -> set[MergedId]:
    """Those of the given content ids that the snapshot has merged."""
    return ids_among(objects, folders.root, "merged", ids)


def ids_among(objects: Reader, folder: dict[str, Entry], name: str, ids: Iterable[MergedId]) -> set[MergedId]:
    """Those of the given content ids that have a line under `name` in a folder."""
    if name not in folder and name + SUFFIX not in folder:
        return set()
    wanted = {(id_path(merged_id), canonical(merged_id)): merged_id for merged_id in ids}
    found = find(objects, folder, name, sorted(wanted)) if wanted else {}
    return {merged_id for (_, raw_key), merged_id in wanted.items() if raw_key in found}


# Reading ----------------------------------------------------------------------------------------------------------


class Item(NamedTuple):
    """One record of a snapshot: its collection (`extra/<section>` for extras), the record and its stamps."""

    collection: str
    record: Record
    stamps: Stamp | dict[str, Stamp]
    rank: int = 0


def items(objects: Reader, folders: Folders, table: Table, collection: str) -> Iterator[Item]:
    """Every record of one collection, file by file; `extra` gives all sections, `extra/<section>` one."""
    if collection == EXTRA or collection.startswith(EXTRA + "/"):
        section = collection[len(EXTRA) + 1 :]
        prefix = section_path(section) if section else ""
        for line in scan(objects, folders.state, EXTRA, prefix):
            item = read_item(None, line)
            if not section or item.collection == collection:
                yield item
        return
    row = table[collection]
    for line in scan(objects, folders.state, file_name(collection)):
        yield read_item(row, line)


def get_keyed(objects: Reader, folders: Folders, row: Collection, key: list[Json]) -> Item | None:
    """One entity by its stored key, from the one file that can hold it."""
    raw_key = canonical(key)
    found = find(objects, folders.state, file_name(row.name), [(keyed_path(row, key, raw_key), raw_key)])
    return read_item(row, found[raw_key]) if raw_key in found else None


def read_item(row: Collection | None, line: bytes) -> Item:
    """The record of a line; `row` is None for `extra`."""
    if row is None:
        raw_key, raw_record = parts_of(line)
        name, *stamp, rank = decode(raw_key)
        return Item(f"{EXTRA}/{name}", decode(raw_record), stamp_of(stamp), rank)
    if row.rule == "append":
        raw_key, raw_record = parts_of(line)
        *stamp, rank = decode(raw_key)
        return Item(row.name, decode(raw_record), stamp_of(stamp), rank)
    entity = read_entity(row, line)
    return Item(row.name, entity.record, entity.stamps)


def merged_ids(objects: Reader, folders: Folders) -> Iterator[MergedId]:
    """Every merged content id with its frame."""
    for line in scan(objects, folders.root, "merged"):
        frame, content_id = decode(parts_of(line)[0])
        yield frame, content_id
