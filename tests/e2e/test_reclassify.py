"""The commands reclassify and convert, and the refusal of snapshots of the former format, on real repositories."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

import dreamcatcherd.core.snapshot
import dreamcatcherd.stages.published
from dreamcatcherd.core.frames import Closing
from dreamcatcherd.core.snapshot import FORMAT, FORMER
from dreamcatcherd.daemon.cycle import close_frame
from dreamcatcherd.git.local import LocalStore
from dreamcatcherd.imports.new_repository import create
from tests.e2e.tools import clone, dc, dc_json, delta, export_of, git, push
from tests.law.fleet import MAIN, NOW, commit_files, primary_on

VOTES = b"""
[collections.votes]
key = [["id"], ["node", "agent"]]
scalar = "{node}:{agent}"
rule = "dedup"
delete = "votes_removed"
[collections.channels]
section = "meta.channels"
form = "map"
key = ["slug"]
[collections.channels.fields]
posts = "sum"
"""
COMMENT = {"discussion": 7, "author": "a"}
DELTAS = [
    delta(1, "a", votes=["n1:a", {"node": "n2", "agent": "b"}, {"odd": 1}], meta={"channels": {"x": {"posts": 0.1}}}),
    delta(1, "b", "2026-01-01T00:00:01Z", votes=["n1:a"], votes_removed=[["n2", "b"]], other=[1]),
    delta(2, "a", "2026-01-01T00:00:02Z", meta={"channels": {"x": {"posts": 0.2}}, "note": "hello"}),
]


@pytest.fixture
def late_settings(tmp_path: Path) -> Path:
    """A repository in which two frames closed before the settings knew their sections."""
    repository = tmp_path / "fleet.git"
    dc("init", str(repository))
    deliver(repository, tmp_path / "work")
    push(clone(repository, tmp_path / "operator"), {"state/dreamcatcher.toml": VOTES.decode()})
    return repository


def deliver(repository: Path, folder: Path) -> None:
    """Push the deltas and close their frames."""
    for number, text in enumerate(DELTAS):
        work = clone(repository, folder / str(number))
        push(work, {f"state/stream_deltas/{json.loads(text)['frame']}/{number}.json": text})
        if number:
            dc("merge", "--repo", str(repository))


def from_the_start(folder: Path) -> dict[str, object]:
    """The export of a repository that had the settings before the same deltas."""
    repository = folder / "start.git"
    dc("init", str(repository))
    push(clone(repository, folder / "start"), {"state/dreamcatcher.toml": VOTES.decode()})
    deliver(repository, folder / "again")
    return export_of(repository)


def test_reclassify_gives_the_digest_of_settings_from_the_start(late_settings: Path, tmp_path: Path) -> None:
    """Records that were in extra are in their collections, deletions, decimals and dotted sections included; verify and
    replay agree, and a second run finds nothing to do."""
    repo = ("--repo", str(late_settings))
    before = export_of(late_settings)
    assert {name: len(rows) for name, rows in before["state"].items() if name.startswith("extra/")} == {
        "extra/meta": 2, "extra/other": 1, "extra/votes": 4, "extra/votes_removed": 1,
    }  # fmt: skip
    plan = dc_json("reclassify", "--dry-run", *repo)
    assert plan["moved"] == {"extra/meta": 1, "extra/votes": 3, "extra/votes_removed": 1}
    assert export_of(late_settings) == before, "a dry run writes nothing"
    done = dc_json("reclassify", *repo)
    after, start = export_of(late_settings), from_the_start(tmp_path)
    assert (done["frame"], done["digest"]) == (3, after["digest"])
    assert after["digest"] == start["digest"]
    assert after["state"] == start["state"]
    assert [row["posts"] for row in after["state"]["channels"]] == [0.3]
    assert dc_json("verify", *repo)["ok"]
    assert dc_json("replay", *repo)["digest"] == after["digest"]
    assert "nothing to do" in dc("reclassify", *repo)
    dc("merge", *repo)
    assert dc_json("verify", *repo) == {"frames": 4, "ok": True, "first_bad": None, "why": None}


def test_reclassify_by_workers_is_the_same(late_settings: Path) -> None:
    """With an engine that is named, workers place the records: the plan, the digest and the verdict of verify are those
    of one process."""
    repo = ("--repo", str(late_settings))
    workers = ("--engine", "processes", "--workers", "2")
    plan = dc_json("reclassify", "--dry-run", *repo)
    assert dc_json("reclassify", "--dry-run", *workers, *repo) == plan
    done = dc_json("reclassify", *workers, *repo)
    assert (done["base"], done["moved"], done["frame"]) == (plan["base"], plan["moved"], 3)
    assert dc_json("verify", *repo)["ok"]


def test_an_imported_base_is_reclassified_from_its_records(late_settings: Path, tmp_path: Path) -> None:
    """Where the deltas are not there any more, the records of extra are placed as far as they say what they were."""
    file, other = tmp_path / "old.json", tmp_path / "other.git"
    dc("export", "--frame", "2", "-o", str(file), "--repo", str(late_settings))
    dc("import", str(file), "--repo", str(other))
    push(clone(other, tmp_path / "w"), {"state/dreamcatcher.toml": VOTES.decode()})
    dc("reclassify", "--repo", str(other))
    assert export_of(other)["state"] == from_the_start(tmp_path)["state"]
    assert dc_json("verify", "--repo", str(other))["ok"]


def test_reclassify_needs_a_closed_frame(tmp_path: Path) -> None:
    """In a repository without a snapshot there is nothing to place, and the error says what to do."""
    dc("init", str(tmp_path / "new.git"))
    assert "close a frame first" in dc("reclassify", "--repo", str(tmp_path / "new.git"), code=1, both=True)


@pytest.fixture
def former(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A repository whose snapshot names the former format, with an early delta that waits."""
    repository = tmp_path / "former.git"
    with monkeypatch.context() as before:
        before.setattr(dreamcatcherd.core.snapshot, "FORMAT", FORMER)
        before.setattr(dreamcatcherd.stages.published, "FORMAT", FORMER)
        before.setattr(dreamcatcherd.stages.published, "FORMER", FORMAT)
        store = create(repository, 1, NOW, Closing("manual"))
        posts = delta(1, "a", posts_created=[{"number": 1, "title": "x"}, 2], comments_added=[COMMENT, COMMENT])
        early = delta(5, "b", observations=["early"])
        files = {"state/stream_deltas/1/a.json": posts.encode(), "state/stream_deltas/5/b.json": early.encode()}
        commit_files(store, MAIN, files)
        close_frame(primary_on(LocalStore(repository)), "test")
    assert git(repository, "show", "main:state/snapshot/format") == FORMER
    return repository


def test_a_repository_of_the_former_format_is_refused_with_the_command_that_converts_it(former: Path) -> None:
    """No command works on it as if it were new or its own, and each names the remedy; nothing is written."""
    refs = git(former, "for-each-ref")
    for words in (("status",), ("merge",), ("show", "posts"), ("verify",), ("reclassify",)):
        told = dc(*words, "--repo", str(former), code=3, both=True)
        assert f"dreamcatcherd convert --repo {former}" in told, words
    assert git(former, "for-each-ref") == refs


def test_a_newer_format_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A format that this version does not know is named, and nothing is read from it."""
    with monkeypatch.context() as later:
        later.setattr(dreamcatcherd.core.snapshot, "FORMAT", "dreamcatcher-snapshot/3")
        create(tmp_path / "later.git", 1, NOW, Closing("manual"))
    assert "use the version that wrote it" in dc("status", "--repo", str(tmp_path / "later.git"), code=3, both=True)


def test_convert_keeps_records_stamps_and_merged_deltas(former: Path, tmp_path: Path) -> None:
    """After the conversion the fleet goes on: the early delta merges in its frame, nothing counts twice, and the frames
    since then verify and replay."""
    repo = ("--repo", str(former))
    done = dc_json("convert", *repo)
    assert (done["frame"], done["open"]) == (2, 3)
    after = export_of(former)
    assert (after["format"], after["digest"]) == (FORMAT, done["digest"])
    assert [(row["discussion_number"], row.get("title")) for row in after["state"]["posts"]] == [(1, "x"), (2, None)]
    again = clone(former, tmp_path / "again")
    push(again, {"state/stream_deltas/1/again.json": git(former, "show", "main:state/stream_deltas/1/a.json")})
    for _ in range(3):
        dc("merge", *repo)
    assert export_of(former)["state"]["observations"][0]["value"] == "early"
    assert export_of(former)["state"]["posts"] == after["state"]["posts"]
    assert dc_json("verify", *repo) == {"frames": 4, "ok": True, "first_bad": None, "why": None}
    assert dc_json("replay", *repo)["digest"] == export_of(former)["digest"]
    assert "nothing to convert" in dc("convert", *repo, code=1, both=True)


def test_convert_waits_for_deltas_on_main(former: Path, tmp_path: Path) -> None:
    """Deltas that the former version has not merged are not passed over: the error says to close a frame first."""
    push(clone(former, tmp_path / "w"), {"state/stream_deltas/2/c.json": delta(2, "c", posts_created=[3])})
    refs = git(former, "for-each-ref")
    assert "close the frame with the version that wrote it" in dc("convert", "--repo", str(former), code=1, both=True)
    assert git(former, "for-each-ref") == refs
