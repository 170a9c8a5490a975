"""The library in a snapshot: who pays for it, what may leave it, and settings that it cannot work under."""

from __future__ import annotations

import json
from typing import Any

import pytest
import structlog
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import generate_latest

from dreamcatcherd.core.collections import DEFAULT_TABLE, DERIVED
from dreamcatcherd.core.guard import lost_entities
from dreamcatcherd.core.ledger import BookEvent, Ledger
from dreamcatcherd.core.settings import SettingsError, read_settings
from dreamcatcherd.core.shards import Layout, line_of, remove_lines, sorted_changes, update
from dreamcatcherd.core.snapshot import close_snapshot, get_keyed, open_snapshot
from dreamcatcherd.core.tree import Entry, subtree, walk
from dreamcatcherd.daemon.cycle import close_frame
from dreamcatcherd.daemon.primary import Primary
from dreamcatcherd.observe.logs import CycleLog
from dreamcatcherd.observe.metrics import Metrics
from dreamcatcherd.testing import MemoryStore
from tests.law.fleet import new_primary, send
from tests.law.model import Sent


def delta(frame: int, second: int, **sections: Any) -> Sent:
    head = {"frame": frame, "utc": f"2026-01-01T00:00:{second:02}Z", "stream_id": "a"}
    return Sent(json.dumps({**head, **sections}).encode())


def page(book: Any, target: Any, **fields: Any) -> list[Any]:
    return [{"book": book, "target_chapters": target, **fields}]


def chapters(book: Any, *numbers: Any, author: str = "x", content: str = "words") -> list[Any]:
    return [{"book": book, "chapter": number, "author": author, "content": content} for number in numbers]


def closed(primary: Primary, *deltas: Sent) -> Ledger:
    """Push deltas and close a frame."""
    for sent in deltas:
        send(primary.store, sent, f"d{len(sent.raw)}-{hash(sent.raw)}", lane=False)
    ledger = close_frame(primary, "test").ledger
    assert ledger is not None
    return ledger


def events(ledger: Ledger) -> dict[Any, list[BookEvent]]:
    return {row.book: row.events for row in ledger.books}


def record(primary: Primary, collection: str, *key: Any) -> Any:
    """What the newest snapshot says, or None."""
    base = primary.load_published(primary.store.refs())
    folders = open_snapshot(primary.store, base.snapshot)
    item = get_keyed(primary.store, folders, {**DEFAULT_TABLE, **DERIVED}[collection], list(key))
    return item.record if item else None


def test_a_book_is_started_grows_is_published_and_revised() -> None:
    """The ledger of each frame says what it did to a book, in one row."""
    primary = new_primary()
    first = closed(primary, delta(1, 1, books_started=page("b", 2, title="T")))
    assert [(row.events, row.chapters, row.target) for row in first.books] == [(["started"], 0, 2)]
    second = closed(primary, delta(2, 1, chapters_added=chapters("b", 1)))
    assert [(row.events, row.chapters) for row in second.books] == [(["grew"], 1)]
    same = closed(primary, delta(3, 1, chapters_added=chapters("b", 1, content="better")))
    assert same.books == []
    done = closed(primary, delta(4, 1, chapters_added=chapters("b", 2)))
    assert events(done) == {"b": ["grew", "published"]}
    made = record(primary, "library", "b")["object"]
    assert done.books[0].fingerprint == made["fingerprint"]
    assert [one["content"] for one in made["chapters"]] == ["better", "words"]
    retitled = closed(primary, delta(5, 1, books_started=[{"book": "b", "title": "New"}]))
    assert events(retitled) == {"b": ["revised"]}
    more = closed(primary, delta(6, 1, chapters_added=chapters("b", 3)))
    assert events(more) == {"b": ["grew", "revised"]}
    again = record(primary, "library", "b")["object"]
    assert (again["title"], again["metadata"]["chapter_count"]) == ("New", 3)
    assert again["metadata"]["compiled_at"] == made["metadata"]["compiled_at"] == "2026-01-01T00:00:01Z"


def test_a_book_is_complete_in_the_frame_that_brings_all_of_it() -> None:
    """Title page and chapters of one frame, even of one delta, are published by its close."""
    primary = new_primary()
    both = delta(1, 1, books_started=page(7, 2), chapters_written=chapters("7", "1", 2))
    assert events(closed(primary, both)) == {7: ["started", "grew", "published"]}
    assert record(primary, "library", 7)["object"]["id"] == "7"


def test_chapters_wait_for_their_book() -> None:
    """Chapters of a book that nobody started grow; the title page that comes last completes it."""
    primary = new_primary()
    assert events(closed(primary, delta(1, 1, chapters_added=chapters("b", 1, 2)))) == {"b": ["grew"]}
    assert events(closed(primary, delta(2, 9, books_started=page("b", 2)))) == {"b": ["started", "published"]}
    assert record(primary, "library", "b")["object"]["metadata"]["compiled_at"] == "2026-01-01T00:00:09Z"


def test_an_overwritten_first_chapter_still_tells_when_the_book_was_complete() -> None:
    """Every field of the completing chapter is replaced later; `compiled_at` stays with the delta that completed it."""
    primary = new_primary()
    closed(primary, delta(1, 1, books_started=page("b", 1)), delta(1, 2, chapters_added=chapters("b", 1)))
    closed(primary, delta(2, 50, chapters_added=chapters("b", 1, content="new"), books_started=page("b", 1)))
    made = record(primary, "library", "b")["object"]
    assert made["chapters"][0]["content"] == "new"
    assert made["metadata"]["compiled_at"] == "2026-01-01T00:00:02Z"


def test_a_chapter_named_by_text_is_kept_and_does_not_count() -> None:
    """Numbers alone are counted and bound; an epilogue without a number stays in `chapters`."""
    primary = new_primary()
    ledger = closed(primary, delta(1, 1, books_started=page("b", 2), chapters_added=chapters("b", 1, "epilogue")))
    assert [(row.chapters, row.published) for row in ledger.books] == [(1, False)]
    assert record(primary, "chapters", "b", "epilogue", "x")["content"] == "words"


def test_raising_the_target_of_a_published_book_leaves_it_published() -> None:
    """It goes on following chapters; only its shelf row says how many are wanted now."""
    primary = new_primary()
    closed(primary, delta(1, 1, books_started=page("b", 1), chapters_added=chapters("b", 1)))
    ledger = closed(primary, delta(2, 1, books_started=page("b", 30)))
    assert ledger.books == []
    assert record(primary, "library", "b") is not None


def test_a_late_target_reopens_a_book_and_the_guard_lets_it() -> None:
    """A late delta raised the target before the chapters came: as if it had come in time, the book is being written."""
    primary = new_primary()
    done = closed(primary, delta(1, 1, books_started=page("b", 1)), delta(1, 9, chapters_added=chapters("b", 1)))
    assert done.counts.entities["library"] == 1
    ledger = closed(primary, delta(1, 5, books_started=page("b", 2)))
    assert events(ledger) == {"b": ["reopened"]}
    assert ledger.counts.entities["library"] == 0
    assert record(primary, "library", "b") is None
    assert events(closed(primary, delta(3, 1, chapters_added=chapters("b", 2)))) == {"b": ["grew", "published"]}


def test_the_guard_misses_a_book_that_goes_without_a_new_target() -> None:
    """A compiled book that vanishes though nobody raised its target is a fault, and is told."""
    primary = new_primary()
    closed(primary, delta(1, 1, books_started=page("b", 1), chapters_added=chapters("b", 1)))
    store = primary.store
    tree = primary.load_published(store.refs()).snapshot
    folders = open_snapshot(store, tree)
    folders.state.pop("library.jsonl")
    lesser = close_snapshot(store, folders)
    assert [(lost.name, lost.key) for lost in lost_entities(store, tree, lesser)] == [("library", '["b"]')]


def test_a_frame_without_books_reads_and_writes_none() -> None:
    """Closing a frame of other deltas leaves the folders of the library as they are."""

    class Watched(MemoryStore):
        seen: set[str]

        def read(self, oid: str) -> bytes:
            self.seen.add(oid)
            return super().read(oid)

    primary = new_primary()
    for number in range(40):
        closed(primary, delta(1, 1, books_started=page(f"b{number}", 1), chapters_added=chapters(f"b{number}", 1)))
    store = primary.store
    assert isinstance(store, MemoryStore)
    watched = Watched(store)
    watched.seen = set()
    snapshot = primary.load_published(store.refs()).snapshot
    state = subtree(store, snapshot, "state")
    send(watched, delta(40, 1, counters={"n": 1}), "other", lane=False)
    other = Primary(watched, "main", primary.closing, primary.clock)
    watched.seen.clear()
    close_frame(other, "test")
    library = subtree(store, state, "library")
    assert library is not None
    assert library not in watched.seen
    send(watched, delta(41, 1, chapters_added=chapters("b7", 1, author="y")), "one", lane=False)
    watched.seen.clear()
    close_frame(other, "test")
    whole = {entry.oid for entry in _files(store, library)}
    assert len(whole) == 40
    assert len(whole & watched.seen) <= 1, "one book of forty is read, and rewritten"


def _files(store: MemoryStore, tree: str) -> list[Entry]:
    return [entry for _, entry in walk(store, tree)]


@pytest.mark.parametrize("name", ["library", "book_progress"])
def test_the_derived_collections_are_nobodys_to_set(name: str) -> None:
    """Settings that name them do not count, and a section of that name is an extra like any other."""
    with pytest.raises(SettingsError, match="made out of chapters and books"):
        read_settings(f'[collections.{name}]\nkey = ["k"]'.encode())
    primary = new_primary()
    ledger = closed(primary, delta(1, 1, **{name: [{"book": "b"}]}))
    assert ledger.counts.entities == {"extra": 1}


@pytest.mark.parametrize(
    "text",
    [
        '[collections.chapters]\nkey = ["book", "author"]',
        '[collections.chapters]\nkey = ["book"]\nrule = "max"',
        '[collections.books]\nrule = "first"',
        '[collections.books]\nkey = ["isbn", "book"]\nshard = "book"',
        '[collections.books]\nkey = []\nrule = "append"',
    ],
)
def test_other_keys_or_rules_compile_nothing(text: str) -> None:
    """Under settings that make something else of chapters or books, these merge and no book is compiled."""
    primary = new_primary(text.encode())
    ledger = closed(primary, delta(1, 1, books_started=page("b", 1, isbn=5), chapters_added=chapters("b", 1)))
    assert ledger.counts.misfits == 0
    assert "library" not in ledger.counts.entities


def test_sections_and_aliases_may_be_renamed() -> None:
    """A renamed section still feeds the library: what counts is what chapters and books are keyed and joined by."""
    primary = new_primary(b'[collections.chapters]\nsection = "pages"\n')
    ledger = closed(primary, delta(1, 1, books_started=page("b", 1), pages=chapters("b", 1)))
    assert events(ledger) == {"b": ["started", "grew", "published"]}


LAYOUT = Layout[None](2, lambda key: key.decode().strip('"'), None)


def kept(keys: set[str]) -> tuple[MemoryStore, dict[str, Entry]]:
    store, folder = MemoryStore(), dict[str, Entry]()
    changes = [(key, f'"{key}"'.encode(), line_of(f'"{key}"'.encode()), None) for key in keys]
    if changes:
        update(store, folder, "x", sorted_changes(changes), LAYOUT)
    return store, folder


@given(st.sets(st.text("abc", min_size=4, max_size=4)), st.data())
def test_lines_taken_away_leave_the_layout_of_the_rest(keys: set[str], data: st.DataObject) -> None:
    """Files and folders without some lines are those that the other lines alone would have made."""
    doomed = data.draw(st.sets(st.sampled_from(sorted(keys)))) if keys else set[str]()
    store, folder = kept(keys)
    if doomed:
        remove_lines(store, folder, "x", sorted((key, f'"{key}"'.encode()) for key in doomed), LAYOUT.limit)
    assert folder == kept(keys - doomed)[1]


def test_metrics_and_log_tell_of_books() -> None:
    """From the report alone: one count and one line for each event, and the library among the entities."""
    primary = new_primary()
    send(primary.store, delta(1, 1, books_started=page("b", 1), chapters_added=chapters("b", 1)), "d", lane=False)
    report = close_frame(primary, "test")
    metrics = Metrics()
    with structlog.testing.capture_logs() as lines:
        metrics.cycle(report)
        CycleLog(structlog.get_logger()).cycle(report)
    assert [(line["event"], line["book"]) for line in lines if "book" in line] == [
        ("book started", "b"),
        ("book grew", "b"),
        ("book published", "b"),
    ]
    shown = generate_latest(metrics.registry).decode()
    assert 'dreamcatcher_books_total{event="published"} 1.0' in shown
    assert 'dreamcatcher_books_total{event="revised"} 0.0' in shown
    assert 'dreamcatcher_entities{collection="library"} 1.0' in shown
