"""Git trees as pure data, held to git itself (docs/protocol.md#words)."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dreamcatcherd.core.errors import FatalError
from dreamcatcherd.core.tree import (
    FILE,
    TREE,
    Entry,
    blob_at,
    changed,
    edit,
    entries_at,
    format_tree,
    lookup,
    object_id,
    parse,
    read_tree,
    subtree,
    walk,
)
from tests.core.tools import Heap

EXECUTABLE, LINK, SUBMODULE = 0o100755, 0o120000, 0o160000
Files = dict[str, Entry]


def file(text: str, mode: int = FILE) -> Entry:
    return Entry(mode, object_id("blob", text.encode()))


def git(folder: Path, *args: str, given: bytes = b"") -> bytes:
    env = {"PATH": os.environ["PATH"], "HOME": str(folder), "GIT_CONFIG_NOSYSTEM": "1"}
    return subprocess.run(["git", *args], cwd=folder, env=env, input=given, capture_output=True, check=True).stdout


@pytest.fixture
def repo(tmp_path: Path) -> Path:
    """An empty git repository."""
    git(tmp_path, "init", "-q")
    return tmp_path


def build(store: Heap, files: Files) -> str | None:
    return edit(store, None, files)


def parsed(text: dict[str, str]) -> Files:
    return {path: file(content) for path, content in text.items()}


# Bytes and ids ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("content", [b"", b"hello\n", b"\x00\xff" * 1000, "é😀".encode()])
def test_a_blob_has_gits_id(repo: Path, content: bytes) -> None:
    """The id of any content is what git hash-object says."""
    assert object_id("blob", content) == git(repo, "hash-object", "--stdin", given=content).decode().strip()


def test_the_empty_tree_has_gits_id() -> None:
    """A tree without entries has the id that git knows by heart."""
    assert object_id("tree", format_tree({})) == "4b825dc642cb6eb9a060e54bf8d69288fbee4904"


def test_a_tree_has_gits_id_and_order(repo: Path) -> None:
    """Files and folders whose names are prefixes of one another, of every mode, sort and hash as in git mktree."""
    blob, tree = object_id("blob", b""), object_id("tree", b"")
    names = {"a": TREE, "a.b": FILE, "a-b": TREE, "a0": FILE, "a/": None, "ab": EXECUTABLE, "Z": LINK, "sub": SUBMODULE}
    names |= {"é": FILE, "\udcff\udcfe": FILE, "a b\n": FILE, "😀": TREE, "\uffff": FILE, "0": TREE, "0.": FILE}
    kinds = {TREE: "tree", SUBMODULE: "commit"}
    entries = {name: Entry(mode, tree if mode == TREE else blob) for name, mode in names.items() if mode is not None}
    listing = b"".join(
        f"{mode:06o} {kinds.get(mode, 'blob')} {oid}\t".encode() + os.fsencode(name) + b"\0"
        for name, (mode, oid) in entries.items()
    )
    made = git(repo, "mktree", "--missing", "-z", given=listing).decode().strip()
    assert object_id("tree", format_tree(entries)) == made
    listed = git(repo, "ls-tree", "-z", "--name-only", made).split(b"\0")[:-1]
    raw = git(repo, "cat-file", "tree", made)
    assert [os.fsencode(name) for name in parse(raw)] == listed
    assert parse(raw) == entries


names = st.one_of(
    st.text(st.sampled_from("ab.-0é"), min_size=1, max_size=3),
    st.binary(min_size=1, max_size=4)
    .filter(lambda raw: not set(raw) & {0, ord("/")})
    .map(lambda raw: raw.decode("utf-8", "surrogateescape")),
)
modes = st.sampled_from([TREE, FILE, EXECUTABLE, LINK, SUBMODULE])
oids = st.binary(min_size=20, max_size=20).map(bytes.hex)


@settings(max_examples=100)
@given(st.dictionaries(names, st.builds(Entry, modes, oids), max_size=6))
def test_a_tree_is_read_as_it_was_written(entries: Files) -> None:
    """Entries survive their bytes whatever the names, and reading and writing again gives the same bytes."""
    raw = format_tree(entries)
    assert parse(raw) == entries
    assert format_tree(parse(raw)) == raw
    assert format_tree(dict(reversed(entries.items()))) == raw


def test_a_deep_tree_has_the_id_that_git_writes(repo: Path) -> None:
    """The digest of nested folders is the tree that git's own index makes of the same files."""
    files = parsed({"a/b/c.txt": "1", "a/b.txt": "2", "a.txt": "3", "a-/x": "4", "b/é/deep/er": "5", "z": "6"})
    files["run.sh"] = file("7", EXECUTABLE)
    index = b"".join(f"{mode:o} {oid}\t{path}\n".encode() for path, (mode, oid) in files.items())
    for content in "1234567":
        git(repo, "hash-object", "-w", "--stdin", given=content.encode())
    git(repo, "update-index", "--add", "--index-info", given=index)
    wanted = git(repo, "write-tree").decode().strip()
    store = Heap()
    assert build(store, files) == wanted
    removed = edit(store, wanted, {"a/b/c.txt": None, "b": None})
    git(repo, "update-index", "--force-remove", "a/b/c.txt", "b/é/deep/er")
    assert removed == git(repo, "write-tree").decode().strip()


# Looking things up ------------------------------------------------------------------------------------------------


def test_what_stands_at_a_path_is_found() -> None:
    """Files, folders and nothing are told apart, also below a file and where there is no tree."""
    store = Heap()
    files = {"a/b/c": file("1"), "a/x": file("2", EXECUTABLE), "l": file("3", LINK)}
    tree = build(store, files)
    inner = subtree(store, tree, "a/b")
    assert inner == object_id("tree", format_tree({"c": file("1")}))
    assert lookup(store, tree, "a/b") == Entry(TREE, inner)
    assert lookup(store, tree, "a/b/c") == file("1")
    assert [lookup(store, tree, path) for path in ("b", "a/c", "a/b/c/d", "a/", "")] == [None] * 5
    assert [subtree(store, tree, path) for path in ("a/x", "no", "l")] == [None] * 3
    assert [blob_at(store, tree, path) for path in ("a/b/c", "a/x")] == [file("1").oid, file("2").oid]
    assert [blob_at(store, tree, path) for path in ("a", "l", "no")] == [None] * 3
    assert (lookup(store, None, "a"), read_tree(store, None)) == (None, {})


def test_every_file_is_walked_in_gits_order() -> None:
    """A walk gives each file below a tree with its whole path, folders among files as git sorts them."""
    store = Heap()
    files = parsed({"a/x": "1", "a.b": "2", "a0": "3", "b/c/d": "4", "b/c.d": "5"})
    tree = build(store, files)
    assert list(walk(store, tree)) == [(path, files[path]) for path in ("a.b", "a/x", "a0", "b/c.d", "b/c/d")]
    assert [path for path, _ in walk(store, subtree(store, tree, "b"), "b/")] == ["b/c.d", "b/c/d"]
    assert list(walk(store, None)) == []


# Edits ------------------------------------------------------------------------------------------------------------


def test_an_emptied_folder_vanishes() -> None:
    """Git knows no empty folders: the last file takes its folders along, and the root becomes nothing."""
    store = Heap()
    tree = build(store, parsed({"a/b/c": "1", "d": "2"}))
    without = edit(store, tree, {"a/b/c": None})
    assert list(walk(store, without)) == [("d", file("2"))]
    assert read_tree(store, without) == {"d": file("2")}
    assert edit(store, without, {"d": None}) is None
    assert edit(store, None, {"a/b": None, "c": None}) is None


def test_a_file_and_a_folder_replace_each_other() -> None:
    """A path below a file makes it a folder; a file at a folder's path takes its place."""
    store = Heap()
    tree = build(store, parsed({"a": "1", "b/c": "2", "b/d": "3"}))
    new = edit(store, tree, {"a/x": file("4"), "b": file("5")})
    assert dict(walk(store, new)) == parsed({"a/x": "4", "b": "5"})


def test_removing_what_is_not_there_changes_nothing() -> None:
    """Unknown paths, and paths below a file, are removed without effect."""
    store = Heap()
    tree = build(store, parsed({"a": "1", "b/c": "2"}))
    assert edit(store, tree, {"no": None, "a/x": None, "b/no": None, "n/o/o": None}) == tree
    assert edit(store, tree, {}) == tree


def test_a_whole_folder_is_set_and_removed_by_its_id() -> None:
    """A tree can be put at a path, and a folder taken away, in one change."""
    store = Heap()
    inner = build(store, parsed({"x": "1"}))
    assert inner is not None
    tree = edit(store, None, {"a/b": Entry(TREE, inner), "c": file("2")})
    assert dict(walk(store, tree)) == parsed({"a/b/x": "1", "c": "2"})
    assert dict(walk(store, edit(store, tree, {"a": None}))) == parsed({"c": "2"})


def test_folders_that_an_edit_does_not_touch_are_not_opened() -> None:
    """Only the folders on the way are read: one whose object is missing does no harm."""
    store = Heap()
    missing = Entry(TREE, "0" * 40)
    tree = edit(store, None, {"far": missing, "a/b": file("1")})
    new = edit(store, tree, {"a/c": file("2")})
    assert read_tree(store, new)["far"] == missing
    with pytest.raises(FatalError):
        list(walk(store, new))


paths = st.lists(st.sampled_from("abc"), min_size=1, max_size=3).map("/".join)
contents = st.sampled_from([file("1"), file("2"), file("1", EXECUTABLE), file("1", LINK)])


def _settle(files: Files, path: str, entry: Entry | None) -> Files:
    """The same change to plain paths: a set file clears what is above and below it."""
    kept = {at: one for at, one in files.items() if at != path and not at.startswith(path + "/")}
    if entry is None:
        return kept
    return {at: one for at, one in kept.items() if not path.startswith(at + "/")} | {path: entry}


def _whole(files: Files) -> Files:
    """The files without those that stand where another one needs a folder."""
    return {path: one for path, one in files.items() if not any(at.startswith(path + "/") for at in files)}


@settings(max_examples=100)
@given(st.lists(st.tuples(paths, st.one_of(contents, st.none())), max_size=10))
def test_edits_do_to_a_tree_what_they_do_to_its_paths(changes: list[tuple[str, Entry | None]]) -> None:
    """After any sequence of edits the tree is the one built at once from the files that stand then."""
    store, files = Heap(), Files()
    tree: str | None = None
    for path, entry in changes:
        tree, files = edit(store, tree, {path: entry}), _settle(files, path, entry)
        assert dict(walk(store, tree)) == files
    assert tree == build(store, files)


# What a commit changes --------------------------------------------------------------------------------------------


def test_against_no_parent_every_file_is_new() -> None:
    """The first commit, and an orphan, change all that they hold."""
    store = Heap()
    files = parsed({"a/b": "1", "c": "2"})
    tree = build(store, files)
    assert dict(changed(store, tree, [])) == dict(changed(store, tree, [None])) == files
    assert list(changed(store, None, [tree])) == []


def test_only_files_that_differ_are_changes() -> None:
    """New bytes, new modes and new files count, files taken away do not."""
    store = Heap()
    old = build(store, {**parsed({"a/b": "1", "a/c": "2", "gone": "3"}), "m": file("4")})
    new = build(store, {**parsed({"a/b": "1", "a/c": "changed", "d/new": "5"}), "m": file("4", EXECUTABLE)})
    assert dict(changed(store, new, [old])) == {
        "a/c": file("changed"),
        "d/new": file("5"),
        "m": file("4", EXECUTABLE),
    }
    assert list(changed(store, old, [old])) == []


def test_a_merge_changes_only_what_no_parent_has() -> None:
    """What either parent brought is not the merge's own; what the merge itself made is."""
    store = Heap()
    left = build(store, parsed({"s/left": "1", "s/both": "left", "s/base": "0"}))
    right = build(store, parsed({"s/right": "2", "s/both": "right", "s/base": "0"}))
    clean = build(store, parsed({"s/left": "1", "s/right": "2", "s/both": "right", "s/base": "0"}))
    evil = build(store, parsed({"s/left": "1", "s/right": "2", "s/both": "neither", "s/base": "0", "s/own": "3"}))
    assert list(changed(store, clean, [left, right])) == []
    assert dict(changed(store, evil, [left, right])) == parsed({"s/both": "neither", "s/own": "3"})
    assert list(changed(store, left, [left, right])) == []


def test_a_parent_without_the_folder_does_not_hide_it() -> None:
    """A file that one parent lacks, with its folder, is still known by the other."""
    store = Heap()
    one, two = build(store, parsed({"s/a": "1"})), build(store, parsed({"t": "2"}))
    new = build(store, parsed({"s/a": "1", "s/b": "3", "t": "2"}))
    assert dict(changed(store, new, [one, two, None])) == parsed({"s/b": "3"})


def test_a_renamed_file_is_a_change_at_its_new_path() -> None:
    """A rename brings the same bytes to another path, which is a version of its own."""
    store = Heap()
    old, new = build(store, parsed({"a/x": "1"})), build(store, parsed({"b/x": "1"}))
    assert dict(changed(store, new, [old])) == parsed({"b/x": "1"})


def test_a_file_that_becomes_a_folder_is_changed_within() -> None:
    """Where a file and a folder take each other's place, the files that stand then are the changes."""
    store = Heap()
    as_file, as_folder = build(store, parsed({"a": "1"})), build(store, parsed({"a/b": "1"}))
    assert dict(changed(store, as_folder, [as_file])) == parsed({"a/b": "1"})
    assert dict(changed(store, as_file, [as_folder])) == parsed({"a": "1"})
    assert list(changed(store, as_folder, [as_file, as_folder])) == []


def test_equal_folders_are_not_opened() -> None:
    """The cost follows the difference: a folder that a parent has too is never read."""
    store = Heap()
    same = Entry(TREE, "0" * 40)
    old = edit(store, None, {"same": same, "a": file("1")})
    new = edit(store, None, {"same": same, "a": file("2")})
    assert list(changed(store, new, [old])) == [("a", file("2"))]
    assert list(changed(store, same.oid, [old, same.oid])) == []


trees = st.dictionaries(paths, contents, max_size=6).map(_whole)


@settings(max_examples=120)
@given(trees, st.lists(paths, max_size=8))
def test_many_paths_are_looked_up_like_one(files: Files, wanted: list[str]) -> None:
    """What stands at many paths is what a look-up of each finds, folders too, and no folder is read twice for it."""
    store = Heap()
    tree = build(store, files)
    wanted += [path.rpartition("/")[0] or path for path in files]
    expected = {path: one for path in wanted if (one := lookup(store, tree, path)) is not None}
    store.forget_counts()
    assert entries_at(store, tree, wanted) == expected
    assert len(store.reads) == len(set(store.reads))


@given(trees, st.lists(trees, max_size=3))
def test_changes_are_the_files_that_differ_from_every_parent(new: Files, parents: list[Files]) -> None:
    """For any trees the changes are those of a plain comparison path by path."""
    store = Heap()
    found = list(changed(store, build(store, new), [build(store, parent) for parent in parents]))
    wanted = {path: one for path, one in new.items() if all(parent.get(path) != one for parent in parents)}
    assert dict(found) == wanted
    assert len(found) == len(wanted)
