"""Agents that write books together with plain git, for the demo and for tests: uncoordinated, some of them killed.

Owns the texts that they write and the check of the finished books."""

from __future__ import annotations

from pathlib import Path

from msgspec import Struct, field

from dreamcatcherd.core.model import Record
from dreamcatcherd.demo.fleet import Pusher

TITLES = {"tides": "The Book of Tides", "lanes": "Lanes and Weather", "frames": "Frames at Night"}
KILLED = 2
ROUNDS = 20
"""How often an author starts again after `_push_or_die` gave up."""


class Author(Pusher):
    """Writes one chapter of each book, one push for each, and stops.

    If `killed`, SIGKILL cuts its first push short; then it pushes the same commit again, as under a supervisor, and
    continues. If `overwriting`, it uses one file in one frame, so that only history has the earlier versions. Three
    authors add a title page: the first, one in the middle and the last."""

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
                raise RuntimeError(f"{mark}: git did not accept it")
            self.wrote += 1

    def _sections(self, book: str) -> dict[str, object]:
        chapter = {"book": book, "chapter": self._number, "author": self.stream_id, "title": f"By {self.stream_id}"}
        sections: dict[str, object] = {"chapters_added": [{**chapter, "content": text_of(book, self._number)}]}
        if book in self._pages:
            page = {"book": book, "title": TITLES[book], "genre": "technical", "author": "The fleet"}
            sections["books_started"] = [{**page, "target_chapters": self._target}]
        return sections


def text_of(book: str, number: int) -> str:
    """The text of a chapter, different from all others."""
    return f"Chapter {number} of {TITLES[book]}.\n\n" + " ".join(f"{book}-{number}-{i}" for i in range(120))


def make_authors(repository: Path, folder: Path, size: int) -> list[Author]:
    """Authors: two of three on lanes, the third on the shared branch; the first overwrites, the last two are killed."""
    return [Author(repository, folder, number, size) for number in range(1, size + 1)]


class Bound(Struct, frozen=True):
    """A book of the demo: its number of chapters, whether it was published, and the chapters with a wrong text."""

    book: str
    chapters: int
    target: int
    published: bool
    wrong: list[int] = field(name="astray")
    fingerprint: str | None = None

    @property
    def holds(self) -> bool:
        """Whether the book is published and every chapter has the text that its author wrote."""
        return self.published and self.chapters == self.target and not self.wrong


def bound_books(library: dict[str, Record], size: int) -> list[Bound]:
    """The state of each book, from the compiled objects by book."""
    found = []
    for book in TITLES if size else ():
        made = library.get(book)
        texts = {chapter["number"]: chapter["content"] for chapter in made["chapters"]} if made else {}
        wrong = [number for number, text in texts.items() if text != text_of(book, number)]
        found.append(Bound(book, len(texts), size, made is not None, wrong, made["fingerprint"] if made else None))
    return found
