"""The container does the main job: read-only, not as root, without capabilities (Dockerfile)."""

from __future__ import annotations

import json
import os
import re
import shlex
from functools import partial
from pathlib import Path

import pytest

from dreamcatcherd import __version__
from tests.e2e.containers import BASE, IMAGE, USER, Container, build, inspect, make, once, volume
from tests.e2e.servers import serve
from tests.e2e.tools import clone, dc, delta, export_of, git, push, wait_for

pytestmark = pytest.mark.xdist_group("image")  # what all of them need is made once

WORKER = r"""
git clone -q /srv/fleet.git "$1/worker" && cd "$1/worker"
frame=$(sed -n 's/^ *"frame": *\([0-9]*\).*/\1/p' state/frame.json)
mkdir -p "state/stream_deltas/$frame"
printf '{"frame": %s, "utc": "2026-01-01T00:00:00Z", "stream_id": "inside", "observations": ["mounted"]}' "$frame" \
    > "state/stream_deltas/$frame/inside.json"
git add state
git -c user.name=inside -c user.email=inside@localhost commit -qm inside
git push -q origin HEAD:refs/heads/dc/inside
"""


@pytest.fixture(scope="module", autouse=True)
def image() -> None:
    build()


def test_the_image_is_small_and_says_how_it_is_run() -> None:
    """Below 200 MB with all that its base brings; user, volume, signal, health check and labels are in the image."""
    found = inspect(IMAGE)
    assert found["Size"] < 200_000_000
    assert found["Size"] - inspect(BASE)["Size"] < 75_000_000
    config = found["Config"]
    assert config["User"] == f"{USER}:{USER}"
    assert config["StopSignal"] in ("SIGTERM", "15")
    assert list(config["Volumes"]) == ["/var/lib/dreamcatcherd"]
    assert list(config["ExposedPorts"]) == ["9464/tcp"]
    assert found["Healthcheck"]["Test"][0] == "CMD"
    assert config["Labels"]["org.opencontainers.image.version"] == "test"
    assert config["Labels"]["org.opencontainers.image.licenses"] == "MIT"


def test_the_base_may_be_named_by_its_digest() -> None:
    """On the base's own digest the same image comes out, layer by layer; on one that no image has, none."""
    digest = inspect(BASE)["Digest"]
    pinned = f"{BASE.partition(':')[0]}@{digest}"
    make(f"--build-arg=BASE={pinned}", f"--tag={IMAGE}-pinned")
    assert inspect(f"{IMAGE}-pinned")["RootFS"] == inspect(IMAGE)["RootFS"]
    wrong = make(f"--build-arg=BASE={pinned[:-64]}{'0' * 64}", f"--tag={IMAGE}-wrong", check=False)
    assert wrong.returncode != 0
    assert "0" * 64 in wrong.stderr


def test_the_image_holds_what_is_pinned_and_nothing_that_builds() -> None:
    """Every library has its pinned version; git and ssh are there, pip, compilers and package lists are not."""
    told = json.loads(once("version", "--json").stdout)
    lines = (Path(__file__).parents[2] / "requirements/run.txt").read_text().splitlines()
    pinned = dict(line.split(" ")[0].split("==") for line in lines if "==" in line)
    assert told["dreamcatcherd"] == __version__
    assert {name: pinned[name] for name in told["libraries"]} == told["libraries"]
    look = "ls /opt/dreamcatcherd/bin; command -v gcc cc make; ssh -V 2>&1; git --version; ls -A /var/lib/apt/lists"
    seen = once("-c", look, options=("--entrypoint=sh",), check=False).stdout
    assert "OpenSSH" in seen
    assert "git version" in seen
    assert not {"pip", "pip3", "hatchling"} & set(seen.split())
    assert "/gcc" not in seen
    assert "/make" not in seen


def test_the_main_job_on_a_mounted_repository(tmp_path: Path) -> None:
    """A worker's push through the hook is in the next snapshot; the daemon is well and cannot write elsewhere."""
    os.chown(tmp_path, USER, USER)
    mounted = (f"--volume={tmp_path}:/srv",)
    once("init", "/srv/fleet.git", options=mounted)
    options = (*mounted, "--env=DREAMCATCHERD_FRAMES_INTERVAL=1", "--env=DREAMCATCHERD_REPOSITORY_URL=/srv/fleet.git")
    with Container(options=options) as container:
        container.wait_started()
        container.exec("sh", "-euc", WORKER, "sh", "/srv")
        rows = wait_for(lambda: container.export("/srv/fleet.git")["state"]["observations"], 60)
        assert [row["value"] for row in rows] == ["mounted"]
        assert container.exec("id", "-u").stdout.strip() == str(USER)
        assert "Read-only" in container.exec("touch", "/opt/dreamcatcherd/x", check=False).stderr
        assert health(container) == 0
        assert answer(container, "/readyz") == "ready\n"
        assert "dreamcatcher_build_info" in answer(container, "/metrics")
        assert container.stop() == 0
        assert '"event": "stopped"' in container.text.splitlines()[-1]
    assert {path.stat().st_uid for path in (tmp_path / "fleet.git").rglob("*")} == {USER}


def test_the_main_job_on_a_remote_repository(tmp_path: Path) -> None:
    """Two lives of a container on one volume: what workers push to a git server is published there, nothing is lost."""
    repository = tmp_path / "served" / "fleet.git"
    dc("init", str(repository))
    with serve("git", repository, tmp_path / "server") as served, volume() as state:
        worker = clone(served.url, tmp_path / "worker")
        options = (
            f"--volume={state}:/var/lib/dreamcatcherd",
            f"--env=DREAMCATCHERD_REPOSITORY_URL={served.url}",
            "--env=DREAMCATCHERD_HTTP_LISTEN=127.0.0.1:0",
            "--env=DREAMCATCHERD_FRAMES_INTERVAL=1",
        )
        for life in ("first", "second"):
            with Container(options=options, network="host") as container:
                container.wait_started()
                frame = json.loads(git(repository, "show", "main:state/frame.json"))["frame"]
                files = {f"state/stream_deltas/{frame}/{life}.json": delta(frame, life, observations=[life])}
                push(worker, files, f"refs/heads/dc/{life}")
                wait_for(partial(landed, repository, life), 60)
                assert container.stop() == 0
        assert sorted(observed(repository)) == ["first", "second"]
    assert git(repository, "fsck", "--full", "--strict", "--no-dangling") == ""


@pytest.mark.parametrize("entrypoint", [(), ("--entrypoint=dreamcatcherd",)], ids=["tini", "alone"])
def test_sigterm_ends_it_within_two_seconds(entrypoint: tuple[str, ...]) -> None:
    """With no settings at all it serves a repository in its volume; SIGTERM ends it with 0, as process 1 too."""
    with Container("run", options=entrypoint) as container:
        container.wait_started()
        assert container.exec("ls").stdout.split() == ["fleet.git"]
        assert container.stop() == 0


def test_an_unhealthy_daemon_is_told_from_a_healthy_one() -> None:
    """The health check fails where nothing answers, so that it can fail at all."""
    with Container("300", options=("--entrypoint=sleep",)) as container:
        assert health(container) != 0


def documented() -> list[tuple[list[str], list[str]]]:
    """The lines of docs/container.md that start a container, as options and words; without what names the container or
    opens a port, which would meet others on this machine."""
    found = []
    text = (Path(__file__).parents[2] / "docs/container.md").read_text().replace("\\\n", " ")
    for line in re.findall(r"^docker run -d (.*)$", text, re.MULTILINE):
        line = re.sub(r"--(name|restart) \S+|-p \S+", "", line)
        options, words = re.split(rf" dreamcatcherd:{re.escape(__version__)} ?", f"{line} ")
        found.append((shlex.split(options), shlex.split(words)))
    return found


def test_the_documented_lines_start_a_container(tmp_path: Path) -> None:
    """Both lines of docs/container.md, on a repository of this machine and on one that cannot be reached yet."""
    (tmp_path / "srv").mkdir()
    (tmp_path / "etc/credentials").mkdir(parents=True)
    os.chown(tmp_path / "srv", USER, USER)
    once("init", "/srv/fleet.git", options=(f"--volume={tmp_path}/srv:/srv",))
    here = {
        "$(stat -c %u:%g /srv/fleet.git)": f"{USER}:{USER}",
        "/srv/fleet.git:/srv": f"{tmp_path}/srv/fleet.git:/srv",
        "/etc/dreamcatcherd:/etc": f"{tmp_path}/etc:/etc",
        "ssh://git@git.example.com/": "git://127.0.0.1:1/",
    }
    lines = documented()
    assert len(lines) == 2
    for options, words in lines:
        meant = "\0".join(options).replace("-v\0dreamcatcherd:", "-v\0")
        for said, instead in here.items():
            meant = meant.replace(said, instead)
        with Container(*words, options=tuple(meant.split("\0"))) as container:
            container.wait_started()
            assert health(container) == 0


def health(container: Container) -> int:
    return container.exec(*inspect(IMAGE)["Healthcheck"]["Test"][1:], check=False).returncode


def answer(container: Container, path: str) -> str:
    ask = f"import urllib.request as r; print(r.urlopen('http://127.0.0.1:9464{path}').read().decode(), end='')"
    return container.exec("python", "-c", ask).stdout


def landed(repository: Path, value: str) -> bool:
    return value in observed(repository)


def observed(repository: Path) -> list[str]:
    return [row["value"] for row in export_of(repository)["state"]["observations"]]
