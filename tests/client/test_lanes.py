"""Where `dreamcatcherd.client.push` puts a delta: lane, commit and path, by name, refs and settings."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from dreamcatcherd.client import frame
from dreamcatcherd.core.codec import canonical
from dreamcatcherd.daemon.primary import Primary
from tests.client.tools import FOLDER, commit_on, delta, files, one, refs, stored
from tests.e2e.tools import git
from tests.stages.tools import close


def test_a_delta_is_committed_to_the_lane_of_its_stream_byte_by_byte(bare: Path, tmp_path: Path) -> None:
    """The file's bytes are at the row's path in the row's commit, which is the head of the row's ref."""
    file = tmp_path / "my delta.json"
    file.write_text(json.dumps(delta(), indent=7) + "\n\n")
    row = one(bare, file)
    assert (row.outcome, row.ref, row.stream_id) == ("pending", "refs/heads/dc/w", "w")
    assert refs(bare) == {row.ref: row.commit}
    assert row.path is not None
    assert row.path.startswith(f"{FOLDER}/1/w-20260101T000000.000000Z-")
    assert stored(bare, f"{row.commit}:{row.path}") == file.read_bytes()
    assert row.blob == git(bare, "rev-parse", f"{row.commit}:{row.path}")


@pytest.mark.parametrize("form", ["path", "text", "bytes", "object"])
def test_every_form_of_a_delta_is_the_same_delta(bare: Path, tmp_path: Path, form: str) -> None:
    """A path, a path as text, bytes and an object push the same bytes: each after the first is a duplicate."""
    raw = canonical(delta())
    file = tmp_path / "d.json"
    file.write_bytes(raw)
    first = one(bare, raw)
    again = one(bare, {"path": file, "text": str(file), "bytes": raw, "object": delta()}[form])
    assert (again.outcome, again.path, again.blob, again.commit) == ("duplicate", first.path, first.blob, first.commit)


def test_a_stream_continues_its_lane(bare: Path, primary: Primary) -> None:
    """One ref for all pushes of a stream, each a commit on top of the one before; all of them merge."""
    rows = [one(bare, delta(second=second)) for second in range(3)]
    assert refs(bare) == {"refs/heads/dc/w": rows[-1].commit}
    history = git(bare, "rev-list", "refs/heads/dc/w").split()
    assert history == [row.commit for row in reversed(rows)]
    assert {row.path for row in close(primary).deltas} == {row.path for row in rows}


def test_the_lane_keeps_only_what_is_not_closed_yet(bare: Path, primary: Primary) -> None:
    """The tree of a lane does not grow from frame to frame; the deltas of the open frame and later ones stay."""
    for number in range(1, 4):
        one(bare, delta(number, second=number))
        early = one(bare, delta(9, second=number))
        close(primary)
    assert early.commit is not None
    frames = [path.split("/")[2] for path in files(bare, early.commit)]
    assert frames == ["3", "9", "9", "9"]
    merged = {row.blob for row in close(primary).deltas}
    assert merged == set()


def test_a_lane_with_other_files_keeps_them(bare: Path) -> None:
    """A lane that a clone pushes has all of `main`'s files: they stay, so that the clone can go on with it."""
    main = git(bare, "rev-parse", "main")
    commit_on(bare, "refs/heads/dc/w", {f"{FOLDER}/1/mine.json": json.dumps(delta(second=9))}, (main,))
    row = one(bare, delta())
    assert row.commit is not None
    assert set(files(bare, row.commit)) == {*files(bare, main), f"{FOLDER}/1/mine.json", row.path}


def test_a_stream_with_lanes_in_folders_gets_one_beside_them(bare: Path) -> None:
    """git cannot hold `dc/w` and `dc/w/x`: where the second is, the lane is `dc/w/push`, and deeper if need be."""
    commit_on(bare, "refs/heads/dc/w/x", {f"{FOLDER}/1/x.json": json.dumps(delta(second=9))})
    assert one(bare, delta(second=1)).ref == "refs/heads/dc/w/push"
    assert one(bare, delta(second=2)).ref == "refs/heads/dc/w/push"
    commit_on(bare, "refs/heads/dc/v/push/x", {f"{FOLDER}/1/x.json": json.dumps(delta(stream="v"))})
    assert one(bare, delta(stream="v", second=3)).ref == "refs/heads/dc/v/push/push"


def test_a_stream_whose_name_begins_alike_is_another_one(bare: Path) -> None:
    """The lanes of `w` are not those of `w1`, nor the other way round."""
    assert one(bare, delta(stream="w1")).ref == "refs/heads/dc/w1"
    assert one(bare, delta(stream="w")).ref == "refs/heads/dc/w"


@pytest.mark.parametrize("stream", ["a b", "..", "x.lock", "ä:ö", "-", "[w]*"])
def test_a_stream_that_cannot_have_a_lane_pushes_to_the_shared_branch(
    bare: Path, primary: Primary, stream: str
) -> None:
    """The delta is added to `main`, whose other files stay, and merges; a repeat is a duplicate."""
    before = files(bare, "main")
    row = one(bare, delta(stream=stream))
    if stream == "-":  # git takes it
        assert row.ref == "refs/heads/dc/-"
        return
    assert row.ref == "refs/heads/main"
    assert row.path is not None
    assert set(files(bare, "main")) == {*before, row.path}
    assert one(bare, delta(stream=stream)).outcome == "duplicate"
    assert [found.stream_id for found in close(primary).deltas] == [stream]


def test_the_settings_say_where_deltas_go_and_what_their_header_is(bare: Path, primary: Primary) -> None:
    """Roots, lane prefix and header paths of the repository's settings apply."""
    toml = '[lanes]\nprefix = "refs/heads/lanes/"\n[intake]\nroots = ["state/inbox"]\nframe = ["meta.tick"]\n'
    toml += 'utc = ["meta.at"]\nstream_id = ["meta.who"]\n'
    commit_on(bare, "refs/heads/main", {"state/dreamcatcher.toml": toml}, (git(bare, "rev-parse", "main"),))
    row = one(bare, {"meta": {"tick": 1, "at": "2026-01-01T00:00:00Z", "who": "w"}, "observations": [1]})
    assert row.ref == "refs/heads/lanes/w"
    assert row.path is not None
    assert row.path.startswith("state/inbox/1/w-")
    assert [found.path for found in close(primary).deltas] == [row.path]


def test_settings_that_do_not_read_leave_the_last_good_ones(bare: Path, primary: Primary) -> None:
    """A broken settings file does not stop workers: they go by the settings of the last close."""
    main = git(bare, "rev-parse", "main")
    toml = '[lanes]\nprefix = "refs/heads/lanes/"\n'
    commit_on(bare, "refs/heads/main", {"state/dreamcatcher.toml": toml}, (main,))
    close(primary)
    commit_on(bare, "refs/heads/main", {"state/dreamcatcher.toml": "broken"}, (git(bare, "rev-parse", "main"),))
    assert one(bare, delta(2)).ref == "refs/heads/lanes/w"


def test_an_empty_repository_takes_a_first_delta(tmp_path: Path) -> None:
    """Without a commit there are no settings and frame 1 is open."""
    git(tmp_path, "init", "-q", "--bare", "-b", "main", "empty.git")
    row = one(tmp_path / "empty.git", delta())
    assert refs(tmp_path / "empty.git") == {"refs/heads/dc/w": row.commit}
    assert frame(tmp_path / "empty.git").frame == 1


def test_a_clone_with_a_work_tree_and_a_url_of_a_file_are_repositories_too(tmp_path: Path, unchecked: Path) -> None:
    """A path to a folder with `.git` in it, and file://, lead to the repository."""
    git(tmp_path, "clone", "-q", str(unchecked), "work")
    assert one(tmp_path / "work", delta()).outcome == "pending"
    assert "refs/heads/dc/w" in refs(tmp_path / "work")
    assert one(f"file://{unchecked}", delta()).outcome == "pending"
    assert "refs/heads/dc/w" in refs(unchecked)
