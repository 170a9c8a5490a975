"""Names and paths of the repository (docs/protocol.md#the-repository)."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dreamcatcherd.core.paths import (
    DELTAS,
    attachment_paths,
    bad_name,
    beside,
    frame_folder,
    frame_of,
    in_repository,
    lane_stream,
    ledger_path,
    loose_frame_of,
    named_roots,
    of_one_frame,
    printable,
    root_above,
    short_ref,
)

PREFIX = "refs/heads/dc/"


@pytest.mark.parametrize(("frame", "path"), [(0, "0/0.json"), (999, "0/999.json"), (405_006, "405/405006.json")])
def test_a_ledger_lies_in_the_folder_of_its_thousand(frame: int, path: str) -> None:
    """Ledgers are kept by thousands of frames."""
    assert ledger_path(frame) == path


@pytest.mark.parametrize(
    ("below", "frame"),
    [
        ("405/a.json", 405),
        ("405/deep/er/a.json", 405),
        ("0/a.json", 0),
        ("007/a.json", 7),
        ("9007199254740991/a.json", 2**53 - 1),
        ("frame-405-s1.json", 405),
        ("frame-405-two-words.json", 405),
        ("frame-405.json", 405),
        ("frame-0-.json", 0),
    ],
)
def test_a_path_names_its_frame_by_folder_or_flat_form(below: str, frame: int) -> None:
    """The folder below the deltas gives the frame, or a flat file name does, and no delta path is bad."""
    assert frame_of(f"{DELTAS}/{below}") == frame
    assert bad_name(f"{DELTAS}/{below}") is None


@pytest.mark.parametrize(
    "below",
    [
        "a.json",
        "frames/a.json",
        "-1/a.json",
        "1.5/a.json",
        "9007199254740992/a.json",
        "٤٠٥/a.json",
        "frame-s1.json",
        "frame-405x.json",
        "frame--405-s.json",
        "frame-405-s.txt",
        "frame-405-s1/a.json",
        "Frame-405-s1.json",
    ],
)
def test_a_path_without_a_frame_is_a_bad_name(below: str) -> None:
    """A file that names no frame from 0 to 2^53 - 1 cannot be placed, and is told so."""
    path = f"{DELTAS}/{below}"
    assert frame_of(path) is None
    assert "frame" in (bad_name(path) or "")


@pytest.mark.parametrize(
    "name",
    [
        "a b.json",
        "é😀.json",
        "a:b.json",
        "-.json",
        "~x.json",
        ".hidden.json",
        "..a.json",
        "a\u2028.json",
        "sub/.x.json",
    ],
)
def test_odd_names_are_good_names(name: str) -> None:
    """Any UTF-8 name without control characters can hold a delta."""
    assert bad_name(f"{DELTAS}/5/{name}") is None


@pytest.mark.parametrize(
    ("name", "word"),
    [
        ("a\udcff.json", "UTF-8"),
        ("\udcc3/a.json", "UTF-8"),
        ("a\nb.json", "control"),
        ("a\x7f.json", "control"),
        ("a\x85.json", "control"),
        ("../a.json", "component"),
        ("./a.json", "component"),
        ("x//a.json", "component"),
        (".git/a.json", "component"),
        (".GIT/a.json", "component"),
    ],
)
def test_names_that_git_or_json_cannot_hold_are_bad(name: str, word: str) -> None:
    """Undecodable bytes, control characters and components that no work tree holds are refused with their cause."""
    assert word in (bad_name(f"{DELTAS}/5/{name}") or "")


@pytest.mark.parametrize("tail", ["", "s1", "a\nb.c", "é"])
def test_a_flat_name_may_end_in_any_stream(tail: str) -> None:
    """Whatever follows the frame's number and a dash is the stream's."""
    assert frame_of(f"{DELTAS}/frame-12-{tail}.json") == 12


@pytest.mark.parametrize(
    ("path", "frame"),
    [
        ("state/stream_deltas/5/a.json", 5),
        ("/home/x/state/stream_deltas/5/sub/a.json", 5),
        ("stream_deltas/frame-6-s.json", 6),
        ("./frame-7-s.json", 7),
        ("frame-7-s.json", 7),
        ("5/a.json", None),
        ("a.json", None),
        ("stream_deltas", None),
        ("state/stream_deltas/x/a.json", None),
    ],
)
def test_a_loose_file_names_a_frame_where_its_path_allows(path: str, frame: int | None) -> None:
    """A file outside a repository has the frame of the deltas' folder in its path, or of its flat name."""
    assert loose_frame_of(path) == frame


@settings(max_examples=100)
@given(st.binary(max_size=12))
def test_every_path_can_be_printed(raw: bytes) -> None:
    """Bytes that are not UTF-8 are escaped, valid text stays as it is."""
    shown = printable(raw.decode("utf-8", "surrogateescape"))
    assert shown.encode("utf-8").decode("utf-8") == shown
    assert shown == raw.decode("utf-8", "backslashreplace")


@pytest.mark.parametrize(
    ("path", "reference", "wanted"),
    [
        (f"{DELTAS}/5/a.json", "b.md", [f"{DELTAS}/5/a/b.md", f"{DELTAS}/5/b.md"]),
        (f"{DELTAS}/5/sub/a.json", "x/b.md", [f"{DELTAS}/5/sub/a/x/b.md", f"{DELTAS}/5/x/b.md"]),
        (f"{DELTAS}/frame-5-s.json", "b.md", [f"{DELTAS}/frame-5-s/b.md", f"{DELTAS}/5/b.md"]),
        (f"{DELTAS}/5/a.json.json", "b", [f"{DELTAS}/5/a.json/b", f"{DELTAS}/5/b"]),
        (f"{DELTAS}/5/a.json", "a..b.md", [f"{DELTAS}/5/a/a..b.md", f"{DELTAS}/5/a..b.md"]),
    ],
)
def test_an_attachment_is_looked_up_beside_its_delta_first(path: str, reference: str, wanted: list[str]) -> None:
    """The delta's own folder comes before the frame's."""
    assert attachment_paths(path, 5, reference) == wanted


@pytest.mark.parametrize(
    "reference",
    [
        "",
        "/b.md",
        "../b.md",
        "x/../b.md",
        "x/..",
        "./b.md",
        "x//b.md",
        "x/",
        "b.json",
        "x/b.json",
        "b\n",
        "b\x00",
        ".git/config",
        "x/.Git/config",
    ],
)
def test_a_reference_that_may_name_nothing_is_looked_up_nowhere(reference: str) -> None:
    """References that lead elsewhere, name a delta or no file at all find nothing."""
    assert attachment_paths(f"{DELTAS}/5/a.json", 5, reference) == []


def test_other_bytes_at_a_deltas_path_are_kept_beside_it() -> None:
    """A tilde and eight digits of the blob's id go before the ending."""
    assert beside(f"{DELTAS}/5/a.json", "0123456789abcdef") == f"{DELTAS}/5/a~01234567.json"


@pytest.mark.parametrize(
    ("ref", "stream"),
    [
        ("refs/heads/dc/s1", "s1"),
        ("refs/heads/dc/s1/405-x/y", "s1"),
        ("refs/heads/dc/é", "é"),
        ("refs/heads/dc/" + "s" * 128, "s" * 128),
        ("refs/heads/dc/" + "s" * 129, None),
        ("refs/heads/dc/", None),
        ("refs/heads/dc", None),
        ("refs/heads/main", None),
        ("refs/tags/dc/s1", None),
        ("refs/heads/dcx/s1", None),
    ],
)
def test_a_lane_belongs_to_the_stream_after_the_prefix(ref: str, stream: str | None) -> None:
    """Both forms of a lane name their stream; other refs are nobody's lane."""
    assert lane_stream(ref, PREFIX) == stream


def test_a_branch_is_called_by_its_short_name() -> None:
    """Only the branch prefix is left out; bytes that are no UTF-8, which git allows, can be written all the same."""
    assert [short_ref(ref) for ref in ("refs/heads/dc/s1", "refs/tags/x")] == ["dc/s1", "refs/tags/x"]
    assert short_ref("refs/heads/dc/s/\udcff") == "dc/s/\\xff"


TWO = ("state/inbox", "agents/out box/deltas")


@pytest.mark.parametrize("root", TWO)
def test_every_root_has_the_same_layout(root: str) -> None:
    """Frame folders, the flat form and attachments are below any root as they are below the default one."""
    assert root_above(f"{root}/5/a.json", TWO) == root
    assert frame_of(f"{root}/5/sub/a.json", TWO) == 5
    assert frame_of(f"{root}/frame-6-s.json", TWO) == 6
    assert bad_name(f"{root}/5/a.json", TWO) is None
    assert bad_name(f"{root}/5/a b.json", TWO) is None
    assert f"use {root}/<frame>/" in (bad_name(f"{root}/x/a.json", TWO) or "")
    assert frame_folder(f"{root}/005/a.json", 5, TWO) == f"{root}/005"
    assert frame_folder(f"{root}/frame-5-s.json", 5, TWO) == f"{root}/5"
    assert attachment_paths(f"{root}/5/a.json", 5, "b.md", TWO) == [f"{root}/5/a/b.md", f"{root}/5/b.md"]


@pytest.mark.parametrize("root", TWO)
def test_levels_are_counted_from_the_root(root: str) -> None:
    """64 folders below the frame's, wherever the root is."""
    assert bad_name(f"{root}/5/{'x/' * 64}a.json", TWO) is None
    assert "more than 64 folders" in (bad_name(f"{root}/5/{'x/' * 65}a.json", TWO) or "")


def test_what_is_below_no_root_is_below_none() -> None:
    """A root's own name, a longer one and the default root are not below the named roots."""
    for path in ("state/inbox", "state/inboxes/5/a.json", f"{DELTAS}/5/a.json"):
        assert root_above(path, TWO) is None
    assert bad_name(f"{DELTAS}/5/a.json", TWO) == "no frame in the path: use state/inbox/<frame>/<name>.json"


def test_paths_below_two_roots_can_be_of_one_frame() -> None:
    """The frame counts, not the folder; files in the flat form share a folder and no frame."""
    assert of_one_frame("state/inbox/5/a.json", "agents/out box/deltas/05/b.json", TWO)
    assert not of_one_frame("state/inbox/frame-5-s.json", "state/inbox/frame-6-s.json", TWO)
    assert not of_one_frame("state/inbox/5/a.json", "state/inbox/6/a.json", TWO)


@pytest.mark.parametrize(
    ("path", "wanted"),
    [
        ("/home/x/state/inbox/5/a.json", "state/inbox/5/a.json"),
        ("inbox/5/a.json", "state/inbox/5/a.json"),
        ("deltas/5/a.json", "agents/out box/deltas/5/a.json"),
        ("/home/inbox/agents/out box/deltas/5/a.json", "agents/out box/deltas/5/a.json"),
        ("stream_deltas/5/a.json", "state/inbox/a.json"),
        ("frame-5-s.json", "state/inbox/frame-5-s.json"),
    ],
)
def test_a_loose_file_is_placed_below_the_root_that_its_path_names(path: str, wanted: str) -> None:
    """The root with most of its names in the path counts; without any the first."""
    assert in_repository(path, TWO) == wanted


def test_a_very_long_root_leaves_no_plain_names() -> None:
    """The fast answer for plain names says nothing of a path that is too long."""
    root = "/".join(["x" * 200] * 19)
    assert bad_name(f"{root}/5/a.json", (root,)) is None
    assert "clones hold" in (bad_name(f"{root}/5/{'a' * 200}.json", (root,)) or "")


def test_roots_are_named_for_people() -> None:
    """All of them, with the folder of a frame."""
    assert named_roots(("a", "b/c")) == "a/<frame>/ or b/c/<frame>/"
