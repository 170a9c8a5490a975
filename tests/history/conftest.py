"""Histories that several tests look back on: made once for a whole run, whichever process needs them first."""

from __future__ import annotations

import fcntl
import pickle
from pathlib import Path

import pytest

from dreamcatcherd.daemon.primary import Primary
from dreamcatcherd.testing import MemoryStore
from tests.history.history import grown
from tests.law.fleet import primary_on


def kept(folder: Path, frames: int) -> Primary:
    """A generated history out of a file that all processes of a run share."""
    file = folder / f"history-{frames}.pickle"
    with (folder / "history.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not file.exists():
            store = grown(frames, deltas_frames=100 if frames > 100 else None).store
            assert isinstance(store, MemoryStore)
            file.write_bytes(pickle.dumps((store.objects, store.heads)))
    store = MemoryStore()
    objects, heads = pickle.loads(file.read_bytes())
    store.objects.update(objects)
    store.heads.update(heads)
    return primary_on(store)


def shared_folder(factory: pytest.TempPathFactory) -> Path:
    """The run's own folder: under xdist every worker has one below it."""
    base = factory.getbasetemp()
    return base.parent if base.name.startswith("popen-") else base


@pytest.fixture(scope="session")
def thousand(tmp_path_factory: pytest.TempPathFactory) -> Primary:
    """1,000 closed frames. Not to be changed: see `copy_of`."""
    return kept(shared_folder(tmp_path_factory), 1000)


@pytest.fixture(scope="session")
def sixty(tmp_path_factory: pytest.TempPathFactory) -> Primary:
    """60 closed frames. Not to be changed: see `copy_of`."""
    return kept(shared_folder(tmp_path_factory), 60)
