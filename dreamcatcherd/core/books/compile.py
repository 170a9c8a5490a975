"""Books that finish themselves: a title page and chapters become a published BookRappter object
(docs/protocol.md#books).

Owns when a book is complete, the content of its object, and the fingerprint. Pure: `library` reads the inputs and
stores the object. The values of the title page are passed through as given. A chapter's text that is not a string
counts as absent; the records in `chapters` keep it."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from typing import NamedTuple

from dreamcatcherd.core.keys import key_part, sort_key
from dreamcatcherd.core.model import Json, Record, Stamp

SCHEMA = "rappterbook-v1"
WORDS_A_MINUTE = 250

_PAGE = ("$schema", "id", "title", "subtitle", "author", "agent_id", "blurb", "version", "genre", "tags", "status")
_OBJECT = (*_PAGE, "chapters", "metadata", "fingerprint")
_CHAPTER = ("number", "title", "part", "content", "word_count", "discussion_number")
_METADATA = (
    "word_count", "chapter_count", "reading_time_minutes", "created_at", "updated_at", "compiled_at", "source_posts"
)  # fmt: skip

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_FIRST, _LAST = datetime.min.replace(tzinfo=UTC), datetime.max.replace(tzinfo=UTC)


class Chapter(NamedTuple):
    """One agent's record for one chapter number, and its latest stamp; the stamp is None if the record has only key
    fields."""

    number: int
    author: Json
    record: Record
    stamp: Stamp | None


class Marks(NamedTuple):
    """The facts that decide when a book is complete: each chapter number's first stamp, and each target with its stamp.

    A target is None if the delta gave a value that is not a target."""

    numbers: dict[int, Stamp]
    targets: dict[Stamp, int | None]

    @property
    def target(self) -> int | None:
        """The target in force: the latest one."""
        return self.targets[max(self.targets)] if self.targets else None


def target_of(value: Json) -> int | None:
    """The target in a `target_chapters` value: an integer from 1 on, or one as a decimal string; else None."""
    part = key_part(value)
    return part if type(part) is int and part > 0 else None


def completed(marks: Marks) -> Stamp | None:
    """The stamp at which a book was first complete, if deltas are taken in the order of their stamps; None if never.

    A target counts from its own stamp on, so that raising it afterwards does not unpublish the book."""
    firsts = Counter(marks.numbers.values())
    written, target = 0, None
    for stamp in sorted({*firsts, *marks.targets}):
        written += firsts[stamp]
        if stamp in marks.targets:
            target = marks.targets[stamp]
        if target is not None and written >= target:
            return stamp
    return None


def compile_book(book: Json, page: Record, chapters: Iterable[Chapter], stamp: Stamp) -> Record:
    """The record of `library`: the object, and the chapters that other agents wrote under the same numbers.

    `page` is the book's record in `books`, `stamp` that of the delta which completed it."""
    chosen, others = choose(chapters)
    written = [_chapter(chapter) for chapter in chosen]
    words = sum(chapter["word_count"] for chapter in written)
    inner = page.get("metadata")
    noted = inner if type(inner) is dict else {}
    made: Record = {
        "$schema": SCHEMA,
        "id": str(book),
        "title": _given(page.get("title"), ""),
        "subtitle": _given(page.get("subtitle"), ""),
        "author": _given(page.get("author"), ""),
        "agent_id": page.get("agent_id"),
        "blurb": _given(page.get("blurb"), ""),
        "version": _given(page.get("version"), 1),
        "genre": _given(page.get("genre"), ""),
        "tags": _given(page.get("tags"), []),
        "status": "published",
        "chapters": written,
        "metadata": {
            "word_count": words,
            "chapter_count": len(written),
            "reading_time_minutes": reading_minutes(words),
            "created_at": _given(_first(page, noted, "created_at"), ""),
            "updated_at": _given(_first(page, noted, "updated_at"), ""),
            "compiled_at": rfc3339_text(stamp.utc),
            "source_posts": _given(_first(page, noted, "source_posts"), []),
        },
    }
    made["fingerprint"] = fingerprint(made)
    alternates = [{**_chapter(one), "author": one.author, "stamp": one.stamp} for one in others]
    return {"book": book, "object": made, "alternates": alternates}


def choose(chapters: Iterable[Chapter]) -> tuple[list[Chapter], list[Chapter]]:
    """For each number the chapter with the latest stamp, and all other chapters, each by number; the others newest
    first.

    Two chapters of one delta tie: then the later in the order of authors wins."""
    by_number: dict[int, list[Chapter]] = {}
    for chapter in sorted(chapters, key=lambda one: (one.stamp or (), sort_key(one.author)), reverse=True):
        by_number.setdefault(chapter.number, []).append(chapter)
    numbers = sorted(by_number)
    return [by_number[number][0] for number in numbers], [one for number in numbers for one in by_number[number][1:]]


def chapter_text(record: Record) -> str:
    """A chapter's text: its `content`, else its `body`."""
    return _text(record, "content") or _text(record, "body")


def reading_minutes(words: int) -> int:
    """Minutes to read a number of words: to the nearest, ties to the even one, at least 1."""
    return max(1, round(words / WORDS_A_MINUTE))


def fingerprint(made: Record) -> str:
    """The first 16 hex digits of the SHA-256 of an object without `fingerprint` and `exportedAt`."""
    kept = {name: value for name, value in made.items() if name not in ("fingerprint", "exportedAt")}
    import json  # loaded with the first book that is complete

    raw = json.dumps(kept, sort_keys=True, separators=(",", ":"), ensure_ascii=True)
    return hashlib.sha256(raw.encode()).hexdigest()[:16]


def in_reference_order(made: Record) -> Record:
    """An object with its fields in the order of the reference schema; the snapshot has them sorted."""
    return {
        **{name: made[name] for name in _OBJECT},
        "chapters": [{name: chapter[name] for name in _CHAPTER} for chapter in made["chapters"]],
        "metadata": {name: made["metadata"][name] for name in _METADATA},
    }


def rfc3339_text(micros: int) -> str:
    """Microseconds since 1970 as RFC 3339 in UTC, digits after the second only if there are any.

    An offset may carry a valid time out of the years 1 to 9999: then the nearest time that can be written."""
    try:
        at = _EPOCH + timedelta(microseconds=micros)
    except OverflowError:
        at = _LAST if micros > 0 else _FIRST
    return at.replace(tzinfo=None).isoformat() + "Z"


def _chapter(chapter: Chapter) -> Record:
    content = chapter_text(chapter.record)
    part, discussion = chapter.record.get("part"), key_part(chapter.record.get("discussion_number"))
    return {
        "number": chapter.number,
        "title": _text(chapter.record, "title"),
        "part": part if type(part) is str else None,
        "content": content,
        "word_count": len(content.split()),
        "discussion_number": discussion if type(discussion) is int else None,
    }


def _first(page: Record, noted: Record, name: str) -> Json:
    """A field of the title page, else of the `metadata` object that the page may have."""
    return page[name] if page.get(name) is not None else noted.get(name)


def _text(record: Record, name: str) -> str:
    value = record.get(name)
    return value if type(value) is str else ""


def _given(value: Json, absent: Json) -> Json:
    """A value of the title page as it was given, whatever its type; a default if it is absent."""
    return absent if value is None else value
