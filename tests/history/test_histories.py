"""The histories of one stream and of one entity agree with the ledgers and the snapshots."""

from __future__ import annotations

from typing import Any

import pytest

from dreamcatcherd.core.codec import canonical
from dreamcatcherd.core.keys import natural_key
from dreamcatcherd.daemon.cycle import close_frame, poll
from dreamcatcherd.daemon.primary import Primary
from dreamcatcherd.history import entity_history as entities_module
from dreamcatcherd.history import stream_history as streams_module
from dreamcatcherd.history.entity_history import EntityChange, entity_history
from dreamcatcherd.history.queries import Chain, diff_frames, entities, ledger_of, view
from dreamcatcherd.history.stream_history import StreamDelta, StreamHistory, stream_history
from dreamcatcherd.stages.published import PublishedState
from tests.history.history import STREAMS
from tests.law.fleet import MAIN, commit_files, new_primary
from tests.stages.tools import text


def base_of(primary: Primary) -> PublishedState:
    poll(primary)
    assert primary.last is not None
    return primary.last.published


def pages_of_stream(primary: Primary, stream: str, limit: int) -> list[StreamHistory]:
    """Every page of a stream's history."""
    pages: list[StreamHistory] = []
    before = None
    while True:
        page = stream_history(primary.store, base_of(primary), Chain(), stream, limit, before)
        pages.append(page)
        if page.before is None:
            assert len(pages) > 1 or limit > 100
            return pages
        assert before is None or page.before < before
        before = page.before


def all_of_stream(primary: Primary, stream: str, limit: int) -> list[StreamDelta]:
    """The deltas of every page."""
    return [one for page in pages_of_stream(primary, stream, limit) for one in page.deltas]


@pytest.mark.parametrize("stream", STREAMS)
def test_a_stream_has_every_delta_of_every_ledger_once(sixty: Primary, stream: str) -> None:
    """Merged, late, duplicate and held deltas, newest frame first, in pages or at once."""
    base = base_of(sixty)
    expected = []
    for frame in range(60, 0, -1):
        ledger = ledger_of(sixty.store, base, frame)
        expected += [
            ("late" if row.late else "merged", frame, row.path) for row in ledger.deltas if row.stream_id == stream
        ]
        expected += [("duplicate", frame, row.path) for row in ledger.duplicates if row.stream_id == stream]
        expected += [("held", frame, row.path) for row in ledger.held if row.stream_id == stream]
    at_once = [(one.outcome, one.frame, one.path) for one in all_of_stream(sixty, stream, 10_000)]
    assert [one for one in at_once if one[0] != "quarantined"] == expected
    frames = [one.frame for one in all_of_stream(sixty, stream, 10_000)]
    assert frames == sorted(frames, reverse=True)
    lost = stream_history(sixty.store, base, Chain(), stream, 10_000).lost
    assert len(lost) == sum(
        row.loser.stream_id == stream for frame in range(1, 61) for row in ledger_of(sixty.store, base, frame).conflicts
    )


def test_pages_of_a_stream_overlap_nowhere(sixty: Primary) -> None:
    """A page ends with a complete frame, so the pages join to the complete list, whatever their limit."""
    at_once = all_of_stream(sixty, "a", 10_000)
    lost = stream_history(sixty.store, base_of(sixty), Chain(), "a", 10_000).lost
    for limit in (1, 2, 5, 12):
        pages = pages_of_stream(sixty, "a", limit)
        assert [one for page in pages for one in page.deltas] == at_once
        assert [one for page in pages for one in page.lost] == lost
        for page in pages:
            frames = {one.frame for one in page.deltas} | {one.frame for one in page.lost}
            assert max(len(page.deltas), len(page.lost)) <= limit or len(frames) == 1


def test_what_a_lane_brought_and_cannot_be_read_is_its_stream_s(monkeypatch: pytest.MonkeyPatch) -> None:
    """A broken delta names no stream; the lane does. A stream whose name begins alike is another one."""
    primary = new_primary(b"")
    commit_files(primary.store, "refs/heads/dc/w", {"state/stream_deltas/1/bad.json": b"{"}, orphan=True)
    commit_files(primary.store, "refs/heads/dc/w2", {"state/stream_deltas/1/bad2.json": b"["}, orphan=True)
    commit_files(primary.store, MAIN, {"state/stream_deltas/1/good.json": text(1, "w2", 1)})
    close_frame(primary, "test")
    base = base_of(primary)
    found = stream_history(primary.store, base, Chain(), "w", 9)
    assert [(one.outcome, one.path) for one in found.deltas] == [("quarantined", "state/stream_deltas/1/bad.json")]
    assert found.deltas[0].detail.startswith("not-json")
    other = stream_history(primary.store, base, Chain(), "w2", 9)
    assert [one.outcome for one in other.deltas] == ["merged", "quarantined"]
    monkeypatch.setattr(streams_module, "HISTORY_FRAMES", 0)
    assert stream_history(primary.store, base, Chain(), "w", 9).deltas == []


@pytest.mark.parametrize("collection", ["posts", "agents", "counters"])
def test_an_entity_changed_in_exactly_the_frames_whose_snapshots_differ(sixty: Primary, collection: str) -> None:
    """For every entity: the same frames, kinds and fields as comparing each frame with the one before."""
    base = base_of(sixty)
    row = base.settings.table[collection]
    expected: dict[bytes, list[tuple[int, str, dict[str, Any]]]] = {}
    for frame in range(60, 1, -1):
        found = diff_frames(sixty.store, base, frame - 1, frame)
        for item in found.added.get(collection, []):
            key = canonical(natural_key(row, item.record))
            fields = {name: (None, value) for name, value in item.record.items()}
            expected.setdefault(key, []).append((frame, "created", fields))
        for one in found.changed.get(collection, []):
            expected.setdefault(canonical(one.key), []).append((frame, "changed", dict(one.fields)))
    for item in entities(sixty.store, view(sixty.store, base, 1), collection, None):
        key = canonical(natural_key(row, item.record))
        fields = {name: (None, value) for name, value in item.record.items()}
        expected.setdefault(key, []).append((1, "created", fields))
    seen = entities(sixty.store, view(sixty.store, base), collection, None)
    assert len(seen) == len(expected) > 0
    for item in seen:
        past = entity_history(sixty.store, base, Chain(), row, item, 10_000)
        got = [(one.frame, one.kind, one.fields) for one in past.changes]
        assert got == expected[canonical(natural_key(row, item.record))]
        assert (past.first, past.before) == (1, None)


def pages_of(primary: Primary, collection: str, key: str, limit: int) -> list[EntityChange]:
    """Every page of an entity's history."""
    base = base_of(primary)
    row = base.settings.table[collection]
    (item,) = entities(primary.store, view(primary.store, base), collection, key)
    found: list[EntityChange] = []
    before = None
    while True:
        page = entity_history(primary.store, base, Chain(), row, item, limit, before)
        found += page.changes
        if page.before is None:
            return found
        assert before is None or page.before < before
        before = page.before


def test_pages_of_an_entity_join_to_its_history(sixty: Primary, monkeypatch: pytest.MonkeyPatch) -> None:
    """By the number of changes, or by the number of frames compared: nothing is left out or told twice."""
    complete = pages_of(sixty, "counters", "all", 10_000)
    assert len(complete) > 10
    assert pages_of(sixty, "counters", "all", 3) == complete
    monkeypatch.setattr(entities_module, "CHANGES_FRAMES", 4)
    assert pages_of(sixty, "counters", "all", 10_000) == complete


def test_a_deletion_and_a_return_are_changes() -> None:
    """Created, deleted with its last values, and created again."""
    settings = b"""[collections.things]\nsection = "things"\nkey = ["id"]\nrule = "lww"\ndelete = "things_removed"\n"""
    primary = new_primary(settings)
    frames: list[dict[str, Any]] = [
        {"things": [{"id": 1, "a": "x"}]},
        {"things_removed": [1]},
        {"observations": [1]},
        {"things": [{"id": 1, "a": "y"}]},
    ]
    for number, sections in enumerate(frames, 1):
        path = f"state/stream_deltas/{number}/{number}.json"
        commit_files(primary.store, MAIN, {path: text(number, "s", number, **sections)})
        close_frame(primary, "test")
    found = [(one.frame, one.kind, one.fields.get("a")) for one in pages_of(primary, "things", "1", 9)]
    assert found == [(4, "created", (None, "y")), (2, "deleted", ("x", None)), (1, "created", (None, "x"))]
