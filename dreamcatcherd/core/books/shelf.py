"""The shelf: every book of a snapshot with its progress, and the catalogue of published ones. Reads; decides nothing.

A chapter's number and author are part of its key, so the shelf is read without decoding the chapters' text."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
from urllib.parse import quote

from msgspec import Struct

from dreamcatcherd.core.books.compile import Marks, chapter_text, choose
from dreamcatcherd.core.books.library import Folder, chapters_of, lines_of_book, note_mark, standard
from dreamcatcherd.core.codec import canonical, decode
from dreamcatcherd.core.collections import BOOKS, CHAPTERS, DERIVED, LIBRARY, PROGRESS, Collection, Table
from dreamcatcherd.core.entities import is_alive
from dreamcatcherd.core.entity_lines import read_entity
from dreamcatcherd.core.keys import sort_key
from dreamcatcherd.core.model import Json, Record, Stamp
from dreamcatcherd.core.rules import Entity
from dreamcatcherd.core.shards import key_of, scan
from dreamcatcherd.core.snapshot import file_name
from dreamcatcherd.core.tree import Reader

MISSING_SHOWN = 1_000
"""How many missing numbers are named, so that a target of a billion makes no list of a billion."""

_DEWEY = {
    "000": "Computer Science, Information & General Works",
    "100": "Philosophy & Psychology",
    "200": "Religion",
    "300": "Social Sciences",
    "400": "Language",
    "500": "Science",
    "600": "Technology",
    "700": "Arts & Recreation",
    "800": "Literature",
    "900": "History & Geography",
}


class ShelfEntry(Struct, frozen=True):
    """One book on the shelf. `chapters` counts distinct numbers. `missing` are the first 1,000 numbers up to the target
    that nobody wrote, `missing_total` counts all of them; `unnumbered` are chapters that text names, which are in no
    book.

    The remaining fields are of a published book: the time and frame of the delta that completed it, its words, and its
    fingerprint."""

    book: Json
    title: str
    published: bool
    chapters: int
    target: int | None
    missing: list[int]
    missing_total: int
    authors: list[Json]
    unnumbered: list[str]
    published_at: str | None = None
    frame: int | None = None
    word_count: int | None = None
    fingerprint: str | None = None


class ChapterEntry(Struct, frozen=True):
    """One chapter as its book has it, or would have it. `alternates` are the other authors of its number."""

    number: int
    title: str
    author: Json
    word_count: int
    stamp: Stamp | None
    alternates: list[Json]


class _Draft:
    """The facts about one book while the collections are read."""

    def __init__(self, book: Json) -> None:
        self.book = book
        self.page: Record = {}
        self.marks = Marks({}, {})
        self.authors: dict[bytes, Json] = {}
        self.unnumbered: set[str] = set()
        self.bound: Entity | None = None


def shelf(objects: Reader, state: Folder, table: Table, only: list[Json] | None = None) -> list[ShelfEntry]:
    """Every book that was started or has a chapter, in key order; `only` those of the list."""
    drafts: dict[bytes, _Draft] = {}

    def of(book: Json) -> _Draft:
        return drafts.setdefault(canonical(book), _Draft(book))

    for book, _, line in _lines(objects, state, DERIVED[PROGRESS], only):
        note_mark(of(book).marks, line)
    if standard(table, CHAPTERS):
        for book, (number, author), _ in _lines(objects, state, table[CHAPTERS], only):
            of(book).authors[canonical(author)] = author
            if type(number) is str:
                of(book).unnumbered.add(number)
    if standard(table, BOOKS):
        for book, _, line in _lines(objects, state, table[BOOKS], only):
            entity = read_entity(table[BOOKS], line)
            of(book).page = entity.record if is_alive(entity) else {}
    for book, _, line in _lines(objects, state, DERIVED[LIBRARY], only):
        of(book).bound = read_entity(DERIVED[LIBRARY], line)
    return [_shelved(draft) for draft in sorted(drafts.values(), key=lambda draft: sort_key(draft.book))]


def chapter_entries(objects: Reader, state: Folder, table: Table, book: Json) -> list[ChapterEntry]:
    """The chapters of a book, published or not, by number, with their authors."""
    if not standard(table, CHAPTERS):
        return []
    chosen, others = choose(chapters_of(objects, state, table, book))
    return [
        ChapterEntry(
            number=one.number,
            title=one.record["title"] if type(one.record.get("title")) is str else "",
            author=one.author,
            word_count=len(chapter_text(one.record).split()),
            stamp=one.stamp,
            alternates=[other.author for other in others if other.number == one.number],
        )
        for one in chosen
    ]


def catalogue(objects: Reader, state: Folder, table: Table) -> Record:
    """All published books in the form of the platform's `library.json`. It holds no wall clock: `updated` is the day on
    which the newest book was complete, and the Dewey class is taken from the title page."""
    rows = []
    newest = ""
    for book, _, line in _lines(objects, state, DERIVED[LIBRARY], None):
        made = read_entity(DERIVED[LIBRARY], line).record["object"]
        page: Record = {}
        for _, _, own in _lines(objects, state, table[BOOKS], [book]):
            page = read_entity(table[BOOKS], own).record
        newest = max(newest, made["metadata"]["compiled_at"][:10])
        row = {name: made[name] for name in ("id", "title", "author", "blurb")}
        row["file"] = f"{quote(made['id'], safe='')}.json"
        row |= {name: page[name] if type(page.get(name)) is str else "" for name in ("dewey", "dewey_label")}
        rows.append((sort_key(book), {**row, "status": "complete"}))
    meta = {
        "description": "Published books",
        "updated": newest,
        "classification": "Dewey Decimal System",
        "note": "Books are compiled from chapters by the merge; edit none of this by hand.",
    }
    books = [row for _, row in sorted(rows, key=lambda one: one[0])]
    return {"_meta": meta, "dewey_classes": dict(_DEWEY), "books": books}


def _lines(
    objects: Reader, state: Folder, row: Collection, only: list[Json] | None
) -> Iterator[tuple[Json, list[Json], bytes]]:
    """A collection's lines as (book, the rest of the key, line)."""
    if only is None:
        found = scan(objects, state, file_name(row.name))
    else:
        found = (line for book in only for line in lines_of_book(objects, state, row, book))
    for line in found:
        book, *rest = decode(key_of(line))
        yield book, rest, line


def _shelved(draft: _Draft) -> ShelfEntry:
    numbers, target = draft.marks.numbers, draft.marks.target
    wanted = range(1, (target or 0) + 1)
    missing = islice((number for number in wanted if number not in numbers), MISSING_SHOWN)
    title = draft.page.get("title")
    made = draft.bound.record["object"] if draft.bound else None
    return ShelfEntry(
        book=draft.book,
        title=title if type(title) is str else "",
        published=made is not None,
        chapters=len(numbers),
        target=target,
        missing=list(missing),
        missing_total=(target or 0) - sum(number in wanted for number in numbers),
        authors=sorted(draft.authors.values(), key=sort_key),
        unnumbered=sorted(draft.unnumbered),
        published_at=made["metadata"]["compiled_at"] if made else None,
        frame=draft.bound.stamps.frame if draft.bound and isinstance(draft.bound.stamps, Stamp) else None,
        word_count=made["metadata"]["word_count"] if made else None,
        fingerprint=made["fingerprint"] if made else None,
    )
