"""What hostile or careless pushes do to the main job: nothing (docs/protocol.md#violations)."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest

from tests.e2e.tools import clone, dc, dc_json, delta, environment, export_of, git, push
from tests.hostile import UNREADABLE, UNSAFE, plant


def test_a_commit_that_libgit2_cannot_parse_stops_nothing(tmp_path: Path) -> None:
    """A lane commit with dates that are none, which git let in, merges, and so does everything after it."""
    repository = tmp_path / "fleet.git"
    dc("init", str(repository), "--no-hook")
    git(repository, "config", "receive.fsckObjects", "false")
    worker = clone(repository, tmp_path / "worker")
    file = worker / "state/stream_deltas/1/a.json"
    file.parent.mkdir(parents=True)
    file.write_text(delta(1, "a", observations=["odd"]))
    git(worker, "add", "state")
    lines = [f"tree {git(worker, 'write-tree')}", f"parent {git(worker, 'rev-parse', 'HEAD')}"]
    lines += [
        "author a <a@localhost> 99999999999999999999999 +0000",
        "committer a <a@localhost> soon +0000",
        "",
        "x",
        "",
    ]
    made = subprocess.run(
        ["git", "hash-object", "-t", "commit", "-w", "--stdin", "--literally"],
        cwd=worker, env=environment(), input="\n".join(lines).encode(), capture_output=True, check=True,
    )  # fmt: skip
    git(worker, "push", "-q", "origin", f"{made.stdout.decode().strip()}:refs/heads/dc/a")
    dc("merge", "--repo", str(repository))
    push(clone(repository, tmp_path / "next"), {"state/stream_deltas/2/b.json": delta(2, "b", observations=["even"])})
    dc("merge", "--repo", str(repository))
    assert [row["value"] for row in export_of(repository)["state"]["observations"]] == ["odd", "even"]


def test_the_incident_that_gave_birth_to_the_protocol(tmp_path: Path) -> None:
    """A pull --rebase with autostash ends in a commit of conflict markers and `{"agents": {}}`: the next frame has all
    agents, and the ledger names what was edited and by whom."""
    repository = tmp_path / "fleet.git"
    dc("init", str(repository), "--no-hook")
    worker = clone(repository, tmp_path / "worker")
    agents = {f"agent-{number}": {"mood": number} for number in range(112)}
    push(worker, {"state/stream_deltas/1/a.json": delta(1, "a", profile_updates=agents)})
    stale = clone(repository, tmp_path / "stale")
    dc("merge", "--repo", str(repository))
    before = export_of(repository)
    (stale / "state/frame.json").write_text('{"agents": {}}\n')
    git(stale, "pull", "-q", "--rebase", "--autostash", "origin", "main", check=False)
    assert "<<<<<<<" in (stale / "state/frame.json").read_text()
    (shard,) = (stale / "state/snapshot/state").glob("agents.jsonl")
    shard.write_text('{"agents": {}}\n')
    git(stale, "add", "-A")
    git(stale, "commit", "-q", "-m", "update state")
    git(stale, "push", "-q", "origin", "HEAD:main")
    culprit = git(stale, "rev-parse", "HEAD")
    dc("merge", "--repo", str(repository))
    after = export_of(repository)
    assert after["state"] == before["state"]
    assert len(after["state"]["agents"]) == 112
    ledger = json.loads(git(repository, "show", "main:state/ledger/0/2.json"))
    assert {(row["kind"], row["path"], row["commit"], row["author"]) for row in ledger["violations"]} == {
        ("snapshot-edited", "state/snapshot/state/agents.jsonl", culprit, "worker <worker@localhost>"),
        ("frame-edited", "state/frame.json", culprit, "worker <worker@localhost>"),
    }
    assert dc_json("status", "--repo", str(repository))["frame"] == 3


ONE_OF_EACH = ["parent of no hex", "a blob as tree", "2,200 folders deep", "a tree of trees", "a folder b'git~1'"]
COMMANDS = ["status", "plan", "log", "verify", "doctor", "merge", "export", "receipt state/stream_deltas/1/a.json"]


@pytest.mark.parametrize("ref", ["refs/heads/dc/mallory", "refs/heads/main", "refs/heads/topic"])
@pytest.mark.parametrize("kind", ONE_OF_EACH)
def test_every_command_works_beside_what_cannot_be_read(tmp_path: Path, kind: str, ref: str) -> None:
    """Whatever a server without any check lets in, each command answers without a traceback: frames go on, and what was
    published verifies."""
    repository = tmp_path / "fleet.git"
    dc("init", str(repository), "--no-hook")
    push(clone(repository, tmp_path / "alice"), {"state/stream_deltas/1/a.json": delta(1, "alice", observations=[1])})
    dc("merge", "--repo", str(repository))
    plant(repository, ref, {**UNREADABLE, **UNSAFE}[kind])
    for words in COMMANDS:
        code = 1 if words == "doctor" or (words == "verify" and ref == "refs/heads/main") else 0
        dc(*words.split(), "--repo", str(repository), code=code)
    dc("merge", "--repo", str(repository))
    assert dc_json("verify", "--repo", str(repository)) == {"frames": 3, "ok": True, "first_bad": None, "why": None}
