"""A shared repository on this disk, with the server-side check, and the primary that closes its frames."""

from __future__ import annotations

from pathlib import Path

import pytest

from dreamcatcherd.core.frames import Closing
from dreamcatcherd.daemon.primary import Primary
from dreamcatcherd.git.local import LocalStore
from dreamcatcherd.imports.new_repository import create
from tests.law.fleet import NOW, primary_on


@pytest.fixture
def bare(tmp_path: Path) -> Path:
    """A repository that `init` makes, frame 1 open, with the check as its hook."""
    create(tmp_path / "fleet.git", 1, NOW, Closing("manual"))
    return tmp_path / "fleet.git"


@pytest.fixture
def unchecked(tmp_path: Path) -> Path:
    """The same without the check."""
    create(tmp_path / "open.git", 1, NOW, Closing("manual"), hook=False)
    return tmp_path / "open.git"


@pytest.fixture
def primary(bare: Path) -> Primary:
    """The primary of the checked repository; its frames close by hand."""
    return primary_on(LocalStore(bare))
