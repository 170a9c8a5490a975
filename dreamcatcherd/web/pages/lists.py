"""Lists of rows for display: conflicts, quarantine, claims and books."""

from __future__ import annotations

from itertools import islice

from dreamcatcherd.core.books.shelf import ShelfEntry, shelf
from dreamcatcherd.core.ledger import QuarantinedRow
from dreamcatcherd.core.model import Record, Stamp
from dreamcatcherd.core.snapshot import open_snapshot
from dreamcatcherd.history import queries
from dreamcatcherd.stages.held_claims import HeldClaim, held_claims
from dreamcatcherd.web.pages.display import (
    clip,
    clip_key,
    clip_name,
    entity_link,
    key_text,
    link,
    micros_text,
    stream_link,
)
from dreamcatcherd.web.paging import page_of_frames
from dreamcatcherd.web.query_executor import Reading

AUTHORS = 6
MISSING = 12


def read_quarantined(reading: Reading, limit: int, before: int | None, skip: int = 0) -> Record:
    """Quarantined versions, the newest frames first."""
    found = queries.troubles(reading.store, reading.base, reading.chain, "quarantined", limit, before)
    page = page_of_frames(found.quarantined, limit, skip, found.newest, found.before)
    return {"rows": [quarantine_row(row) for row in page.rows], "before": found.before, "next": page.more}


def read_conflicts(reading: Reading, limit: int, before: int | None, skip: int = 0) -> Record:
    """Conflicts, the newest frames first."""
    found = queries.troubles(reading.store, reading.base, reading.chain, "conflicts", limit, before)
    page = page_of_frames(found.conflicts, limit, skip, found.newest, found.before)
    return {"rows": [conflict_row(row) for row in page.rows], "before": found.before, "next": page.more}


def empty_text(found: Record, before: int | None, last: int | None) -> str:
    """What an empty list means: which frames were searched."""
    if last is None:
        return "No frame is closed yet."
    if found["before"] is not None:  # the search ended before the first frame
        newest = last if before is None else min(last, before - 1)
        return f"None in frames {found['before']} to {newest}; older frames were not searched yet."
    return "None in the closed frames." if before is None else f"None before frame {before}."


def quarantine_row(row: QuarantinedRow) -> Record:
    """One quarantined version for display."""
    return {
        "frame": row.since, "path": clip_name(row.path, 200), "file": row.path, "reason": row.reason,
        "detail": clip(row.detail, 300), "at": clip(row.at) if row.at else "", "source": clip(row.source),
        "commit": row.commit, "more": row.more,
    }  # fmt: skip


def conflict_row(row: queries.LostConflict) -> Record:
    """One conflict for display, with the pages of its entity and its streams."""
    return {
        "frame": row.frame,
        "collection": clip(row.collection),
        "key": clip_key(row.key),
        "page": entity_link(row.collection, row.key),
        "field": clip(row.field) if row.field is not None else "",
        "value": clip(row.value),
        "winner": stamp_row(row.winner),
        "loser": stamp_row(row.loser),
    }


def stamp_row(stamp: Stamp) -> Record:
    """A stamp for display."""
    return {
        "stream": clip_name(stamp.stream_id),
        "page": stream_link(stamp.stream_id),
        "frame": stamp.frame,
        "utc": micros_text(stamp.utc),
    }


def read_claims(reading: Reading, limit: int, offset: int = 0) -> tuple[list[Record], int]:
    """The held claims from `offset` on, and how many there are in all."""
    held = list(held_claims(reading.store, reading.base))
    return [_claim(one) for one in held[offset : offset + limit]], len(held)


# What is clipped for display cannot name its page any more, so pages are made from the values themselves.


def _claim(claim: HeldClaim) -> Record:
    return {
        "collection": clip(claim.collection),
        "key": clip_key(claim.key),
        "page": entity_link(claim.collection, claim.key),
        "holder": clip_name(claim.holder),
        "holder_page": stream_link(claim.holder),
        "since": claim.since,
        "until": claim.until,
    }


def read_books(reading: Reading, limit: int, offset: int = 0) -> tuple[list[Record], int]:
    """The books from `offset` on, and how many there are in all."""
    found = shelf(reading.store, open_snapshot(reading.store, reading.base.snapshot).state, reading.base.settings.table)
    return [book_row(book) for book in islice(found, offset, offset + limit)], len(found)


def book_row(book: ShelfEntry) -> Record:
    """One book for display."""
    missing = ", ".join(str(one) for one in book.missing[:MISSING])
    return {
        "title": clip(book.title or book.book),
        "key": clip(book.book),
        "page": link("book", {"key": key_text(book.book)}),
        "published": book.published,
        "published_at": book.published_at,
        "frame": book.frame,
        "chapters": book.chapters,
        "target": book.target,
        "share": 100 if book.published else min(100, 100 * book.chapters // book.target) if book.target else 0,
        "missing": missing + (f" and {book.missing_total - MISSING} more" if book.missing_total > MISSING else ""),
        "authors": [clip_name(author, 60) for author in book.authors[:AUTHORS]],
        "more_authors": max(0, len(book.authors) - AUTHORS),
        "words": book.word_count,
        "fingerprint": book.fingerprint,
    }
