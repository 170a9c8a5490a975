"""Agents that write books together by plain git, for the demo and for tests: nobody coordinates, some are killed.

Owns what they write and what a finished shelf must then hold."""

from __future__ import annotations

from pathlib import Path

from msgspec import Struct

from dreamcatcherd.core.model import Record
from dreamcatcherd.demo.fleet import Pusher

TITLES = {"tides": "The Book of Tides", "lanes": "Lanes and Weather", "frames": "Frames at Night"}
KILLED = 2
ROUNDS = 20
"""How often an author takes heart again after its clone gave a push up."""


class Author(Pusher):
    """Writes one chapter of each book, a push each, and stops.

    `killed` cuts its first push short with SIGKILL; started again, as a supervisor would, it pushes the same commit
    once more and goes on. `overwriting` keeps to one file in one frame, so that only history has its earlier versions.
    Three of them bring a title page along: the first, one in the middle and the last."""

    def __init__(self, repository: Path, folder: Path, number: int, of: int) -> None:
        super().__init__(repository, folder, f"author-{number:02}", lane=number % 3 != 0)
        self.killed = number > of - KILLED
        self.overwriting = number == 1
        self.wrote = 0
        self._number = number
        self._target = of
        books = list(TITLES)
        self._order = books[number % len(books) :] + books[: number % len(books)]
        self._pages = {book for book, writer in zip(books, (1, (of + 1) // 2, of), strict=True) if writer == number}

    def _work(self) -> None:
        first = self._open_frame()
        for book in self._order:
            mark = f"{self.stream_id}: chapter {self._number} of {book}"
            frame = first if self.overwriting else self._open_frame()
            name = self.stream_id if self.overwriting else f"{self.stream_id}-{book}"
            self._commit(frame, f"{name}.json", mark, self._sections(book))
            if self.killed and not self.wrote:
                self._push_or_die(killed=True)
            if not any(self._push_or_die(killed=False) for _ in range(ROUNDS)):
                raise RuntimeError(f"{mark}: git would not take it")
            self.wrote += 1

    def _sections(self, book: str) -> dict[str, object]:
        chapter = {"book": book, "chapter": self._number, "author": self.stream_id, "title": f"By {self.stream_id}"}
        sections: dict[str, object] = {"chapters_added": [{**chapter, "content": text_of(book, self._number)}]}
        if book in self._pages:
            page = {"book": book, "title": TITLES[book], "genre": "technical", "author": "The fleet"}
            sections["books_started"] = [{**page, "target_chapters": self._target}]
        return sections


def text_of(book: str, number: int) -> str:
    """What a chapter says: no other says the same."""
    return f"Chapter {number} of {TITLES[book]}.\n\n" + " ".join(f"{book}-{number}-{i}" for i in range(120))


def make_authors(repository: Path, folder: Path, size: int) -> list[Author]:
    """Authors, two of three on lanes, the third on the shared branch; the first overwrites, the last two are killed."""
    return [Author(repository, folder, number, size) for number in range(1, size + 1)]


class Bound(Struct, frozen=True):
    """A book of the demo as it was published, or not: how many chapters it has, and those whose text is not what was
    written."""

    book: str
    chapters: int
    target: int
    published: bool
    astray: list[int]
    fingerprint: str | None = None

    @property
    def holds(self) -> bool:
        """Whether the book is published with every chapter as it was written."""
        return self.published and self.chapters == self.target and not self.astray


def bound_books(library: dict[str, Record], size: int) -> list[Bound]:
    """What became of each book, from the compiled objects by book."""
    found = []
    for book in TITLES if size else ():
        made = library.get(book)
        texts = {chapter["number"]: chapter["content"] for chapter in made["chapters"]} if made else {}
        astray = [number for number, text in texts.items() if text != text_of(book, number)]
        found.append(Bound(book, len(texts), size, made is not None, astray, made["fingerprint"] if made else None))
    return found
