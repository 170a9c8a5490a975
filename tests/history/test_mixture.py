"""A fleet with everything that others may break, over many frames: all that is said of it afterwards is true."""

from __future__ import annotations

import random
from functools import partial

from dreamcatcherd.core import paths
from dreamcatcherd.core.ledger import Ledger
from dreamcatcherd.core.tree import FILE, Entry, subtree
from dreamcatcherd.daemon.cycle import close_frame, poll
from dreamcatcherd.daemon.primary import Primary
from dreamcatcherd.git.protocols import Move, Store
from dreamcatcherd.history.queries import Chain
from dreamcatcherd.history.verify import read_history, verify_frame
from dreamcatcherd.stages.published import load_ledger
from dreamcatcherd.stages.snapshot_chain import links
from dreamcatcherd.testing import MemoryStore
from tests.law.fleet import MAIN, NOW, commit_files, new_primary, primary_on
from tests.stages.tools import FOLDER, put, text

FRAMES = 200
DAY = 86_400_000_000


def breaks(store: Store, chance: random.Random, frame: int, heads: list[str]) -> None:
    """What workers and others do in one frame: lanes of any age, main, merges, edits, deletions, rewinds."""
    for number in range(chance.randrange(4)):
        stream, base = chance.choice("abcd"), chance.choice(heads[-20:])
        own = max(1, frame + chance.choice([0, 0, 0, -1, -5, 2]))
        entry = Entry(FILE, store.write("blob", text(own, stream, number, n=[frame])))
        path = f"{FOLDER}/{own}/{stream}-{frame}-{number}.json"
        if chance.random() < 0.5:
            put(store, MAIN, {path: entry})
            continue
        lane = f"refs/heads/dc/{stream}/{frame}-{number}"
        oid = put(store, lane, {path: entry}, (base,) if chance.random() < 0.7 else ())
        if chance.random() < 0.2:
            put(store, MAIN, {path: entry}, (store.refs()[MAIN], oid))
    if chance.random() < 0.15:
        commit_files(store, MAIN, {chance.choice(["state/frame.json", "state/snapshot/format", "README"]): b"rogue"})
    if chance.random() < 0.1:
        assert store.move_refs([Move(MAIN, chance.choice(heads[-10:]), store.refs()[MAIN])], "rewind")


def test_two_primaries_a_day_apart_agree_on_every_frame_of_a_broken_fleet() -> None:
    """200 frames, closed by one of two primaries whose clocks differ by a day: each frame verifies as it is closed, the
    log is complete, and both read the same ledgers."""
    chance = random.Random(11)
    first = new_primary(b"")
    store = first.store
    assert isinstance(store, MemoryStore)
    primaries: list[Primary] = [first, primary_on(MemoryStore(store))]
    primaries[1].clock = partial(int, NOW + DAY)
    heads = [store.refs()[MAIN]]
    chains = [Chain(), Chain()]
    restored = 0
    for frame in range(1, FRAMES + 1):
        breaks(store, chance, frame, heads)
        for primary in primaries:
            primary._steady = partial(float, 1000 * frame)
        for primary in chance.sample(primaries, 2):
            restored += poll(primary, restore=True)[0].restored is not None
        assert close_frame(chance.choice(primaries), "test").ledger is not None
        heads.append(store.refs()[MAIN])
        refs = store.refs()
        history = read_history(store, refs, MAIN)
        assert [link.frame for link in history.links] == list(range(1, frame + 1))
        assert verify_frame(store, history, frame - 1) is None
        if frame % 50 == 0:
            read: list[list[Ledger | None]] = []
            for primary, chain in zip(primaries, chains, strict=True):
                base = primary.load_published(primary.store.refs())
                log = [row["frame"] for row in chain.log(primary.store, base)]
                assert log == list(range(frame, 0, -1))
                read.append([load_ledger(primary.store, base.ledgers, one) for one in log])
            assert read[0] == read[1]
    assert restored > 5
    history = read_history(store, store.refs(), MAIN)
    assert all(verify_frame(store, history, at) is None for at in range(FRAMES))
    walked = links(store, store.refs()[paths.PUBLISHED])
    merged = [row.blob for link in walked for row in _ledger(store, link.oid, link.frame).deltas]
    assert len(merged) == len(set(merged)) > FRAMES


def _ledger(store: Store, oid: str, frame: int) -> Ledger:
    ledger = load_ledger(store, subtree(store, store.commit(oid).tree, paths.LEDGER), frame)
    assert ledger is not None
    return ledger
