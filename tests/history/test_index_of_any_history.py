"""The index of ledgers is a cache whatever becomes of the history that it was made of: its answers are those of reading
every ledger."""

from __future__ import annotations

import random
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from dreamcatcherd.core.frames import Closing
from dreamcatcherd.core.ledger import Ledger
from dreamcatcherd.daemon.primary import Primary
from dreamcatcherd.git.derived_files import DERIVED_FOLDER, DerivedFiles
from dreamcatcherd.git.protocols import Move
from dreamcatcherd.history import ledger_index
from dreamcatcherd.history.ledger_index import LedgerIndex
from dreamcatcherd.stages import snapshot
from dreamcatcherd.stages.first_frame import open_first
from dreamcatcherd.testing import MemoryStore
from tests.history.history import copy_of, grow
from tests.history.test_ledger_index import assert_same_answers
from tests.law.fleet import MAIN, NOW, commit_files, primary_on
from tests.law.model import SETTINGS

FIRST = 994
"""The first frame: a few frames later the ledgers have a second folder."""

LANES = "refs/heads/dc/"


@contextmanager
def closing_as_before() -> Iterator[None]:
    """Frames close as they did before snapshot commits named the one before."""
    message_of: Callable[[Ledger, str | None], str] = snapshot.commit_message
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(snapshot, "commit_message", lambda ledger, *_: message_of(ledger, None))
        yield


class Fleet:
    """A repository that can be restored from a copy, with one folder of derived files that stays."""

    def __init__(self, folder: Path, chance: random.Random) -> None:
        self.folder = folder
        self.chance = chance
        store = MemoryStore()
        open_first(store, FIRST, NOW, Closing("manual"), MAIN)
        commit_files(store, MAIN, {"state/dreamcatcher.toml": SETTINGS})
        self.primary = primary_on(store)
        self.frames()
        self.copies = [copy_of(self.primary)]

    def frames(self) -> None:
        """Some frames close."""
        grow(self.primary, self.chance.randrange(1, 4), self.chance.randrange(2**16))

    def old_frames(self) -> None:
        """A primary of an earlier version closes some."""
        with closing_as_before():
            self.frames()

    def copy(self) -> None:
        """Somebody makes a copy of the repository."""
        self.copies.append(copy_of(self.primary))

    def restore(self) -> None:
        """The repository is replaced by a copy, and frames close again over other deltas. Derived files are still those
        of the lost history, whose objects are gone, or not pruned yet."""
        lost, self.primary = self.primary.store, copy_of(self.chance.choice(self.copies))
        store = self.primary.store
        assert isinstance(lost, MemoryStore)
        assert isinstance(store, MemoryStore)
        if self.chance.random() < 0.5:
            store.objects.update(lost.objects)
        self.frames()

    def lose_index(self) -> None:
        """The derived files are those of an earlier day, or of none."""
        kept, now = self.folder / "kept", self.folder / DERIVED_FOLDER
        if kept.exists():
            shutil.rmtree(now, ignore_errors=True)
            kept.rename(now)
        elif now.exists():
            shutil.copytree(now, kept)

    def recreate_lanes(self) -> None:
        """Every lane is deleted and made again, as an orphan or on its former head, with a delta that it brought before
        and with none that is new: each is a duplicate."""
        store = self.primary.store
        lanes = {ref: oid for ref, oid in store.refs().items() if ref.startswith(LANES)}
        assert store.move_refs([Move(ref, None, oid) for ref, oid in lanes.items()], "delete")
        for ref, oid in lanes.items():
            if self.chance.random() < 0.3:
                continue
            commit = store.commit(oid)
            parents = (oid,) if self.chance.random() < 0.5 else ()
            again = store.write_commit(type(commit)(commit.tree, parents, commit.author, commit.time + 1, "again\n"))
            store.flush()
            assert store.move_refs([Move(ref, again, None)], "again")
        self.frames()

    def rewind(self) -> None:
        """`main` is forced back to a head that it had before, and the next close heals it."""
        store = self.primary.store
        head = store.refs()[MAIN]
        older = [oid for oid, one in store.new_commits([head], []).items() if len(one.parents) < 2]
        assert store.move_refs([Move(MAIN, self.chance.choice(sorted(older)), head)], "force")
        self.frames()

    def check(self) -> None:
        """Every answer of a new process is that of reading all ledgers."""
        fresh: Primary = primary_on(self.primary.store)
        base = fresh.load_published(fresh.store.refs())
        assert_same_answers(fresh, base, LedgerIndex(DerivedFiles(self.folder)), 5)


EVENTS = [
    Fleet.frames, Fleet.old_frames, Fleet.copy, Fleet.restore, Fleet.lose_index, Fleet.recreate_lanes, Fleet.rewind,
]  # fmt: skip


@settings(max_examples=10, suppress_health_check=list(HealthCheck))
@given(
    seed=st.integers(0, 2**16),
    events=st.lists(st.sampled_from(EVENTS), min_size=2, max_size=6),
    unindexed=st.integers(0, 3),
)
@example(seed=6, events=[Fleet.frames, Fleet.restore], unindexed=0)
def test_whatever_happens_to_a_history_its_index_changes_no_answer(
    seed: int,
    events: list[Callable[[Fleet], None]],
    unindexed: int,
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    """Chains without trailers, repositories restored from a copy, derived files of another day, lanes that were deleted
    and made again, and rewinds, in any order, over two folders of ledgers."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ledger_index, "UNINDEXED", unindexed)
        fleet = Fleet(tmp_path_factory.mktemp("fleet"), random.Random(seed))
        fleet.check()
        for event in events:
            event(fleet)
            fleet.check()
