"""Which ledgers name a delta, a stream or an entity, without reading all of them.

A question about an old delta concerns every ledger since: a late delta may have beaten it, and it may have come again.
So the words by which ledgers are searched are kept in a derived file for each thousand of frames (`git/derived_files`),
as hashes. A file is valid for the folder of ledgers whose id it has, and for a folder that only adds to that one. It
says where to look and never what is there: the ledgers that it names are read and judged, so a hash that two words
share costs time and changes nothing. A ledger that no file covers is always looked at."""

from __future__ import annotations

import struct
import sys
from array import array
from bisect import bisect_left
from collections.abc import Iterable, Iterator
from hashlib import blake2b
from heapq import heapify, heappop, heappush
from itertools import pairwise
from typing import NamedTuple
from zlib import crc32

import msgspec
from msgspec import Struct

from dreamcatcherd.core.codec import canonical
from dreamcatcherd.core.errors import FatalError
from dreamcatcherd.core.model import Json, Stamp
from dreamcatcherd.core.tree import read_tree
from dreamcatcherd.git.derived_files import DerivedFiles, derived_files
from dreamcatcherd.git.protocols import ObjectReader

UNINDEXED = 64
"""How many ledgers of one folder are looked at without the index, before they are added to it."""

_THOUSAND = 1_000
_ALL = _THOUSAND
_BUCKET_BITS = 6
_BUCKETS = 1 << _BUCKET_BITS
_FRAME_BITS = 10
_WORD_BYTES = 8
# The words are in the order of bytes of the machine: a file of another kind of machine is made again.
_MAGIC = b"dreamcatcherd ledger index 1 %b\n" % sys.byteorder.encode()
_HEAD = struct.Struct(f"={len(_MAGIC)}s20sH{_BUCKETS + 1}I{_BUCKETS}I")
_CHECK = struct.Struct("=I")
_WORDS_AT = _HEAD.size + _CHECK.size
_BROKEN = b"broken"
"""The word of a ledger that cannot be decoded: every search looks at it, and its reader says what is wrong."""


# Words ----------------------------------------------------------------------------------------------------------------


def path_word(path: str) -> bytes:
    """The word of ledgers that list a delta file by its path."""
    return b"p" + path.encode("utf-8", "surrogatepass")


def content_word(content_id: str) -> bytes:
    """The word of ledgers that list a blob or a content id, or a value of that delta that lost."""
    return b"c" + content_id.encode("utf-8", "surrogatepass")


def time_word(utc: int) -> bytes:
    """The word of ledgers that list a delta of this UTC."""
    return b"u%d" % utc


def entity_word(collection: str, key: Json) -> bytes:
    """The word of ledgers that list a conflict of an entity."""
    return b"k" + canonical([collection, key])


UNLISTED = b"more"
"""The word of ledgers that count versions which they do not list."""


class _Row(Struct):
    path: str
    blob: str
    content_id: str | None = None
    utc: int | None = None
    more: int = 0


class _Lost(Struct):
    collection: str
    key: Json
    loser: Stamp


class _Searched(Struct):
    deltas: list[_Row]
    held: list[_Row]
    duplicates: list[_Row]
    quarantined: list[_Row]
    conflicts: list[_Lost]


_searched = msgspec.json.Decoder(_Searched)


def ledger_words(raw: bytes) -> set[bytes]:
    """All words by which a ledger is found."""
    try:
        found = _searched.decode(raw)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return {_BROKEN}
    words: set[bytes] = set()
    for row in (*found.deltas, *found.held, *found.duplicates, *found.quarantined):
        words.add(path_word(row.path))
        words.add(content_word(row.blob))
        if row.content_id is not None:
            words.add(content_word(row.content_id))
        if row.utc is not None:
            words.add(time_word(row.utc))
        if row.more:
            words.add(UNLISTED)
    for lost in found.conflicts:
        words.add(content_word(lost.loser.content_id))
        words.add(entity_word(lost.collection, lost.key))
    return words


# One file -------------------------------------------------------------------------------------------------------------


class _Head(NamedTuple):
    """The head of an index file: the folder of ledgers that it is of, up to which ledger of it (by the last three
    digits of its frame; `_ALL` for all), where each bucket ends, and the checksum of each."""

    tree: str
    upto: int
    ends: tuple[int, ...]
    sums: tuple[int, ...]


def _hashed(word: bytes) -> int:
    """A word as a number, with its lowest bits free for a frame."""
    number = int.from_bytes(blake2b(word, digest_size=_WORD_BYTES).digest(), sys.byteorder)
    return number >> _FRAME_BITS << _FRAME_BITS


def _format_file(tree: str, upto: int, words: Iterable[int]) -> bytes:
    kept = array("Q", sorted(words))
    ends = [bisect_left(kept, at << 8 * _WORD_BYTES - _BUCKET_BITS) for at in range(_BUCKETS)] + [len(kept)]
    raw = kept.tobytes()
    sums = [crc32(raw[_WORD_BYTES * start : _WORD_BYTES * end]) for start, end in pairwise(ends)]
    head = _HEAD.pack(_MAGIC, bytes.fromhex(tree), upto, *ends, *sums)
    return head + _CHECK.pack(crc32(head)) + raw


def _read_head(raw: bytes | None) -> _Head | None:
    if raw is None or len(raw) != _WORDS_AT or not raw.startswith(_MAGIC):
        return None
    head = raw[: _HEAD.size]
    if _CHECK.unpack(raw[_HEAD.size :])[0] != crc32(head):
        return None
    _, tree, upto, *numbers = _HEAD.unpack(head)
    return _Head(tree.hex(), upto, tuple(numbers[: _BUCKETS + 1]), tuple(numbers[_BUCKETS + 1 :]))


def _read_bucket(files: DerivedFiles, name: str, head: _Head, bucket: int) -> array[int] | None:
    """The words of a bucket; None if the file was replaced meanwhile or is damaged."""
    start, end = _WORD_BYTES * head.ends[bucket], _WORD_BYTES * head.ends[bucket + 1]
    raw = files.read(name, _WORDS_AT + start, end - start) if end > start else b""
    return array("Q", raw) if raw is not None and len(raw) == end - start and crc32(raw) == head.sums[bucket] else None


def _read_words(files: DerivedFiles, name: str, head: _Head) -> set[int] | None:
    """All words of a file; None as for a bucket."""
    found: set[int] = set()
    for bucket in range(_BUCKETS):
        words = _read_bucket(files, name, head, bucket)
        if words is None:
            return None
        found.update(words)
    return found


# Searching ------------------------------------------------------------------------------------------------------------


class _Folder:
    """The ledgers of one folder, with the part of them that its index file covers."""

    def __init__(self, store: ObjectReader, files: DerivedFiles | None, thousand: int, oid: str) -> None:
        self._store, self._files, self._thousand, self._oid = store, files, thousand, oid
        self._name = str(thousand)
        self._ledgers: dict[int, str] | None = None
        self._head = _read_head(files.read(self._name, 0, _WORDS_AT)) if files is not None else None
        self._fresh: list[int] = []

    def prepare(self, first: int, last: int | None) -> None:
        """Find out what the index file covers, and add what is missing from it if a search from `first` to `last` would
        have to look at many ledgers."""
        if self._head is not None and (self._head.tree, self._head.upto) == (self._oid, _ALL):
            return
        ledgers = self.ledgers()
        covered = self._covered(ledgers)
        self._fresh = sorted(ledgers.keys() - covered)
        asked = sum(frame >= first and (last is None or frame <= last) for frame in self._fresh)
        if asked > UNINDEXED and self._files is not None and self._files.writable():
            self._add(self._files, ledgers)

    def ledgers(self) -> dict[int, str]:
        """The ledgers by frame."""
        if self._ledgers is None:
            self._ledgers = _ledgers_in(self._store, self._oid)
        return self._ledgers

    def _covered(self, ledgers: dict[int, str]) -> set[int]:
        """The frames that the index file covers: those of a folder to which the present one only adds."""
        if self._head is None:
            return set()
        try:
            known = _ledgers_in(self._store, self._head.tree)
        except FatalError:  # a folder of another history, which is gone
            known = {}
        covered = {frame: oid for frame, oid in known.items() if frame % _THOUSAND <= self._head.upto}
        last = max(covered, default=-1)
        if not covered or covered != {frame: oid for frame, oid in ledgers.items() if frame <= last}:
            self._head = None
            return set()
        return set(covered)

    def _add(self, files: DerivedFiles, ledgers: dict[int, str]) -> None:
        """Add the missing ledgers to the index file. What was read is kept, also if a time limit ends it."""
        words = _read_words(files, self._name, self._head) if self._head is not None else set()
        if words is None:
            words, self._fresh = set(), sorted(ledgers)
        upto, rest = -1, self._fresh
        try:
            for at, frame in enumerate(self._fresh):
                digits = frame % _THOUSAND
                words.update(_hashed(word) | digits for word in ledger_words(self._store.read(ledgers[frame])))
                upto, rest = digits, self._fresh[at + 1 :]
        except FatalError:
            pass  # a search that concerns this ledger says what is wrong with it
        finally:
            if upto >= 0:
                raw = _format_file(self._oid, upto if rest else _ALL, words)
                files.write(self._name, raw)
                self._head = _read_head(raw[:_WORDS_AT])
                self._fresh = rest
                # On a full disk nothing was written, and another process may have written something else.
                if _read_head(files.read(self._name, 0, _WORDS_AT)) != self._head:
                    self._head, self._fresh = None, sorted(ledgers)

    def unindexed(self) -> list[int]:
        """The frames whose ledgers have to be looked at in any case."""
        return self._fresh

    def frames(self, word: bytes) -> list[int]:
        """The frames whose ledgers have a word, as far as the index file covers them."""
        if self._files is None or self._head is None:
            return []
        hashed = _hashed(word)
        found = _read_bucket(self._files, self._name, self._head, hashed >> 8 * _WORD_BYTES - _BUCKET_BITS)
        if found is None:  # it cannot be relied on: look at every ledger that it covers
            return sorted(self.ledgers())
        start, end = bisect_left(found, hashed), bisect_left(found, hashed + _THOUSAND)
        return [_THOUSAND * self._thousand + number - hashed for number in found[start:end]]


class LedgerSearch:
    """The ledgers of some frames that may have one of the wanted words, oldest first. Words can be added meanwhile:
    they count for the ledgers that follow."""

    def __init__(
        self, store: ObjectReader, files: DerivedFiles | None, ledgers: str | None, first: int, last: int | None
    ) -> None:
        self._store, self._files = store, files
        self._first, self._last = first, last
        self._ledgers = ledgers
        self._words: set[bytes] = {_BROKEN}
        self._folder: _Folder | None = None
        self._heap: list[int] = []

    def want(self, words: Iterable[bytes]) -> None:
        """Look for these words too."""
        fresh = set(words) - self._words
        self._words |= fresh
        if self._folder is not None:
            for frame in {frame for word in fresh for frame in self._folder.frames(word)}:
                heappush(self._heap, frame)

    def __iter__(self) -> Iterator[tuple[int, bytes]]:
        """Each ledger's frame and bytes."""
        folders = read_tree(self._store, self._ledgers)
        for thousand in sorted(int(name) for name in folders if _is_number(name)):
            if thousand < self._first // _THOUSAND or (self._last is not None and thousand > self._last // _THOUSAND):
                continue
            self._folder = folder = _Folder(self._store, self._files, thousand, folders[str(thousand)].oid)
            folder.prepare(self._first, self._last)
            self._heap = [*{*folder.unindexed(), *(frame for word in self._words for frame in folder.frames(word))}]
            heapify(self._heap)
            at = self._first - 1
            while self._heap:
                frame = heappop(self._heap)
                if frame <= at or (self._last is not None and frame > self._last):
                    continue
                at = frame
                yield frame, self._store.read(folder.ledgers()[frame])


class LedgerIndex:
    """The index of a repository's ledgers; without `files` every ledger is looked at."""

    def __init__(self, files: DerivedFiles | None) -> None:
        self._files = files

    def search(
        self, store: ObjectReader, ledgers: str | None, words: Iterable[bytes], first: int = 0, last: int | None = None
    ) -> LedgerSearch:
        """Search the ledgers of frames `first` to `last` (None: to the end). `ledgers` is the id of the folder of
        ledgers, None if there is none."""
        search = LedgerSearch(store, self._files, ledgers, first, last)
        search.want(words)
        return search


LINEAR = LedgerIndex(None)
"""Looks at every ledger: for repositories without a folder, and to compare with."""


def ledger_index(store: ObjectReader) -> LedgerIndex:
    """The index of the repository that a store reads."""
    return LedgerIndex(derived_files(store))


def _ledgers_in(store: ObjectReader, oid: str) -> dict[int, str]:
    """The ledgers of one folder, by frame."""
    found = {name.removesuffix(".json"): entry.oid for name, entry in read_tree(store, oid).items() if entry.is_file}
    return {int(name): oid for name, oid in found.items() if _is_number(name)}


def _is_number(name: str) -> bool:
    """Whether a name is a number as the primary writes it."""
    return name.isascii() and name.isdigit() and str(int(name)) == name
