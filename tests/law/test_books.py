"""The law for books: whatever the order, batches, lateness and restarts, the same books are published.

Contract: docs/protocol.md#the-merge."""

from __future__ import annotations

import json
import random
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from dreamcatcherd.core.export import read_portable
from dreamcatcherd.core.frames import Closing
from dreamcatcherd.daemon.cycle import close_frame
from dreamcatcherd.imports.adopt_export import adopt
from dreamcatcherd.stages.first_frame import open_first
from dreamcatcherd.testing import MemoryStore
from tests.law.deltas import sets_of_books
from tests.law.fleet import MAIN, NOW, close, new_primary, primary_on, send
from tests.law.model import Sent, model
from tests.law.test_law import GENERATED, digest_of, exported, merged_at_once


@GENERATED
@given(sets_of_books, st.randoms(use_true_random=False))
def test_any_order_and_lateness_gives_the_books_of_the_simple_model(deltas: list[Sent], chance: random.Random) -> None:
    """Deltas that come in any order and batches, late and twice, leave the books that a plain replay by stamp gives."""
    primary = new_primary()
    arriving = deltas + chance.sample(deltas, chance.randrange(len(deltas) + 1))
    chance.shuffle(arriving)
    for number, sent in enumerate(arriving):
        send(primary.store, sent, f"d{number}", lane=chance.random() < 0.5)
        if chance.random() < 0.5:
            close(primary)
        if chance.random() < 0.3:
            primary = primary_on(primary.store)
    close(primary, 4)
    expected = model(deltas)
    assert {name: rows for name, rows in exported(primary)["state"].items() if rows} == expected["state"]
    assert digest_of(primary) == digest_of(merged_at_once(deltas))


@GENERATED
@given(sets_of_books, sets_of_books)
def test_books_go_on_after_export_and_import(first: list[Sent], then: list[Sent]) -> None:
    """A shelf that is exported half-way and imported elsewhere is finished there as it would have been here."""
    here = new_primary()
    for number, sent in enumerate(first):
        send(here.store, sent, f"first-{number}", lane=False)
    close(here, 3)
    store = MemoryStore()
    open_first(store, 1, NOW, Closing("manual"), MAIN)
    adopt(store, MAIN, read_portable(json.dumps(exported(here)).encode()), NOW, Closing("manual"))
    there = primary_on(store)
    for number, sent in enumerate(then):
        send(there.store, sent, f"then-{number}", lane=False)
    close(there, 3)
    assert digest_of(there) == digest_of(merged_at_once(first + then))


@GENERATED
@given(sets_of_books)
def test_the_ledger_counts_what_the_library_holds(deltas: list[Sent]) -> None:
    """Through publications and reopenings, the ledger's entity counts are those of the snapshot."""
    primary = new_primary()
    for number, sent in enumerate(deltas):
        send(primary.store, sent, f"d{number}", lane=False)
        report = close_frame(primary, "test")
        assert report.ledger
        state: dict[str, list[Any]] = exported(primary)["state"]
        counted = report.ledger.counts.entities
        for name in ("chapters", "books", "book_progress", "library"):
            assert counted.get(name, 0) == len(state[name])
        for row in report.ledger.books:
            assert row.published == any(entry["book"] == row.book for entry in state["library"])
