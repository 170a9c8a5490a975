"""Who is named for what stands on `main` (docs/protocol.md#violations), and what finding that out costs."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dreamcatcherd.core.tree import lookup
from dreamcatcherd.daemon.cycle import poll
from dreamcatcherd.git.protocols import Commit, Move, Store
from dreamcatcherd.stages.blame import culprits
from dreamcatcherd.testing import MemoryStore
from tests.law.fleet import MAIN, NOW, commit_files, new_primary
from tests.stages.tools import FOLDER, close, counting_reads, text

PATHS = ["a", "f/a", "f/b", "f/g/a"]


def blamed(store: Store, commits: dict[str, Commit], head: str, path: str) -> str:
    """The rule, word for word, at the cost of every commit for every path."""
    stands = lookup(store, store.commit(head).tree, path)
    for oid in sorted(commits):
        before = [lookup(store, store.commit(parent).tree, path) for parent in commits[oid].parents]
        if before and stands not in before and lookup(store, commits[oid].tree, path) == stands:
            return oid
    return head


@given(st.lists(st.dictionaries(st.sampled_from(PATHS), st.sampled_from([b"1", b"2"]), min_size=1), max_size=8))
def test_who_gave_a_file_is_found_as_the_rule_says(histories: list[dict[str, bytes]]) -> None:
    """Whatever commits wrote, each path is blamed on the same commit as by the rule applied path by path."""
    store = MemoryStore()
    made = [commit_files(store, MAIN, files) for files in histories]
    if not made:
        return
    commits = {oid: store.commit(oid) for oid in made}
    expected = {path: blamed(store, commits, made[-1], path) for path in PATHS}
    assert culprits(store, commits, made[-1], PATHS) == expected


def test_many_deleted_deltas_cost_one_reading_for_each_commit(monkeypatch: pytest.MonkeyPatch) -> None:
    """2,000 deleted deltas, 20 commits that each change their folder: each folder is read a few times, and 200 of the
    deltas are named, with a row that says how many more there are."""
    primary = new_primary(b"")
    store = primary.store
    commit_files(store, MAIN, {f"{FOLDER}/1/{number}.json": text(1, number=number) for number in range(2_000)})
    close(primary)
    head = store.refs()[MAIN]
    first = commit_files(store, "refs/heads/x", {f"{FOLDER}/1/0.json": text(1, number=0)}, orphan=True)
    emptied = store.write_commit(Commit(store.commit(first).tree, (head,), "m <m@localhost>", NOW // 1_000_000, "m\n"))
    store.flush()
    assert store.move_refs([Move(MAIN, emptied, head), Move("refs/heads/x", None, first)], "push")
    for number in range(20):
        commit_files(store, MAIN, {f"{FOLDER}/1/new-{number}.json": text(1, number=5_000 + number)})
    reads = counting_reads(store, monkeypatch)
    violations = [row for row in poll(primary)[0].pending.violations if row.kind == "delta-deleted"]
    assert (len(violations), {row.commit for row in violations[:-1]}) == (201, {emptied})
    assert "1799 more" in violations[-1].detail
    assert max(reads.values()) < 200
