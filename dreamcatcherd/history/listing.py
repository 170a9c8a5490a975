"""Pages of a collection in key order, without reading all of it for each page (docs/protocol.md#the-api).

A snapshot keeps entities near each other by part of their key, and otherwise spread: key order needs every line's key.
So each file's keys are read once and kept. A frame changes only a few of the files."""

from __future__ import annotations

from bisect import bisect_right
from collections import Counter, OrderedDict
from itertools import islice
from operator import itemgetter
from typing import NamedTuple

from dreamcatcherd.core.codec import decode
from dreamcatcherd.core.collections import EXTRA, Collection
from dreamcatcherd.core.errors import RefusedError, UsageError
from dreamcatcherd.core.key_order import place_of_line
from dreamcatcherd.core.shards import blobs_of, key_of
from dreamcatcherd.core.snapshot import Item, file_name, open_snapshot, read_item, section_path
from dreamcatcherd.git.protocols import ObjectReader
from dreamcatcherd.history.queries import SnapshotView

PLACES_KEPT = 1_000_000
"""How many places are kept, those of files' lines and those in listings together: about 100 bytes each."""

LISTED = 500_000
"""The largest collection that is listed in pages."""

FILES_COUNTED = 10_000
"""Of how many files the sections are kept. A file has a few hundred records at most."""

_Place = tuple[bytes, str, int]
"""Where a record is: in the order of keys, in which file, and on which line."""


class ListingPage(NamedTuple):
    """Records in key order. `after` is the place of the last one, None if there are no more."""

    items: list[Item]
    after: bytes | None


class Listings:
    """The places of collections that were asked for lately."""

    def __init__(self) -> None:
        self._files: OrderedDict[tuple[str, tuple[object, ...]], list[bytes | None]] = OrderedDict()
        self._lists: OrderedDict[tuple[str | None, tuple[object, ...]], list[_Place]] = OrderedDict()
        self._places = 0
        self._sections: OrderedDict[str, Counter[str]] = OrderedDict()

    def page(
        self,
        store: ObjectReader,
        seen: SnapshotView,
        collection: str,
        limit: int,
        after: bytes | None = None,
        most_bytes: int | None = None,
    ) -> ListingPage:
        """At most `limit` records of a collection behind a place, which need not exist any more. With `most_bytes` a
        page ends before the record with which its lines would have more, unless that is its first.

        RefusedError for an unknown collection, UsageError for one of more than `LISTED` entities."""
        row = listed_row(seen, collection)
        places = self._listed(store, seen, collection, row)
        start = bisect_right(places, after, key=itemgetter(0)) if after is not None else 0
        lines: dict[str, list[bytes]] = {}
        found: list[Item] = []
        size = 0
        # Neighbours in key order are often in one file: it is read once for the page.
        for _, oid, number in islice(places, start, start + limit):
            if oid not in lines:
                lines[oid] = store.read(oid).split(b"\n")
            line = lines[oid][number]
            size += len(line)
            # One record at least, or the next page would begin where this one did.
            if found and most_bytes is not None and size > most_bytes:
                break
            found.append(read_item(row, line))
        end = start + len(found)
        return ListingPage(found, places[end - 1][0] if end < len(places) else None)

    def sections(self, store: ObjectReader, seen: SnapshotView) -> dict[str, int]:
        """How many records each section of `extra` has, by name, sorted."""
        folder = open_snapshot(store, seen.tree).state
        found: Counter[str] = Counter()
        for oid in blobs_of(store, folder, EXTRA):
            if oid not in self._sections:
                self._sections[oid] = Counter(decode(key_of(line))[0] for line in store.read(oid).split(b"\n") if line)
                while len(self._sections) > FILES_COUNTED:
                    self._sections.popitem(last=False)
            found += self._sections[oid]
        return dict(sorted(found.items()))

    def _listed(self, store: ObjectReader, seen: SnapshotView, collection: str, row: Collection | None) -> list[_Place]:
        key = (seen.tree, _kind(collection, row))
        if key in self._lists:
            self._lists.move_to_end(key)
            return self._lists[key]
        folder = open_snapshot(store, seen.tree).state
        section = "" if row is not None else collection.removeprefix(f"{EXTRA}/")
        name = file_name(collection) if row is not None else EXTRA
        found: list[_Place] = []
        for oid in blobs_of(store, folder, name, section_path(section) if row is None else ""):
            places = self._placed(store, oid, row, section)
            found += [(place, oid, at) for at, place in enumerate(places) if place is not None]
            if len(found) > LISTED:
                cause = f"{collection} has more than {LISTED} entities"
                raise UsageError(cause, "ask for single ones, or use dreamcatcherd export or show")
        # The places are of many sorted files, in which case sorting is hardly more than merging them.
        found.sort()
        self._lists[key] = found
        self._places += len(found)
        self._forget()
        return found

    def _placed(self, store: ObjectReader, oid: str, row: Collection | None, section: str) -> list[bytes | None]:
        """The place of each line of a file. Kept one by one: a listing that ran into the time limit goes on where it
        was when it is asked for again."""
        key = (oid, _kind(section, row))
        if key in self._files:
            self._files.move_to_end(key)
            return self._files[key]
        lines = store.read(oid).split(b"\n")
        found = [place_of_line(row, section, line) for line in lines if line]
        self._files[key] = found
        self._places += len(found)
        self._forget()
        return found

    def _forget(self) -> None:
        """Drop what was asked for longest ago: listings first, since files make them again at little cost."""
        while self._places > PLACES_KEPT and len(self._lists) > 1:
            self._places -= len(self._lists.popitem(last=False)[1])
        while self._places > PLACES_KEPT and len(self._files) > 1:
            self._places -= len(self._files.popitem(last=False)[1])


def _kind(name: str, row: Collection | None) -> tuple[object, ...]:
    """What the places of a file's lines depend on besides the file."""
    return (name,) if row is None else (row.name, *row.identity)


def listed_row(seen: SnapshotView, collection: str) -> Collection | None:
    """The row of a collection, None for a section of `extra`; RefusedError if there is no such collection."""
    row = seen.settings.table.get(collection)
    if row is None and not collection.startswith(f"{EXTRA}/"):
        known = ", ".join([*seen.settings.table, f"{EXTRA}/<section>"])
        raise RefusedError(f"there is no collection {collection!r}", f"the collections are {known}")
    return row
