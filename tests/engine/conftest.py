"""What the engine's tests share: a history on disk, a pool of processes, and a Dask cluster, each made once."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from distributed import LocalCluster

from dreamcatcherd.engine.pools import InlinePool, Pool
from dreamcatcherd.engine.process_pool import ProcessPool
from dreamcatcherd.engine.selection import Engine
from dreamcatcherd.git.local import LocalStore
from dreamcatcherd.testing import MemoryStore
from tests.bench.history import write_repository
from tests.history.conftest import kept, shared_folder


@pytest.fixture(scope="session")
def history(tmp_path_factory: pytest.TempPathFactory) -> LocalStore:
    """A repository of 60 closed frames. Not to be changed."""
    store = kept(shared_folder(tmp_path_factory), 60).store
    assert isinstance(store, MemoryStore)
    repository = tmp_path_factory.mktemp("engine") / "history.git"
    write_repository(store, repository)
    return LocalStore(repository)


# Idle workers of a cluster take a tenth of a processor: both end with the last test of this folder.
@pytest.fixture(scope="package")
def processes() -> Iterator[Pool]:
    """Two worker processes."""
    pool = ProcessPool(2)
    yield pool
    pool.close()


@pytest.fixture(scope="package")
def scheduler() -> Iterator[str]:
    """The address of a Dask scheduler with two workers, each a process."""
    with LocalCluster(  # type: ignore[no-untyped-call]
        n_workers=2, threads_per_worker=1, dashboard_address="127.0.0.1:0", host="127.0.0.1"
    ) as cluster:
        yield cluster.scheduler_address


@pytest.fixture(params=["inline", "processes", "processes sending", "dask", "dask sending"])
def pool(request: pytest.FixtureRequest, history: LocalStore) -> Iterator[Pool]:
    """Workers of each kind, with the repository and without: then they are sent what they need."""
    name: str = request.param
    if name.startswith("dask"):
        address = request.getfixturevalue("scheduler")
        folder = Path("/no/such/repository") if "sending" in name else history.folder
        with Engine("dask", 2, address).pool(folder, history.refs()["refs/heads/main"]) as found:
            assert found.shares == ("sending" not in name)
            yield found
        return
    found = InlinePool() if name.startswith("inline") else request.getfixturevalue("processes")
    yield Sending(found) if "sending" in name else found


class Sending:
    """A pool whose workers have no repository."""

    shares = False

    def __init__(self, pool: Pool) -> None:
        self.workers = pool.workers
        self.run = pool.run

    def close(self) -> None:
        pass
