"""The commands: their JSON, exit codes and errors (docs/protocol.md#commands)."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.tools import DREAMCATCHERD, clone, dc, dc_json, delta, environment, export_of, git, push, unprivileged


@pytest.fixture
def fleet(tmp_path: Path) -> Path:
    """A repository with frame 1 closed over a conflict, a late delta merged in frame 2, and one delta pending."""
    repository = tmp_path / "fleet.git"
    dc("init", str(repository), "--no-hook")
    worker = clone(repository, tmp_path / "worker")
    folder = "state/stream_deltas/1"
    post = {"number": 7, "title": "first"}
    push(worker, {
        f"{folder}/a.json": delta(1, "a", "2026-01-01T00:00:01Z", posts_created=[post], chapters_added=[{"book": "B"}]),
        f"{folder}/b.json": delta(1, "b", "2026-01-01T00:00:02Z", posts_created=[{**post, "title": "second"}]),
        f"{folder}/bad.json": '{"frame": 1,',
        "state/stream_deltas/9/early.json": delta(9, "a", observations=["early"]),
    })  # fmt: skip
    dc("merge", "--repo", str(repository))
    late = delta(1, "c", "2026-01-01T00:00:03Z", posts_created=[{**post, "title": "third"}], errors=["e"])
    push(clone(repository, tmp_path / "late"), {f"{folder}/c.json": late})
    dc("merge", "--repo", str(repository))
    push(clone(repository, tmp_path / "next"), {"state/stream_deltas/3/d.json": delta(3, "d", observations=["soon"])})
    return repository


def test_status_names_the_frame_and_what_waits_by_stream(fleet: Path) -> None:
    """`status --json` has the keys of the protocol; held deltas are pending too."""
    status = dc_json("status", "--repo", str(fleet))
    keys = {"frame", "opened_at", "closes_at", "last_closed", "digest", "pending", "held", "behind_s"}
    assert keys | {"seen", "silent", "troubles"} == set(status)
    assert status["seen"]["c"] == {"frame": 2, "utc": "2026-01-01T00:00:03.000000Z"}
    assert (status["frame"], status["last_closed"], status["held"]) == (3, 2, 1)
    assert status["pending"] == {"total": 2, "streams": {"a": 1, "d": 1}}
    assert status["digest"] == git(fleet, "rev-parse", "main:state/snapshot")
    assert "frame 3 is open" in dc("status", "--repo", str(fleet))


def test_plan_is_the_ledger_that_merge_then_writes(fleet: Path) -> None:
    """`plan` writes nothing and foretells the next ledger but for who closed it."""
    before = git(fleet, "for-each-ref"), git(fleet, "count-objects", "-v")
    planned = dc_json("plan", "--repo", str(fleet))
    assert (git(fleet, "for-each-ref"), git(fleet, "count-objects", "-v")) == before
    dc("merge", "--repo", str(fleet))
    written = json.loads(git(fleet, "show", "main:state/ledger/0/3.json"))
    assert planned.pop("closed_by") == "plan"
    assert written.pop("closed_by") == "merge"
    assert planned == written
    assert {"frame", "snapshot", "previous", "settings", "deltas", "held", "duplicates", "misfits"} <= set(written)
    assert {"quarantined", "conflicts", "violations", "counts"} <= set(written)


def test_log_lists_frames_newest_first(fleet: Path) -> None:
    """`log` has a row a frame, with its commit and counts."""
    rows = dc_json("log", "--repo", str(fleet))
    assert [row["frame"] for row in rows] == [2, 1]
    assert rows[0]["commit"] == git(fleet, "rev-parse", "refs/dreamcatcher/published")
    keys = {"frame", "digest", "commit", "closed_at", "deltas", "streams", "late", "conflicts", "quarantined"}
    assert set(rows[0]) == keys
    assert [(row["deltas"], row["late"], row["conflicts"], row["quarantined"]) for row in rows] == [
        (1, 1, 1, 0),
        (2, 0, 1, 1),
    ]
    assert len(dc_json("log", "-n", "1", "--repo", str(fleet))) == 1


def test_receipt_tells_what_became_of_each_delta(fleet: Path) -> None:
    """merged, late, quarantined, pending, and fields lost at once or later; by path or by blob."""

    def receipt(path: str) -> Any:
        (row,) = dc_json("receipt", path, "--repo", str(fleet))
        return row

    folder = "state/stream_deltas/1"
    first, second, third = (receipt(f"{folder}/{name}.json") for name in "abc")
    assert (first["outcome"], first["frame"], second["outcome"], third["outcome"]) == ("merged", 1, "merged", "late")
    assert [lost["value"] for lost in first["lost"]] == ["first"]
    assert [(lost["value"], lost["winner"][2]) for lost in second["lost"]] == [("second", "c")]
    known = {"path", "blob", "stream_id", "outcome", "frame", "digest", "reason", "lost"}
    assert set(first) == known | {"misfits", "collapsed", "unresolved", "unknown", "claims"}
    assert receipt(first["blob"][:10]) == first
    bad = receipt(f"{folder}/bad.json")
    assert (bad["outcome"], bad["reason"]) == ("quarantined", "not-json")
    assert receipt("state/stream_deltas/9/early.json")["outcome"] == "pending"
    assert receipt("state/stream_deltas/3/d.json")["outcome"] == "pending"
    assert "no delta" in dc("receipt", "state/stream_deltas/1/none.json", "--repo", str(fleet), code=1)


def test_show_finds_entities_by_key_and_frame(fleet: Path) -> None:
    """`show` lists a collection, one entity or a snapshot of before; unknown things end with 1."""
    (post,) = dc_json("show", "posts", "7", "--repo", str(fleet))
    assert (post["title"], post["_stamps"]["title"][2]) == ("third", "c")
    assert dc_json("show", "posts", "--frame", "1", "--repo", str(fleet))[0]["title"] == "second"
    assert dc_json("show", "extra/errors", "--repo", str(fleet))[0]["value"] == "e"
    assert dc_json("show", "extra/chapters_added", "--repo", str(fleet))[0]["book"] == "B"
    assert dc_json("show", "agents", "--repo", str(fleet)) == []
    dc("show", "posts", "8", "--repo", str(fleet), code=1)
    dc("show", "nothing", "--repo", str(fleet), code=1)
    dc("show", "posts", "--frame", "77", "--repo", str(fleet), code=1)


def test_keys_of_several_parts_are_percent_encoded(tmp_path: Path) -> None:
    """A key's parts are joined by `/`, each percent-encoded; the first parts alone find all that begin so."""
    repository = tmp_path / "fleet.git"
    dc("init", str(repository))
    chapters = [{"book": "a/b", "chapter": number, "author": "x y"} for number in (1, 2)]
    comments = [{"discussion": 5, "agent": "z", "body": "50 % off"}]
    push(
        clone(repository, tmp_path / "worker"),
        {"state/stream_deltas/1/a.json": delta(1, "a", chapters_added=chapters, comments_added=comments)},
    )
    dc("merge", "--repo", str(repository))
    assert len(dc_json("show", "chapters", "a%2Fb", "--repo", str(repository))) == 2
    assert dc_json("show", "chapters", "a%2Fb/2/x%20y", "--repo", str(repository))[0]["chapter"] == 2
    assert dc_json("show", "comments", "5/z/50%20%25%20off", "--repo", str(repository))[0]["author"] == "z"


def test_merge_through_a_frame_makes_one_commit_for_each(fleet: Path) -> None:
    """`merge --frame N` closes every frame through N, merges the held delta in its own, and is then idle."""
    closed = dc_json("merge", "--frame", "9", "--repo", str(fleet))
    assert [row["frame"] for row in closed] == [3, 4, 5, 6, 7, 8, 9]
    assert [row["deltas"] for row in closed] == [1, 0, 0, 0, 0, 0, 1]
    subjects = git(fleet, "log", "--first-parent", "-2", "--format=%s", "main").splitlines()
    assert subjects == ["frame 9: 1 delta from 1 stream", "frame 8: 0 deltas from 0 streams"]
    head = git(fleet, "rev-parse", "main")
    assert "nothing to do" in dc("merge", "--frame", "9", "--repo", str(fleet))
    assert git(fleet, "rev-parse", "main") == head
    (early,) = dc_json("receipt", "state/stream_deltas/9/early.json", "--repo", str(fleet))
    assert (early["outcome"], early["frame"]) == ("merged", 9)


def test_export_and_import_carry_a_snapshot_to_an_empty_repository(fleet: Path, tmp_path: Path) -> None:
    """The digest is the same there, merging goes on alike, and what is damaged or not empty is refused."""
    file = tmp_path / "snapshot.json"
    dc("export", "-o", str(file), "--repo", str(fleet))
    assert json.loads(file.read_text()) == export_of(fleet)
    elsewhere = tmp_path / "elsewhere.git"
    dc("import", str(file), "--repo", str(elsewhere))
    assert git(elsewhere, "rev-parse", "main:state/snapshot") == git(fleet, "rev-parse", "main:state/snapshot")
    assert export_of(elsewhere) == export_of(fleet)
    assert dc_json("status", "--repo", str(elsewhere))["frame"] == 3
    again = {"state/stream_deltas/1/again.json": git(fleet, "show", "main:state/stream_deltas/1/a.json")}
    push(clone(elsewhere, tmp_path / "there"), again)
    assert dc_json("merge", "--repo", str(elsewhere))[0]["deltas"] == 0
    assert [row["frame"] for row in dc_json("log", "--repo", str(elsewhere))] == [3, 2]
    assert git(elsewhere, "log", "--format=%s", "main").splitlines()[2] == "import frame 2"
    assert "closed frames already" in dc("import", str(file), "--repo", str(fleet), code=1)
    damaged = tmp_path / "damaged.json"
    damaged.write_text(file.read_text().replace("third", "thirf"))
    assert "digest" in dc("import", str(damaged), "--repo", str(tmp_path / "third.git"), code=1)
    damaged.write_text("[]")
    dc("import", str(damaged), "--repo", str(tmp_path / "fourth.git"), code=1)
    dc("import", str(tmp_path / "none.json"), "--repo", str(tmp_path / "fifth.git"), code=2)


def test_validate_names_reason_and_place(tmp_path: Path) -> None:
    """`validate` says for each file whether it would merge; exit 1 if one would not, 2 if one is not there."""
    good, bad = tmp_path / "good.json", tmp_path / "stream_deltas" / "8" / "bad.json"
    bad.parent.mkdir(parents=True)
    good.write_text(delta(7, "a"))
    bad.write_text(delta(7, "a"))
    assert dc_json("validate", str(good)) == [
        {"path": str(good), "ok": True, "reason": None, "at": None, "detail": None, "warnings": []}
    ]
    rows = dc_json("validate", str(good), str(bad), code=1)
    assert [row["ok"] for row in rows] == [True, False]
    assert (rows[1]["reason"], rows[1]["at"]) == ("frame-mismatch", "$.frame")
    dc("validate", "-", stdin=delta(1, "a").encode())
    assert "not-json" in dc("validate", "-", stdin=b"{", code=1)
    assert "does not exist" in dc("validate", str(tmp_path / "none.json"), code=2)
    (tmp_path / "link.json").symlink_to(good)
    assert "not-a-file" in dc("validate", str(tmp_path / "link.json"), code=1)


def test_a_repository_of_init_refuses_forced_pushes(tmp_path: Path) -> None:
    """A new repository refuses rewinds and deletions of `main`, and keeps reflogs."""
    repository = tmp_path / "fleet.git"
    dc("init", str(repository), "--frame", "405", "--no-hook")
    assert json.loads(git(repository, "show", "main:state/frame.json"))["frame"] == 405
    worker = clone(repository, tmp_path / "worker")
    push(worker, {"notes.txt": "mine"})
    git(worker, "reset", "-q", "--hard", "HEAD~1")
    git(worker, "commit", "-q", "--allow-empty", "-m", "other")
    before = git(repository, "rev-parse", "main")
    git(worker, "push", "-q", "--force", "origin", "HEAD:main", check=False)
    git(worker, "push", "-q", "origin", ":main", check=False)
    assert git(repository, "rev-parse", "main") == before
    dc("merge", "--repo", str(repository))
    assert git(repository, "show", "main:notes.txt") == "mine"
    assert git(repository, "reflog", "show", "main", "--format=%gs").splitlines()[0].startswith("frame 405: 0 deltas")


def test_usage_errors_are_one_line_and_help_teaches(tmp_path: Path) -> None:
    """Unknown commands, options and frames end with 2 and one line; every command explains itself."""
    assert "--help" in dc("frobnicate", code=2)
    assert "--help" in dc("status", "--jsn", code=2)
    dc("init", str(tmp_path / "x.git"), "--frame", "-1", code=2)
    assert "dreamcatcherd init" in dc("status", cwd=tmp_path, code=2)
    for command in dc("--help").split("Commands:")[1].split("First steps")[0].split("\n"):
        if command.strip() and not command.startswith("   "):
            assert len(dc(command.split()[0], "--help")) > 120


def test_a_closed_pipe_is_no_error(fleet: Path) -> None:
    """A reader that goes away early ends the command quietly."""
    words = " ".join([*DREAMCATCHERD, "export", "--repo", str(fleet)])
    done = subprocess.run(
        ["bash", "-c", f"{words} | head -c 1; exit ${{PIPESTATUS[0]}}"],
        capture_output=True,
        env=environment(),
        check=False,
    )
    assert done.stderr == b""


def test_hostile_text_cannot_drive_the_terminal(tmp_path: Path) -> None:
    """Control characters of a delta are shown escaped."""
    repository = tmp_path / "fleet.git"
    dc("init", str(repository))
    text = delta(1, "a", profile_updates={"\x1b[31m": {"mood": "\x1b]0;x\x07"}}, observations=["\u202e"])
    push(clone(repository, tmp_path / "worker"), {"state/stream_deltas/1/a.json": text})
    dc("merge", "--repo", str(repository))
    shown = dc("show", "agents", "--repo", str(repository)) + dc("show", "observations", "--repo", str(repository))
    assert "\x1b" not in shown
    assert "\u202e" not in shown


def test_validate_goes_on_after_files_that_cannot_be_read(tmp_path: Path) -> None:
    """Each file has its row, in the order given; one that is missing or unreadable is wrong usage, also beside others
    that would not merge."""
    (tmp_path / "good.json").write_text(delta(7, "a"))
    (tmp_path / "bad.json").write_text("{")
    (tmp_path / "folder").mkdir()
    (tmp_path / "broken.json").symlink_to("nowhere")
    # Every user, root as well, fails to read this one.
    unreadable, long = "/proc/self/mem", "x" * 300
    names = ["none.json", "good.json", unreadable, "folder", "broken.json", "good.json/none", long, "bad.json"]
    done = subprocess.run(
        [*DREAMCATCHERD, "validate", *names, "--json"],
        cwd=tmp_path, env=environment(), capture_output=True, text=True, check=False,
    )  # fmt: skip
    rows = json.loads(done.stdout)
    assert [row["path"] for row in rows] == names
    assert [(row["ok"], row["reason"]) for row in rows] == [
        (False, "missing"),
        (True, None),
        (False, "unreadable"),
        (False, "not-a-file"),
        (False, "not-a-file"),
        (False, "missing"),
        (False, "unreadable"),
        (False, "not-json"),
    ]
    assert rows[0] == {**rows[1], "path": "none.json", "ok": False, "reason": "missing", "detail": "does not exist"}
    assert "Input/output error" in rows[2]["detail"]
    assert done.returncode == 2
    assert done.stderr.startswith("dreamcatcherd: 4 of 8 files cannot be read, the first is none.json;")
    assert done.stderr.count("\n") == 1

    said = dc("validate", "bad.json", "none.json", "good.json", cwd=tmp_path, code=2)
    assert said.splitlines()[1:3] == ["none.json: missing: does not exist", "good.json: would merge"]
    # A file that was read and would be quarantined is an answer, not a mistake.
    assert "not-a-file" in dc("validate", "broken.json", "folder", "good.json", cwd=tmp_path, code=1)


def test_validate_names_a_file_without_permission(reachable: Path) -> None:
    """The operating system's reason is in the row, and the files after it are checked."""
    (reachable / "good.json").write_text(delta(7, "a"))
    (reachable / "closed.json").write_text(delta(7, "a"))
    (reachable / "closed.json").chmod(0)
    words = [*unprivileged(), *DREAMCATCHERD, "validate", "closed.json", "good.json"]
    done = subprocess.run(words, cwd=reachable, env=environment(), capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert "closed.json: unreadable: Permission denied\ngood.json: would merge\n" in done.stdout
