"""A primary on each kind of store, frame 1 open."""

from __future__ import annotations

from pathlib import Path

import pytest

from dreamcatcherd.core.frames import Closing
from dreamcatcherd.daemon.primary import Primary
from dreamcatcherd.imports.new_repository import create
from tests.law.fleet import NOW, new_primary, primary_on


@pytest.fixture(params=["memory", "git"])
def primary(request: pytest.FixtureRequest, tmp_path: Path) -> Primary:
    """A primary whose clock stands still and whose frames close by hand."""
    if request.param == "memory":
        return new_primary(b"")
    return primary_on(create(tmp_path / "fleet.git", 1, NOW, Closing("manual")))
