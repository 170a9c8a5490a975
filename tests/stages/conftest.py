"""A primary on each kind of store, frame 1 open, and a repository whose commits are signed."""

from __future__ import annotations

from pathlib import Path

import pytest

from dreamcatcherd.core.frames import Closing
from dreamcatcherd.daemon.primary import Primary
from dreamcatcherd.imports.new_repository import create
from tests.law.fleet import NOW, new_primary, primary_on
from tests.stages.signed import Fleet, make_keys


@pytest.fixture(params=["memory", "git"])
def primary(request: pytest.FixtureRequest, tmp_path: Path) -> Primary:
    """A primary whose clock stands still and whose frames close by hand."""
    if request.param == "memory":
        return new_primary(b"")
    return primary_on(create(tmp_path / "fleet.git", 1, NOW, Closing("manual")))


@pytest.fixture(scope="module")
def keys(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a key pair for each name."""
    return make_keys(tmp_path_factory.mktemp("keys"))


@pytest.fixture
def fleet(tmp_path: Path, keys: Path) -> Fleet:
    """A repository that takes signed commits, and the keys of who signs."""
    return Fleet(tmp_path, keys)
