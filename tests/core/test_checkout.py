"""Names that no clone can hold, held against git's own judgement (docs/protocol.md#a-delta)."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from dreamcatcherd.core.checkout import FILES, LINK, PATH_BYTES, Checkout, unsafe_name, unsafe_path
from dreamcatcherd.core.tree import FILE, TREE, TREE_LEVELS, Entry, format_tree
from tests.core.tools import Heap

REFUSED = [
    ".git",
    ".GIT",
    ".Git",
    "git~1",
    "GIT~1",
    ".git ",
    ".git.",
    ".git . .",
    "git~1.",
    ".git::$INDEX_ALLOCATION",
    ".git:x",
    ".g\u200cit",
    "\ufeff.git",
    ".gi\u206ft",
    "..",
    ".",
]
HELD = [
    "a.json",
    ".gitignore",
    ".gitmodules",
    "git~2",
    "git~10",
    "gi",
    ".git-x",
    ".gitx",
    "g",
    "G.json",
    "git",
    "2026-01-31T12:00:00Z.json",
    "aux",
    "a b",
    "a\\b",
    "\u00e9.json",
    ".g\u200bit",
    "...",
    "..a",
    "x\u200c",
]


def git_holds(folder: Path, name: str) -> bool:
    """Whether git takes a path with this component into an index, with both protections on."""
    words = ["git", "-c", "core.protectNTFS=true", "-c", "core.protectHFS=true", "-C", str(folder)]
    words += ["update-index", "--add", "--cacheinfo", f"100644,{'1' * 40},x/{name}/y"]
    return subprocess.run(words, capture_output=True, check=False).returncode == 0


@pytest.mark.parametrize("name", [*REFUSED, *HELD])
def test_names_are_judged_as_git_judges_them(name: str, tmp_path: Path) -> None:
    """What git refuses to check out is unsafe, and nothing else is."""
    subprocess.run(["git", "init", "-q", str(tmp_path)], check=True)
    assert (unsafe_name(name.encode()) is None) == git_holds(tmp_path, name) == (name in HELD)


@pytest.mark.parametrize("name", ["", "a/b", "x\\.git\\y", "x\\git~1", "n" * 256, "\u00e9" * 128])
def test_names_that_no_tree_should_have_are_unsafe(name: str) -> None:
    """Empty and too long ones, such with a slash, and .git after a backslash, which Windows takes for a slash."""
    assert unsafe_name(name.encode()) is not None


@pytest.mark.parametrize(
    "name", [".gitmodules", ".GITMODULES", "gitmod~1", ".gitmodules ", "gi7eba~1", ".g\u200citmodules"]
)
def test_a_link_takes_no_place_of_gitmodules(name: str) -> None:
    """A symbolic link of such a name is refused by git; a file of that name is not."""
    assert unsafe_name(name.encode(), LINK) is not None
    assert unsafe_name(name.encode(), FILE) is None


def test_a_path_has_a_length() -> None:
    """Each name may be as long as file systems hold, and the whole path as long as clones do."""
    assert unsafe_path("/".join(["n" * 255] * 15)) is None
    assert unsafe_path("/".join(["n" * 255] * 16)) is not None
    assert unsafe_path("n" * 256) is not None


def tree_of(heap: Heap, entries: dict[str, Entry]) -> str:
    return heap.write("tree", format_tree(entries))


def nested(heap: Heap, oid: str, names: list[str]) -> str:
    """A tree of folders of these names, one in another, the last of which is the given tree."""
    for name in reversed(names):
        oid = tree_of(heap, {name: Entry(TREE, oid)})
    return oid


@pytest.fixture
def heap() -> Heap:
    return Heap()


def test_what_is_new_is_looked_through_and_what_stood_is_not(heap: Heap) -> None:
    """Unsafe names are found at any depth, by name and not by joined path; what an old tree has too is passed over."""
    file = Entry(FILE, heap.write("blob", b"x"))
    bad = tree_of(heap, {"git~1": file, "good": file, "a/b": file})
    old = tree_of(heap, {"was": Entry(TREE, bad)})
    new = tree_of(heap, {"was": Entry(TREE, bad), "is": Entry(TREE, nested(heap, bad, ["x", "y"]))})
    found = {path for path, _ in Checkout().unsafe_paths(heap, new, [old])}
    assert found == {("is", "x", "y", "git~1"), ("is", "x", "y", "a/b")}
    assert {path[0] for path, _ in Checkout().unsafe_paths(heap, new, [])} == {"was", "is"}
    assert list(Checkout().unsafe_paths(heap, new, [], "is")) != []
    assert {path[0] for path, _ in Checkout().unsafe_paths(heap, new, [], "is")} == {"was"}


def test_folders_that_no_clone_can_hold_are_named_as_a_whole(heap: Heap) -> None:
    """Too deep, too long, too many files by folders of many names, or no tree at all: the folder itself is named."""
    file = Entry(FILE, heap.write("blob", b"x"))
    leaf = tree_of(heap, {"a": file})
    deep = nested(heap, leaf, ["d"] * (TREE_LEVELS + 5))
    long = nested(heap, leaf, ["n" * 250] * (PATH_BYTES // 250 + 1))
    many = leaf
    for _ in range(8):
        many = tree_of(heap, {f"{number}": Entry(TREE, many) for number in range(10)})
    assert FILES < 10**8
    entries = {"deep": deep, "long": long, "many": many, "none": heap.write("blob", b"garbage"), "fine": leaf}
    root = tree_of(heap, {name: Entry(TREE, oid) for name, oid in entries.items()})
    found = dict(Checkout().unsafe_paths(heap, root, []))
    assert {path[0] for path in found} == {"deep", "long", "many", "none"}
    assert ("many",) in found
    assert ("none",) in found


def test_the_cost_follows_the_distinct_folders(heap: Heap) -> None:
    """Ten folders that name the next one ten times each are ten billion paths, and are read ten times in all."""
    leaf = tree_of(heap, {"git~1": Entry(FILE, heap.write("blob", b"x"))})
    oid = leaf
    for _ in range(10):
        oid = tree_of(heap, {f"{number}": Entry(TREE, oid) for number in range(10)})
    reads: list[str] = []

    class Counting(Heap):
        def read(self, oid: str) -> bytes:
            reads.append(oid)
            return heap.read(oid)

    assert list(Checkout().unsafe_paths(Counting(), oid, []))
    assert len(reads) < 100
