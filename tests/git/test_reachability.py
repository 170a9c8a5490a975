"""New commits are those that no hidden commit reaches, whatever the dates say: on every store and in every way."""

from __future__ import annotations

import os
import random
import subprocess
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import dreamcatcherd.git.reachability
from dreamcatcherd.git.local import LocalStore
from dreamcatcherd.git.maintenance import write_graph
from dreamcatcherd.git.protocols import Commit, Store
from dreamcatcherd.git.push_reader import PushReader
from dreamcatcherd.git.quarantine import QuarantinedReader
from dreamcatcherd.git.reachability import has_graph
from dreamcatcherd.testing import MemoryStore

History = list[tuple[list[int], int]]
"""Commits in order, each with the indexes of its parents and its date."""

EMPTY = "4b825dc642cb6eb9a060e54bf8d69288fbee4904"


@st.composite
def histories(draw: st.DrawFn) -> History:
    """A random history: chains, forks, merges of several parents and orphans, with dates that mean nothing."""
    chance = random.Random(draw(st.integers(0, 2**32)))
    size = draw(st.integers(1, 60))
    slow = draw(st.booleans())
    made: History = []
    for i in range(size):
        recent = range(max(0, i - draw(st.sampled_from([2, 8, 60]))), i)
        count = min(len(recent), chance.choice([1, 1, 1, 1, 2, 3, 0]))
        date = 1_700_000_000 + 60 * i
        if slow and chance.random() < 0.5:
            date = chance.choice([0, 1, date - 10**7, date + 10**7, 2**33 + i, 2**40])
        made.append((sorted(chance.sample(recent, count)), date))
    return made


def expected(history: History, tips: set[int], hidden: set[int]) -> set[int]:
    """Plain set difference."""

    def reached(starts: set[int]) -> set[int]:
        found: set[int] = set()
        todo = list(starts)
        while todo:
            i = todo.pop()
            if i not in found:
                found.add(i)
                todo += history[i][0]
        return found

    return reached(tips) - reached(hidden)


def write(store: Store, history: History) -> list[str]:
    """Write the commits of a history to a store; returns their ids."""
    store.write("tree", b"")
    ids: list[str] = []
    for i, (parents, date) in enumerate(history):
        ids.append(store.write_commit(Commit(EMPTY, tuple(ids[p] for p in parents), "w <w@x>", date, f"{i}\n")))
    store.flush()
    return ids


@pytest.fixture(scope="module")
def repository(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One bare repository for all examples: they only add objects."""
    folder = tmp_path_factory.mktemp("reach") / "repo.git"
    subprocess.run(["git", "init", "-q", "--bare", str(folder)], check=True)
    return folder


def forget_graph(folder: Path) -> None:
    for file in (folder / "objects" / "info").rglob("*graph*"):
        if file.is_file():
            file.unlink()


@settings(max_examples=120)
@given(history=histories(), data=st.data())
def test_new_is_the_difference_of_sets_whatever_the_dates(
    repository: Path, history: History, data: st.DataObject
) -> None:
    """Memory, git in process, git by set, git by graph and both readers of the check give plain set difference."""
    index = st.integers(0, len(history) - 1)
    tips, hidden = data.draw(st.sets(index, min_size=1, max_size=4)), data.draw(st.sets(index, max_size=4))
    covered = data.draw(index)
    want = expected(history, tips, hidden)
    memory = MemoryStore()
    ids = write(memory, history)
    place = {oid: i for i, oid in enumerate(ids)}
    asked = [ids[i] for i in tips], [ids[i] for i in hidden]
    assert {place[oid] for oid in memory.new_commits(*asked)} == want
    forget_graph(repository)
    store = LocalStore(repository)
    assert write(store, history) == ids
    variables = {**os.environ, "GIT_DIR": str(repository)}
    for graph in (False, True):
        if graph:
            write_graph(repository, ids[covered])  # what is not in the graph has to come out right, too
            assert has_graph(repository)
        assert {place[oid] for oid in store.new_commits(*asked)} == want
        for reader in (PushReader, QuarantinedReader):
            hook = reader(variables)
            try:
                assert {place[oid] for oid in hook.new_commits(*asked)} == want
            finally:
                hook.close()


@settings(max_examples=60)
@given(history=histories(), data=st.data())
def test_questions_in_a_row_are_answered_as_if_each_were_the_first(history: History, data: st.DataObject) -> None:
    """What a store keeps of an earlier question changes no later answer."""
    index = st.integers(0, len(history) - 1)
    memory = MemoryStore()
    ids = write(memory, history)
    place = {oid: i for i, oid in enumerate(ids)}
    for _ in range(6):
        tips, hidden = data.draw(st.sets(index, min_size=1, max_size=3)), data.draw(st.sets(index, max_size=2))
        found = memory.new_commits([ids[i] for i in tips], [ids[i] for i in hidden])
        assert {place[oid] for oid in found} == expected(history, tips, hidden)


@pytest.mark.parametrize("near", [1, 5, 256])
@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(history=histories(), data=st.data())
def test_what_descends_is_what_reaches_whatever_is_near(
    near: int, repository: Path, monkeypatch: pytest.MonkeyPatch, history: History, data: st.DataObject
) -> None:
    """A few commits may tell, or git has to: the answer is the one of a walk through all parents."""
    monkeypatch.setattr(dreamcatcherd.git.reachability, "NEAR", near)
    index = st.integers(0, len(history) - 1)
    one, other = data.draw(index), data.draw(index)
    store = LocalStore(repository)
    ids = write(store, history)
    assert store.descends(ids[one], ids[other]) == (other in expected(history, {one}, set()))


def test_seven_old_dates_do_not_make_history_new(repository: Path) -> None:
    """Seven commits of a slow clock on main, and a lane that forked before them: only the lane's own commit is new."""
    history: History = [([], 1_700_000_000)]
    history += [([i], 1_700_000_100 + i) for i in range(40)]
    history += [([i], 1_000_000_000 + i) for i in range(40, 47)]
    history.append(([20], 1_700_009_000))
    forget_graph(repository)
    for store in (MemoryStore(), LocalStore(repository)):
        ids = write(store, history)
        assert set(store.new_commits([ids[48]], [ids[47]])) == {ids[48]}


def test_a_damaged_graph_is_not_believed(repository: Path) -> None:
    """Where git says that a commit-graph cannot be used, the answer comes from the commits."""
    history: History = [([], 5)] + [([i], 5 - i) for i in range(30)] + [([3], 9)]
    forget_graph(repository)
    store = LocalStore(repository)
    ids = write(store, history)
    write_graph(repository, ids[30])
    for file in (repository / "objects" / "info" / "commit-graphs").glob("*.graph"):
        file.chmod(0o644)
        file.write_bytes(b"CGPH no graph")
    assert set(store.new_commits([ids[31]], [ids[30]])) == {ids[31]}
