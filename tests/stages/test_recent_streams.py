"""Which streams delivered lately is known from few reads, and never from a file that says something else."""

from __future__ import annotations

from pathlib import Path

import pytest

from dreamcatcherd.core.report import LastDelta
from dreamcatcherd.daemon.primary import Primary
from dreamcatcherd.git.derived_files import DERIVED_FOLDER, DerivedFiles
from dreamcatcherd.stages.published import read_published, streams_of
from dreamcatcherd.stages.recent_streams import KEPT_AFTER, RecentStreams
from dreamcatcherd.stages.snapshot_chain import links
from dreamcatcherd.testing import MemoryStore
from tests.law.fleet import MAIN, commit_files, new_primary
from tests.stages.tools import FOLDER as DELTAS
from tests.stages.tools import close, text

FRAMES = 120


class Counting(MemoryStore):
    """A store that counts the ledgers that are read."""

    ledgers = 0

    def read(self, oid: str) -> bytes:
        raw = super().read(oid)
        self.ledgers += raw.startswith(b'{\n"books":')
        return raw


@pytest.fixture(scope="module")
def fleet() -> Primary:
    """120 closed frames. Stream `a` delivers until frame 30, `b` in every seventh frame, `c` until frame 115."""
    primary = new_primary(b"")
    for frame in range(1, FRAMES + 1):
        streams = [name for name, due in (("a", frame <= 30), ("b", frame % 7 == 0), ("c", frame <= 115)) if due]
        for stream in streams:
            commit_files(primary.store, MAIN, {f"{DELTAS}/{frame}/{stream}.json": text(frame, stream)})
        close(primary)
    return primary


Seen = tuple[dict[str, LastDelta], frozenset[str]]


def seen(fleet: Primary, streams: RecentStreams) -> tuple[Seen, int]:
    """What is known of the streams after an update on a fresh store, and how many ledgers were read for it."""
    assert isinstance(fleet.store, MemoryStore)
    store = Counting(fleet.store)
    base = fleet.load_published(store.refs())
    store.ledgers = 0
    streams.update(store, base)
    return (streams.last(), streams.within(10)), store.ledgers


def test_the_second_process_reads_no_ledger(fleet: Primary, tmp_path: Path) -> None:
    """The first one reads the 100 remembered ledgers and keeps what they say, the next one reads the file alone, and
    both say what each ledger says."""
    first, read = seen(fleet, RecentStreams(DerivedFiles(tmp_path)))
    assert read == 100
    assert seen(fleet, RecentStreams(DerivedFiles(tmp_path))) == (first, 0)
    assert seen(fleet, RecentStreams()) == (first, 100)
    base = fleet.load_published(fleet.store.refs())
    by_frame = {frame: streams_of(fleet.store, base.ledgers, frame) for frame in range(FRAMES - 99, FRAMES + 1)}
    last, within = first
    assert {name: one.frame for name, one in last.items()} == {
        name: max(frame for frame, found in by_frame.items() if name in found) for name in ("a", "b", "c")
    }
    assert within == {name for frame in range(FRAMES - 9, FRAMES + 1) for name in by_frame[frame]}


@pytest.mark.parametrize("raw", [b"", b"{", b"[]", b'{"%s": {"x": 1}}' % (b"0" * 40), b"\xff"])
def test_a_file_that_says_something_else_changes_nothing(fleet: Primary, tmp_path: Path, raw: bytes) -> None:
    """A damaged file, and one that is about other ledgers, are as good as none, and are replaced."""
    expected, _ = seen(fleet, RecentStreams())
    (tmp_path / DERIVED_FOLDER).mkdir()
    (tmp_path / DERIVED_FOLDER / "streams").write_bytes(raw)
    assert seen(fleet, RecentStreams(DerivedFiles(tmp_path))) == (expected, 100)
    assert seen(fleet, RecentStreams(DerivedFiles(tmp_path))) == (expected, 0)


def test_a_process_that_follows_reads_each_ledger_once(fleet: Primary, tmp_path: Path) -> None:
    """From frame 100 to frame 120 only the new ledgers are read, and the file is written again only now and then."""
    assert isinstance(fleet.store, MemoryStore)
    store = Counting(fleet.store)
    chain = list(links(store, fleet.load_published(store.refs()).commit))[::-1]
    streams = RecentStreams(DerivedFiles(tmp_path))
    streams.update(store, read_published(store, chain[99].oid))
    file = tmp_path / DERIVED_FOLDER / "streams"
    before = file.read_bytes()
    for at, link in enumerate(chain[100:], 1):
        base = read_published(store, link.oid)
        store.ledgers = 0
        streams.update(store, base)
        assert store.ledgers == 1
        assert (file.read_bytes() != before) == (at > KEPT_AFTER)
