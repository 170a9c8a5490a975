"""Every command in the documents works when pasted."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import get_args

import msgspec
import pytest

from dreamcatcherd.cli.serve import first_delta
from dreamcatcherd.config import load_config
from dreamcatcherd.config_tables import Config
from dreamcatcherd.core.settings import read_settings
from tests.e2e.dask_cluster import certificates
from tests.e2e.test_terminal import on_terminal
from tests.e2e.tools import (
    DREAMCATCHERD,
    Daemon,
    clone,
    dc,
    dc_json,
    environment,
    export_of,
    git,
    primary_toml,
    try_git,
    wait_for,
)
from tests.tidy.house import documents

ROOT = Path(__file__).parents[2]
WORKERS = ROOT / "docs/workers.md"
PAGES = [str(path.relative_to(ROOT)) for path in documents()]


def blocks(document: str) -> dict[str, str]:
    """The shell blocks of a document that a comment names for running."""
    text = (ROOT / document).read_text()
    return dict(re.findall(r"<!-- run: (\w+) -->\n```sh\n(.*?)```", text, re.DOTALL))


def shell(script: str, cwd: Path, *, interpreter: str = "sh") -> str:
    bin_folder = cwd / "bin"
    bin_folder.mkdir(exist_ok=True)
    for name, line in (
        ("dreamcatcherd", f'exec {" ".join(DREAMCATCHERD)} "$@"'),
        ("push-delta.sh", f'exec sh {ROOT / "config/worker/push-delta.sh"} "$@"'),
    ):
        (bin_folder / name).write_text(f"#!/bin/sh\n{line}\n")
        (bin_folder / name).chmod(0o755)
    path = {"PATH": f"{bin_folder}:{environment()['PATH']}"}
    done = subprocess.run(
        [interpreter, "-eu", "-c", script],
        cwd=cwd,
        env=environment() | path,
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )
    assert done.returncode == 0, (script, done.stdout, done.stderr)
    return done.stdout


def observed(repository: Path) -> list[str]:
    return [row["value"] for row in export_of(repository)["state"]["observations"]]


def test_the_lines_for_workers_work_when_pasted(tmp_path: Path) -> None:
    """Both ways of pushing, the script, the frame and the proof of landing run out of docs/workers.md."""
    repository = tmp_path / "fleet.git"
    dc("init", str(repository), "--frame", "7")
    run = {name: text.replace("/srv/fleet.git", str(repository)) for name, text in blocks("docs/workers.md").items()}
    assert set(run) == {"validate", "frame", "lane", "push", "script", "shared", "landed"}
    (example,) = re.findall(r"^## The delta\n.*?^```json\n(.*?)^```", WORKERS.read_text(), re.MULTILINE | re.DOTALL)
    (tmp_path / "my-delta.json").write_text(example)
    (tmp_path / "body_1.md").write_text("# Frames\n")
    assert "would merge" in shell(run["validate"], tmp_path)
    assert shell(run["frame"], tmp_path).strip() == "7"
    git(tmp_path, "-C", "worker-1", "status")
    subprocess.run(["rm", "-rf", str(tmp_path / "worker-1")], check=True)
    shell(run["lane"], tmp_path)
    printed = shell(run["script"], tmp_path)
    assert printed.startswith("refs/heads/dc/worker-2/1-")
    shell(run["shared"], tmp_path)
    pushed = shell(run["push"], tmp_path)
    assert pushed.startswith("state/stream_deltas/7/worker-4-")
    assert pushed.endswith(": pending\n")
    (snippet,) = re.findall(r"^```python\n(.*?)^```", WORKERS.read_text(), re.MULTILINE | re.DOTALL)
    python = [sys.executable, "-c", snippet.replace("/srv/fleet.git", str(repository)).replace("wait_s=60", "wait_s=0")]
    done = subprocess.run(python, env=environment(), capture_output=True, text=True, timeout=300, check=True)
    assert done.stdout == "pending None None\n"
    dc("merge", "--repo", str(repository))
    assert sorted(observed(repository)) == ["from Python", "from a lane", "from the branch", "no clone", "pushed"]
    assert '"stream_id":"worker-1"' in shell(run["landed"], tmp_path)
    assert dc("receipt", printed.split()[1], "--repo", str(repository)).endswith("late in frame 7\n")


def test_the_check_can_be_copied_to_a_server_that_has_a_repository(tmp_path: Path) -> None:
    """The lines of docs/protocol.md: after them a plain bare repository refuses what is no delta."""
    git(tmp_path, "init", "-q", "--bare", "-b", "main", "srv.git")
    text = blocks("docs/protocol.md")["hook"]
    shell(text.replace("/srv/fleet.git", "srv.git").replace("/tmp/", ""), tmp_path)
    worker = clone(tmp_path / "srv.git", tmp_path / "worker")
    (worker / "state").mkdir()
    (worker / "state/notes.txt").write_text("no delta")
    git(worker, "add", "-A")
    git(worker, "commit", "-q", "-m", "notes")
    refused = try_git(worker, "push", "-q", "origin", "HEAD:main")
    assert refused.returncode == 1
    assert "state/notes.txt: state-edited" in refused.stderr


def first_steps() -> tuple[str, str]:
    """The README's lines that push a first delta, and those that find it again."""
    run = blocks("README.md")
    return run["push"], run["found"]


@pytest.mark.parametrize("closed", [0, 12], ids=["at once", "after twelve frames"])
def test_the_readme_brings_a_first_delta_home(closed: int, tmp_path: Path) -> None:
    """The README's lines push a delta into the frame that is open then, and find it there, in one shell."""
    dc("init", "fleet.git", cwd=tmp_path)
    if closed:
        dc("merge", "--frame", str(closed), cwd=tmp_path)
    push, found = first_steps()
    said = shell(f"{push}dreamcatcherd close --repo ../fleet.git\n{found}", tmp_path)
    assert f": merged in frame {closed + 1}\n" in said
    assert said.endswith(f'"value":"hello"}}\nframe {closed + 1}: 1 delta from 1 stream\n')
    assert observed(tmp_path / "fleet.git") == ["hello"]


def test_the_readme_works_when_the_frame_closes_before_the_push(tmp_path: Path) -> None:
    """The delta is late then, the receipt says so, and it is in the snapshot all the same."""
    dc("init", "fleet.git", cwd=tmp_path)
    push, found = first_steps()
    last = push.rindex("git push")
    raced = f"{push[:last]}dreamcatcherd close --repo ../fleet.git &&\n{push[last:]}"
    said = shell(f"{raced}dreamcatcherd close --repo ../fleet.git\n{found}", tmp_path)
    assert "state/stream_deltas/1/my-worker.json" in said
    assert ": late in frame 2\n" in said
    assert observed(tmp_path / "fleet.git") == ["hello"]


def test_the_readme_twice_changes_nothing_in_the_folder_around(tmp_path: Path) -> None:
    """Where my-worker exists, for example at a second try, nothing is committed to the repository that surrounds it."""
    dc("init", "fleet.git", cwd=tmp_path)
    git(tmp_path, "init", "-q", "-b", "main")
    git(tmp_path, "commit", "-q", "--allow-empty", "-m", "of the user")
    (tmp_path / "my-worker").mkdir()
    (tmp_path / "my-worker/mine.txt").write_text("mine")
    push, _ = first_steps()
    with pytest.raises(AssertionError, match="already exists"):
        shell(push, tmp_path)
    # Pasted into a shell, the lines go on after an error.
    shell(f"set +e\n{push}true", tmp_path)
    assert git(tmp_path, "log", "--format=%s") == "of the user"
    assert not (tmp_path / "state").exists()


def test_the_daemon_prints_lines_that_push_a_first_delta(tmp_path: Path) -> None:
    """What `run` shows on a terminal can be pasted as it stands, and the delta lands in the frame that is open."""
    config = primary_toml(tmp_path, "interval", 1.0)
    dc("init", "fleet.git", cwd=tmp_path)
    printed = on_terminal(["run", "--config", str(config)], tmp_path, until="git push").replace("\r", "")
    lines = re.search(r"^    git clone.*?^    git push[^\n]*$", printed, re.DOTALL | re.MULTILINE)
    assert lines
    with Daemon(tmp_path, "--config", str(config)) as daemon:
        wait_for(lambda: daemon.logged("frame closed"))
        shell(lines.group(), tmp_path)
        assert wait_for(lambda: observed(tmp_path / "fleet.git")) == ["hello"]


def test_the_readme_pushes_what_the_daemon_prints() -> None:
    """The commands of the README and those of `run` are the same, except for the path."""
    printed = re.sub("^    ", "", first_delta("fleet.git"), flags=re.MULTILINE)
    assert printed.replace("\n        $frame", "\n    $frame") == first_steps()[0]


def test_the_worker_script_pushes_attachments_and_refuses_clearly(tmp_path: Path) -> None:
    """push-delta.sh takes attachments along, and names what is wrong with what it cannot push."""
    repository = tmp_path / "fleet.git"
    dc("init", str(repository), "--frame", "7")
    (tmp_path / "body.md").write_text("# Title\n")
    (tmp_path / "one.json").write_text(
        '{\n "frame": "7",\n "stream_id": "w é",\n "utc": "2026-01-01T00:00:00Z",'
        ' "posts_created": [{"number": 1, "body_ref": "body.md"}]}'
    )
    script = ROOT / "config/worker/push-delta.sh"

    def push(*words: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            ["sh", str(script), *words], cwd=tmp_path, env=environment(), capture_output=True, text=True, check=False
        )

    refused = push(str(repository), "one.json", "body.md")
    assert refused.returncode == 2
    assert "no ref can carry" in refused.stderr
    (tmp_path / "one.json").write_text((tmp_path / "one.json").read_text().replace("w é", "wé"))
    assert push(str(repository), "one.json", "body.md").returncode == 0
    dc("merge", "--repo", str(repository))
    assert export_of(repository)["state"]["posts"][0]["body"] == "# Title\n"
    assert push(str(repository)).returncode == 2
    assert push(str(repository), "none.json").returncode == 2
    missing = push(str(tmp_path / "nowhere.git"), "one.json")
    assert missing.returncode == 2
    assert "there is no repository at" in missing.stderr
    unreachable = push("git://127.0.0.1:1/fleet.git", "one.json")
    assert unreachable.returncode == 3
    assert "not acknowledged" in unreachable.stderr


def test_the_example_configuration_is_the_defaults() -> None:
    """config/dreamcatcherd.toml holds every key of every table, and what is not commented out is the default."""
    path = ROOT / "config/dreamcatcherd.toml"
    assert load_config(path, {}) == Config()
    head = r"^(?:# )?\[{1,2}(\w+)\]{1,2}$"  # a table that there may be several of is commented out
    pattern = rf"{head}(.*?)(?={head}|\Z)"
    blocks = re.findall(pattern, path.read_text(), re.MULTILINE | re.DOTALL)
    keys = {name: set(re.findall(r"^(?:# )?([a-z_]+) = ", block, re.MULTILINE)) for name, block, _ in blocks}
    assert keys == {
        table.name: {field.name for field in msgspec.structs.fields(next(iter(get_args(table.type)), table.type))}
        for table in msgspec.structs.fields(Config)
    }


MAPPING = {"frame", "stream_id", "utc", "files"}


DASK_FILES = "/etc/dreamcatcherd/dask/"
"""Certificates, which are loaded when a configuration is checked."""

WITH_TOML = [
    pytest.param(page, marks=[pytest.mark.needs("openssl")] if DASK_FILES in text else [])
    for page in PAGES
    if "```toml" in (text := (ROOT / page).read_text())
]


@pytest.mark.parametrize("page", WITH_TOML)
def test_every_configuration_block_is_accepted(page: str, tmp_path: Path) -> None:
    """A TOML block is a primary's file, the repository's settings, or a mapping that test_walkthroughs imports by."""
    found = re.findall(r"^```toml\n(.*?)^```", (ROOT / page).read_text(), re.MULTILINE | re.DOTALL)
    for block in found:
        tables = set(tomllib.loads(block))
        if tables <= set(Config.__struct_fields__):
            if DASK_FILES in block:
                block = block.replace(DASK_FILES, f"{certificates(tmp_path / 'dask')}/")
            # Other files, which only readers have, are left out.
            block = re.sub(r"^(\w+) = \"/etc/.*$", r"# \1", block, flags=re.MULTILINE)
            block = block.replace("/usr/local/bin/on-event", "/bin/true")  # as their programs are
            (tmp_path / "primary.toml").write_text(block.replace('"0.0.0.0:', '"127.0.0.1:'))
            assert "valid" in dc("config", "check", str(tmp_path / "primary.toml"))
        elif tables != MAPPING:
            read_settings(block.encode())


def test_every_delta_in_the_documents_would_merge(tmp_path: Path) -> None:
    """A JSON block of docs/workers.md is a delta, or sections of one."""
    found = re.findall(r"^```json\n(.*?)^```", WORKERS.read_text(), re.MULTILINE | re.DOTALL)
    assert len(found) == 2
    for block in found:
        document = {"frame": 1, "utc": "2026-01-01T00:00:00Z", "stream_id": "worker-1", **json.loads(block)}
        file = tmp_path / "delta.json"
        file.write_text(json.dumps(document))
        for name in re.findall(r'_ref": "(.*?)"', block):
            (tmp_path / name).write_text("text")
        (judged,) = dc_json("validate", str(file))
        assert judged["ok"], judged
