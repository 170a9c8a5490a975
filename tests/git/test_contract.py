"""One contract suite over the git store and its in-memory twin."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from dreamcatcherd.core.errors import FatalError
from dreamcatcherd.core.frames import Closing
from dreamcatcherd.core.paths import PUBLISHED
from dreamcatcherd.core.tree import FILE, Entry, read_tree
from dreamcatcherd.git.local import LocalStore
from dreamcatcherd.git.protocols import Move, Store
from dreamcatcherd.git.push_reader import PushReader
from dreamcatcherd.git.quarantine import QuarantinedReader
from dreamcatcherd.imports.new_repository import create
from dreamcatcherd.stages.first_frame import open_first
from dreamcatcherd.testing import MemoryStore
from tests.law.fleet import MAIN, NOW, commit_files
from tests.stages.tools import put

KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIKr9bW39+VuRbozqQKj9rOxNy7KOuaTpBel6hVXdi3Re"


@pytest.fixture(params=["memory", "git"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Store:
    """A store with frame 1 open."""
    if request.param == "git":
        return create(tmp_path / "fleet.git", 1, NOW, Closing("manual"))
    memory = MemoryStore()
    open_first(memory, 1, NOW, Closing("manual"), MAIN)
    return memory


def test_what_is_written_is_read_back_under_gits_own_id(store: Store) -> None:
    """An object has the id that git gives it, before and after a flush."""
    oid = store.write("blob", b"hello\n")
    assert oid == "ce013625030ba8dba906f756967f9e9ca394464a"
    assert (store.read(oid), store.size(oid)) == (b"hello\n", 6)
    store.flush()
    assert (store.read(oid), store.size(oid), store.resolve(oid[:8])) == (b"hello\n", 6, oid)


def test_what_is_discarded_or_unknown_is_missing(store: Store) -> None:
    """A discarded object was never there; reading a missing one is fatal, with a remedy."""
    oid = store.write("blob", b"never mind")
    store.discard()
    store.flush()
    with pytest.raises(FatalError):
        store.read(oid)
    assert store.resolve("zz") is None


def test_refs_move_all_together_or_not_at_all(store: Store) -> None:
    """One stale expectation among several moves leaves every ref where it was."""
    old = store.refs()[MAIN]
    new = commit_files(store, MAIN, {"a.txt": b"1"})
    stale = [Move("refs/heads/dc/a", new, None), Move(MAIN, old, old)]
    assert not store.move_refs(stale, "test")
    assert "refs/heads/dc/a" not in store.refs()
    assert store.move_refs([Move("refs/heads/dc/a", new, None)], "test")
    assert not store.move_refs([Move("refs/heads/dc/a", old, None)], "test")
    assert store.move_refs([Move("refs/heads/dc/a", None, new)], "test")
    assert store.refs()[MAIN] == new


def test_new_commits_are_those_reachable_from_the_tips_alone(store: Store) -> None:
    """What the hidden commits reach is not new; an orphan is."""
    first = store.refs()[MAIN]
    second = commit_files(store, MAIN, {"a.txt": b"1"})
    orphan = commit_files(store, "refs/heads/dc/a", {"b.txt": b"2"}, orphan=True)
    assert set(store.new_commits([second, orphan], [first])) == {second, orphan}
    assert store.new_commits([first], [second]) == {}
    assert store.commit(second).parents == (first,)


def test_descends_follows_every_parent_and_knows_what_is_missing(store: Store) -> None:
    """A commit descends from itself and its whole history, not from what came later, beside it, or never was."""
    first = store.refs()[MAIN]
    second = commit_files(store, MAIN, {"a.txt": b"1"})
    orphan = commit_files(store, "refs/heads/dc/a", {"b.txt": b"2"}, orphan=True)
    joined = put(store, MAIN, {"c.txt": Entry(FILE, store.write("blob", b"3"))}, (second, orphan))
    assert all(store.descends(joined, oid) for oid in (joined, second, orphan, first))
    assert not store.descends(first, second)
    assert not store.descends(second, orphan)
    assert not store.descends(orphan, first)
    assert not store.descends(joined, "1" * 40)
    assert store.descends("1" * 40, "1" * 40)
    with pytest.raises(FatalError):
        store.descends("1" * 40, joined)


def test_what_is_remembered_is_recalled_until_the_next(store: Store) -> None:
    """A primary recalls nothing at first, then the last commit that it was told to remember."""
    assert store.recall() is None
    first = store.refs()[MAIN]
    store.remember(first)
    assert store.recall() == first
    store.remember(first)
    second = commit_files(store, MAIN, {"a.txt": b"1"})
    store.remember(second)
    assert store.recall() == second
    assert store.refs().keys() == {MAIN, PUBLISHED}


def test_a_commit_that_nobody_signed_has_no_good_signature(store: Store) -> None:
    """Of no commits, and of unsigned ones, none is good, whoever may sign."""
    commits = [store.refs()[MAIN], commit_files(store, MAIN, {"a.txt": b"1"})]
    assert store.good_signatures(commits, []) == {}
    assert store.good_signatures(commits, [f"* {KEY}"]) == {}
    assert store.good_signatures([], [f"* {KEY}"]) == {}


def test_a_store_that_reads_all_refs_has_nothing_new_to_follow(store: Store) -> None:
    """Lanes under another prefix are among the refs at once, so that no second look is needed."""
    oid = commit_files(store, "refs/lanes/a", {"a.txt": b"1"}, orphan=True)
    assert not store.follow("refs/lanes/")
    assert store.refs()["refs/lanes/a"] == oid


def test_packs_are_what_git_itself_accepts(tmp_path: Path) -> None:
    """Packs and their indexes pass git's own checks, and another process reads the objects."""
    store = create(tmp_path / "fleet.git", 1, NOW, Closing("manual"))
    oids = [store.write("blob", bytes([number % 251]) * number) for number in range(0, 5000, 37)]
    commit_files(store, MAIN, {"a.txt": b"1"})
    assert isinstance(store, LocalStore)
    for index in (store.folder / "objects/pack").glob("*.idx"):
        subprocess.run(["git", "verify-pack", str(index)], check=True)
    subprocess.run(["git", "-C", str(store.folder), "fsck", "--full", "--strict", "--no-dangling"], check=True)
    size = subprocess.run(["git", "-C", str(store.folder), "cat-file", "-s", oids[-1]], capture_output=True, check=True)
    assert int(size.stdout) == store.size(oids[-1])


@pytest.mark.parametrize("reader", [PushReader, QuarantinedReader])
def test_the_readers_of_the_check_read_what_the_git_store_reads(
    tmp_path: Path, reader: type[PushReader | QuarantinedReader]
) -> None:
    """Through git's own commands and in process the same refs, commits, objects and history come out, and the same
    failures."""
    store = create(tmp_path / "fleet.git", 1, NOW, Closing("manual"))
    first = store.refs()[MAIN]
    second = commit_files(store, MAIN, {"a.txt": b"one\ntwo\n", "empty": b""})
    orphan = commit_files(store, "refs/heads/dc/a", {"b.txt": bytes(range(256))}, orphan=True)
    plumbing = reader({**os.environ, "GIT_DIR": str(store.folder)})
    try:
        assert (plumbing.refs(), plumbing.head_branch) == (store.refs(), MAIN)
        for tip, hidden in (([second, orphan], [first]), ([second], []), ([first], [second]), ([orphan], [second])):
            assert plumbing.new_commits(tip, hidden) == store.new_commits(tip, hidden)
        for oid in [second, *(entry.oid for entry in read_tree(store, store.commit(second).tree).values())]:
            assert (plumbing.read(oid), plumbing.size(oid)) == (store.read(oid), store.size(oid))
        changing = ("write", "write_commit", "flush", "discard", "move_refs", "remember")
        assert [name for name in changing if hasattr(plumbing, name)] == []
        for fails in (plumbing.read, plumbing.size, plumbing.commit, lambda oid: plumbing.new_commits([oid], [])):
            with pytest.raises(FatalError):
                fails("1" * 40)
        assert plumbing.read(second) == store.read(second)
    finally:
        plumbing.close()


def test_both_readers_of_the_check_list_the_same_refs(tmp_path: Path) -> None:
    """Tags, symbolic refs, refs that lead nowhere, packed refs and a HEAD that names no branch are the same to both."""
    store = create(tmp_path / "fleet.git", 1, NOW, Closing("manual"))
    folder = tmp_path / "fleet.git"
    variables = {**os.environ, "GIT_DIR": str(folder)}

    def listed(reader: type[PushReader | QuarantinedReader]) -> tuple[dict[str, str], str | None]:
        one = reader(variables)
        one.close()
        return one.refs(), one.head_branch

    def run(*words: str) -> None:
        subprocess.run(["git", "-C", str(folder), *words], check=True, capture_output=True)

    run("-c", "user.name=a", "-c", "user.email=a@b", "tag", "-a", "-m", "one", "v1", store.refs()[MAIN])
    run("symbolic-ref", "refs/remotes/origin/HEAD", MAIN)
    run("symbolic-ref", "refs/heads/nowhere", "refs/heads/none")
    run("branch", "ü", "main")
    assert listed(PushReader) == listed(QuarantinedReader)
    assert listed(PushReader)[0]["refs/remotes/origin/HEAD"] == store.refs()[MAIN]
    run("pack-refs", "--all")
    for head in ("refs/heads/none", "refs/heads/ü"):
        run("symbolic-ref", "HEAD", head)
        assert listed(PushReader) == listed(QuarantinedReader)
    run("update-ref", "--no-deref", "HEAD", "main")
    assert listed(PushReader) == listed(QuarantinedReader)
