"""A title page and chapters to a published object: the reference schema, completion, alternates.

Contract: docs/protocol.md#the-merge."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from dreamcatcherd.core.books.compile import (
    Chapter,
    Marks,
    choose,
    compile_book,
    completed,
    fingerprint,
    in_reference_order,
    reading_minutes,
    rfc3339_text,
    target_of,
)
from dreamcatcherd.core.model import Record, Stamp
from tests.corpus import CORPUS, needs_corpus

REAL = sorted(Path(CORPUS, "books").glob("*-*.json")) if CORPUS else []
PAGE = ("title", "subtitle", "author", "agent_id", "blurb", "version", "genre", "tags")


def at(number: int, frame: int = 1, stream: str = "s") -> Stamp:
    return Stamp(frame, number * 1_000_000, stream, "c" * 40)


def chapter(number: int, author: str = "a", stamp: Stamp | None = None, **fields: Any) -> Chapter:
    record = {"book": "b", "chapter": number, "author": author, **fields}
    return Chapter(number, author, record, stamp or at(number))


def compiled(page: Record, *chapters: Chapter) -> Record:
    made: Record = compile_book("b", page, chapters, at(9))["object"]
    return made


# The reference -----------------------------------------------------------------------------------------------------


@needs_corpus
def test_the_real_objects_are_found() -> None:
    """The folder holds real books, so that the tests below are about something."""
    assert len(REAL) == 2


@pytest.mark.parametrize("path", REAL, ids=lambda path: path.name)
def test_a_real_book_is_compiled_back_field_for_field(path: Path) -> None:
    """Its title page and chapters give the object again, in the reference's order; only what this one knows differs."""
    real = json.loads(path.read_text())
    page = {"book": real["id"], **{name: real[name] for name in PAGE}, "metadata": real["metadata"]}
    chapters = [
        Chapter(one["number"], f"worker-{one['number'] % 5}", {**one, "word_count": -1}, at(one["number"]))
        for one in real["chapters"]
    ]
    made = in_reference_order(compile_book(real["id"], page, reversed(chapters), at(7))["object"])
    assert made["metadata"].pop("compiled_at") == "1970-01-01T00:00:07Z"
    assert real["metadata"].pop("compiled_at") is None
    assert [*made, "exportedAt"] == list(real)
    assert [list(one) for one in made["chapters"]] == [list(one) for one in real["chapters"]]
    assert list(made["metadata"]) == list(real["metadata"])
    minutes = made["metadata"].pop("reading_time_minutes"), real["metadata"].pop("reading_time_minutes")
    unsealed = not real["fingerprint"]  # written by hand: it says 15 minutes where 3,924 words are 15.7
    assert minutes[0] in (minutes[1], minutes[1] + unsealed)
    unlike = {"fingerprint", "exportedAt"}
    assert {name: made[name] for name in made if name not in unlike} == {n: real[n] for n in real if n not in unlike}


@needs_corpus
def test_the_fingerprint_is_the_real_ones() -> None:
    """A real sealed object gives its own fingerprint again, whatever stands in the two fields that it leaves out."""
    assert CORPUS is not None
    real = json.loads(Path(CORPUS, "books", "data-sloshing.json").read_text())
    assert fingerprint(real) == real["fingerprint"]
    assert fingerprint({**real, "fingerprint": "x", "exportedAt": None}) == real["fingerprint"]
    assert fingerprint({**real, "version": 2}) != real["fingerprint"]


def test_the_fingerprint_seals_the_object() -> None:
    """An object's own fingerprint is that of its fields, letters beyond ASCII as escapes."""
    made = compiled({"title": "Größe"}, chapter(1, content="é"))
    assert made["fingerprint"] == fingerprint(made)
    assert fingerprint({"a": "é", "fingerprint": "f"}) == fingerprint({"a": "\u00e9", "exportedAt": "now"})
    assert len(made["fingerprint"]) == 16


def test_a_bare_title_page_has_the_absent_fields_of_the_reference() -> None:
    """What nobody gave is an empty text, an empty list or null, and the version is 1."""
    made = compiled({"book": "b"}, chapter(1))
    metadata = made.pop("metadata")
    del made["fingerprint"]
    assert made == {
        "$schema": "rappterbook-v1",
        "id": "b",
        **dict.fromkeys(("title", "subtitle", "author", "blurb", "genre"), ""),
        "agent_id": None,
        "version": 1,
        "tags": [],
        "status": "published",
        "chapters": [
            {"number": 1, "title": "", "part": None, "content": "", "word_count": 0, "discussion_number": None}
        ],
    }
    assert metadata == {
        "word_count": 0,
        "chapter_count": 1,
        "reading_time_minutes": 1,
        "created_at": "",
        "updated_at": "",
        "compiled_at": "1970-01-01T00:00:09Z",
        "source_posts": [],
    }


@pytest.mark.parametrize("odd", [None, 1.5, True, [1, None], {"a": 1}])
def test_texts_of_chapters_of_the_wrong_form_count_as_absent(odd: Any) -> None:
    """A chapter's title that is a list, a body that is a number: the object is as if they had not been given."""
    fields = dict.fromkeys(("title", "part", "content", "body", "discussion_number"), odd)
    assert compiled({"metadata": odd if odd != {"a": 1} else None}, chapter(1, **fields)) == compiled({}, chapter(1))


@pytest.mark.parametrize("value", ["1.0.0", 2, 1.5, True, [1, None], {"a": 1}])
def test_what_the_title_page_says_is_passed_through_as_given(value: Any) -> None:
    """A version such as "1.0.0" stays that string, and any other value what it is; what is absent has its default."""
    made = compiled(dict.fromkeys((*PAGE, "created_at", "updated_at", "source_posts"), value), chapter(1))
    given = ("title", "subtitle", "author", "agent_id", "blurb", "version", "genre", "tags")
    assert {name: made[name] for name in given} == dict.fromkeys(given, value)
    assert [made["metadata"][name] for name in ("created_at", "updated_at", "source_posts")] == [value] * 3
    absent = compiled(dict.fromkeys(PAGE), chapter(1))
    assert [absent[name] for name in given] == ["", "", "", None, "", 1, "", []]


def test_the_title_page_may_carry_its_dates_beside_or_in_metadata() -> None:
    """`created_at` and the like are read from the record itself, else from its `metadata`, as objects have them."""
    inner = {"created_at": "in", "updated_at": "in", "source_posts": [3], "word_count": 7}
    metadata = compiled({"metadata": inner, "updated_at": "beside"}, chapter(1))["metadata"]
    assert (metadata["created_at"], metadata["updated_at"], metadata["source_posts"]) == ("in", "beside", [3])
    assert metadata["word_count"] == 0


def test_a_chapters_text_is_its_content_or_body() -> None:
    """`content` counts, `body` where there is none, whatever way it came; words are what white space parts."""
    made = compiled(
        {}, chapter(1, content="a  b\n\tc\u2003d"), chapter(2, body="one"), chapter(3, content="", body="x y")
    )
    assert [one["word_count"] for one in made["chapters"]] == [4, 1, 2]
    assert made["metadata"]["word_count"] == 7


@pytest.mark.parametrize(
    ("words", "minutes"), [(0, 1), (124, 1), (374, 1), (376, 2), (2353, 9), (2375, 10), (2625, 10)]
)
def test_reading_time_is_rounded_to_the_nearest_minute(words: int, minutes: int) -> None:
    """250 words a minute, at least one minute; a half goes to the even minute, as the platform's own code rounds."""
    assert reading_minutes(words) == minutes


@pytest.mark.parametrize(
    ("micros", "text"),
    [
        (0, "1970-01-01T00:00:00Z"),
        (1_500_000, "1970-01-01T00:00:01.500000Z"),
        (-1, "1969-12-31T23:59:59.999999Z"),
        (-62135596800_000_000, "0001-01-01T00:00:00Z"),
        (-62135596800_000_000 - 3_600_000_000, "0001-01-01T00:00:00Z"),
        (253402300800_000_000 + 3_600_000_000, "9999-12-31T23:59:59.999999Z"),
    ],
)
def test_moments_are_rfc_3339_at_the_ends_of_time_too(micros: int, text: str) -> None:
    """An offset can carry a delta's time out of the years that can be written; the book is published all the same."""
    assert rfc3339_text(micros) == text


# Completion --------------------------------------------------------------------------------------------------------

CHAPTERS = {1: at(1), 2: at(2), 3: at(3)}


@pytest.mark.parametrize(
    ("numbers", "targets", "when"),
    [
        ({}, {}, None),
        (CHAPTERS, {}, None),
        (CHAPTERS, {at(0): 4}, None),
        (CHAPTERS, {at(0): 3}, at(3)),
        (CHAPTERS, {at(0): 2}, at(2)),
        (CHAPTERS, {at(2): 2}, at(2)),
        (CHAPTERS, {at(9): 3}, at(9)),
        (CHAPTERS, {at(0): 3, at(9): 3}, at(3)),
        (CHAPTERS, {at(0): 3, at(9): 50}, at(3)),
        (CHAPTERS, {at(0): 2, at(1): 50}, None),
        (CHAPTERS, {at(0): 50, at(9): 2}, at(9)),
        (CHAPTERS, {at(0): 2, at(1): None}, None),
        (CHAPTERS, {at(0): 2, at(1): None, at(8): 1}, at(8)),
        ({7: at(1), 9: at(1), -1: at(1)}, {at(0): 3}, at(1)),
        ({1: at(5, 1), 2: at(1, 2)}, {at(9, 0): 2}, at(1, 2)),
    ],
)
def test_a_book_is_completed_by_one_delta(
    numbers: dict[int, Stamp], targets: dict[Stamp, int | None], when: Stamp | None
) -> None:
    """Taken in the order of their stamps, the first delta after which the chapters are as many as the target stands."""
    assert completed(Marks(numbers, targets)) == when
    turned = Marks(dict(reversed(numbers.items())), dict(reversed(targets.items())))
    assert completed(turned) == when


@pytest.mark.parametrize(
    ("value", "target"),
    [(12, 12), ("12", 12), (1, 1), (0, None), (-3, None), ("012", None), (True, None), (2.0, None), (None, None)],
)
def test_a_target_is_a_positive_integer(value: Any, target: int | None) -> None:
    """Also as a decimal string, as keys are; anything else is no target, and the book stays open."""
    assert target_of(value) == target


# Several agents at one chapter -------------------------------------------------------------------------------------


def test_the_latest_stamp_is_in_the_book_and_all_others_beside_it() -> None:
    """Of three agents at one number the newest is read; the others are listed whole, newest first, with stamps."""
    versions = [chapter(1, author, at(when), content=author) for author, when in (("x", 3), ("y", 5), ("z", 4))]
    record = compile_book("b", {}, [*versions, chapter(2, "x")], at(9))
    assert [one["content"] for one in record["object"]["chapters"]] == ["y", ""]
    assert [(one["author"], one["content"], one["stamp"]) for one in record["alternates"]] == [
        ("z", "z", at(4)),
        ("x", "x", at(3)),
    ]
    assert record["alternates"][0].keys() == {*record["object"]["chapters"][0], "author", "stamp"}


def test_ties_and_bare_chapters_have_one_order() -> None:
    """Two agents in one delta tie and the later author stands; a chapter of key fields alone yields to any other."""
    bare = Chapter(1, 3, {"book": "b", "chapter": 1, "author": 3}, None)
    tied = [chapter(1, author, at(4)) for author in ("a", "b")]
    for given in ([bare, *tied], [*reversed(tied), bare]):
        standing, others = choose(given)
        assert [one.author for one in standing] == ["b"]
        assert [one.author for one in others] == ["a", 3]


def test_chapters_come_by_number_not_by_text() -> None:
    """Chapter 10 follows chapter 9, and numbers need be neither near nor positive."""
    made = compiled({}, chapter(10), chapter(9), chapter(-1), chapter(400))
    assert [one["number"] for one in made["chapters"]] == [-1, 9, 10, 400]
