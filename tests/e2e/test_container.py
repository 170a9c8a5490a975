"""The container does the main job: read-only, not as root, without capabilities (Dockerfile)."""

from __future__ import annotations

import json
import os
import re
import shlex
import tomllib
from datetime import datetime
from functools import partial
from pathlib import Path

import pytest

from tests.e2e.containers import (
    BASE,
    IMAGE,
    ROOT,
    SOURCE,
    USER,
    Container,
    build,
    cache,
    inspect,
    make,
    once,
    version,
    volume,
)
from tests.e2e.servers import serve
from tests.e2e.test_docs import blocks
from tests.e2e.tools import clone, dc, delta, export_of, git, push, wait_for
from tests.image.facts import LABEL
from tests.observe.collector import collecting

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
def image() -> Path:
    """The folder that `make image` leaves."""
    return build()


def test_the_image_is_small_and_says_how_it_is_run() -> None:
    """Below 200 MB with all that its base brings; user, volume, signal and health check are in the image."""
    found = inspect(IMAGE)
    assert found["Size"] < 200_000_000
    assert found["Size"] - inspect(BASE)["Size"] < 75_000_000
    config = found["Config"]
    assert config["User"] == f"{USER}:{USER}"
    assert config["StopSignal"] in ("SIGTERM", "15")
    assert list(config["Volumes"]) == ["/var/lib/dreamcatcherd"]
    assert list(config["ExposedPorts"]) == ["9464/tcp"]
    assert found["Healthcheck"]["Test"][0] == "CMD"


def test_the_labels_say_what_the_image_is_and_was_made_from() -> None:
    """All annotations of OCI that apply; the base by its digest, the sources by their commit."""
    found = inspect(IMAGE)
    labels = {key: value for key, value in found["Config"]["Labels"].items() if key.startswith(LABEL)}
    made = datetime.fromisoformat(labels.pop(f"{LABEL}.created"))
    assert made <= datetime.fromisoformat(found["Created"][:19] + "+00:00")
    commit = labels.pop(f"{LABEL}.revision")
    assert commit.removesuffix("-dirty") == git(ROOT, "rev-parse", "HEAD")
    (project,) = [tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]]
    assert labels == {
        f"{LABEL}.title": "dreamcatcherd",
        f"{LABEL}.description": project["description"].partition(":")[0],
        f"{LABEL}.licenses": project["license"],
        f"{LABEL}.version": version(),
        f"{LABEL}.source": SOURCE,
        f"{LABEL}.url": SOURCE,
        f"{LABEL}.documentation": SOURCE,
        f"{LABEL}.base.name": BASE,
        f"{LABEL}.base.digest": inspect(BASE)["Digest"],
    }


def test_a_base_that_nobody_has_is_refused() -> None:
    """On a digest that no image has nothing is built, and the digest is named."""
    wrong = f"{BASE.partition(':')[0]}@sha256:{'0' * 64}"
    done = make(f"DREAMCATCHERD_IMAGE={IMAGE}-wrong", f"BASE={wrong}", f"DIST={cache() / 'wrong'}", check=False)
    assert done.returncode != 0
    assert "0" * 64 in done.stderr
    assert "Traceback" not in done.stderr


def test_the_image_holds_what_is_pinned_and_nothing_that_builds() -> None:
    """Every library has its pinned version; git and ssh are there, pip, compilers and package lists are not."""
    told = json.loads(once("version", "--json").stdout)
    lines = (Path(__file__).parents[2] / "requirements/run.txt").read_text().splitlines()
    pinned = dict(line.split(" ")[0].split("==") for line in lines if "==" in line)
    assert told["dreamcatcherd"] == version()
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
        rows = wait_for(lambda: container.export("/srv/fleet.git")["state"]["observations"])
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
                wait_for(partial(landed, repository, life))
                assert container.stop() == 0
        assert sorted(observed(repository)) == ["first", "second"]
    assert git(repository, "fsck", "--full", "--strict", "--no-dangling") == ""


def test_an_image_with_the_extra_otel_sends_traces() -> None:
    """Built with EXTRAS=otel, its bill of materials names what sends them, and a collector gets a frame's trace."""
    image, folder = f"{IMAGE}-otel", cache() / "otel"
    make(f"DREAMCATCHERD_IMAGE={image}", "EXTRAS=otel", f"DIST={folder}")
    contents = json.loads((folder / "image/sbom.cdx.json").read_text())
    assert "opentelemetry-sdk" in {one["name"] for one in contents["components"]}
    with collecting() as collector:
        options = (
            f"--env=DREAMCATCHERD_OTEL_ENDPOINT={collector.url}",
            "--env=DREAMCATCHERD_HTTP_LISTEN=127.0.0.1:0",
            "--env=DREAMCATCHERD_FRAMES_INTERVAL=1",
        )
        with Container(options=options, network="host", image=image) as container:
            container.wait_started()
            root = wait_for(lambda: next(iter(collector.named("frame")), None))
    assert root.resource["service.name"] == "dreamcatcherd"


@pytest.mark.parametrize("entrypoint", [(), ("--entrypoint=dreamcatcherd",)], ids=["tini", "alone"])
def test_sigterm_ends_it_within_two_seconds(entrypoint: tuple[str, ...]) -> None:
    """With no settings at all it serves a repository in its volume; SIGTERM ends it with 0, as process 1 too."""
    with Container("run", options=entrypoint) as container:
        container.wait_started()
        assert container.exec("ls").stdout.split() == ["fleet.git"]
        assert container.stop(within_s=2) == 0


def test_an_unhealthy_daemon_is_told_from_a_healthy_one() -> None:
    """The health check fails where nothing answers, so that it can fail at all."""
    with Container("300", options=("--entrypoint=sleep",)) as container:
        assert health(container) != 0


def documented(name: str) -> tuple[list[str], list[str]]:
    """A line of docs/container.md that starts a container, as options and words; without what names the container or
    opens a port, which would meet others on this machine."""
    line = blocks("docs/container.md")[name].replace("\\\n", " ").strip().removeprefix("docker run -d ")
    options, words = f"{re.sub(r'--(name|restart) [^ ]+|-p [^ ]+', '', line)} ".split('"$DREAMCATCHERD_IMAGE" ')
    return shlex.split(options), shlex.split(words)


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
    for options, words in map(documented, ("here", "remote")):
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
