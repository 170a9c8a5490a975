"""An owner's Monday: a running platform adopts the protocol by docs/adopt.md, and goes back; and the incident that the
protocol was made against, on such a platform."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.primaries import await_ready
from tests.e2e.test_docs import ROOT, blocks, shell
from tests.e2e.tools import Daemon, clone, dc, dc_json, delta, export_of, git, primary_toml, push, try_git, wait_for

AGENTS = {"_meta": {"updated": "monday"}, "agents": {"ada": {"mood": "calm", "karma": 3.5}, "bob": {"mood": None}}}
CHANNELS = {"general": {"name": "General", "post_count": 7}, "7": {"name": "Seven", "post_count": 0}}
FILES = {
    "README": "a platform\n",
    "state/agents.json": json.dumps(AGENTS, indent=2),
    "state/channels.json": json.dumps(CHANNELS),
    "state/memory/ada.md": "notes\n",
    "src/run.sh": "#!/bin/sh\n",
}


@pytest.fixture
def platform(tmp_path: Path) -> Path:
    """The bare repository of a platform with a history and plain state files."""
    repository = tmp_path / "srv" / "git" / "platform.git"
    repository.parent.mkdir(parents=True)
    git(tmp_path, "init", "-q", "--bare", "-b", "main", str(repository))
    push(clone(repository, tmp_path / "seed"), FILES)
    return repository


def step(name: str, folder: Path) -> str:
    """Run a block of the guide, with its server's folder below the test's."""
    return shell(blocks("docs/adopt.md")[name].replace("/srv/git", str(folder / "srv/git")), folder)


def adopted(tmp_path: Path, platform: Path) -> None:
    """The guide's steps 1 to 3."""
    (settings,) = re.findall(r"^```toml\n(.*?)^```", (ROOT / "docs/adopt.md").read_text(), re.MULTILINE | re.DOTALL)
    (tmp_path / "dreamcatcher.toml").write_text(settings)
    for name in ("adoptprepare", "adoptsettings", "adoptimport"):
        step(name, tmp_path)


def shown(repository: Path, path: str) -> Any:
    """A JSON file of the shared branch, as a reader sees it."""
    return json.loads(git(repository, "show", f"main:{path}"))


def test_an_owners_monday(tmp_path: Path, platform: Path) -> None:
    """From plain files to the first frame and back by the guide alone: readers see the same values in the same files,
    then the first delta's, and nothing else in the repository changes."""
    adopted(tmp_path, platform)
    assert shown(platform, "state/agents.json")["agents"] == AGENTS["agents"]
    assert shown(platform, "state/channels.json") == CHANNELS
    assert dc_json("status", "--repo", str(platform))["frame"] == 500
    step("adoptfirst", tmp_path)
    meta = shown(platform, "state/agents.json")["_meta"]
    assert meta == {"frame": 500, "count": 2, "digest": export_of(platform)["digest"]}
    assert shown(platform, "state/agents.json")["agents"]["ada"] == {"mood": "curious", "karma": 3.5}
    assert shown(platform, "state/channels.json")["general"] == {"name": "General", "post_count": 8}
    assert [row["followee"] for row in export_of(platform)["state"]["follows"]] == ["bob"]
    for path in ("README", "state/memory/ada.md", "src/run.sh"):
        assert git(platform, "show", f"main:{path}") == FILES[path].strip()
    # Notes may go on being written; a state file is refused with the reason.
    notes = clone(platform, tmp_path / "notes")
    push(notes, {"state/memory/bob.md": "mine\n"})
    refused = commit_and_push(clone(platform, tmp_path / "old-writer"), {"state/agents.json": '{"agents": {}}'})
    assert "state/agents.json" in refused
    files = {path: git(platform, "show", f"main:{path}") for path in ("state/agents.json", "state/channels.json")}
    step("adoptback", tmp_path)
    assert {path: git(platform, "show", f"main:{path}") for path in files} == files
    push(clone(platform, tmp_path / "writer"), {"state/agents.json": '{"agents": {}}'})
    assert shown(platform, "state/agents.json") == {"agents": {}}


def commit_and_push(work: Path, files: dict[str, str]) -> str:
    """Commit files and push them to main as a writer does who knows nothing of deltas; returns what git said."""
    for path, text in files.items():
        (work / path).write_text(text)
    git(work, "add", "-A")
    git(work, "commit", "-q", "-m", "save state")
    return try_git(work, "push", "-q", "origin", "HEAD:main").stderr


def test_a_stale_clone_that_saves_an_empty_file_is_refused_by_the_check(tmp_path: Path, platform: Path) -> None:
    """The protocol's story: `git pull --rebase --autostash` over a merged state, then a push of {"agents": {}}. The
    check names the view, and nothing changes."""
    adopted(tmp_path, platform)
    stale = clone(platform, tmp_path / "stale")
    step("adoptfirst", tmp_path)
    before = git(platform, "rev-parse", "main")
    (stale / "state/agents.json").write_text('{"agents": {}}')
    git(stale, "pull", "-q", "--rebase", "--autostash")
    told = commit_and_push(stale, {"state/agents.json": '{"agents": {}}'})
    assert "state/agents.json: view-edited" in told
    assert git(platform, "rev-parse", "main") == before


def test_without_the_check_a_view_is_restored_within_seconds(tmp_path: Path, platform: Path) -> None:
    """Where the server has no check, a reader that polls the file sees it wrong for seconds at most; the edit is
    reported with its author, nothing is lost, and the next frame goes on from the true state."""
    adopted(tmp_path, platform)
    step("adoptfirst", tmp_path)
    (platform / "hooks" / "pre-receive").unlink()
    true = shown(platform, "state/agents.json")
    config = primary_toml(tmp_path, "manual")
    with Daemon(tmp_path, "--config", str(config), "--repo", str(platform)) as daemon:
        await_ready(daemon)
        stale = clone(platform, tmp_path / "stale")
        assert commit_and_push(stale, {"state/agents.json": '{"agents": {}}'}) == ""
        wait_for(lambda: shown(platform, "state/agents.json") == true)
        assert "restore frame 500" in git(platform, "log", "-1", "--format=%s", "main")
        wait_for(lambda: "dreamcatcher_restores_total 1.0" in daemon.get("/metrics"))
        assert "state/agents.json" in json.dumps(dc_json("status", "--repo", str(platform))["troubles"])
        late = delta(501, "bob", profile_updates={"bob": {"mood": "glad"}})
        push(clone(platform, tmp_path / "bob"), {"state/stream_deltas/501/bob.json": late}, "refs/heads/dc/bob")
        dc("close", "--repo", str(platform))
        wait_for(lambda: shown(platform, "state/agents.json")["agents"]["bob"] == {"mood": "glad"})
    ledger = json.loads(git(platform, "show", "main:state/ledger/0/501.json"))
    assert [(row["kind"], row["path"]) for row in ledger["violations"]] == [("view-edited", "state/agents.json")]
    assert "worker" in ledger["violations"][0]["author"]
    assert shown(platform, "state/agents.json")["agents"]["ada"] == {"mood": "curious", "karma": 3.5}
    assert dc_json("verify", "--repo", str(platform))["ok"]
