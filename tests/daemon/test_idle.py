"""What a primary remembers between two polls: nothing of it hides what is new, and an idle poll reads no objects."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from msgspec import structs

from dreamcatcherd.config_tables import Config
from dreamcatcherd.core.frames import Closing
from dreamcatcherd.core.report import Pending
from dreamcatcherd.core.tree import FILE, Entry
from dreamcatcherd.daemon.bootstrap import Runtime
from dreamcatcherd.daemon.cycle import poll
from dreamcatcherd.daemon.opening import closing_of
from dreamcatcherd.daemon.primary import Primary
from dreamcatcherd.daemon.timers import Timers
from dreamcatcherd.daemon.upkeep import Upkeep
from dreamcatcherd.git.local import LocalStore
from dreamcatcherd.git.maintenance import LOOSE_MOST
from dreamcatcherd.git.protocols import Move
from dreamcatcherd.git.repository import Repository
from dreamcatcherd.imports.new_repository import create
from dreamcatcherd.observe.logs import CycleLog
from dreamcatcherd.observe.metrics import Metrics
from dreamcatcherd.web.server import read_listening
from tests.daemon.tools import Lines
from tests.e2e.tools import git, wait_for
from tests.law.fleet import MAIN, NOW, commit_files, primary_on
from tests.stages.tools import FOLDER, close, put, text

LANE = "refs/heads/dc/s"


@pytest.fixture
def store(tmp_path: Path) -> LocalStore:
    """Frame 2 is open, and a merged lane is there."""
    store = create(tmp_path / "fleet.git", 1, NOW, Closing("manual"))
    commit_files(store, LANE, {f"{FOLDER}/1/a.json": text(1)})
    close(primary_on(store))
    return store


def found(primary: Primary) -> Pending:
    """What a poll shows, without what is a question of time."""
    return structs.replace(poll(primary)[0].pending, behind_s=0.0)


def push_to_lane(store: LocalStore) -> None:
    commit_files(store, LANE, {f"{FOLDER}/2/b.json": text(2, number=1)})


def push_to_main(store: LocalStore) -> None:
    commit_files(store, MAIN, {f"{FOLDER}/2/c.json": text(2, "c", number=2)})


def push_what_cannot_merge(store: LocalStore) -> None:
    commit_files(store, "refs/heads/dc/x", {f"{FOLDER}/2/x.json": b"{"})


def change_settings(store: LocalStore) -> None:
    commit_files(store, MAIN, {"state/dreamcatcher.toml": b"[limits]\ndepth = 9\n"})


def refuse_settings(store: LocalStore) -> None:
    commit_files(store, MAIN, {"state/dreamcatcher.toml": b"[limits\n"})


def edit_the_snapshot(store: LocalStore) -> None:
    put(store, MAIN, {"state/frame.json": Entry(FILE, store.write("blob", b"{}"))})


def stray(store: LocalStore) -> None:
    commit_files(store, "refs/heads/elsewhere", {f"{FOLDER}/2/e.json": text(2, "e")})


def pack(store: LocalStore) -> None:
    git(store.folder, "pack-refs", "--all")


def close_elsewhere(store: LocalStore) -> None:
    close(primary_on(LocalStore(store.folder)))


def write_a_ref_in_place(store: LocalStore) -> None:
    with (store.folder / "refs/heads/elsewhere").open("r+b") as file:
        file.write(store.refs()[MAIN].encode())


NEWS: list[Callable[[LocalStore], None]] = [
    push_to_lane, push_to_main, pack, push_what_cannot_merge, stray, change_settings, close_elsewhere, push_to_lane,
    refuse_settings, write_a_ref_in_place, edit_the_snapshot, pack, close_elsewhere, close_elsewhere,
]  # fmt: skip


def test_a_primary_that_polls_all_the_time_shows_what_a_new_one_shows(store: LocalStore) -> None:
    """After each kind of news the next poll has it, and the poll after that, which finds nothing new, still has it."""
    running = primary_on(store)
    for news in NEWS:
        for _ in range(2):
            found(running)
        news(LocalStore(store.folder))
        fresh = found(primary_on(LocalStore(store.folder)))
        assert found(running) == fresh, news.__name__
        assert found(running) == fresh, news.__name__


def test_a_poll_that_finds_nothing_new_reads_no_object(store: LocalStore, monkeypatch: pytest.MonkeyPatch) -> None:
    """Deltas wait, and the poll returns the same report as before; nor is every ref asked. A push then is read as
    always."""
    push_to_lane(store)
    primary = primary_on(store)
    first = poll(primary)[0].pending
    with monkeypatch.context() as patch:
        patch.setattr(Repository, "read", lambda *_: pytest.fail("an object was read"))
        patch.setattr("dreamcatcherd.daemon.primary.is_copy", lambda _: pytest.fail("every ref was asked"))
        assert poll(primary, restore=True)[0].pending == first
    push_to_main(LocalStore(store.folder))
    assert poll(primary)[0].pending.streams == {"c": 1, "s": 1}


def test_other_streams_are_seen_though_only_another_primary_published(store: LocalStore) -> None:
    """What a lost race showed before the ledgers were read is not kept."""
    primary = primary_on(store)
    poll(primary)
    push_to_main(store)
    close_elsewhere(store)
    primary.pending(primary.read_inbox())
    assert poll(primary)[0].pending.seen.keys() == {"c", "s"}


def test_a_discarded_commit_is_not_remembered(store: LocalStore) -> None:
    """A merge of many lanes is kept when it was read, and forgotten with what was not flushed."""
    head = store.refs()[MAIN]
    parents = tuple(commit_files(store, f"refs/heads/dc/n{n}", {"n": str(n).encode()}, orphan=True) for n in range(40))
    wide = store.write_commit(structs.replace(store.commit(head), parents=parents))
    assert store.commit(wide) == store.commit(wide)
    assert len(store.commit(wide).parents) == 40
    store.discard()
    with pytest.raises(Exception, match=wide):
        store.commit(wide)


def housekeeping(store: LocalStore) -> tuple[Upkeep, Runtime]:
    config = Config()
    upkeep = Upkeep(Timers(), Metrics(), CycleLog(Lines()))
    return upkeep, Runtime(config, store, primary_on(store), closing_of(config), read_listening(config.http))


def test_many_refs_are_packed_and_all_of_them_stay(store: LocalStore) -> None:
    """Each look asks every ref that has a file of its own, so the daemon packs them when there are many."""
    upkeep, runtime = housekeeping(store)
    store.refs()
    upkeep.tidy(runtime, closed=False)
    assert not (store.folder / "packed-refs").exists()
    lines = "".join(f"create refs/heads/dc/w{n}/x {store.refs()[LANE]}\n" for n in range(LOOSE_MOST))
    subprocess.run(["git", "-C", store.folder, "update-ref", "--stdin"], input=lines.encode(), check=True)
    before = dict(store.refs())
    assert store.loose_refs > LOOSE_MOST
    upkeep.tidy(runtime, closed=False)
    wait_for(lambda: store.refs() == before and store.loose_refs == 0, 60)
    assert store.move_refs([Move("refs/heads/dc/w1/x", None, before[LANE])], "test")
    assert store.refs().keys() == before.keys() - {"refs/heads/dc/w1/x"}
