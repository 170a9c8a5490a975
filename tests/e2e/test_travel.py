"""Time travel on real git: verify, replay, diff, explain, bisect as commands (docs/protocol.md#commands)."""

from __future__ import annotations

import json
import zlib
from pathlib import Path

import pytest

from dreamcatcherd.core.frames import Closing
from dreamcatcherd.git.local import LocalStore
from dreamcatcherd.imports.new_repository import create
from tests.e2e.tools import clone, dc, dc_json, delta, export_of, git, push
from tests.history.history import grow
from tests.law.fleet import MAIN, NOW, commit_files, primary_on
from tests.law.model import SETTINGS

pytestmark = pytest.mark.xdist_group("travel")  # what all of them need is made once

FRAMES = 24


@pytest.fixture(scope="module")
def grown(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A repository with a generated history. Not to be changed."""
    path = tmp_path_factory.mktemp("grown") / "fleet.git"
    store = create(path, 1, NOW, Closing("manual"))
    commit_files(store, MAIN, {"state/dreamcatcher.toml": SETTINGS})
    grow(primary_on(store), FRAMES)
    return path


def copy(repository: Path, folder: Path) -> Path:
    """The repository, refs and all, in another place."""
    git(folder, "clone", "-q", "--mirror", str(repository), "copy.git")
    return folder / "copy.git"


def test_verify_and_replay_agree_with_what_was_published(grown: Path, tmp_path: Path) -> None:
    """verify passes, and replay writes what export writes, at any frame."""
    assert dc_json("verify", "--repo", str(grown)) == {"frames": FRAMES, "ok": True, "first_bad": None, "why": None}
    assert dc_json("verify", "--from", "20", "--repo", str(grown))["frames"] == FRAMES - 19
    assert dc_json("verify", "--sample", "3", "--repo", str(grown))["frames"] == 3
    assert json.loads(dc("replay", "--repo", str(grown))) == export_of(grown)
    late = min(row["frame"] for row in dc_json("log", "--repo", str(grown)) if row["late"])
    to = str(late - 1)  # what came late then is not known there, and is in hindsight
    file = tmp_path / "then.json"
    dc("replay", "--to", to, "-o", str(file), "--repo", str(grown))
    assert file.read_text() == dc("export", "--frame", to, "--repo", str(grown))
    answer = dc_json("replay", "--to", to, "--repo", str(grown))
    assert answer["digest"] == answer["known"] == json.loads(file.read_text())["digest"]
    seen = dc_json("replay", "--to", to, "--hindsight", "--repo", str(grown))
    assert seen["deltas"] > answer["deltas"]
    assert "not closed" in dc("replay", "--to", "99", "--repo", str(grown), code=1)
    dc("verify", "--from", "99", "--repo", str(grown), code=1)
    dc("verify", "--sample", "2", "--resume", str(tmp_path / "mark"), "--repo", str(grown), code=2)


def test_verify_says_where_it_came_to(grown: Path, tmp_path: Path) -> None:
    """A run with --resume that is done again has nothing left to do."""
    mark = tmp_path / "mark.json"
    assert dc_json("verify", "--resume", str(mark), "--repo", str(grown))["frames"] == FRAMES
    assert json.loads(mark.read_text())["frame"] == FRAMES
    assert dc_json("verify", "--resume", str(mark), "--repo", str(grown))["frames"] == 0
    mark.write_text("{}")
    assert "mark" in dc("verify", "--resume", str(mark), "--repo", str(grown), code=2)


def test_a_blob_overwritten_on_disk_is_named(tmp_path: Path) -> None:
    """An object file with other bytes under a delta's id is a delta that is missing, in its frame."""
    repository = tmp_path / "fleet.git"
    dc("init", str(repository))
    worker = clone(repository, tmp_path / "worker")
    for frame in (1, 2, 3):
        path = f"state/stream_deltas/{frame}/a.json"
        push(worker, {path: delta(frame, "a", observations=[frame])}, "refs/heads/dc/a")
        dc("merge", "--repo", str(repository))
    blob = git(worker, "rev-parse", "HEAD:state/stream_deltas/2/a.json")
    loose = repository / "objects" / blob[:2] / blob[2:]
    raw = delta(2, "a", observations=["forged"]).encode()
    loose.chmod(0o644)
    loose.write_bytes(zlib.compress(b"blob %d\0" % len(raw) + raw))
    verdict = dc_json("verify", "--repo", str(repository), code=1)
    assert (verdict["ok"], verdict["first_bad"]) == (False, 2)
    assert "delta missing" in verdict["why"]
    assert "frame 2: delta missing" in dc("verify", "--repo", str(repository), code=1)


def test_a_ledger_edited_on_main_is_named(grown: Path, tmp_path: Path) -> None:
    """What a worker pushes over a published ledger is seen before the next frame puts it right."""
    repository = copy(grown, tmp_path)
    worker = clone(repository, tmp_path / "worker")
    ledger = (worker / "state/ledger/0/7.json").read_text()
    push(worker, {"state/ledger/0/7.json": ledger.replace('"closed_by":"test"', '"closed_by":"me"')})
    assert dc_json("verify", "--repo", str(repository), code=1)["first_bad"] == 7
    dc("merge", "--repo", str(repository))
    assert dc_json("verify", "--repo", str(repository))["ok"]
    assert LocalStore(repository).refs()["refs/dreamcatcher/published"]


@pytest.fixture
def fleet(tmp_path: Path) -> Path:
    """Frame 1 closed over a conflict, frame 2 over a late delta, a new post and a changed one."""
    repository = tmp_path / "fleet.git"
    dc("init", str(repository))
    worker = clone(repository, tmp_path / "worker")
    post = {"number": 7, "title": "first"}
    second = [{**post, "title": "second"}]
    push(worker, {
        "state/stream_deltas/1/a.json": delta(1, "a", "2026-01-01T00:00:01Z", posts_created=[post]),
        "state/stream_deltas/1/b.json": delta(1, "b", "2026-01-01T00:00:02Z", posts_created=second),
    })  # fmt: skip
    dc("merge", "--repo", str(repository))
    late = delta(1, "c", "2026-01-01T00:00:03Z", posts_created=[{**post, "title": "third"}], counters={"n": 2})
    soon = delta(2, "d", "2026-01-01T00:00:04Z", posts_created=[{"number": 8, "title": "\x1b[31mred"}])
    push(
        clone(repository, tmp_path / "late"),
        {"state/stream_deltas/1/c.json": late, "state/stream_deltas/2/d.json": soon},
    )
    dc("merge", "--repo", str(repository))
    return repository


def test_diff_shows_entities_added_and_fields_changed(fleet: Path) -> None:
    """JSON for programs; for people with who and which delta, and nothing that drives the terminal."""
    found = dc_json("diff", "1", "2", "--repo", str(fleet))
    assert set(found) == {"from", "to", "added", "changed", "removed"}
    assert found["removed"] == {}
    assert found["changed"] == {"posts": [{"key": 7, "fields": {"title": ["second", "third"]}}]}
    assert [row["discussion_number"] for row in found["added"]["posts"]] == [8]
    assert found["added"]["counters"][0]["value"] == 2
    text = dc("diff", "1", "2", "--repo", str(fleet))
    assert (
        'title: "second" -> "third"  (c at 2026-01-01T00:00:03.000000Z, state/stream_deltas/1/c.json by worker' in text
    )
    assert "+ posts" in text
    assert "\x1b" not in text
    assert "not in the ledger" in dc("diff", "1", "9", "--repo", str(fleet), code=1)


def test_explain_names_winner_losers_and_their_deltas(fleet: Path) -> None:
    """Each field with stamp, delta, commit, author, frame and rule; every loser with its value; at any frame."""
    found = dc_json("explain", "posts", "7", "--repo", str(fleet))
    assert (found["collection"], found["key"]) == ("posts", 7)
    title = found["fields"]["title"]
    assert {"value", "stamp", "path", "commit", "author", "losers"} <= set(title)
    assert (title["value"], title["stamp"][2], title["path"]) == ("third", "c", "state/stream_deltas/1/c.json")
    assert (title["frame"], title["rule"], title["author"]) == (2, "lww", "worker <worker@localhost>")
    assert title["commit"] == git(fleet, "log", "-1", "--format=%H", "main", "--", "state/stream_deltas/1/c.json")
    assert [(lost["value"], lost["stamp"][2], lost["winner"][2], lost["frame"]) for lost in title["losers"]] == [
        ("first", "a", "b", 1),
        ("second", "b", "c", 2),
    ]
    then = dc_json("explain", "posts", "7", "title", "--frame", "1", "--repo", str(fleet))
    assert (then["fields"]["title"]["value"], len(then["fields"]["title"]["losers"])) == ("second", 1)
    text = dc("explain", "posts", "7", "--repo", str(fleet))
    assert "lost in frame 2" in text
    assert "rule lww" in text
    for words in (("posts", "9"), ("posts", "7", "none"), ("nothing", "7"), ("observations", "7")):
        dc("explain", *words, "--repo", str(fleet), code=1)


def test_receipt_takes_an_order_key(fleet: Path) -> None:
    """A delta is found by frame and time, with stream and content id where that is not enough, or by its stamp."""
    (by_path,) = dc_json("receipt", "state/stream_deltas/1/b.json", "--repo", str(fleet))
    for asked in ("1/2026-01-01T00:00:02Z", "1/1767225602000000/b", f'[1, 1767225602000000, "b", "{by_path["blob"]}"]'):
        assert dc_json("receipt", asked, "--repo", str(fleet)) == [by_path]
    assert [lost["value"] for lost in by_path["lost"]] == ["second"]
    dc("receipt", "1/2026-01-01T00:00:02Z/x", "--repo", str(fleet), code=1)


def test_bisect_finds_the_frame_of_a_real_regression(tmp_path: Path) -> None:
    """A check that a counter never falls finds the frame in which a stream took from it, with delta and author."""
    repository = tmp_path / "fleet.git"
    dc("init", str(repository))
    worker = clone(repository, tmp_path / "worker")
    for frame in range(1, 17):
        name = "thief" if frame == 11 else "honest"
        value = -100 if frame == 11 else 5
        path = f"state/stream_deltas/{frame}/{name}.json"
        push(worker, {path: delta(frame, name, counters={"gold": value})}, f"refs/heads/dc/{name}/{frame}")
        dc("merge", "--repo", str(repository))
    check = tmp_path / "check.py"
    check.write_text(
        "import json, os, pathlib, sys\n"
        "state = json.loads(pathlib.Path(sys.argv[1]).read_text())\n"
        "assert sys.argv[1] == os.environ['DREAMCATCHER_SNAPSHOT']\n"
        "assert state['frame'] == int(os.environ['DREAMCATCHER_FRAME'])\n"
        "lines = pathlib.Path(os.environ['DREAMCATCHER_SNAPSHOT_DIR'], 'state/counters.jsonl').read_text()\n"
        "gold = state['state']['counters'][0]['value']\n"
        "assert f'\"value\":{gold}' in lines\n"
        "print('looked at', state['frame'])\n"
        "sys.exit(125 if state['frame'] == 9 else gold < 0)\n"
    )
    words = ("bisect", "--good", "1", "--bad", "16", "--repo", str(repository))
    found = json.loads(dc(*words, "--json", "--", "python3", str(check)))
    assert (found["good"], found["first_bad"], found["skipped"], found["steps"]) == (10, 11, [], 4)
    (guilty,) = found["deltas"]
    assert (guilty["path"], guilty["stream_id"]) == ("state/stream_deltas/11/thief.json", "thief")
    assert guilty["author"] == "worker <worker@localhost>"
    text = dc(*words, "--", "python3", str(check))
    assert "frame 11 is the first bad one, after 4 steps" in text
    assert "looked at" not in text
    ends = "case $DREAMCATCHER_FRAME in 1) exit 0;; 16) exit 1;; *) exit 125;; esac"
    skipping = dc(*words, "--", "sh", "-c", ends, code=1)
    assert "one that was skipped: 2, 3" in skipping
    for command, wrong in (("true", "frame 16"), ("false", "frame 1"), ("exit 125", "frame 1")):
        refused = dc(*words, "--", "sh", "-c", command, code=1)
        assert f"{wrong} was named as --" in refused
        assert "first bad" not in refused
    dc("bisect", "--good", "9", "--bad", "3", "--repo", str(repository), "--", "true", code=2)
    dc("bisect", "--good", "1", "--bad", "99", "--repo", str(repository), "--", "true", code=1)
    dc(*words, "--", str(tmp_path / "none"), code=2)
    dc(*words, code=2)
