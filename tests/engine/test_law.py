"""The law on each kind of engine: a sample of what `make law ENGINE=…` runs at length."""

from __future__ import annotations

import random
from collections.abc import Iterable, Iterator
from typing import TypeVar

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from dreamcatcherd.daemon.primary import Primary
from dreamcatcherd.engine import large_merge
from dreamcatcherd.engine.pools import Function, InlinePool, Pool, Task
from dreamcatcherd.git.protocols import Store
from dreamcatcherd.history.replay import own_ledger
from dreamcatcherd.testing import MemoryStore
from tests.history.tamper import chain
from tests.law.deltas import sets_of_books, sets_of_deltas, sets_with_deletions
from tests.law.engines import SMALL, empty_repository, engine_on
from tests.law.fleet import close, new_primary, primary_on, send
from tests.law.model import Sent
from tests.law.test_law import JOINS, digest_of, merged_at_once

pytestmark = pytest.mark.xdist_group("engine")

_Tag = TypeVar("_Tag")
EXAMPLES = 6
SAMPLE = settings(max_examples=EXAMPLES, suppress_health_check=list(HealthCheck))
SETS = st.one_of(sets_of_deltas, sets_with_deletions, sets_of_books)


@pytest.fixture(autouse=True)
def small_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    """A handful of deltas is cut as a large frame is."""
    for name, value in SMALL.items():
        monkeypatch.setattr(large_merge, name, value)


def spread(primary: Primary, pool: Pool) -> Primary:
    primary.engine = engine_on(pool)
    return primary


def on(pool: Pool, rows: bytes) -> Primary:
    """A primary on a repository that the workers of a pool read themselves, if they do."""
    store: Store = empty_repository() if pool.shares else MemoryStore()
    return spread(new_primary(rows, store), pool)


def ledgers(primary: Primary) -> list[bytes | None]:
    return [own_ledger(primary.store, link) for link in chain(primary.store)]


@SAMPLE
@given(deltas=SETS, chance=st.randoms(use_true_random=False))
def test_the_law_holds_on_each_engine(pool: Pool, deltas: list[Sent], chance: random.Random) -> None:
    """Any order, batches, duplicates, lateness and restarts give the digest of merging at once in one process, and each
    frame the ledger that a primary without an engine writes."""
    here, there = new_primary(JOINS), on(pool, JOINS)
    arriving = deltas + chance.sample(deltas, chance.randrange(len(deltas) + 1))
    chance.shuffle(arriving)
    for number, sent in enumerate(arriving):
        lane, closes, restarts = (chance.random() < share for share in (0.5, 0.3, 0.3))
        for primary in (here, there):
            send(primary.store, sent, f"d{number}", lane=lane)
            if closes:
                close(primary)
        if restarts:
            there = spread(primary_on(there.store), pool)
    for primary in (here, there):
        close(primary, 4)
    assert digest_of(there) == digest_of(merged_at_once(deltas, JOINS))
    assert ledgers(there) == ledgers(here)


class Counting(InlinePool):
    """Workers that note the functions that they are given."""

    def __init__(self) -> None:
        self.functions: list[str] = []

    def run(self, function: Function, tasks: Iterable[Task[_Tag]]) -> Iterator[tuple[_Tag, bytes]]:
        self.functions.append(function.__name__)
        return super().run(function, tasks)


def test_every_close_of_such_a_primary_is_spread() -> None:
    """Otherwise the law on an engine would compare merges inline with themselves."""
    pool = Counting()
    primary = on(pool, JOINS)
    for frame in (1, 2):
        send(primary.store, Sent(b'{"frame":%d,"utc":"2026-01-01T00:00:00Z","stream_id":"a"}' % frame), "d", lane=True)
        close(primary)
    assert pool.functions == ["read_chunk", "fold_part"] * 2
