"""Where values came from: the delta behind a stamp, and the values that lost. Reads ledgers, never the state.

The index says which ledgers may have something. A ledger is searched as bytes first and decoded only if something is
found, so that a long history stays cheap."""

from __future__ import annotations

from collections.abc import Container, Iterable, Iterator, Mapping

import msgspec
from msgspec import Struct, structs

from dreamcatcherd.core.codec import canonical
from dreamcatcherd.core.collections import Collection
from dreamcatcherd.core.entities import leaf_entity
from dreamcatcherd.core.errors import FatalError
from dreamcatcherd.core.keys import choice_of, natural_key
from dreamcatcherd.core.ledger import DeltaRow
from dreamcatcherd.core.model import Conflict, Json, Record, Stamp
from dreamcatcherd.core.rules import Entity
from dreamcatcherd.core.snapshot import Item
from dreamcatcherd.core.tree import read_tree
from dreamcatcherd.git.protocols import ObjectReader
from dreamcatcherd.history.ledger_index import LINEAR, LedgerIndex, content_word, entity_word


class Origin(Struct, frozen=True):
    """The delta behind a stamp: its path, commit and author, and the frame that merged it.

    All are None for a value from an imported snapshot."""

    path: str | None = None
    commit: str | None = None
    author: str | None = None
    frame: int | None = None


class Loser(Struct, frozen=True):
    """A value that lost to `winner`, the frame whose ledger lists the conflict, and the delta that the value came from.

    The delta's fields are None if no ledger has it."""

    value: Json
    stamp: Stamp
    winner: Stamp
    frame: int
    path: str | None
    commit: str | None
    author: str | None


class Field(Struct, frozen=True):
    """One field of an entity: its value and stamp, the merge rule, the delta it came from with the frame that merged
    it, and the values that lost."""

    value: Json
    stamp: Stamp | None
    rule: str
    path: str | None
    commit: str | None
    author: str | None
    frame: int | None
    losers: list[Loser]


class Deleted(Struct, frozen=True):
    """The last deletion of an entity, and the delta that brought it. `gone` says whether nothing was written later."""

    stamp: Stamp
    gone: bool
    path: str | None
    commit: str | None
    author: str | None
    frame: int | None


class Explanation(Struct, frozen=True, omit_defaults=True):
    """The JSON of `explain_item` and `/api/v1/explain`."""

    collection: str
    key: Json
    fields: dict[str, Field]
    deleted: Deleted | None = None


class _Found(Struct):
    deltas: list[DeltaRow] = []
    conflicts: list[Conflict] = []


_decode = msgspec.json.Decoder(_Found).decode


def ledger_frames(
    store: ObjectReader, ledgers: str | None, first: int, last: int | None = None
) -> Iterator[tuple[int, str]]:
    """The closed frames from `first` to `last` (None: to the end), each with its ledger's object id; oldest first.

    `ledgers` is the id of the ledger folder, None if there is none."""
    thousands = sorted((int(name), entry.oid) for name, entry in read_tree(store, ledgers).items() if name.isdigit())
    for thousand, oid in thousands:
        if thousand < first // 1000 or (last is not None and thousand > last // 1000):
            continue
        names = read_tree(store, oid)
        for frame in sorted(int(name.removesuffix(".json")) for name in names if name.removesuffix(".json").isdigit()):
            if frame >= first and (last is None or frame <= last):
                yield frame, names[f"{frame}.json"].oid


def find_origins(
    store: ObjectReader,
    ledgers: str | None,
    stamps: Iterable[Stamp],
    last: int | None = None,
    first: int = 0,
    index: LedgerIndex = LINEAR,
) -> dict[Stamp, Origin]:
    """The deltas behind stamps; a stamp that no ledger has is left out.

    Each is searched for from its own frame on, since a late delta is in a later frame's ledger. `first` and `last`
    bound the frames whose ledgers are searched."""
    missing = set(stamps)
    found: dict[Stamp, Origin] = {}
    if not missing:
        return found
    words = [content_word(stamp.content_id) for stamp in missing]
    for frame, raw in index.search(store, ledgers, words, max(first, min(stamp.frame for stamp in missing)), last):
        if any(stamp.content_id.encode() in raw for stamp in missing if stamp.frame <= frame):
            for row in _decode(raw).deltas:
                own = frame if row.frame is None else row.frame
                stamp = Stamp(own, row.utc, row.stream_id, row.content_id or row.blob)
                if stamp in missing:
                    found[stamp] = Origin(row.path, row.commit, author_of(store, row.commit), frame)
                    missing.discard(stamp)
        if not missing:
            break
    return found


def author_of(store: ObjectReader, commit: str) -> str | None:
    """The author of a commit; None if the commit cannot be read any more."""
    try:
        return store.commit(commit).author
    except FatalError:
        return None


def lost_values(
    store: ObjectReader, ledgers: str | None, collection: str, key: Json, last: int | None, index: LedgerIndex = LINEAR
) -> Iterator[tuple[int, Conflict]]:
    """All conflicts of one entity up to frame `last`, each with the frame whose ledger lists it; oldest first."""
    raw_key = canonical(key)
    needle = b'"key":' + raw_key + b","
    for frame, raw in index.search(store, ledgers, [entity_word(collection, key)], 0, last):
        if needle in raw:
            for row in _decode(raw).conflicts:
                if row.collection == collection and canonical(row.key) == raw_key:
                    yield frame, row


def explain_item(
    store: ObjectReader,
    ledgers: str | None,
    row: Collection,
    item: Item,
    field: str | None = None,
    last: int | None = None,
    index: LedgerIndex = LINEAR,
) -> Explanation:
    """Who set each field of an entity (or only `field`), and who lost.

    `last` is the frame whose snapshot the item was read from, None for the newest. Without such a field, `fields` of
    the result is empty."""
    key = natural_key(row, item.record)
    keys = {*choice_of(row, item.record).names}
    flat = leaf_entity(Entity(item.record, item.stamps), row.rules)
    names = {name for name in flat.record if name not in keys} or keys  # a record with only a key explains its key
    losers: dict[str, list[tuple[int, Conflict]]] = {}
    for frame, conflict in lost_values(store, ledgers, row.name, key, last, index):
        one = {conflict.field: conflict.value} if conflict.field is not None else _unlike(flat, keys, conflict.value)
        for name, value in one.items():
            losers.setdefault(name, []).append((frame, structs.replace(conflict, field=name, value=value)))
    wanted = [name for name in sorted({*names, *losers}) if field is None or name == field]
    stamps = {name: _stamp_of(flat, name, keys) for name in wanted}
    asked = {stamp for stamp in (*stamps.values(), item.deleted) if stamp is not None}
    asked |= {conflict.loser for name in wanted for _, conflict in losers.get(name, ())}
    origins = find_origins(store, ledgers, asked, last, index=index)
    fields: dict[str, Field] = {}
    for name in wanted:
        stamp = stamps[name]
        origin = origins.get(stamp, Origin()) if stamp else Origin()
        lost = [_loser(conflict, frame, origins) for frame, conflict in losers.get(name, ())]
        where = (origin.path, origin.commit, origin.author, origin.frame)
        rule = row.rules.get(name.partition(".")[0] if name not in item.record else name, row.rule)
        fields[name] = Field(flat.record.get(name), stamp, rule, *where, lost)
    return Explanation(row.name, key, fields, _deletion(item, origins))


def _unlike(entity: Entity, keys: Container[str], record: Record) -> Record:
    """The fields of a record that lost as a whole, where they are not those of the entity."""
    return {
        name: value
        for name, value in record.items()
        if name not in keys and (name not in entity.record or canonical(entity.record[name]) != canonical(value))
    }


def _stamp_of(entity: Entity, name: str, keys: Container[str]) -> Stamp | None:
    """The stamp of a field; that of the last write of nothing but the key for a key field."""
    if not isinstance(entity.stamps, dict):
        return entity.stamps
    stamp: Stamp | None = entity.stamps.get("" if name in keys else name)
    return stamp


def _deletion(item: Item, origins: Mapping[Stamp, Origin]) -> Deleted | None:
    if item.deleted is None:
        return None
    origin = origins.get(item.deleted, Origin())
    return Deleted(item.deleted, not item.alive, origin.path, origin.commit, origin.author, origin.frame)


def _loser(conflict: Conflict, frame: int, origins: dict[Stamp, Origin]) -> Loser:
    origin = origins.get(conflict.loser, Origin())
    return Loser(conflict.value, conflict.loser, conflict.winner, frame, origin.path, origin.commit, origin.author)
