"""The workflows of config/forge/ do what they say: their scripts, run as a forge would, against real repositories."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from tests.e2e.primaries import observations
from tests.e2e.servers import HttpServer
from tests.e2e.tools import clone, dc, delta, environment, export_of, git, push

FORGE = Path(__file__).parents[2] / "config" / "forge"
DELTAS = "state/stream_deltas/1"


def script_of(workflow: str) -> str:
    """The script of the step that calls dreamcatcherd."""
    lines = (FORGE / workflow).read_text().splitlines()
    (start,) = [number for number, line in enumerate(lines) if line.strip() == "run: |"]
    depth = len(lines[start]) - len(lines[start].lstrip())
    body = []
    for line in lines[start + 1 :]:
        if line.strip() and len(line) - len(line.lstrip()) <= depth:
            break
        body.append(line)
    script = textwrap.dedent("\n".join(body)) + "\n"
    assert "dreamcatcherd" in script
    return script


def run(workflow: str, cwd: Path, **variables: str) -> subprocess.CompletedProcess[str]:
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    return subprocess.run(
        ["sh", "-e", "-c", script_of(workflow)],
        cwd=cwd,
        env=environment() | {"PATH": path, "TMPDIR": str(cwd), **variables},
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )


@pytest.mark.parametrize("workflow", sorted(path.name for path in FORGE.glob("*.yml")))
def test_actions_are_named_by_commit_with_their_version_beside_it(workflow: str) -> None:
    """A tag can be moved to other code, a commit cannot: every action is a full id, and says which release that is."""
    lines = [line.strip() for line in (FORGE / workflow).read_text().splitlines() if "uses:" in line]
    assert lines
    for line in lines:
        assert re.fullmatch(r"- uses: [\w.-]+/[\w.-]+@[0-9a-f]{40} # v\d+\.\d+\.\d+", line), line


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A clone of a forge's repository, which has no hook."""
    dc("init", str(tmp_path / "fleet.git"), "--no-hook")
    return clone(tmp_path / "fleet.git", tmp_path / "checkout")


def test_validate_judges_what_a_push_added_and_nothing_else(checkout: Path) -> None:
    """Good deltas pass, one that would not merge fails the job and is named; what stood there before is not asked."""
    start = git(checkout, "rev-parse", "HEAD")
    good = push(checkout, {f"{DELTAS}/good one.json": delta(1, "a", observations=[1]), "README": "no delta"})
    done = run("validate.yml", checkout, BEFORE=start, AFTER=good)
    assert done.returncode == 0, done.stderr
    assert "good one.json" in done.stdout
    bad = push(checkout, {f"{DELTAS}/bad.json": "{", f"{DELTAS}/fine.json": delta(1, "b")})
    done = run("validate.yml", checkout, BEFORE=good, AFTER=bad)
    assert done.returncode != 0
    assert f"{DELTAS}/bad.json" in done.stdout
    assert "good one.json" not in done.stdout
    after = push(checkout, {"README": "changed"})
    assert run("validate.yml", checkout, BEFORE=bad, AFTER=after).returncode == 0


def test_validate_judges_all_of_a_new_branch(checkout: Path) -> None:
    """For a branch that was not there before, which a forge tells by zeros, every delta on it is judged."""
    good = push(checkout, {f"{DELTAS}/a.json": delta(1, "a")}, "refs/heads/dc/a/1")
    assert run("validate.yml", checkout, BEFORE="0" * 40, AFTER=good).returncode == 0
    bad = push(checkout, {f"{DELTAS}/b.json": delta(2, "a")}, "refs/heads/dc/a/2")
    done = run("validate.yml", checkout, BEFORE="0" * 40, AFTER=bad)
    assert done.returncode != 0
    assert "frame-mismatch" in done.stdout


@pytest.mark.parametrize("server", ["http"], indirect=True)
def test_merge_closes_a_frame_over_http_and_leaves_no_token(server: HttpServer, tmp_path: Path) -> None:
    """With the forge's variables alone the open frame is closed on the server; a wrong token fails the job."""
    server.user = "x-access-token"
    server.let_in()
    worker = clone(server.url, tmp_path / "worker", env=server.git_env)
    push(worker, {f"{DELTAS}/a.json": delta(1, "a", observations=["over http"])}, env=server.git_env)
    job = tmp_path / "job"
    job.mkdir()
    done = run("merge.yml", job, REPOSITORY=server.url, TOKEN=server.password)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("frame 1: 1 delta from 1 stream")
    assert observations(export_of(server.repository)) == ["over http"]
    assert list(job.iterdir()) == []
    refused = run("merge.yml", job, REPOSITORY=server.url, TOKEN="another")
    assert refused.returncode == 3
    assert "refused the credentials" in refused.stderr
    assert "another" not in refused.stderr
