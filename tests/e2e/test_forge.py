"""The workflows of config/forge/ do what they say: their scripts, run as a forge would, against real repositories."""

from __future__ import annotations

import http.server
import json
import os
import re
import subprocess
import sys
import threading
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.e2e.primaries import observations
from tests.e2e.releases import Release
from tests.e2e.servers import HttpServer
from tests.e2e.tools import (
    DREAMCATCHERD,
    Daemon,
    clone,
    dc,
    delta,
    do_without,
    environment,
    export_of,
    git,
    primary_toml,
    push,
)

FORGE = Path(__file__).parents[2] / "config" / "forge"
DELTAS = "state/stream_deltas/1"


def steps_of(workflow: str) -> list[dict[str, Any]]:
    """The steps of a workflow's one job, or of the action, that run a script."""
    document = yaml.safe_load((FORGE / workflow).read_text())
    (job,) = [document["runs"]] if "runs" in document else document["jobs"].values()
    return [step for step in job["steps"] if "run" in step]


def run(
    workflow: str, cwd: Path, *, step: str = "dreamcatcherd ", **variables: str
) -> subprocess.CompletedProcess[str]:
    """Run the script of the step that has these words, as a forge would: with `sh -e`, and the step's variables."""
    (script,) = [one["run"] for one in steps_of(workflow) if step in one["run"]]
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    return subprocess.run(
        ["sh", "-e", "-c", script],
        cwd=cwd,
        env=environment() | {"PATH": path, "TMPDIR": str(cwd), **variables},
        capture_output=True,
        text=True,
        check=False,
        timeout=900,
    )


@pytest.mark.parametrize("workflow", sorted(path.name for path in FORGE.glob("*.yml")))
def test_actions_are_named_by_commit_with_their_version_beside_it(workflow: str) -> None:
    """A tag can be moved to other code, a commit cannot: every action is a full id, and says which release that is."""
    text = (FORGE / workflow).read_text()
    lines = [line.strip() for line in text.splitlines() if "uses:" in line and not line.startswith("#")]
    assert lines or "using: composite" in text
    for line in lines:
        assert re.fullmatch(r"- uses: [\w.-]+/[\w.-]+@[0-9a-f]{40} # v\d+\.\d+\.\d+", line), line


@pytest.mark.parametrize("workflow", sorted(path.name for path in FORGE.glob("*.yml")))
def test_scripts_take_what_others_wrote_from_variables_alone(workflow: str) -> None:
    """An expression inside a script would be pasted into it: a branch named `$(…)` would be run."""
    for step in steps_of(workflow):
        assert "${{" not in step["run"]


@pytest.mark.parametrize("workflow", sorted(path.name for path in FORGE.glob("*.yml")))
def test_nothing_is_installed_from_an_index_by_the_name_of_the_package(workflow: str) -> None:
    """An index need not have the package, and whatever it has under that name is not installed."""
    (install,) = [step for step in steps_of(workflow) if "pip install" in step["run"]]
    lines = [line for line in install["run"].splitlines() if line.endswith(" dreamcatcherd")]
    assert lines
    assert all("--no-index --find-links" in line for line in lines)
    assert "://" not in install["run"]


def test_a_workflow_without_the_variable_says_which_one_to_set(tmp_path: Path) -> None:
    """A fleet that copied the file and did nothing else learns what is missing, before anything is installed."""
    for workflow in ("merge.yml", "validate.yml"):
        done = run(workflow, tmp_path, step="pip install", DREAMCATCHERD_DIST="")
        assert done.returncode != 0
        assert "set the variable DREAMCATCHERD_DIST" in done.stderr


class Listing(http.server.SimpleHTTPRequestHandler):
    """A web server that lists folders, as many do."""

    def log_request(self, code: object = "-", size: object = "-") -> None:
        """Nothing is logged."""


@pytest.fixture(scope="module")
def listed(release: Release) -> Iterator[str]:
    """The artefacts of a release behind a web server: its URL."""
    handler = partial(Listing, directory=str(release.dist))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


@pytest.mark.xdist_group("wheel")
@pytest.mark.parametrize("place", ["folder", "URL", "URL/"])
def test_workflows_install_the_artefacts_of_a_release(
    place: str, release: Release, listed: str, tmp_path: Path
) -> None:
    """From a folder or a URL, and from no index: the command is that of the release. The workflows that are copied have
    one script, and the action makes an environment for it."""
    scripts = [steps_of(name)[0]["run"] for name in ("merge.yml", "validate.yml")]
    assert scripts[0] == scripts[1]
    dist = {"folder": str(release.dist), "URL": listed, "URL/": f"{listed}/"}[place]
    where = {"DREAMCATCHERD_DIST": dist, "PIP_INDEX_URL": "http://127.0.0.1:9/", "PYTHON": sys.executable}
    if place == "folder":
        done = run("action.yml", tmp_path, step="pip install", RUNNER_TEMP=str(tmp_path), **where)
        command, path = [str(tmp_path / "dreamcatcherd/bin/dreamcatcherd")], ""
    else:
        done = run("merge.yml", tmp_path, step="pip install", PIP_TARGET=str(tmp_path / "target"), **where)
        command, path = DREAMCATCHERD, str(tmp_path / "target")
    assert done.returncode == 0, done.stderr
    env = environment() | {"PYTHONPATH": path}
    shown = subprocess.run([*command, "--version"], cwd=tmp_path, env=env, capture_output=True, text=True, check=True)
    assert shown.stdout == f"dreamcatcherd {release.version}\n"


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


def test_the_examples_give_the_action_inputs_that_it_has() -> None:
    """Both examples, in the file's head and in docs/workers.md, name the action's folder, and each input that must be
    given."""
    inputs = yaml.safe_load((FORGE / "action.yml").read_text())["inputs"]
    head = "\n".join(line[5:] for line in (FORGE / "action.yml").read_text().splitlines() if line.startswith("#     "))
    (block,) = re.findall(r"```yaml\n(.*?)```", (FORGE.parents[1] / "docs" / "workers.md").read_text(), re.DOTALL)
    for example in map(yaml.safe_load, (head, block)):
        steps = example["steps"] if "steps" in example else example["jobs"]["work"]["steps"]
        (step,) = [step for step in steps if "uses" in step]
        assert step["uses"].endswith("/config/forge@COMMIT")
        assert set(step["with"]) <= set(inputs)
        assert {name for name, one in inputs.items() if one.get("required")} <= set(step["with"])
        assert example["permissions"] == {"contents": "write"}


def pushed(server: HttpServer, folder: Path, **inputs: str) -> tuple[subprocess.CompletedProcess[str], str]:
    """Run the action's push, with the command in the place where its first step installs it; returns its output too."""
    program = folder / "dreamcatcherd" / "bin" / "dreamcatcherd"
    program.parent.mkdir(parents=True, exist_ok=True)
    program.write_text(f'#!/bin/sh\nexec {" ".join(DREAMCATCHERD)} "$@"\n')
    program.chmod(0o755)
    output = folder / "output"
    output.write_text("")
    given = {
        "WAIT": "300",
        "REPOSITORY": server.url,
        "FORGE_USER": "x-access-token",
        "TOKEN": server.password,
        **inputs,
    }
    job = folder / "job"
    job.mkdir(exist_ok=True)
    done = run("action.yml", job, step=" push ", RUNNER_TEMP=str(folder), GITHUB_OUTPUT=str(output), **given)
    assert list(job.iterdir()) == []
    return done, output.read_text()


@pytest.mark.parametrize("server", ["http"], indirect=True)
def test_the_action_pushes_deltas_and_waits_for_their_frame(server: HttpServer, tmp_path: Path) -> None:
    """Two files are merged and their receipts are an output; a bad delta and a wrong token fail the job in their own
    ways; no token is left behind."""
    server.user = "x-access-token"
    server.let_in()
    (tmp_path / "one file.json").write_text(delta(1, "a", observations=["from a job"]))
    (tmp_path / "-two.json").write_text(delta(1, "b", observations=["another"]))
    both = f"{tmp_path / 'one file.json'}\n{tmp_path / '-two.json'}\n"
    # Both are of one frame, however long the second one takes.
    config = primary_toml(tmp_path, "quorum", more='streams = ["a", "b"]\ndeadline = 600\n')
    with Daemon(tmp_path, "--config", str(config), "--repo", str(server.repository)):
        done, output = pushed(server, tmp_path, DELTA=both)
    assert done.returncode == 0, done.stderr
    first, *lines, last = output.splitlines()
    assert first == f"receipts<<{last}"
    assert re.fullmatch(r"[0-9a-f]{32}", last)
    assert [row["outcome"] for row in json.loads("\n".join(lines))] == ["merged", "merged"]
    assert sorted(observations(export_of(server.repository))) == ["another", "from a job"]
    (tmp_path / "bad.json").write_text('{"frame": 9}')
    done, output = pushed(server, tmp_path, DELTA=str(tmp_path / "bad.json"))
    assert done.returncode == 1
    assert '"outcome": "refused"' in output
    (tmp_path / "next.json").write_text(delta(9, "a"))
    done, _ = pushed(server, tmp_path, DELTA=str(tmp_path / "next.json"), TOKEN="another", WAIT="0")
    assert done.returncode == 3
    assert "another" not in done.stderr


def test_the_action_installs_its_own_checkout(tmp_path: Path) -> None:
    """Its first step makes a command that works, from the checkout that the action is in, with no other name for it."""
    where = {"RUNNER_TEMP": str(tmp_path), "GITHUB_ACTION_PATH": str(FORGE), "PYTHON": sys.executable}
    done = run("action.yml", tmp_path, step="pip install", **where)
    if "after connection broken" in done.stderr:
        do_without("no network: connect this machine, and pip fetches what builds the package")
    assert done.returncode == 0, done.stderr
    program = tmp_path / "dreamcatcherd" / "bin" / "dreamcatcherd"
    shown = subprocess.run([program, "push", "--help"], capture_output=True, text=True, check=False)
    assert shown.returncode == 0, shown.stderr
    assert "--wait" in shown.stdout
