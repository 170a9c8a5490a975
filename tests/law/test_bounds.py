"""Frames too large for memory at once: folded in parts, bodies read again, and nothing else is different."""

from __future__ import annotations

import pytest

import dreamcatcherd.core.conflicts
import dreamcatcherd.core.merge
import dreamcatcherd.stages.ingest
from dreamcatcherd.core.codec import canonical
from dreamcatcherd.core.export import read_portable
from dreamcatcherd.core.frames import Closing
from dreamcatcherd.core.ledger import Ledger, write_ledger
from dreamcatcherd.core.model import Delta
from dreamcatcherd.core.tree import lookup
from dreamcatcherd.daemon.cycle import close_frame
from dreamcatcherd.daemon.primary import Primary
from dreamcatcherd.imports.adopt_export import adopt
from dreamcatcherd.stages.first_frame import open_first
from dreamcatcherd.testing import MemoryStore
from tests.law.fleet import MAIN, NOW, commit_files, new_primary, primary_on, send
from tests.law.test_law import digest_of, export_of, exported, some_deltas
from tests.stages.tools import FOLDER, close, text


def closed_with(count: int) -> tuple[Primary, Ledger]:
    """A frame that was closed with so many colliding deltas, of several frames and streams."""
    primary = new_primary()
    for number, sent in enumerate(some_deltas(count)):
        send(primary.store, sent, f"d{number}", lane=False)
    for _ in range(2):
        close(primary)
    report = close_frame(primary, "test")
    assert report.ledger is not None
    return primary, report.ledger


@pytest.mark.parametrize("at_once", [1_000, 7_000, 40_000])
def test_parts_give_the_same_ledger_and_export_as_all_at_once(monkeypatch: pytest.MonkeyPatch, at_once: int) -> None:
    """However small the parts, state, conflicts, misfits and counts are those of one fold."""
    whole, ledger = closed_with(150)
    monkeypatch.setattr(dreamcatcherd.core.merge, "AT_ONCE", at_once)
    parts, same = closed_with(150)
    assert exported(parts) == exported(whole)
    assert write_ledger(same) == write_ledger(ledger)
    assert ledger.conflicts
    assert len(exported(whole)["state"]["observations"]) == 300


@pytest.mark.parametrize("raw_bytes", [0, 500, 2**20])
def test_bodies_beyond_the_bound_are_let_go_and_read_again(monkeypatch: pytest.MonkeyPatch, raw_bytes: int) -> None:
    """What waits is kept decoded only so far, and its bytes only so far; the frame merges the same, also what was held
    with its attachment."""
    monkeypatch.setattr(dreamcatcherd.stages.ingest, "DECODED_BYTES", 3000)
    monkeypatch.setattr(dreamcatcherd.stages.ingest, "RAW_BYTES", raw_bytes)
    primary = new_primary(b"")
    store = primary.store
    early = text(2, number=1, posts_created=[{"number": 1, "body_ref": "b.md"}])
    commit_files(store, MAIN, {f"{FOLDER}/2/early.json": early, f"{FOLDER}/2/b.md": b"words"})
    for number in range(10):
        commit_files(store, MAIN, {f"{FOLDER}/1/{number}.json": text(1, number=number)})
    inbox = primary.read_inbox()
    kept = [arrival.item.body is not None for arrival in inbox.arrivals if isinstance(arrival.item, Delta)]
    assert 0 < sum(kept) < len(kept)
    assert close(primary).counts.deltas == 10
    assert close(primary).counts.deltas == 1
    (post,) = exported(primary)["state"]["posts"]
    assert post["body"] == "words"


def test_a_text_that_many_fields_name_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """What references fill in counts for each field against the limit of a delta; what is beyond stays a reference."""
    primary = new_primary(b"[limits]\ndelta_bytes = 2048\n")
    fields = {"small_ref": "s.md", "a_ref": "b.md", "b_ref": "b.md", "late_ref": "s2.md"}
    raw = text(1, posts_created=[{"number": 1, **fields}])
    files = {f"{FOLDER}/1/x.json": raw, f"{FOLDER}/1/s.md": b"s" * 100, f"{FOLDER}/1/s2.md": b"t" * 100}
    commit_files(primary.store, MAIN, {**files, f"{FOLDER}/1/b.md": b"b" * 1000})
    ledger = close(primary)
    assert ledger.deltas[0].unresolved == ("b.md",)
    (post,) = exported(primary)["state"]["posts"]
    assert {name: len(post[name]) for name in ("small", "late")} == {"small": 100, "late": 100}
    assert post["a_ref"] == post["b_ref"] == "b.md"
    assert not {"a", "b"} & post.keys()


def test_fields_that_are_lost_together_are_the_same_as_one_by_one(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where many fields of an entity are lost to one delta they are one conflict, which names each with its value."""
    whole, ledger = closed_with(150)
    monkeypatch.setattr(dreamcatcherd.core.conflicts, "FIELDS_LISTED", 0)
    grouped, together = closed_with(150)
    assert exported(grouped) == exported(whole)
    assert len(together.conflicts) < len(ledger.conflicts)
    assert all(row.field is None for row in together.conflicts)
    fields = {
        (row.collection, canonical(row.key), field, row.loser, canonical(value))
        for row in together.conflicts
        for field, value in row.value.items()
    }
    assert fields == {
        (row.collection, canonical(row.key), row.field, row.loser, canonical(row.value)) for row in ledger.conflicts
    }


def test_an_entity_of_many_fields_costs_two_times_its_bytes(monkeypatch: pytest.MonkeyPatch) -> None:
    """A thousand fields that two streams set by turns are stored with two stamps, not a thousand, and read back."""
    primary = new_primary(b"")
    for frame, stream in ((1, "a"), (2, "b")):
        fields = {f"field{number}": stream for number in range(1000) if frame == 1 or number % 2}
        raw = text(frame, stream=stream, profile_updates=[{"agent": "x", **fields}])
        commit_files(primary.store, MAIN, {f"{FOLDER}/{frame}/x.json": raw})
        close(primary)
    base = primary.load_published(primary.store.refs())
    entry = lookup(primary.store, base.snapshot, "state/agents.jsonl")
    assert entry is not None
    assert primary.store.size(entry.oid) < 2 * len(raw) + 2 * len(raw)
    (agent,) = exported(primary)["state"]["agents"]
    assert len(agent["_stamps"]) == 1000


@pytest.mark.parametrize("before", [0, 600])
def test_an_empty_unknown_section_leaves_no_trace(before: int) -> None:
    """A list of nothing makes no record and no file, whether `extra` has none or so many that they are a folder; the
    export is imported with the same digest."""
    primary = new_primary(b"")
    store = primary.store
    if before:
        commit_files(store, MAIN, {f"{FOLDER}/1/a.json": text(1, odd=[*range(before)])})
    close(primary)
    commit_files(store, MAIN, {f"{FOLDER}/2/b.json": text(2, other=[])})
    assert close(primary).counts.deltas == 1
    base = primary.load_published(store.refs())
    extra = [lookup(store, base.snapshot, f"state/extra{suffix}") for suffix in ("", ".jsonl")]
    assert [entry is not None for entry in extra] == [bool(before), False]
    there = MemoryStore()
    open_first(there, 1, NOW, Closing("manual"), MAIN)
    adopt(there, MAIN, read_portable(export_of(primary)), NOW, Closing("manual"))
    assert digest_of(primary_on(there)) == digest_of(primary)
