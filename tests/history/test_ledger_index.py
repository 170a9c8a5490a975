"""The index of ledgers gives the answers of reading every ledger, reads few of them, and is never relied on blindly."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from itertools import islice
from pathlib import Path

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from dreamcatcherd.core.codec import canonical
from dreamcatcherd.core.ledger import DeltaRow, HeldRow, Ledger, read_ledger
from dreamcatcherd.core.snapshot import items, open_snapshot
from dreamcatcherd.core.tree import Kind
from dreamcatcherd.daemon.primary import Primary
from dreamcatcherd.git.derived_files import DERIVED_FOLDER, DerivedFiles
from dreamcatcherd.history import ledger_index
from dreamcatcherd.history.ledger_index import LINEAR, LedgerIndex, content_word, entity_word, path_word, time_word
from dreamcatcherd.history.provenance import explain_item
from dreamcatcherd.history.receipts import receipts
from dreamcatcherd.stages.published import PublishedState, read_published
from dreamcatcherd.stages.snapshot_chain import links
from dreamcatcherd.testing import MemoryStore
from tests.history.history import grow
from tests.law.fleet import new_primary


class Counting(MemoryStore):
    """A store that counts what is read."""

    def __init__(self, shared: MemoryStore) -> None:
        super().__init__(shared)
        self.reads: list[tuple[Kind, str]] = []

    def read(self, oid: str) -> bytes:
        raw = super().read(oid)
        if oid in self.objects:
            self.reads.append((self.objects[oid][0], oid))
        return raw

    def blobs(self) -> int:
        """How many files were read since the last call."""
        found = sum(kind == "blob" for kind, _ in self.reads)
        self.reads.clear()
        return found


class Refusing:
    """A decoder that takes the ledger of frame 7 for damaged."""

    def __init__(self, decode: Callable[[bytes], object]) -> None:
        self._decode = decode

    def decode(self, raw: bytes) -> object:
        if b'"frame":7,\n' in raw:
            raise msgspec.DecodeError("damaged")
        return self._decode(raw)


def bases(primary: Primary, every: int) -> Iterator[PublishedState]:
    """The published states of a history, some frames apart, oldest first; the last one is the newest."""
    chain = list(links(primary.store, primary.load_published(primary.store.refs()).commit))[::-1]
    for link in [*chain[every - 1 : -1 : every], chain[-1]]:
        yield read_published(primary.store, link.oid)


def ledgers_of(primary: Primary, base: PublishedState) -> list[Ledger]:
    return [read_ledger(raw) for _, raw in LINEAR.search(primary.store, base.ledgers, [])]


def named(ledgers: list[Ledger]) -> set[str]:
    """All names of deltas that somebody may ask for: paths, blobs, and order keys complete and cut short."""
    found: set[str] = set()
    for ledger in ledgers:
        for row in ledger.rows():
            found |= {row.path, row.blob}
        stamped: list[DeltaRow | HeldRow] = [*ledger.deltas, *ledger.held]
        for one in stamped:
            own = ledger.frame if one.frame is None else one.frame
            stamp = [own, one.utc, one.stream_id, one.content_id or one.blob]
            found |= {canonical(stamp[:parts]).decode() for parts in (2, 3, 4)}
    return found


def assert_same_answers(primary: Primary, base: PublishedState, index: LedgerIndex, every: int = 1) -> None:
    """Receipts and explanations are those that reading all ledgers gives, for one in `every` of what can be asked."""
    store = primary.store
    for name in sorted(named(ledgers_of(primary, base)))[::every]:
        assert receipts(store, base, [], name, index=index) == receipts(store, base, [], name), name
    for name, row in base.settings.table.items():
        folders = open_snapshot(store, base.snapshot)
        for item in islice(items(store, folders, base.settings.table, name, tombstones=True), 0, None, every):
            if row.rule != "append":
                indexed = explain_item(store, base.ledgers, row, item, index=index)
                assert indexed == explain_item(store, base.ledgers, row, item)


def test_receipts_and_explanations_are_those_of_reading_every_ledger(
    sixty: Primary, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """At frames 25, 50 and 60 of a history with late, early, broken and duplicate deltas, while the index grows."""
    monkeypatch.setattr(ledger_index, "UNINDEXED", 3)
    index = LedgerIndex(DerivedFiles(tmp_path))
    for base in bases(sixty, 25):
        assert_same_answers(sixty, base, index, 3)
    assert [file.name for file in (tmp_path / DERIVED_FOLDER).iterdir()] == ["0"]


@settings(max_examples=5, suppress_health_check=list(HealthCheck))
@given(seed=st.integers(0, 2**16), step=st.integers(1, 9), unindexed=st.integers(0, 4))
def test_any_history_has_the_same_answers_with_an_index_that_grew_with_it(
    seed: int, step: int, unindexed: int, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """Also if the index is asked at an older frame after a newer one."""
    primary = grow(new_primary(), 9, seed)
    index = LedgerIndex(DerivedFiles(tmp_path_factory.mktemp("index")))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ledger_index, "UNINDEXED", unindexed)
        for base in (*bases(primary, step), *bases(primary, 5)):
            assert_same_answers(primary, base, index)


def test_an_indexed_question_reads_a_few_ledgers_of_a_thousand(thousand: Primary, tmp_path: Path) -> None:
    """The receipt of a delta of frame 3 takes three files among 1,000 frames once the index is made: the blob, its
    ledger, and that of frame 1000, which is not indexed. Without the index it takes all ledgers since."""
    assert isinstance(thousand.store, MemoryStore)
    store = Counting(thousand.store)
    base = thousand.load_published(store.refs())
    index = LedgerIndex(DerivedFiles(tmp_path))
    row = read_ledger(dict(LINEAR.search(store, base.ledgers, [], 3, 3))[3]).deltas[0]
    for _ in range(2):
        store.reads.clear()
        assert [one.frame for one in receipts(store, base, [], row.blob, index=index)] == [3]
    assert store.blobs() == 3
    receipts(store, base, [], row.blob)
    assert store.blobs() > 990


def test_every_word_finds_its_ledgers(sixty: Primary, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Paths, blobs, times and entities in conflict find every ledger that lists them, within the frames asked for."""
    monkeypatch.setattr(ledger_index, "UNINDEXED", 0)
    base = next(bases(sixty, 60))
    index = LedgerIndex(DerivedFiles(tmp_path))
    for ledger in ledgers_of(sixty, base):
        words = [path_word(row.path) for row in ledger.rows()] + [content_word(row.blob) for row in ledger.rows()]
        words += [time_word(row.utc) for row in ledger.deltas] + [time_word(row.utc) for row in ledger.held]
        words += [entity_word(row.collection, row.key) for row in ledger.conflicts]
        words += [content_word(row.loser.content_id) for row in ledger.conflicts]
        for word in words:
            here = (ledger.frame, ledger.frame)
            assert [frame for frame, _ in index.search(sixty.store, base.ledgers, [word], *here)] == [ledger.frame]
        assert not list(index.search(sixty.store, base.ledgers, [b"no such word"], ledger.frame, ledger.frame))


def test_a_word_that_is_wanted_meanwhile_counts_for_later_ledgers_alone(
    sixty: Primary, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A search that learns of a word at a frame goes on with the ledgers after it that have the word."""
    monkeypatch.setattr(ledger_index, "UNINDEXED", 0)
    base = next(bases(sixty, 60))
    ledgers = [ledger for ledger in ledgers_of(sixty, base) if ledger.deltas]
    first, second, third = ledgers[:3]
    search = LedgerIndex(DerivedFiles(tmp_path)).search(
        sixty.store, base.ledgers, [path_word(second.deltas[0].path)], last=third.frame
    )
    found = []
    for frame, _ in search:
        found.append(frame)
        search.want([path_word(first.deltas[0].path), path_word(third.deltas[0].path)])
    assert found[0] == second.frame
    assert found[-1] == third.frame
    assert first.frame not in found


@pytest.mark.parametrize("damage", ["cut", "flipped", "emptied", "of another folder"])
def test_a_damaged_file_is_not_believed(
    sixty: Primary, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, damage: str
) -> None:
    """With a file that was cut short, changed, emptied, or is of another history, the answers are complete."""
    monkeypatch.setattr(ledger_index, "UNINDEXED", 3)
    index = LedgerIndex(DerivedFiles(tmp_path))
    early, newest = list(bases(sixty, 30))
    assert_same_answers(sixty, newest, index, 99)
    file = tmp_path / DERIVED_FOLDER / "0"
    raw = bytearray(file.read_bytes())
    if damage == "cut":
        file.write_bytes(raw[: len(raw) // 2])
    elif damage == "flipped":
        for at in range(len(raw) // 2, len(raw)):
            raw[at] ^= 255
        file.write_bytes(raw)
    elif damage == "emptied":
        file.write_bytes(b"")
    else:
        other = grow(new_primary(), 12, 5)
        base = next(bases(other, 12))
        file.unlink()
        list(index.search(other.store, base.ledgers, [], 0))
        assert file.exists()
    assert_same_answers(sixty, early, index, 20)
    assert_same_answers(sixty, newest, index, 20)


def test_without_the_right_to_write_every_ledger_is_looked_at(
    sixty: Primary, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing is written into the folder of another owner, or where the folder of derived files cannot be made."""
    monkeypatch.setattr(ledger_index, "UNINDEXED", 3)
    base = next(bases(sixty, 60))
    owner = tmp_path.stat().st_uid
    monkeypatch.setattr(os, "geteuid", lambda: owner + 1)
    assert_same_answers(sixty, base, LedgerIndex(DerivedFiles(tmp_path)), 20)
    assert not list(tmp_path.iterdir())
    monkeypatch.undo()
    (tmp_path / DERIVED_FOLDER).write_bytes(b"in the way")
    monkeypatch.setattr(ledger_index, "UNINDEXED", 3)
    assert_same_answers(sixty, base, LedgerIndex(DerivedFiles(tmp_path)), 20)


def test_a_ledger_that_cannot_be_decoded_is_always_looked_at(
    sixty: Primary, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The index cannot know what a damaged ledger lists, so every search gives it to its reader."""
    monkeypatch.setattr(ledger_index, "UNINDEXED", 0)
    read = ledger_index._searched
    monkeypatch.setattr(ledger_index, "_searched", Refusing(read.decode))
    base = next(bases(sixty, 60))
    found = LedgerIndex(DerivedFiles(tmp_path)).search(sixty.store, base.ledgers, [b"no such word"])
    assert [frame for frame, _ in found] == [7]
