"""Search: the keys and texts of a snapshot in which some words are (docs/protocol.md#the-api).

There is no index: the files of a snapshot are searched as bytes, and only lines with a hit are decoded. For a hundred
thousand entities that takes about half a second if nothing matches, and up to three times as long if `text` is not
ASCII or occurs in the stamps of many lines."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any, NamedTuple

from msgspec import Struct

from dreamcatcherd.core.codec import canonical
from dreamcatcherd.core.collections import EXTRA, Collection
from dreamcatcherd.core.errors import UsageError
from dreamcatcherd.core.keys import natural_key
from dreamcatcherd.core.model import Json
from dreamcatcherd.core.shards import SEPARATOR, blobs_of
from dreamcatcherd.core.snapshot import Item, file_name, open_snapshot, read_item
from dreamcatcherd.git.protocols import ObjectReader
from dreamcatcherd.history.queries import SnapshotView

SEARCH_COST = 128 * 2**20
"""How much one answer searches: the bytes of the files, and `LINE_COST` for each byte of a line that is decoded. A
search that finds less than it may ends there, and goes on with the next page."""

LINE_COST = 16
HITS_BYTES = 2**20
"""About the largest page: a hit has its entity's key, which may be long."""

FIELD_CHARACTERS = 300
"""How much of a field's dotted path is shown."""

CUT = "\N{HORIZONTAL ELLIPSIS}"
BEFORE, AROUND = 40, 160
"""Characters of a snippet: before the hit, and together."""


class Hit(Struct, frozen=True):
    """A text that matches. `field` is its dotted path in the record; `key` is null for records that have none."""

    collection: str
    key: Json
    field: str
    snippet: str


class Hits(NamedTuple):
    """One page of hits. `after` is where the next page begins, None after the last."""

    hits: list[Hit]
    after: str | None


PLACE = r"^((?:[0-9a-f]{2})*)-([0-9]{1,9})-([0-9]{1,9})-([0-9]{1,9})$"
"""Where a page of hits begins. Every such text is a place; only those of links are of use."""

_AT = re.compile(PLACE)


class _At(NamedTuple):
    """A place in a snapshot, in the order in which it is searched."""

    collection: str = ""
    file: int = 0
    line: int = 0
    row: int = 0

    def text(self) -> str:
        """The place as it stands in a URL; it matches `PLACE`."""
        return f"{self.collection.encode().hex()}-{self.file}-{self.line}-{self.row}"


def search_texts(store: ObjectReader, seen: SnapshotView, text: str, limit: int, after: str | None = None) -> Hits:
    """The texts in keys and fields that contain `text`, whatever its case, and integer keys that are equal to it.

    At most `limit` hits, by collection; within one in the order of its files. `after` is that of the page before, of
    the same snapshot; UsageError if it is none."""
    start = _read_at(after)
    wanted = _Wanted(text)
    hits: list[Hit] = []
    cost = size = 0
    for at, raw, row in _files(store, seen, start):
        # By bytes and not by a clock, so that the same question has the same pages.
        if cost >= SEARCH_COST:
            return Hits(hits, at.text())
        cost += len(raw)
        for number, line in wanted.lines(raw, at.line):
            cost += LINE_COST * len(line)
            item = read_item(row, line)
            for rank, hit in enumerate(wanted.hits(item, row)):
                here = _At(at.collection, at.file, number, rank)
                if here < start:
                    continue
                # A page has one hit at least, however costly: else its next page would begin where it began.
                if len(hits) == limit or (hits and (size >= HITS_BYTES or cost >= 2 * SEARCH_COST)):
                    return Hits(hits, here.text())
                hits.append(hit)
                size += len(hit.snippet) + len(canonical(hit.key))
    return Hits(hits, None)


def _read_at(after: str | None) -> _At:
    if after is None:
        return _At()
    found = _AT.fullmatch(after)
    if found is None:
        raise UsageError("the parameter 'after' is from no link of a search", "follow the link as it is")
    name, *numbers = found.groups()
    return _At(bytes.fromhex(name).decode("utf-8", "replace"), *map(int, numbers))


def _files(store: ObjectReader, seen: SnapshotView, start: _At) -> Iterator[tuple[_At, bytes, Collection | None]]:
    """The files from a place on: where each begins to be searched, its bytes, and its collection's row."""
    folders = open_snapshot(store, seen.tree)
    table = seen.settings.table
    for name in sorted({*table, EXTRA}):
        if name < start.collection:
            continue
        first = start if name == start.collection else _At(name)
        for number, oid in enumerate(blobs_of(store, folders.state, file_name(name))):
            if number >= first.file:
                yield _At(name, number, first.line if number == first.file else 0), store.read(oid), table.get(name)


class _Wanted:
    """What is searched for: a cheap test of bytes, and the exact one of texts."""

    def __init__(self, text: str) -> None:
        self._exact = re.compile(re.escape(text), re.IGNORECASE)
        self._text = text
        # As JSON writes it: quotes and control characters are escaped, everything else is as it is.
        self._json = canonical(text)[1:-1]
        self._raw = self._json.lower() if text.isascii() else None
        self._line = re.compile(re.escape(self._json.decode()), re.IGNORECASE)

    def lines(self, raw: bytes, first: int) -> Iterator[tuple[int, bytes]]:
        """The numbered lines, from the first one on, that may have a hit in their key or record."""
        # Most files have no hit, and one look at all of their bytes is far cheaper than one at each line.
        if not self._may_be_in(raw):
            return
        for number, line in enumerate(raw.split(b"\n")):
            # The stamps behind the record are not searched: they would match every stream's name and many digits.
            if number >= first and line and self._may_be_in(b",".join(line.split(SEPARATOR, 2)[:2])):
                yield number, line

    def _may_be_in(self, raw: bytes) -> bool:
        if self._raw is not None:
            return self._raw in raw.lower()
        return self._line.search(raw.decode()) is not None

    def hits(self, item: Item, row: Collection | None) -> Iterator[Hit]:
        """The hits in one record, which is shown as `show` does: a tombstone has none."""
        if not item.alive:
            return
        named = row is not None and row.rule != "append"
        key = natural_key(row, item.record) if named and row is not None else None
        keys = row.key_names if named and row is not None else ()
        for path, value in _texts(item.record):
            if isinstance(value, int):
                if path[1] in keys and str(value) == self._text:
                    yield Hit(item.collection, key, path[1], self._text)
            elif (found := self._exact.search(value)) is not None:
                yield Hit(item.collection, key, _dotted(path), _snippet(value, found.start()))


_Path = tuple[Any, str]
"""A name with the path that it is below, or None: a chain, since long names of many members would cost too much."""


def _texts(record: dict[str, Any]) -> Iterator[tuple[_Path, str | int]]:
    """Every text of a record with its path, in order, and its own integers. Not by recursion: records are as deep as
    the settings allow."""
    todo: list[tuple[_Path, Json]] = [((None, name), value) for name, value in reversed(record.items())]
    while todo:
        path, value = todo.pop()
        if type(value) is str or (type(value) is int and path[0] is None):
            yield path, value
        elif type(value) is dict:
            todo += [((path, name), one) for name, one in reversed(value.items())]
        elif type(value) is list:
            todo += [((path, str(at)), one) for at, one in reversed([*enumerate(value)])]


def _dotted(path: _Path) -> str:
    names: list[str] = []
    at: Any = path
    while at is not None:
        at, name = at
        names.append(name)
    return ".".join(reversed(names))[:FIELD_CHARACTERS]


def _snippet(text: str, at: int) -> str:
    """The hit with the text around it, on one line."""
    start = max(0, at - BEFORE)
    end = start + AROUND
    before, behind = (CUT if start else ""), (CUT if end < len(text) else "")
    return before + " ".join(text[start:end].split()) + behind
