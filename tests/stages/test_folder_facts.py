"""What is kept of large folders by their tree id: it saves looking again, and changes no answer."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from dreamcatcherd.core.checkout import FolderContents
from dreamcatcherd.core.errors import UnreadableError
from dreamcatcherd.core.paths import ROOTS
from dreamcatcherd.core.tree import FILE, TREE, Entry, format_tree, walk
from dreamcatcherd.doctor import checks
from dreamcatcherd.git.derived_files import DerivedFiles
from dreamcatcherd.git.protocols import Commit
from dreamcatcherd.stages import folder_facts, largest_file
from dreamcatcherd.stages.folder_facts import FolderFacts
from dreamcatcherd.stages.largest_file import Largest
from dreamcatcherd.testing import MemoryStore
from tests.law.fleet import MAIN, commit_files

INSIDE = (*ROOTS, "state/f/g/deltas")
names = st.sampled_from(["a", "f/b", "f/c", "f/g/d", "f/g/deltas/1/x.json", "h/f/b", "h/f/c", "stream_deltas/1/x.json"])
commits = st.lists(st.dictionaries(names, st.integers(0, 99), min_size=1), min_size=1, max_size=6)


@pytest.fixture
def files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> DerivedFiles:
    """Derived files in an empty folder; folders of two files count as large."""
    monkeypatch.setattr(largest_file, "KEPT_FROM", 2)
    monkeypatch.setattr(largest_file, "RENEW_AFTER", 3)
    monkeypatch.setattr(checks, "KEPT_FROM", 2)
    return DerivedFiles(tmp_path)


@settings(max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(commits, st.sampled_from([ROOTS, INSIDE]), st.data())
def test_processes_that_share_facts_find_what_a_complete_walk_finds(
    files: DerivedFiles, changes: list[dict[str, int]], roots: tuple[str, ...], data: st.DataObject
) -> None:
    """Whether each commit is asked about by a new process or by one that runs on, with any delta roots: the same size,
    and a file of that size."""
    store, largest = MemoryStore(), Largest(files)
    for changed in changes:
        commit = commit_files(store, MAIN, {f"state/{path}": b"x" * size for path, size in changed.items()})
        if data.draw(st.booleans(), "new process"):
            largest = Largest(files)
        sizes = {
            path: store.size(entry.oid)
            for path, entry in walk(store, store.commit(commit).tree)
            if not any(path.startswith(f"{root}/") for root in roots)
        }
        path, size = largest.of(store, commit, roots)
        assert size == max(sizes.values(), default=0)
        assert sizes.get(path, 0) == size
        assert bool(path) == bool(sizes)


def test_a_large_folder_that_did_not_change_is_not_looked_into_again(
    files: DerivedFiles, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The next process asks for the sizes of what is new alone, and names the file in the old folder."""
    store = MemoryStore()
    commit_files(store, MAIN, {"state/ledger/0/1.json": b"x" * 9, "state/ledger/0/2.json": b"x" * 5})
    Largest(files).of(store, store.refs()[MAIN])
    commit = commit_files(store, MAIN, {"state/ledger/1/3.json": b"x"})
    asked: list[int] = []
    size = store.size

    def counted(oid: str) -> int:
        asked.append(size(oid))
        return asked[-1]

    monkeypatch.setattr(store, "size", counted)
    assert Largest(files).of(store, commit) == ("state/ledger/0/1.json", 9)
    assert asked == [1]
    assert Largest().of(store, commit) == ("state/ledger/0/1.json", 9)
    assert sorted(asked) == [1, 1, 5, 9]


def nested(store: MemoryStore, levels: int) -> str:
    """A commit with a file below so many folders of `state`, one in another."""
    tree = store.write("tree", format_tree({"x": Entry(FILE, store.write("blob", b"1"))}))
    for name in ["f"] * (levels - 1) + ["state"]:
        tree = store.write("tree", format_tree({name: Entry(TREE, tree)}))
    return store.write_commit(Commit(tree, (), "a <a@example.org>", 0, "deep\n"))


def test_deep_folders_are_looked_into_up_to_the_limit(files: DerivedFiles) -> None:
    """A stranger's tree may be deeper than Python's stack."""
    store = MemoryStore()
    path, size = Largest(files).of(store, nested(store, 1_000))
    assert (path.count("/"), size) == (1_000, 1)
    with pytest.raises(UnreadableError, match="1000 folders one in another"):
        Largest(files).of(store, nested(store, 1_100))


def test_a_damaged_file_of_facts_is_not_believed(files: DerivedFiles) -> None:
    """Nothing is known then, and the next process finds a good one again."""
    facts = {"a" * 40: FolderContents(False, 9, 1, 70)}
    FolderFacts(files, "contents", FolderContents).keep(facts)
    assert FolderFacts(files, "contents", FolderContents).known == facts
    good = files.read("contents")
    assert good is not None
    for bad in (good[:-1], good.replace(b"70", b"71"), b"", b"%08x{" % 0, folder_facts._sum_of(b"[1]") + b"[1]"):
        files.write("contents", bad)
        again = FolderFacts(files, "contents", FolderContents)
        assert again.known == {}
        again.keep(facts)
        assert files.read("contents") == good


def test_facts_that_nobody_asks_for_any_more_go(files: DerivedFiles, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each commit brings new folders: beyond a limit those stay that the last process came upon."""
    monkeypatch.setattr(folder_facts, "FACTS_MOST", 3)
    first, second = ({letter * 40: ("x", 1) for letter in letters} for letters in ("abc", "cd"))
    FolderFacts(files, "largest", tuple).keep(first)
    FolderFacts(files, "largest", tuple).keep(second)
    assert FolderFacts(files, "largest", tuple).known.keys() == second.keys()
    FolderFacts(None, "largest", tuple).keep(first)


def test_names_are_judged_alike_with_kept_facts(files: DerivedFiles, monkeypatch: pytest.MonkeyPatch) -> None:
    """An unsafe name in a large folder is found again, by the check that looks only at what is new."""
    monkeypatch.setattr(checks, "derived_files", lambda _: files)
    store = MemoryStore()
    for number, path in enumerate(["state/a/1", "state/a/2", "state/a/con:git~1", "other/f/1", "other/f/2", "x"]):
        commit = commit_files(store, MAIN, {path: str(number).encode(), "state/a/.git ": b"1"})
        tree = store.commit(commit).tree
        first = checks._unsafe_paths(store, tree)
        assert first == checks._unsafe_paths(store, tree)
        monkeypatch.setattr(checks, "derived_files", lambda _: None)
        assert first == checks._unsafe_paths(store, tree)
        monkeypatch.setattr(checks, "derived_files", lambda _: files)
        assert ("state", "a", ".git ") in {path for path, _ in first}
