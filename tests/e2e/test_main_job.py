"""The main job on real git: pushes in, published snapshots out (docs/protocol.md#the-repository)."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.corpus import CORPUS, needs_corpus
from tests.e2e.tools import clone, dc, dc_json, delta, export_of, git, push
from tests.law.model import Sent, model


def test_three_streams_of_one_frame_merge_with_their_attachment(tmp_path: Path) -> None:
    """Three streams push frame 405 with plain git; posts join, comments append, the attachment becomes the body."""
    repository = tmp_path / "fleet.git"
    dc("init", str(repository), "--frame", "405")
    worker = clone(repository, tmp_path / "worker")
    assert json.loads((worker / "state/frame.json").read_text())["frame"] == 405
    folder = "state/stream_deltas/405"
    first = {"number": 13700, "title": "Frames", "channel": "code", "author": "zion-coder-01", "body_ref": "body_1.md"}
    push(worker, {
        f"{folder}/stream-1.json": delta(405, "stream-1", "2026-03-28T06:57:10.1Z", posts_created=[first]),
        f"{folder}/stream-1/body_1.md": "# Frames\n\nA frame is a tick.\n",
    })  # fmt: skip
    answer = {"discussion": 13700, "author": "zion-critic-02", "body": "Agreed."}
    push(worker, {f"{folder}/stream-2.json": delta(405, "stream-2", "2026-03-28T06:57:11Z", comments_added=[answer])})
    third = {
        "comments_added": [answer, {"discussion": 13700, "author": "zion-critic-02", "body": "And yet."}],
        "posts_created": [{"discussion_number": "13700", "channel": "meta"}],
        "profile_updates": [{"agent": "zion-coder-01", "fields": {"mood": "calm"}}],
    }
    push(worker, {f"{folder}/stream-3.json": delta(405, "stream-3", "2026-03-28T06:57:12Z", **third)})

    (closed,) = dc_json("merge", "--repo", str(repository))

    assert (closed["frame"], closed["deltas"], closed["streams"], closed["conflicts"]) == (405, 3, 3, 1)
    state = export_of(repository)["state"]
    (post,) = state["posts"]
    assert post["body"] == "# Frames\n\nA frame is a tick.\n"
    assert (post["discussion_number"], post["channel"], post["title"]) == (13700, "meta", "Frames")
    assert [comment["body"] for comment in state["comments"]] == ["Agreed.", "And yet."]
    assert state["comments"][0]["_stamp"][2] == "stream-2"
    assert state["agents"][0]["mood"] == "calm"
    message = git(repository, "log", "-1", "--format=%B", "main")
    digest = git(repository, "rev-parse", "main:state/snapshot")
    assert message.splitlines() == [
        "frame 405: 3 deltas from 3 streams",
        "",
        "Dreamcatcher-Frame: 405",
        f"Dreamcatcher-Digest: {digest}",
        "Dreamcatcher-Deltas: 3",
    ]
    ledger = json.loads(git(repository, "show", "main:state/ledger/0/405.json"))
    (conflict,) = ledger["conflicts"]
    assert (conflict["field"], conflict["value"], conflict["loser"][2]) == ("channel", "code", "stream-1")
    assert dc_json("receipt", f"{folder}/stream-1.json", "--repo", str(repository))[0]["lost"] == [conflict]
    assert json.loads(git(repository, "show", "main:state/frame.json"))["last_closed"] == 405
    assert git(repository, "fsck", "--strict", "--full") == ""


@needs_corpus
def test_the_real_deltas_all_merge_whatever_their_order(tmp_path: Path) -> None:
    """All 47 real deltas merge, none is quarantined, every value is in the export, and order changes no byte."""
    assert CORPUS is not None
    files = {path.name: path.read_text() for path in sorted(Path(CORPUS).glob("frame-*.json"))}
    assert len(files) == 47
    frame_of = {name: int(name.split("-")[1]) for name in files}
    repository = tmp_path / "fleet.git"
    dc("init", str(repository), "--frame", "10")
    worker = clone(repository, tmp_path / "worker")
    rerun = {name for name, frame in frame_of.items() if frame in (486, 487)}
    counted = {"deltas": 0, "late": 0, "quarantined": 0}
    for wave, last in (
        ([name for name, frame in frame_of.items() if frame <= 485], 485),
        ([name for name, frame in frame_of.items() if 485 < frame <= 494 and name not in rerun], 494),
        (sorted(rerun, reverse=True), 495),
        ([name for name, frame in frame_of.items() if frame > 494], 500),
    ):
        git(worker, "fetch", "-q")
        git(worker, "reset", "-q", "--hard", "origin/main")
        push(worker, {f"state/stream_deltas/{name}": files[name] for name in wave})
        for closed in dc_json("merge", "--frame", str(last), "--repo", str(repository)):
            for name in counted:
                counted[name] += closed[name]
    assert counted == {"deltas": 47, "late": 3, "quarantined": 0}

    exported = export_of(repository)
    expected = model([Sent(text.encode()) for text in files.values()])
    assert {name: rows for name, rows in exported["state"].items() if rows} == expected["state"]
    assert exported["merged"] == expected["merged"]

    backwards = tmp_path / "backwards.git"
    dc("init", str(backwards), "--frame", "500")
    for name in sorted(files, reverse=True):
        stream = json.loads(files[name])["stream_id"]
        path = f"state/stream_deltas/{frame_of[name]}/{name}"
        one = clone(backwards, tmp_path / f"{name}-clone")
        push(one, {path: files[name]}, f"refs/heads/dc/{stream}/{frame_of[name]}-{name}")
    dc("merge", "--repo", str(backwards))
    assert export_of(backwards)["digest"] == exported["digest"]


@pytest.mark.parametrize("target", ["main", "refs/heads/dc/solo"])
def test_a_delta_overwritten_five_times_between_two_polls_loses_none(tmp_path: Path, target: str) -> None:
    """Each version of a file that its worker overwrites is a delta of its own, on `main` and on a lane."""
    repository = tmp_path / "fleet.git"
    dc("init", str(repository))
    worker = clone(repository, tmp_path / "worker")
    for number in range(5):
        text = delta(1, "solo", f"2026-01-01T00:00:0{number}Z", observations=[number], counters={"n": 1})
        push(worker, {"state/stream_deltas/1/solo.json": text}, target)
    dc("merge", "--repo", str(repository))
    state = export_of(repository)["state"]
    assert [row["value"] for row in state["observations"]] == [0, 1, 2, 3, 4]
    assert state["counters"][0]["value"] == 5
    assert len(dc_json("receipt", "state/stream_deltas/1/solo.json", "--repo", str(repository))) == 5


def test_a_lane_and_the_shared_branch_with_the_same_delta_count_once(tmp_path: Path) -> None:
    """A delta that arrives both ways, and again after it is merged, counts once."""
    repository = tmp_path / "fleet.git"
    dc("init", str(repository))
    worker = clone(repository, tmp_path / "worker")
    files = {"state/stream_deltas/1/both.json": delta(1, "both", counters={"n": 1})}
    push(worker, files)
    other = clone(repository, tmp_path / "other")
    git(other, "checkout", "-q", "--orphan", "alone")
    git(other, "rm", "-rfq", ".")
    push(other, files, "refs/heads/dc/both")
    dc("merge", "--repo", str(repository))
    push(other, {"state/stream_deltas/1/again.json": files["state/stream_deltas/1/both.json"]}, "refs/heads/dc/both")
    dc("merge", "--repo", str(repository))
    assert export_of(repository)["state"]["counters"][0]["value"] == 1
    outcomes = [
        row["outcome"] for row in dc_json("receipt", "state/stream_deltas/1/again.json", "--repo", str(repository))
    ]
    assert outcomes == ["duplicate"]
