"""The law: any order, any batches, any duplicates, any restarts, export and import half-way: the same bytes (§5)."""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from dreamcatcherd.cli.progress import check_frames
from dreamcatcherd.core.codec import canonical
from dreamcatcherd.core.export import export, read_portable
from dreamcatcherd.core.frames import Closing
from dreamcatcherd.daemon.primary import Primary
from dreamcatcherd.history.replay import closed_frames, replay_to
from dreamcatcherd.history.verify import read_history
from dreamcatcherd.imports.adopt_export import adopt
from dreamcatcherd.stages.first_frame import open_first
from dreamcatcherd.testing import MemoryStore
from tests.history.tamper import chain
from tests.law.deltas import sets_of_deltas, sets_with_deletions
from tests.law.fleet import MAIN, NOW, close, new_primary, primary_on, send
from tests.law.model import SETTINGS, Sent, decisions, model, read, text

EXAMPLES = int(os.environ.get("LAW_EXAMPLES", "120"))
GENERATED = settings(max_examples=EXAMPLES, suppress_health_check=list(HealthCheck))


def exported(primary: Primary) -> dict[str, Any]:
    found: dict[str, Any] = read(export_of(primary))
    return found


def export_of(primary: Primary) -> bytes:
    base = primary.load_published(primary.store.refs())
    assert base.snapshot is not None
    rows = SETTINGS.decode() if base.settings.blob else None
    return b"".join(export(primary.store, base.snapshot, base.state.last_closed, base.settings.table, rows))


def rows_of(state: dict[str, list[Any]]) -> dict[str, list[str]]:
    """A state as text by collection, so that 1, 1.0 and the digits of decimals are told apart."""
    return {name: [text(row) for row in rows] for name, rows in state.items() if rows}


def digest_of(primary: Primary) -> str | None:
    return primary.load_published(primary.store.refs()).snapshot


JOINS = SETTINGS[: SETTINGS.index(b"[collections.tasks]")]
"""Settings without claims: whose claim is granted depends on the frame that merges it."""


def merged_at_once(deltas: list[Sent], rows: bytes = SETTINGS) -> Primary:
    primary = new_primary(rows)
    for number, sent in enumerate(deltas):
        send(primary.store, sent, f"d{number}", lane=False)
    close(primary, 3)
    return primary


@GENERATED
@given(st.one_of(sets_of_deltas, sets_with_deletions))
def test_the_merge_agrees_with_the_simple_model(deltas: list[Sent]) -> None:
    """The exported state and merged ids are those of a second, deliberately simple implementation."""
    found = exported(merged_at_once(deltas))
    expected = model(deltas)
    assert rows_of(found["state"]) == rows_of(expected["state"])
    assert found["merged"] == expected["merged"]


@GENERATED
@given(st.one_of(sets_of_deltas, sets_with_deletions), st.randoms(use_true_random=False))
def test_any_order_batches_duplicates_and_restarts_give_the_same_digest(
    deltas: list[Sent], chance: random.Random
) -> None:
    """However deltas arrive, twice, late or early, over whatever restarts, the digest is that of merging at once."""
    primary = new_primary(JOINS)
    arriving = deltas + chance.sample(deltas, chance.randrange(len(deltas) + 1))
    chance.shuffle(arriving)
    for number, sent in enumerate(arriving):
        send(primary.store, sent, f"d{number}", lane=chance.random() < 0.5)
        if chance.random() < 0.4:
            close(primary)
        if chance.random() < 0.3:
            primary = primary_on(primary.store)
    close(primary, 4)
    assert digest_of(primary) == digest_of(merged_at_once(deltas, JOINS))


@GENERATED
@given(sets_with_deletions, st.randoms(use_true_random=False))
def test_claims_are_decided_once_by_the_close_that_merges_them(deltas: list[Sent], chance: random.Random) -> None:
    """Whenever deltas arrive, the ledgers and the state say what the simple model decides for those frames; replay and
    verify agree."""
    primary = new_primary()
    store = primary.store
    for number, sent in enumerate(chance.sample(deltas, len(deltas))):
        send(store, sent, f"d{number}", lane=chance.random() < 0.5)
        if chance.random() < 0.5:
            close(primary)
    close(primary, 4)
    ledgers = [frame.ledger for frame in closed_frames(store, chain(store))]
    closes = {
        (ledger.frame if row.frame is None else row.frame, row.content_id or row.blob): ledger.frame
        for ledger in ledgers
        for row in ledger.deltas
    }
    decided = [{"frame": ledger.frame, **json.loads(canonical(row))} for ledger in ledgers for row in ledger.claims]
    expected = decisions(deltas, closes)
    for row in decided:
        del row["stamp"]
    assert sorted(map(text, decided)) == sorted(map(text, expected))
    assert rows_of(exported(primary)["state"]) == rows_of(model(deltas, closes)["state"])
    last = ledgers[-1].frame
    assert replay_to(store, closed_frames(store, chain(store)), last).tree == digest_of(primary)
    assert check_frames(store, read_history(store, store.refs(), primary.main), None).ok


@GENERATED
@given(st.one_of(sets_of_deltas, sets_with_deletions), st.one_of(sets_of_deltas, sets_with_deletions))
def test_export_and_import_half_way_change_nothing(first: list[Sent], then: list[Sent]) -> None:
    """A snapshot that is exported and imported elsewhere goes on to the same digest, and duplicates stay duplicates."""
    here = new_primary()
    for number, sent in enumerate(first):
        send(here.store, sent, f"first-{number}", lane=False)
    close(here, 3)
    raw = export_of(here)
    store = MemoryStore()
    open_first(store, 1, NOW, Closing("manual"), MAIN)
    adopt(store, MAIN, read_portable(raw), NOW, Closing("manual"))
    there = primary_on(store)
    assert digest_of(there) == digest_of(here)
    for primary in (here, there):
        for number, sent in enumerate([*then, *first]):
            send(primary.store, sent, f"then-{number}", lane=False)
        close(primary, 3)
    assert digest_of(there) == digest_of(here)
    assert export_of(there) == export_of(here)


def some_deltas(count: int) -> list[Sent]:
    """A fixed set of deltas, large enough to split every kind of shard."""
    chance = random.Random(7)
    found = []
    for number in range(count):
        body = {
            "frame": 1 + number % 3,
            "utc": f"2026-01-01T00:{number // 60 % 60:02}:{number % 60:02}Z",
            "stream_id": f"s{number % 11}",
            "posts_created": [{"number": chance.randrange(2000), "title": f"t{number}"} for _ in range(3)],
            "comments_added": [{"discussion": 1, "author": f"a{number}", "body": f"b{i}"} for i in range(3)],
            "profile_updates": {f"agent-{chance.randrange(500)}": {"mood": number, "seen": {"at": number}}},
            "counters": {"all": 1},
            "chapters_added": [
                {"book": f"b{number % 9}", "chapter": number % 14, "author": f"a{number % 4}", "n": number}
            ],
            "books_started": [{"book": f"b{number % 9}", "target_chapters": 13 + number % 2}]
            if number % 5 == 0
            else [],
            "observations": [{"n": number, "i": i} for i in range(2)],
            f"section-{number % 400}": [number],
        }
        found.append(Sent(json.dumps(body).encode()))
    return found


def test_the_bytes_do_not_depend_on_the_hash_seed() -> None:
    """Processes under different PYTHONHASHSEEDs compute the same digest."""
    code = "from tests.law.test_law import *; print(digest_of(merged_at_once(some_deltas(300))))"
    digests = set()
    for seed in ("0", "1", "4242", "random"):
        environment = {**os.environ, "PYTHONHASHSEED": seed}
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment, check=True)
        digests.add(done.stdout.strip())
    assert len(digests) == 1
    assert digests == {digest_of(merged_at_once(some_deltas(300)))}


def test_large_sets_agree_with_the_model_through_splits() -> None:
    """Hundreds of deltas, enough to split shards at several depths, still merge as the simple model says."""
    deltas = some_deltas(700)
    primary = new_primary()
    for start in range(0, 700, 100):
        for number, sent in enumerate(deltas[start : start + 100]):
            send(primary.store, sent, f"x{start + number}", lane=False)
        close(primary)
    found = exported(primary)
    expected = model(deltas)
    assert rows_of(found["state"]) == rows_of(expected["state"])
    assert digest_of(primary) == digest_of(merged_at_once(deltas[::-1]))
