"""The library in a snapshot: the facts that each book's completion depends on, and the compiled books
(docs/protocol.md#books).

    book_progress   [book, "chapter", number]: the first stamp of each chapter number
                    [book, "target", content id]: each `target_chapters` that a delta gave
    library         [book]: the compiled book, while it is complete; its stamp is that of the delta which completed it

Both follow from chapters and books alone. Only the books that new deltas touch are read, from the files that hold their
lines; `compile` has the rules."""

from __future__ import annotations

from collections.abc import Iterator

from dreamcatcherd.core.books.compile import Chapter, Marks, compile_book, completed, target_of
from dreamcatcherd.core.codec import canonical, canonical_each, decode, stamp_of
from dreamcatcherd.core.collections import BOOKS, CHAPTERS, DEFAULT_TABLE, DERIVED, LIBRARY, PROGRESS, Collection, Table
from dreamcatcherd.core.entities import is_alive, last_write
from dreamcatcherd.core.entity_lines import entity_line, fresh_lines, read_entity
from dreamcatcherd.core.ledger import BookEvent, BookRow
from dreamcatcherd.core.model import Deletion, Json, Record, Stamp
from dreamcatcherd.core.projection import BroughtRecords, Derived
from dreamcatcherd.core.rules import Entity
from dreamcatcherd.core.shards import Change, Layout, find, key_of, parts_of, remove_lines, scan, sorted_changes, update
from dreamcatcherd.core.snapshot import (
    Folders,
    file_name,
    keyed_layout,
    keyed_path,
    near_path,
    near_paths,
)
from dreamcatcherd.core.tree import Entry, Objects, Reader

Folder = dict[str, Entry]
"""The snapshot's folder `state`, opened."""


class BooksProjection:
    """The library as a projection: progress and compiled books, kept up to date by every merge."""

    def __init__(self, table: Table) -> None:
        self._table = table
        self._touched: dict[bytes, tuple[Json, Marks]] = {}
        """Each book that new deltas touch, by its key's bytes, with the marks that they bring."""

    def note(self, brought: BroughtRecords) -> None:
        touched, table = self._touched, self._table
        if CHAPTERS in brought and standard(table, CHAPTERS):
            keys, records, stamps = brought[CHAPTERS]
            raw_books = canonical_each([key[0] for key in keys])
            for raw_book, (book, number, _), record, stamp in zip(raw_books, keys, records, stamps, strict=True):
                known = touched.get(raw_book) or touched.setdefault(raw_book, (book, Marks({}, {})))
                if type(number) is int and type(record) is not Deletion:
                    first = known[1].numbers.setdefault(number, stamp)
                    if stamp < first:
                        known[1].numbers[number] = stamp
        if BOOKS in brought and standard(table, BOOKS):
            keys, records, stamps = brought[BOOKS]
            for (book,), record, stamp in zip(keys, records, stamps, strict=True):
                _, marks = touched.setdefault(canonical(book), (book, Marks({}, {})))
                if "target_chapters" in record:
                    marks.targets[stamp] = target_of(record["target_chapters"])

    def notes(self) -> dict[bytes, tuple[Json, Marks]]:
        return self._touched

    def recall(self, notes: dict[bytes, tuple[Json, Marks]]) -> None:
        """Books are shared between parts only if a part had some of the chapters; the first stamp of each counts."""
        for raw_book, (book, marks) in notes.items():
            _, known = self._touched.setdefault(raw_book, (book, Marks({}, {})))
            for number, stamp in marks.numbers.items():
                known.numbers[number] = min(stamp, known.numbers.get(number, stamp))
            known.targets.update(marks.targets)

    def update(self, objects: Objects, before: Folder, folders: Folders) -> Derived:
        """If the settings gave chapters or books other keys or another rule, before there were any, nothing
        compiles."""
        table, state = self._table, folders.state
        pages, compiles = standard(table, BOOKS), standard(table, CHAPTERS, BOOKS)
        progress: list[tuple[Record, Stamp]] = []
        compiled: dict[bytes, tuple[Json, bytes]] = {}
        gone: list[bytes] = []
        rows: list[BookRow] = []
        for raw_book, (book, new) in sorted(self._touched.items()):
            raw_key = b"[%b]" % raw_book
            old = read_marks(objects, before, book)
            marks = _joined(old, new)
            progress += _progress(book, old, marks)
            # Computed again from everything that is stored, never patched: there is one way in which a book can come
            # about, so its bytes depend on the records alone.
            page = _page(objects, state, table, book) if pages else None
            stamp = completed(marks) if compiles and _is_there(objects, state, table, book, page) else None
            stored = _line(objects, before, DERIVED[LIBRARY], book)
            line = None
            if stamp is not None:
                line = entity_line(raw_key, compiled_book(objects, state, table, book, stamp))
                compiled[raw_key] = (book, line)
            elif stored is not None:
                gone.append(raw_key)
            happened: dict[BookEvent, bool] = {
                "started": page is not None and _page(objects, before, table, book) is None,
                "grew": len(marks.numbers) > len(old.numbers),
                "published": stored is None and line is not None,
                "revised": stored is not None and line is not None and line != stored,
                "reopened": stored is not None and line is None,
            }
            events = [name for name, so in happened.items() if so]
            if events:
                seal = decode(parts_of(line)[1])["object"]["fingerprint"] if line else None
                rows.append(BookRow(book, events, len(marks.numbers), marks.target, line is not None, seal))
        library = DERIVED[LIBRARY]
        added = {PROGRESS: _put(objects, folders, DERIVED[PROGRESS], _progress_lines(progress))}
        added[LIBRARY] = _put(objects, folders, library, compiled) - _take(objects, state, library, gone)
        return Derived({name: count for name, count in added.items() if count}, rows)


def compiled_book(objects: Reader, state: Folder, table: Table, book: Json, stamp: Stamp) -> Entity:
    """A complete book from the records of a snapshot; `stamp` is that of the delta which completed it."""
    page = _page(objects, state, table, book) or {}
    return Entity(compile_book(book, page, chapters_of(objects, state, table, book), stamp), stamp)


def chapters_of(objects: Reader, state: Folder, table: Table, book: Json) -> Iterator[Chapter]:
    """All records of a book's numbered chapters, by any author; a chapter that text names is not part of the book."""
    for line in lines_of_book(objects, state, table[CHAPTERS], book):
        _, number, author = decode(key_of(line))
        entity = read_entity(table[CHAPTERS], line)
        if type(number) is int and is_alive(entity):
            yield Chapter(number, author, entity.record, last_write(entity))


def _page(objects: Reader, state: Folder, table: Table, book: Json) -> Record | None:
    """The title page of a book; None if it has none, or a deleted one."""
    line = _line(objects, state, table[BOOKS], book)
    entity = read_entity(table[BOOKS], line) if line else None
    return entity.record if entity is not None and is_alive(entity) else None


def _is_there(objects: Reader, state: Folder, table: Table, book: Json, page: Record | None) -> bool:
    """Whether there is anything to compile: deltas may have deleted the title page, or all chapters."""
    return page is not None and any(True for _ in chapters_of(objects, state, table, book))


def read_marks(objects: Reader, state: Folder, book: Json) -> Marks:
    """The marks of a book in a snapshot's progress."""
    marks = Marks({}, {})
    for line in lines_of_book(objects, state, DERIVED[PROGRESS], book):
        note_mark(marks, line)
    return marks


def note_mark(marks: Marks, line: bytes) -> None:
    """Add one line of `book_progress` to the marks of its book."""
    raw_key, raw_record, raw_stamp = parts_of(line)
    _, what, which = decode(raw_key)
    if what == "chapter":
        marks.numbers[which] = stamp_of(decode(raw_stamp))
    else:
        marks.targets[stamp_of(decode(raw_stamp))] = decode(raw_record)["target_chapters"]


def lines_of_book(objects: Reader, state: Folder, row: Collection, book: Json) -> Iterator[bytes]:
    """A collection's lines for one book, from the few files that may hold them; its key begins with the book."""
    # A file may hold other books as well, because their hashes begin alike.
    start = b"[[%b" % canonical(book)
    for line in scan(objects, state, file_name(row.name), near_path(book)):
        if line.startswith((start + b",", start + b"]")):
            yield line


def standard(table: Table, *names: str) -> bool:
    """Whether collections are keyed, joined and laid out as in the protocol."""
    return all(table[name].identity == DEFAULT_TABLE[name].identity for name in names)


def _joined(old: Marks, new: Marks) -> Marks:
    """Marks of two sets of deltas as those of their union."""
    firsts = {number: min(stamp, old.numbers.get(number, stamp)) for number, stamp in new.numbers.items()}
    return Marks({**old.numbers, **firsts}, {**old.targets, **new.targets})


def _progress(book: Json, old: Marks, marks: Marks) -> Iterator[tuple[Record, Stamp]]:
    """The new or changed entries of a book's progress."""
    for number, stamp in marks.numbers.items():
        if old.numbers.get(number) != stamp:
            yield {"book": book, "what": "chapter", "which": number}, stamp
    for stamp, target in marks.targets.items():
        if stamp not in old.targets:
            yield {"book": book, "what": "target", "which": stamp.content_id, "target_chapters": target}, stamp


def _progress_lines(progress: list[tuple[Record, Stamp]]) -> dict[bytes, tuple[Json, bytes]]:
    """Their lines with their books, by key."""
    records = [record for record, _ in progress]
    raw_keys = canonical_each([[record["book"], record["what"], record["which"]] for record in records])
    raw_stamps = canonical_each([stamp for _, stamp in progress])
    lines = fresh_lines(DERIVED[PROGRESS], raw_keys, records, raw_stamps)
    books = [record["book"] for record in records]
    return dict(zip(raw_keys, zip(books, lines, strict=True), strict=True))


def _line(objects: Reader, state: Folder, row: Collection, book: Json) -> bytes | None:
    """The line of a collection whose complete key is the book."""
    raw_key = canonical([book])
    return find(objects, state, file_name(row.name), [(keyed_path(row, [book], raw_key), raw_key)]).get(raw_key)


def _put(objects: Objects, folders: Folders, row: Collection, lines: dict[bytes, tuple[Json, bytes]]) -> int:
    """Store lines with their books, by key, in place of the present ones; returns how many keys are new."""
    if not lines:
        return 0
    nears = near_paths(row, [[book] for book, _ in lines.values()])
    changes: list[Change[None]] = [
        (near, key, line, None) for near, (key, (_, line)) in zip(nears, lines.items(), strict=True)
    ]
    layout: Layout[None] = keyed_layout(row)
    return update(objects, folders.state, file_name(row.name), sorted_changes(changes), layout)


def _take(objects: Objects, state: Folder, row: Collection, keys: list[bytes]) -> int:
    """Remove lines by key; returns how many."""
    doomed = sorted((keyed_path(row, decode(raw_key), raw_key), raw_key) for raw_key in keys)
    if doomed:
        remove_lines(objects, state, file_name(row.name), doomed, row.a_file)
    return len(doomed)
