"""The canonical files of a snapshot and their lines (design: docs/architecture.md, "The snapshot").

    format                      the name of this format
    merged.jsonl | merged/      [[frame, content id]]: the merged deltas, so that none counts twice
    state/<collection>…         [key, record, stamps], or [order key and position, record] if records are appended
    state/extra…                [section, order key and position, record], for sections that no collection owns

Owns lines, keys and paths; `shards` owns how lines are split into files."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from operator import itemgetter
from typing import NamedTuple, TypeVar
from urllib.parse import quote
from zlib import crc32

from dreamcatcherd.core.codec import canonical, canonical_each, decode, stamp_of
from dreamcatcherd.core.collections import EXTRA, Collection, Table
from dreamcatcherd.core.entities import is_alive
from dreamcatcherd.core.entity_lines import read_entity
from dreamcatcherd.core.keys import order_in_key
from dreamcatcherd.core.model import Json, Record, Stamp
from dreamcatcherd.core.rules import DeepStamps, Entity
from dreamcatcherd.core.shards import (
    SUFFIX,
    Change,
    Layout,
    find,
    key_of,
    line_of,
    parts_of,
    scan,
    sorted_changes,
    update,
)
from dreamcatcherd.core.tree import FILE, TREE, Entry, Objects, Reader, format_tree, read_tree

_T = TypeVar("_T")

FORMAT = "dreamcatcher-snapshot/2"
FORMER = "dreamcatcher-snapshot/1"
"""The format before. Its snapshots can be read and exported; they are not continued."""

FILE_BYTES = 512 * 2**10
"""The most bytes of a file of several lines: servers refuse large files, and a frame writes complete files."""

ENTITIES_A_FILE = 256
IDS_A_FILE = 2048

_LETTERS = "fghijklmnopqrstuvwxyz"
_LARGE = 10**19

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


def format_of(objects: Reader, folders: Folders) -> str:
    """The format of a snapshot, as it names it."""
    entry = folders.root.get("format")
    return objects.read(entry.oid).decode("utf-8", "replace").strip() if entry is not None else FORMAT


def close_snapshot(objects: Objects, folders: Folders) -> str:
    """Write both folders and return the snapshot's tree id: the digest."""
    root = dict(folders.root)
    root["format"] = Entry(FILE, objects.write("blob", FORMAT.encode() + b"\n"))
    # git has no empty folders, so an empty snapshot has no `state`.
    if folders.state:
        root["state"] = Entry(TREE, objects.write("tree", format_tree(folders.state)))
    return objects.write("tree", format_tree(root))


def empty_snapshot(objects: Objects) -> str:
    """The empty snapshot: the base of the first frame."""
    return close_snapshot(objects, open_snapshot(objects, None))


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


def near_paths(row: Collection, keys: Iterable[list[Json]]) -> list[str]:
    """How the paths of entities begin: with the part that entities of the same or a near shard field share."""
    parts = list(map(itemgetter(row.shard), keys))
    if set(map(type, parts)) == {int} and min(parts) >= 0 and max(parts) < _LARGE:
        return [_LETTERS[len(digits)] + digits for digits in map(str, parts)]
    if row.key and not row.key[0]:  # keyed by a text alone, so the part may be the order of an appended record
        parts = [tuple(part) if type(part) is list else part for part in parts]
    known = {part: near_path(part) for part in set(parts)}  # many share one
    return [known[part] for part in parts]


def near_path(part: Json) -> str:
    """How the paths of all entities with this shard field begin."""
    # Larger and negative numbers have no letter, and are rare: their files need not be neighbours.
    return number_path(part) if type(part) is int and 0 <= part < _LARGE else _text_path(canonical(part))


def zone_of(near: str) -> int:
    """A number for the neighbourhood of a path, by its beginning. Entities of one file are mostly of one zone, so that
    the parts of a large frame seldom write the same file."""
    return crc32((near[:-3] if near[0] in _LETTERS else near[:1]).encode())


def keyed_path(row: Collection, key: list[Json], raw_key: bytes) -> str:
    """The path of an entity: near those with the same or a near shard field, then spread by its complete key."""
    return near_path(key[row.shard]) + key_digits(raw_key)


def key_digits(raw_key: bytes) -> str:
    """How the path of an entity ends: it is spread by its complete key, so that nobody can crowd one place."""
    return hashlib.sha256(raw_key).hexdigest()


def appended_path(stamp: Stamp) -> str:
    """How the path of an appended record begins: by frame, then spread by content id. Its rank in the delta follows."""
    return number_path(stamp.frame) + stamp.content_id


def appended_share(path: str, parts: int) -> int:
    """Which of several parts takes an appended record, by its path: those of one frame are split by content id into
    ranges, so that nearly every file is in one part."""
    digits = path[1 + _LETTERS.index(path[0]) :][:4]
    return int(digits, 16) * parts >> 16


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


# Updates ----------------------------------------------------------------------------------------------------------


def keyed_layout(row: Collection, combine: Callable[[bytes, bytes | None, _T], bytes] | None = None) -> Layout[_T]:
    return Layout(row.a_file, lambda raw_key: _keyed_path_of(row, raw_key), combine, key_digits, FILE_BYTES)


APPENDED: Layout[None] = Layout(ENTITIES_A_FILE, _appended_path_of, None, most_bytes=FILE_BYTES)
EXTRAS: Layout[None] = Layout(ENTITIES_A_FILE, _extra_path_of, None, _section_digits, FILE_BYTES)
MERGED: Layout[None] = Layout(IDS_A_FILE, id_path_of, None, most_bytes=FILE_BYTES)


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
    return update(objects, folders.root, "merged", sorted_changes(changes), MERGED)


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
    """One record of a snapshot: its collection (`extra/<section>` for extras), the record and its stamps, its position
    if it is appended, its deletion, and its last write where that is not the record's."""

    collection: str
    record: Record
    stamps: Stamp | dict[str, DeepStamps] | None
    rank: int = 0
    deleted: Stamp | None = None
    latest: Stamp | None = None

    @property
    def alive(self) -> bool:
        """Whether it is there; a tombstone is not."""
        return is_alive(Entity(self.record, self.stamps, self.deleted, self.latest))


def items(
    objects: Reader, folders: Folders, table: Table, collection: str, *, tombstones: bool = False
) -> Iterator[Item]:
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
        item = read_item(row, line)
        if tombstones or item.alive:
            yield item


def get_keyed(objects: Reader, folders: Folders, row: Collection, key: list[Json]) -> Item | None:
    """One entity by its stored key, from the one file that can hold it, a tombstone too."""
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
    rank = 0
    if row.content is not None and (order := order_in_key(decode(key_of(line)))) is not None:
        rank = order[-1]
    return Item(row.name, entity.record, entity.stamps, rank, entity.deleted, entity.latest)


def merged_ids(objects: Reader, folders: Folders) -> Iterator[MergedId]:
    """Every merged content id with its frame."""
    for line in scan(objects, folders.root, "merged"):
        frame, content_id = decode(parts_of(line)[0])
        yield frame, content_id
