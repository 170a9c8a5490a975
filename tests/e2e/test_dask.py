"""A Dask cluster that speaks TLS, run by the command lines of config/dask: what it does, and whom it refuses."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path

import pytest

from tests.e2e.dask_cluster import Cluster, certificates
from tests.e2e.primaries import readiness
from tests.e2e.tools import Daemon, clone, dc, dc_json, delta, push, wait_for

pytestmark = [pytest.mark.needs("openssl"), pytest.mark.xdist_group("dask")]  # what all of them need is made once


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """A scheduler and two workers."""
    found = Cluster(tmp_path_factory.mktemp("dask"))
    try:
        found.start()
        yield found
    finally:
        found.close()


@pytest.fixture(scope="module")
def fleet(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A repository with a closed frame of three deltas, and three more deltas for the open one."""
    folder = tmp_path_factory.mktemp("fleet")
    dc("init", str(folder / "fleet.git"))
    for frame in (1, 2):
        work = clone(folder / "fleet.git", folder / f"work-{frame}")
        names = [f"s{number}" for number in range(3)]
        push(work, {f"state/stream_deltas/{frame}/{name}.json": delta(frame, name, notes=[name]) for name in names})
        if frame == 1:
            dc("merge", "--repo", str(folder / "fleet.git"))
    return folder / "fleet.git"


def test_commands_work_over_tls(cluster: Cluster, fleet: Path, tmp_path: Path) -> None:
    """A scheduler and workers started by the command lines of the compose file give the digest of one process."""
    words = ("--repo", str(fleet), "--config", str(cluster.config(tmp_path / "primary.toml")))
    here = dc_json("replay", "--repo", str(fleet))
    assert dc_json("replay", *words, "--engine", "dask") == here
    assert dc_json("verify", *words, "--engine", "dask")["ok"]


def test_whoever_has_no_certificate_of_the_authority_is_refused(cluster: Cluster, fleet: Path, tmp_path: Path) -> None:
    """A certificate of another authority, and a connection without TLS: one line, and exit code 3."""
    other = cluster.config(tmp_path / "primary.toml", certificates=certificates(tmp_path / "other"))
    plain = cluster.address.replace("tls://", "tcp://")
    for words in (("--config", str(other), "--engine", "dask"), ("--scheduler", plain)):
        said = dc("replay", "--json", "--repo", str(fleet), *words, code=3)
        assert "is lost or cannot be reached" in said
        assert "certificates" in said


def test_a_killed_worker_and_a_slow_one(cluster: Cluster, tmp_path: Path) -> None:
    """Every result is there, in the order of the tasks: the task of the killed worker is run again, and the worker that
    is slow takes part."""
    mark = str(tmp_path / "mark").encode()
    with cluster.engine().pool(None, None) as pool:
        tasks = [(at, b"%d %b" % (at, mark)) for at in range(30)]
        results = list(pool.run(by_a_slow_or_a_dying_worker, tasks))
    assert [tag for tag, _ in results] == [int(raw.split()[0]) for _, raw in results] == list(range(30))
    assert len({raw.split()[1] for _, raw in results}) > 1
    assert Path(f"{mark.decode()}.killed").exists()


def by_a_slow_or_a_dying_worker(raw: bytes) -> bytes:
    """The first worker that begins is slow, and another one is killed in its first task."""
    number, mark = raw.decode().split()
    try:
        with Path(mark).open("x") as slow:
            slow.write(str(os.getpid()))
    except FileExistsError:
        pass
    others = Path(f"{mark}.others")
    if Path(mark).read_text() in ("", str(os.getpid())):
        until = time.monotonic() + 60
        time.sleep(0.2)
        while not others.exists() and time.monotonic() < until:  # it would have done all before the killed one is back
            time.sleep(0.05)
    elif not Path(f"{mark}.killed").exists():
        Path(f"{mark}.killed").touch()
        os.kill(os.getpid(), signal.SIGKILL)
    else:
        others.touch()
    return f"{number} {os.getpid()}".encode()


def test_a_worker_of_another_version_is_refused(cluster: Cluster, fleet: Path, tmp_path: Path) -> None:
    """Before any work: the worker and both versions are named, and what to install where."""
    mine = metadata.version("dreamcatcherd")
    about = tmp_path / "other" / "dreamcatcherd-9.9.9.dist-info"
    about.mkdir(parents=True)
    (about / "METADATA").write_text("Metadata-Version: 2.1\nName: dreamcatcherd\nVersion: 9.9.9\n")
    config = str(cluster.config(tmp_path / "primary.toml"))
    worker = cluster.add_worker(PYTHONPATH=str(about.parent))
    cluster.await_workers(3)
    said = dc("replay", "--json", "--repo", str(fleet), "--config", config, "--engine", "dask", code=3)
    assert f"has dreamcatcherd 9.9.9, and this is {mine}; install dreamcatcherd {mine}" in said
    cluster.kill(worker)
    cluster.await_workers(2)


def test_a_lost_scheduler_stops_a_frame_and_not_the_daemon(cluster: Cluster, fleet: Path, tmp_path: Path) -> None:
    """Killed while the daemon runs: a large frame stays open and its trouble is named with a remedy; with the scheduler
    back it closes. Until then nothing is published."""
    more = f'[repository]\nurl = "{fleet}"\nretry = 1\n[http]\nlisten = "127.0.0.1:0"\n[frames]\nclose = "manual"\n'
    with Daemon(tmp_path, "--config", str(cluster.config(tmp_path / "primary.toml", more))) as daemon:
        wait_for(lambda: readiness(daemon)[0] == 200)
        cluster.end()
        daemon.process.send_signal(signal.SIGUSR1)
        failed = wait_for(lambda: daemon.logged("cycle failed"), 180)[0]
        assert f"the scheduler {cluster.address} is lost or cannot be reached" in failed["cause"]
        assert "look whether it runs" in failed["remedy"]
        assert dc_json("status", "--repo", str(fleet))["last_closed"] == 1
        cluster.start(workers=1)
        wait_for(lambda: daemon.logged("frame closed"), 300)  # what was asked for is tried again until it is done
    (closed,) = daemon.logged("frame closed")
    assert (closed["frame"], closed["deltas"]) == (2, 3)
    assert dc_json("verify", "--repo", str(fleet))["ok"]
