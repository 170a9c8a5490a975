"""The image with the extra `dask`: scheduler, worker and primary in containers, by the lines of config/dask."""

from __future__ import annotations

import json
import os
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.e2e.containers import IMAGE, USER, Container, build, cache, make
from tests.e2e.dask_cluster import MOUNTED, certificates, services
from tests.e2e.proxy import hold_port, port_of
from tests.e2e.tools import dc, delta, wait_for

pytestmark = pytest.mark.xdist_group("image")  # all of them use one store of images

DASK_IMAGE = f"{IMAGE}-dask"


@pytest.fixture(scope="module")
def image() -> str:
    """The image that `make image EXTRAS=dask` builds."""
    build()
    folder = cache() / "dask"
    make(f"DREAMCATCHERD_IMAGE={DASK_IMAGE}", "EXTRAS=dask", f"DIST={folder}")
    contents = json.loads((folder / "image/sbom.cdx.json").read_text())
    assert {"dask", "distributed"} <= {one["name"] for one in contents["components"]}
    return DASK_IMAGE


def service(name: str, address: str, folder: Path, image: str) -> Container:
    """A service of the compose file as a container: read-only, not as root, on this machine's network."""
    given = services()[name]
    port = address.rpartition(":")[2]
    words = [*given["entrypoint"][1:], *given["command"], "--host=127.0.0.1"]
    words = [word.replace("tls://scheduler:8786", address).replace("=8786", f"={port}") for word in words]
    options = [f"--entrypoint={given['entrypoint'][0]}", "--tmpfs=/tmp", f"--volume={folder}/run:{MOUNTED}:ro"]
    options += [
        f"--volume={folder}/srv:/srv:ro",
        *(f"--env={key}={value}" for key, value in given["environment"].items()),
    ]
    return Container(*words, options=tuple(options), network="host", image=image)


def test_a_scheduler_and_a_worker_of_the_image_replay(image: str, tmp_path: Path) -> None:
    """Over TLS, as an ordinary user, from a repository that is mounted read-only: the digest of the ledger."""
    certificates(tmp_path / "run")
    repository = tmp_path / "srv/fleet.git"
    dc("init", str(repository))
    (tmp_path / "delta.json").write_text(delta(1, "a", observations=["seen"]))
    dc("push", str(tmp_path / "delta.json"), "--repo", str(repository))
    dc("merge", "--repo", str(repository))
    held = hold_port()
    address = f"tls://127.0.0.1:{port_of(held)}"
    files = {"ca_file": "ca.pem", "tls_cert": "cert.pem", "tls_key": "key.pem"}
    lines = "".join(f'{key} = "{MOUNTED}/{file}"\n' for key, file in files.items())
    config = tmp_path / "run/primary.toml"
    config.write_text(f'[engine]\nkind = "dask"\nscheduler = "{address}"\n{lines}')
    for path in [tmp_path, *tmp_path.rglob("*")]:
        os.chown(path, USER, USER)
    command = ["dreamcatcherd", "replay", "--json", "--engine=dask", "--repo=/srv/fleet.git"]
    with held, ExitStack() as running:
        scheduler = running.enter_context(service("scheduler", address, tmp_path, image))
        wait_for(lambda: "Scheduler at" in scheduler.text)
        worker = running.enter_context(service("worker", address, tmp_path, image))
        wait_for(lambda: "Registered to" in worker.text)
        done = json.loads(scheduler.exec(*command, f"--config={MOUNTED}/primary.toml").stdout)
        assert scheduler.exec("id", "-u").stdout.strip() == str(USER)
    assert (done["digest"], done["deltas"]) == (done["known"], 1)
